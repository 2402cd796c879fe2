"""Which address of this host a Pi is told, and the doubt about it."""

from __future__ import annotations

from ipaddress import IPv4Interface
from typing import Any

import pytest

from pinetboot.config import Config, build
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.told import doubts, served, some
from pinetboot.net.links import Link, Links

PI = Pi(serial="5b154510", hostname="node-1")
FIXED = Pi(serial="da591740", address="10.0.0.7")
LAN, LAB, DOCKER = "192.168.1.10/24", "10.0.0.1/24", "172.17.0.1/16"


def links(*addresses: str, default: int | None = None) -> Links:
    """Interfaces eth1, eth2, …, each with addresses that are separated by blanks."""
    found = {
        number: Link(number, f"eth{number}", "", 1500, up=True, loopback=False, addresses=_addresses(text))
        for number, text in enumerate(addresses, 1)
    }
    return Links(found, default)


def _addresses(text: str) -> tuple[IPv4Interface, ...]:
    return tuple(IPv4Interface(address) for address in text.split())


def config(**sections: dict[str, Any]) -> Config:
    return build(sections, "test")


@pytest.mark.parametrize(
    ("pi", "learned", "own", "expected"),
    [
        (PI, "", links(LAN), "192.168.1.10"),
        (PI, "10.0.0.9", links(LAN, LAB, default=1), "10.0.0.1"),
        (FIXED, "192.168.1.77", links(LAN, LAB, default=1), "10.0.0.1"),
        (PI, "203.0.113.5", links(LAN, LAB, default=2), "10.0.0.1"),
        (PI, "fe80::1", links(LAN, LAB, default=2), "10.0.0.1"),
        (PI, "", links(LAN, LAB), "192.168.1.10"),
        (FIXED, "", links(f"{LAN} {LAB}"), "10.0.0.1"),  # the address of that network, not the interface's first
        (PI, "", links(), None),
        (PI, "", links(""), None),
    ],
)
def test_the_address_of_the_network_that_holds_the_pi(pi: Pi, learned: str, own: Links, expected: str | None) -> None:
    found = served(config(), own, pi, learned)
    assert (found.server if found else None) == expected
    assert found is None or found.nfs_server == expected


def test_what_the_settings_say_comes_first() -> None:
    found = served(config(server={"address": "192.0.2.1", "data": "/data"}), links(LAN), PI, "")
    assert found is not None
    assert (found.server, found.nfs_server, found.nfs_data, found.http_port) == ("192.0.2.1", "192.0.2.1", "/data", 80)
    external = {"mode": "external", "address": "10.9.9.9", "path": "/volume1/pis", "versions": [3]}
    found = served(config(nfs=external, http={"enabled": False}), links(LAN), PI, "")
    assert found is not None
    assert (found.nfs_server, found.nfs_data, found.nfs_versions) == ("10.9.9.9", "/volume1/pis", (3,))
    assert found.url == ""


def test_no_doubt_where_there_is_one_network_or_the_pi_is_in_one_of_them() -> None:
    assert doubts(config(), links(LAN), [(PI, "")]) == []
    assert doubts(config(), links(LAN, LAB, default=1), [(FIXED, ""), (PI, "192.168.1.9")]) == []
    assert doubts(config(), links(LAN, LAB), []) == []
    assert doubts(config(server={"address": "192.168.1.10"}), links(LAN, LAB), [(PI, "")]) == []
    assert doubts(config(server={"interfaces": ["eth1"]}), links(LAN, LAB), [(PI, "")]) == []


def test_a_guess_is_said_with_what_else_there_is() -> None:
    (by_route,) = doubts(config(), links(LAN, DOCKER, default=1), [(PI, ""), (FIXED, "")])
    assert by_route.severity == "info"
    assert "192.168.1.10, which node-1, pi-da591740 is told of this host, is a guess" in by_route.what
    (first,) = doubts(config(), links(LAN, LAB), [(FIXED, ""), (PI, "")])
    assert first.severity == "warning"
    assert "which node-1 is told" in first.what
    assert "192.168.1.10 on eth1, 10.0.0.1 on eth2" in first.why


def test_no_address_at_all_and_one_of_another_host() -> None:
    (none,) = doubts(config(), links(), [(PI, "")])
    assert none.severity == "fatal"
    (elsewhere,) = doubts(config(server={"address": "192.168.1.99"}), links(LAN), [(PI, "")])
    assert elsewhere.severity == "info"
    (missing,) = doubts(config(server={"interfaces": ["eth7", "eth1"]}), links(LAN), [(PI, "")])
    assert (missing.severity, missing.what) == ("warning", "there is no network interface eth7")
    (all_missing,) = doubts(config(server={"interfaces": ["eth7"]}), links(LAN), [(PI, "")])
    assert (all_missing.severity, all_missing.what) == ("fatal", "there is no network interface eth7")


def test_many_names_are_cut_short() -> None:
    assert some(["a"]) == "a"
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some([str(number) for number in range(100)]) == "0, 1, 2 and 97 more"
