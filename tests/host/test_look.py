"""What is looked at on this host: which ports matter, who counts as another, and which packets have to come in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

from pinetboot.config import Config, build
from pinetboot.fleet import state
from pinetboot.host import look
from pinetboot.host.filtering import Packet
from pinetboot.host.ports import Holder
from pinetboot.net.links import Link, Links

ETH0 = Link(2, "eth0", "02:00:00:00:00:02", 1500, up=True, loopback=False, addresses=(IPv4Interface("192.0.2.2/24"),))


def config(**sections: dict[str, Any]) -> Config:
    return build(sections, "test")


def test_a_port_of_ours_is_ours_also_where_only_root_may_know() -> None:
    wanted = look._ports(config(tftp={"port": 6969}, http={"enabled": False}))
    assert [(one.protocol, one.port, one.setting) for one in wanted] == [
        ("udp", 6969, "tftp.port"),
        ("udp", 67, "dhcp.port"),
    ]
    ours, theirs = Holder("udp", 67, 7, "pinetboot", ours=True), Holder("udp", 67, 8, "dnsmasq")
    hidden = Holder("udp", 6969)
    assert look._held(wanted, [ours], serves=True) == []
    assert [one.by for one in look._held(wanted, [ours, theirs], serves=True)] == ["dnsmasq (process 8)"]
    assert look._held(wanted, [hidden], serves=True) == []
    assert [one.by for one in look._held(wanted, [hidden], serves=False)] == ["a program that only root may know"]


def test_every_packet_of_a_pi_is_sent_through_the_rules() -> None:
    packets = look._packets(config(tftp={"data_ports": "5000-5010"}, nfs={"mode": "exports", "versions": [4]}), "eth0")
    assert set(packets) == {
        Packet("udp", 67, "eth0"),
        Packet("udp", 69, "eth0"),
        Packet("udp", 5000, "eth0", "established"),
        Packet("tcp", 80, "eth0"),
        Packet("tcp", 2049, "eth0"),
    }
    alone = config(dhcp={"mode": "off"}, http={"enabled": False}, tftp={"enabled": False}, nfs={"mode": "off"})
    assert look._packets(alone, "eth0") == []


def test_a_range_has_to_lie_in_a_network_of_this_host() -> None:
    links = Links({2: ETH0})

    def misplaced(text: str) -> str:
        found = look._misplaced(config(dhcp={"mode": "server", "range": text}), links)
        return found[0] if found else ""

    assert misplaced("192.0.2.100-192.0.2.199") == ""
    assert "no network of this host holds dhcp.range" in misplaced("198.51.100.1-198.51.100.9")
    assert "goes beyond 192.0.2.0/24" in misplaced("192.0.2.200-192.0.3.9")
    assert look._misplaced(config(), links) is None


def test_where_pis_are_known_to_be(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    state.keep_seen(
        tmp_path, [{"serial": "5b154510", "address": "192.0.2.7"}, {"serial": "da591740", "address": "::1"}]
    )
    (tmp_path / "fleet.toml").write_text('[[pi]]\nserial = "5b154510"\nimage = "x"\naddress = "192.0.2.8"\n')
    known = look._known(config(server={"data": str(tmp_path)}))
    assert known == {IPv4Address("192.0.2.7"), IPv4Address("192.0.2.8")}
