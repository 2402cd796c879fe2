"""Interfaces and addresses that come and go while pinetboot runs: always the address of the interface asked."""

from __future__ import annotations

import socket
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from lab.dhcp_servers import Subnet, start_server
from lab.lan import SWITCH, Lan
from lab.virtual_pis import HOSTS, assert_booted, boot, dress, plant
from rawtftp import Client
from support import Daemon, require, require_root, wait_until

from pinetboot.dhcp import packet
from pinetboot.pi.dhcp import discover
from pinetboot.pi.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(90)

MAC = bytes.fromhex("dca6322ef8ed")
XID = 0x5AB07D11
# A VLAN's interface; this kernel may have no 8021q, and to IP an interface is one as another.
VLAN = "eth0.5"
SERVER, SERVER5 = "10.55.0.2", "10.56.0.2"


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    """Two LANs; `client` is in the first, `client5` and the Pis in the second, in which `server` has nothing yet."""
    require_root()
    require("ip", "ss")
    hosts = {"server": (f"{SERVER}/24",), "client": ("10.55.0.50/24",), "client5": ("10.56.0.50/24",)}
    made = Lan(tmp_path, hosts={**hosts, **HOSTS})
    try:
        made.build()
        dress(made)
        made.bridge("vlan5")
        for host in ("client5", *HOSTS):
            made.plug(host, "vlan5")
        yield made
    finally:
        made.close()


def told(lan: Lan, host: str = "client") -> list[str]:
    """Broadcast a Pi 4's DISCOVER on a host's LAN; the addresses it is told, each named alike and its sender's."""
    with lan.inside(host):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found = []
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sock.bind(("", 68))
        sock.settimeout(0.25)
        payload = discover(PROFILES["pi4"], "5b154510", MAC, XID)
        sock.sendto(payload, ("255.255.255.255", 67))
        try:
            while True:
                datagram, sender = sock.recvfrom(2048)
                answer = packet.parse(datagram)
                assert sender == (str(answer.siaddr), 67)
                assert answer.address(54) == answer.siaddr
                assert answer.options[66].decode() == sender[0]
                found.append(sender[0])
        except TimeoutError:
            return found


def comes_to(lan: Lan, addresses: list[str], host: str = "client5") -> bool:
    return bool(wait_until(lambda: told(lan, host) == addresses, 5.0))


def vlan_comes(lan: Lan, *addresses: str) -> None:
    lan.wire("server", VLAN, "vlan5", *addresses)


def vlan_goes(lan: Lan) -> None:
    lan.ip("server", "link", "delete", VLAN)


def test_an_interface_that_comes_later_is_answered_with_its_own_address(lan: Lan) -> None:
    lan.serve()
    assert told(lan) == [SERVER]
    assert told(lan, "client5") == []
    vlan_comes(lan)
    assert told(lan, "client5") == []
    lan.ip("server", "address", "add", f"{SERVER5}/24", "dev", VLAN)
    assert comes_to(lan, [SERVER5])
    assert told(lan) == [SERVER]
    vlan_goes(lan)
    vlan_comes(lan, "10.56.0.3/24")
    assert comes_to(lan, ["10.56.0.3"])


def test_an_address_that_is_changed_is_the_one_that_is_told(lan: Lan) -> None:
    lan.serve()
    vlan_comes(lan, f"{SERVER5}/24")
    assert comes_to(lan, [SERVER5])
    lan.ip("server", "address", "add", "10.56.0.7/24", "dev", VLAN)
    lan.ip("server", "address", "del", f"{SERVER5}/24", "dev", VLAN)
    # The second one of a network goes with the first, unless the host is set to keep it.
    lan.ip("server", "address", "replace", "10.56.0.7/24", "dev", VLAN)
    assert comes_to(lan, ["10.56.0.7"])
    lan.ip("server", "link", "set", VLAN, "down")
    assert comes_to(lan, [])
    lan.ip("server", "link", "set", VLAN, "up")
    assert comes_to(lan, ["10.56.0.7"])


def test_a_cable_that_is_plugged_in_later_needs_no_restart(lan: Lan) -> None:
    vlan_comes(lan, f"{SERVER5}/24")
    port = f"{'server'[:9]}-{VLAN}"
    lan.ip(SWITCH, "link", "set", port, "down")
    lan.serve()
    assert told(lan, "client5") == []
    lan.ip(SWITCH, "link", "set", port, "up")
    assert comes_to(lan, [SERVER5])


def test_a_macvlan_beside_its_parent_is_an_interface_of_its_own(lan: Lan) -> None:
    lan.serve()
    vlan_comes(lan)
    lan.ip("server", "link", "add", "link", VLAN, "name", "mac0", "type", "macvlan", "mode", "bridge")
    lan.ip("server", "address", "add", "10.56.0.4/24", "dev", "mac0")
    lan.ip("server", "link", "set", "mac0", "up")
    assert comes_to(lan, ["10.56.0.4"])


def every_service(lan: Lan, daemon: Daemon, address: str) -> None:
    """Check that DHCP, TFTP and HTTP answer at an address in the second LAN."""
    assert comes_to(lan, [address])
    (daemon.data / "boot" / "file").write_bytes(b"content")
    with lan.inside("client5"):
        client = Client(69, address)
        connection = HTTPConnection(address, 80, timeout=5)
        connection.request("GET", "/boot/file")
    with client:
        assert client.take(client.answer("file")) == b"content"
    with connection.getresponse() as answer:
        assert (answer.status, answer.read()) == (200, b"content")
    connection.close()


def test_an_interface_in_the_settings_is_waited_for_and_used_whenever_it_comes(lan: Lan) -> None:
    daemon = lan.serve(f'interfaces = ["{VLAN}"]\n')
    (line,) = daemon.said("interface not there, waiting for it")
    assert (line["level"], line["interface"], line["why"]) == ("warning", VLAN, "this host has eth0, lo")
    assert told(lan) == []
    vlan_comes(lan, f"{SERVER5}/24")
    every_service(lan, daemon, SERVER5)
    assert told(lan) == []
    assert len(daemon.said("interface came")) == 1
    vlan_goes(lan)
    assert wait_until(lambda: len(daemon.said("interface not there, waiting for it")) == 2)
    vlan_comes(lan, "10.56.0.3/24")
    every_service(lan, daemon, "10.56.0.3")
    assert len(daemon.said("interface came")) == 2
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.text
    assert not daemon.said("unexpected fault, please report it")


def test_every_model_boots_over_an_interface_that_came_after_the_start(lan: Lan) -> None:
    daemon = lan.serve()
    plant(daemon.data, SERVER5)
    vlan_comes(lan, f"{SERVER5}/24")
    start_server(lan, "dhcpd", "server", [Subnet("10.56.0.0/24", ("10.56.0.100", "10.56.0.199"), SERVER5, VLAN)])
    assert_booted(boot(lan), SERVER5)
