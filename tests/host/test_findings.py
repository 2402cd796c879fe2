"""What follows from what was seen of a host and its LANs: each rule by itself, from values alone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from pinetboot.config import Config, build
from pinetboot.dhcp.asking import Neighbour
from pinetboot.dhcp.options import encode_pxe_menu
from pinetboot.host import findings
from pinetboot.host.scene import Closed, Held, Lan, Scene
from pinetboot.host.spanning import Bpdu

OWN, ROUTER, RIVAL = (IPv4Address(f"192.0.2.{number}") for number in (2, 1, 9))
MENU = encode_pxe_menu("Raspberry Pi Boot   ")
GIVER = Neighbour(ROUTER, ROUTER, offered=IPv4Interface("192.0.2.100/24"), next_server=ROUTER)
OURS = Neighbour(OWN, OWN, own_host=True, pxe=True, menu=MENU, tftp_server=str(OWN), next_server=OWN)
OTHER = replace(OURS, server=RIVAL, source=RIVAL, own_host=False, tftp_server=str(RIVAL), next_server=RIVAL)


def config(**dhcp: Any) -> Config:
    return build({"dhcp": dhcp}, "test")


def scene(*neighbours: Neighbour, dhcp: dict[str, Any] | None = None, **more: Any) -> Scene:
    lan = Lan("eth0", (IPv4Interface("192.0.2.2/24"),), neighbours)
    own = frozenset({OWN})
    return Scene(**{"config": config(**(dhcp or {})), "lans": (lan,), "own": own, **more})


def told(seen: Scene) -> list[str]:
    found = findings.of(seen)
    assert all(one.what and one.why and one.do for one in found)
    return [f"{one.severity} {one.rule} {one.what}" for one in found]


def test_a_lan_as_it_should_be() -> None:
    assert told(scene(GIVER, OURS, serving=True)) == []
    assert told(scene(GIVER)) == []


class TestAddresses:
    def test_nobody_gives_any(self) -> None:
        assert told(scene(OURS, serving=True)) == ["fatal D03 no DHCP server answers on eth0"]

    def test_a_server_that_answers_those_it_knows_alone_may_be_there(self) -> None:
        known = frozenset({IPv4Address("192.0.2.50")})
        assert told(scene(known=known)) == ["warning D03 no DHCP server answers on eth0"]

    def test_a_second_interface_without_pis(self) -> None:
        two = scene(GIVER)
        two = replace(two, lans=(*two.lans, Lan("docker0", (IPv4Interface("198.51.100.1/24"),))))
        assert told(two) == ["info D03 no DHCP server answers on docker0"]
        pis = frozenset({IPv4Address("198.51.100.7")})
        assert told(replace(two, known=pis)) == ["warning D03 no DHCP server answers on docker0"]

    def test_who_could_not_ask_does_not_know(self) -> None:
        seen = scene()
        seen = replace(seen, lans=(replace(seen.lans[0], unasked="it needs CAP_NET_RAW"),))
        assert told(seen) == ["info  the LAN was not asked for its DHCP servers"]

    def test_server_mode_needs_nobody(self) -> None:
        assert told(scene(dhcp={"mode": "server", "range": "192.0.2.100-192.0.2.199"})) == []


class TestRivals:
    def test_another_one_tells_pis_to_boot(self) -> None:
        (line,) = told(scene(GIVER, OURS, OTHER, serving=True))
        assert line.startswith("warning D43 another boot server, 192.0.2.9 on eth0")

    def test_a_router_with_option_66(self) -> None:
        (line,) = told(scene(replace(GIVER, tftp_server="192.0.2.77")))
        assert line.endswith("tells Pis to boot from 192.0.2.77")
        assert told(scene(replace(GIVER, tftp_server=str(OWN)))) == []

    def test_one_on_this_host_that_is_no_pinetboot(self) -> None:
        # dnsmasq as a ProxyDHCP says no option 66, and siaddr 0.
        dnsmasq = replace(OURS, tftp_server="", next_server=None)
        assert told(scene(GIVER, dnsmasq, serving=True)) == []  # it leads here all the same
        pc = replace(dnsmasq, menu=encode_pxe_menu("Install"))
        (line,) = told(scene(GIVER, pc, serving=True))
        assert line.startswith("warning D06 the boot server 192.0.2.2 on eth0 (this host)")

    def test_with_the_mode_off_somebody_has_to_say_it_and_has_to_lead_here(self) -> None:
        off = {"mode": "off"}
        assert told(scene(GIVER, dhcp=off)) == ["warning D02 no DHCP server on eth0 tells Pis to boot"]
        assert told(scene(replace(GIVER, tftp_server=str(OWN)), dhcp=off)) == []
        (line,) = told(scene(replace(GIVER, tftp_server=str(RIVAL)), dhcp=off))
        assert line == "warning D02 the DHCP server 192.0.2.1 on eth0 tells Pis to boot from 192.0.2.9"
        vip = build({"dhcp": off, "server": {"address": str(RIVAL)}}, "test")
        assert told(replace(scene(replace(GIVER, tftp_server=str(RIVAL))), config=vip)) == []


class TestServerMode:
    MODE = {"mode": "server", "range": "192.0.2.100-192.0.2.199"}  # noqa: RUF012 - read alone

    def test_another_server(self) -> None:
        (line,) = told(scene(GIVER, dhcp=self.MODE))
        assert line == "fatal  another DHCP server, 192.0.2.1, answers on eth0 and offers 192.0.2.100"
        (line,) = told(scene(GIVER, dhcp={**self.MODE, "allow_other_server": True}))
        assert line.startswith("info  another DHCP server")

    def test_our_own_is_no_other(self) -> None:
        own = replace(OURS, offered=IPv4Interface("192.0.2.100/24"))
        assert told(scene(own, dhcp=self.MODE, serving=True)) == []
        assert len(told(scene(own, dhcp=self.MODE))) == 1

    def test_a_range_that_does_not_fit(self) -> None:
        (line,) = told(scene(dhcp=self.MODE, misplaced=("no network of this host holds it", "Write another.")))
        assert line == "fatal  no network of this host holds it"


class TestThisHost:
    def test_ports_that_others_hold(self) -> None:
        held = Held("TFTP", "udp", 69, "tftp.port", "in.tftpd (process 7)")
        (line,) = told(scene(GIVER, held=(held,)))
        assert line == "fatal  UDP port 69, which TFTP needs, is held by in.tftpd (process 7)"
        dhcp = Held("DHCP", "udp", 67, "dhcp.port", "dnsmasq (process 8)")
        assert told(scene(GIVER, held=(dhcp,))) == ["info  UDP port 67 is held by dnsmasq (process 8)"]
        (line, _) = told(scene(GIVER, held=(dhcp,), may_raw=False))
        assert line.startswith("fatal  UDP port 67, which DHCP needs, is held by dnsmasq")
        # Who gives addresses is not heard beside another.
        (line,) = told(scene(held=(dhcp,), dhcp=TestServerMode.MODE))
        assert line.startswith("fatal  UDP port 67, which DHCP needs, is held by dnsmasq")

    def test_what_this_user_may_not_do_matters_while_no_daemon_serves(self) -> None:
        lacking: dict[str, Any] = {"may_bind": False, "may_raw": False, "no_roots": "it needs root"}
        assert [line.split()[0] for line in told(scene(GIVER, **lacking))] == ["fatal", "info", "warning"]
        assert told(scene(GIVER, serving=True, **lacking)) == []

    @pytest.mark.parametrize(
        ("bpdu", "words"),
        [
            (Bpdu(0, 15.0), "warning D05 the switch behind eth0 speaks spanning tree"),
            (Bpdu(2, 15.0), "info D05 the switch behind eth0 speaks rapid spanning tree"),
            (Bpdu(0, 4.0), "info D05 the switch behind eth0 speaks spanning tree"),
        ],
    )
    def test_a_switch_that_keeps_silent_at_first(self, bpdu: Bpdu, words: str) -> None:
        seen = scene(GIVER)
        assert told(replace(seen, lans=(replace(seen.lans[0], spanning=bpdu),))) == [words]

    def test_a_firewall(self) -> None:
        closed = Closed(("UDP 69", "TCP 80"), ("eth0", "eth1"), "table inet filter, chain input")
        (line,) = told(scene(GIVER, closed=(closed,)))
        assert line == "warning D18 this host's firewall drops UDP 69 and TCP 80 on eth0, eth1"
        (line,) = told(scene(GIVER, unlisted_firewall=True))
        assert line.startswith("info D18 the firewall of this host was not looked at")

    def test_a_clock_that_is_wrong_or_that_nobody_keeps(self) -> None:
        (line,) = told(scene(GIVER, slow_s=90_000.0, synchronised=False))
        assert line == "warning  the clock of this host is slow, by 25 h at least"
        assert told(scene(GIVER, slow_s=-5.0, synchronised=False)) == [
            "info  nothing keeps the clock of this host right"
        ]
        assert told(scene(GIVER, synchronised=None)) == []
