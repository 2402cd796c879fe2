"""pinetboot beside a real DHCP server, on the same host or another: every model boots, whoever starts first."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from lab import lan as lans
from lab.dhcp_servers import RELAYED_ONLY, SERVERS, Subnet, start_server
from lab.lan import Lan
from lab.virtual_pis import HOSTS, MODELS, assert_booted, boot, dress, plant
from support import Daemon, require, require_root, wait_until

from pinetboot.dhcp import packet
from pinetboot.net.addresses import Endpoint
from pinetboot.net.packets import unwrap, wrap
from pinetboot.pi.dhcp import discover
from pinetboot.pi.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

SERVER = "10.55.0.2"
SHARED = "udp 67, shared with any other DHCP server of this host"
HELD = "udp 67"
PI = bytes.fromhex("dca6322ef8ed")
XID = 0x5AB07D11
# Boots of all models at once, the more of them the longer; what is left out goes the same ways.
LONG = bool(os.environ.get("PINETBOOT_LONG_TESTS"))
HERE = SERVERS if LONG else ("dnsmasq", "kea-raw", "dhcpd")
ELSEWHERE = [(server, MODELS) for server in SERVERS] if LONG else [("kea-raw", ["pi4"]), ("dhcpd", ["pi3b-rom", "pi5"])]

beside = pytest.mark.parametrize("server", [*SERVERS, RELAYED_ONLY])


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    require_root()
    require("ip", "ss")
    made = Lan(tmp_path, hosts={**lans.HOSTS, **HOSTS})
    try:
        made.build()
        dress(made)
        yield made
    finally:
        made.close()


def dhcp_port(daemon: Daemon) -> str:
    """What the daemon says at its start of how it has the port."""
    told: str = daemon.said("ready")[0]["proxydhcp"]
    return told


@pytest.mark.parametrize("server", HERE)
def test_every_model_boots_with_the_dhcp_server_on_the_same_host(lan: Lan, server: str) -> None:
    start_server(lan, server, "server", [Subnet(router=SERVER)])
    daemon = lan.serve()
    plant(daemon.data, SERVER)
    assert dhcp_port(daemon) == SHARED
    assert_booted(boot(lan), SERVER)


@pytest.mark.parametrize(("server", "models"), ELSEWHERE)
def test_pis_boot_with_the_dhcp_server_on_another_host(lan: Lan, server: str, models: Sequence[str]) -> None:
    start_server(lan, server)
    daemon = lan.serve()
    plant(daemon.data, SERVER)
    assert_booted(boot(lan, models), SERVER)


@pytest.mark.parametrize("server", SERVERS)
def test_a_dhcp_server_may_start_and_start_again_while_pinetboot_runs(lan: Lan, server: str) -> None:
    daemon = lan.serve()
    plant(daemon.data, SERVER)
    start_server(lan, server, "server", [Subnet(router=SERVER)]).stop()
    start_server(lan, server, "server", [Subnet(router=SERVER)])
    assert_booted(boot(lan, ["pi4"]), SERVER)


def asked(lan: Lan, to: str) -> tuple[packet.Message, tuple[str, int]] | None:
    """Ask an address for a boot offer as a Pi 4 whose own address is known; the answer and its sender."""
    with lan.inside("client"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sock.bind(("", 68))
        sock.settimeout(1.0)
        payload = discover(PROFILES["pi4"], "5b154510", PI, XID)
        sock.sendto(payload, (to, 67))
        try:
            while True:
                datagram, sender = sock.recvfrom(2048)
                message = packet.parse(datagram)
                if message.siaddr != packet.ZERO and message.yiaddr == packet.ZERO:
                    return message, sender
        except TimeoutError:
            return None


@beside
def test_what_is_sent_to_this_host_alone_is_heard_beside_any_server(lan: Lan, server: str) -> None:
    lan.address("client", "10.55.0.50/24")
    start_server(lan, server, "server", [Subnet(router=SERVER)])
    lan.address("server", "10.55.0.9/32")
    lan.serve()
    for address in (SERVER, "10.55.0.9"):
        heard = asked(lan, address)
        assert heard is not None, address
        message, sender = heard
        assert (str(message.siaddr), sender) == (address, (address, 67))


def only(lan: Lan, name: str, *flags: str, capabilities: str = "") -> Daemon:
    """Start a daemon on the host `server` that does DHCP alone, in `capabilities` as setpriv takes them."""
    config = "[tftp]\nenabled = false\n[http]\nenabled = false\n"
    inside = [*lan.command("server"), *(["setpriv", f"--bounding-set={capabilities}"] if capabilities else [])]
    inside += [f"--inh-caps={capabilities}", "--no-new-privs"] if capabilities else []
    daemon = Daemon(lan.folder / name, config, flags, inside=inside)
    lan.daemons.append(daemon)
    return daemon


def test_one_host_has_one_pinetboot_and_the_second_says_so(lan: Lan) -> None:
    first = only(lan, "first").start()
    assert dhcp_port(first) == SHARED
    second = only(lan, "second").start(ready=False)
    assert second.process is not None
    assert second.process.wait(20) == 2
    assert "another pinetboot answers DHCP on UDP port 67 of this host already" in second.text
    assert "Traceback" not in second.text
    assert first.stop() == 0
    assert dhcp_port(only(lan, "third").start()) == SHARED


def test_without_the_right_to_raw_sockets_the_port_is_held_and_a_neighbour_is_named(lan: Lan) -> None:
    require("setpriv", "dnsmasq")
    first = only(lan, "first", capabilities="-net_raw").start()
    assert dhcp_port(first) == HELD
    lan.address("client", "10.55.0.50/24")
    for to in (SERVER, "255.255.255.255"):
        heard = asked(lan, to)
        assert heard is not None
        assert heard[1] == (SERVER, 67)
    assert first.stop() == 0
    start_server(lan, "dnsmasq", "server", [Subnet(router=SERVER)])
    second = only(lan, "second", capabilities="-net_raw").start(ready=False)
    assert second.process is not None
    assert second.process.wait(20) == 2
    assert "UDP port 67 is taken by another program, and to hear it beside that one needs CAP_NET_RAW" in second.text
    assert "Traceback" not in second.text


def test_a_tagged_frame_of_a_vlan_is_not_taken_for_one_of_its_parent(lan: Lan) -> None:
    lan.serve()
    payload = discover(PROFILES["pi4"], "5b154510", PI, XID)
    with lan.inside("client"):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    ip = wrap(payload, Endpoint("0.0.0.0", 68), Endpoint("255.255.255.255", 67))
    with wire:
        wire.bind(("eth0", 0x0800))
        wire.settimeout(0.7)

        def answered(tag: bytes) -> bool:
            wire.send(b"\xff" * 6 + PI + tag + b"\x08\0" + ip)
            try:
                while True:
                    carried = unwrap(wire.recv(65535)[14:])
                    if carried is not None and carried.source == (SERVER, 67, 0):
                        return True
            except TimeoutError:
                return False

        assert not answered(b"\x81\0\0\x05")
        assert wait_until(lambda: answered(b""))
        assert not answered(b"\x81\0\0\x05")
