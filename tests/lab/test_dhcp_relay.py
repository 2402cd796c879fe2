"""Boots from another network, through real relays that ask the DHCP server and pinetboot alike."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from lab.dhcp_servers import RELAYED_ONLY, RELAYS, SERVERS, Running, Subnet, start_relay, start_server
from lab.lan import Lan
from lab.test_beside_dhcp import datagrams, wire
from lab.virtual_pis import HOSTS, MODELS, SERIALS, assert_booted, boot, dress, mac, plant
from support import require, require_root

from pinetboot.dhcp import packet
from pinetboot.dhcp.options import Option
from pinetboot.dhcp.packet import Message
from pinetboot.pi.dhcp import discover
from pinetboot.pi.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

SERVER, ROUTER, RELAY = "10.55.0.2", "10.55.0.1", "10.55.0.3"
FAR = "10.56.0.0/24"
NEAR_PI = "10.56.0.1"
NEAR = Subnet(router=RELAY)
SUBNETS = [NEAR, Subnet(FAR, ("10.56.0.100", "10.56.0.199"), NEAR_PI, interface="")]
ROM = "pi3b-rom"
AGENT = b"\1\4eth1"
ROUTED = tuple(model for model in MODELS if model != ROM)

PAIRS = [("dhcrelay", RELAYED_ONLY, "server"), ("dnsmasq", "dhcpd", "router")]
if os.environ.get("PINETBOOT_LONG_TESTS"):
    PAIRS = [
        (relay, server, host)
        for relay in RELAYS
        for server in (*SERVERS, RELAYED_ONLY)
        for host in ("server", "router")
    ]


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    """Two networks with a relay between them, that routes as well; the Pis are in the far one."""
    require_root()
    require("ip", "sysctl")
    near = {"server": (f"{SERVER}/24",), "router": (f"{ROUTER}/24",), "relay": (f"{RELAY}/24",)}
    made = Lan(tmp_path, hosts={**near, **HOSTS})
    try:
        made.build()
        dress(made)
        made.bridge("far")
        made.wire("relay", "eth1", "far", f"{NEAR_PI}/24")
        assert made.run("relay", "sysctl", "-qw", "net.ipv4.ip_forward=1").returncode == 0
        for host in ("server", "router"):
            made.ip(host, "route", "add", FAR, "via", RELAY)
        for host in HOSTS:
            made.plug(host, "far")
            # A virtual Pi takes an address and no routes; that it goes by its router is the host's doing.
            made.ip(host, "route", "add", "10.55.0.0/24", "via", NEAR_PI, "dev", "eth0", "onlink")
        yield made
    finally:
        made.close()


def relayed(lan: Lan, relay: str, server: str, host: str) -> Running:
    """Start a DHCP server on a host, and a relay that asks it and pinetboot."""
    start_server(lan, server, host, SUBNETS)
    asked = [SERVER] if host == "server" else [ROUTER, SERVER]
    return start_relay(lan, relay, "relay", near=("eth1", NEAR_PI), far="eth0", asked=asked)


@pytest.mark.parametrize(("relay", "server", "host"), PAIRS)
def test_every_model_that_can_boots_through_a_relay(lan: Lan, relay: str, server: str, host: str) -> None:
    relayed(lan, relay, server, host)
    daemon = lan.serve()
    plant(daemon.data, SERVER)
    assert_booted(boot(lan, ROUTED), SERVER)
    offered = daemon.said("boot offered")
    assert {line["relay"] for line in offered} == {NEAR_PI}
    assert {line["mac"] for line in offered} == {mac(model) for model in ROUTED}


def test_a_relay_asks_an_address_and_pis_are_told_that_one(lan: Lan) -> None:
    vip = "10.55.0.9"
    lan.address("server", f"{vip}/32")
    start_server(lan, "dnsmasq", "router", SUBNETS)
    start_relay(lan, "dnsmasq", "relay", near=("eth1", NEAR_PI), far="eth0", asked=[ROUTER, vip])
    daemon = lan.serve()
    plant(daemon.data, vip)
    assert_booted(boot(lan, ["pi4"]), vip)


def asked(lan: Lan, message: Message) -> list[tuple[Message, tuple[str, int]]]:
    """Send a message as a relay does; what comes back to its server port within two seconds, and from whom."""
    answers = []
    with lan.inside("relay"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind((RELAY, 67))
        sock.sendto(packet.encode(message), (SERVER, 67))
        end = time.monotonic() + 2.0
        while (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                datagram, sender = sock.recvfrom(2048)
            except TimeoutError:
                break
            answers.append((packet.parse(datagram), sender))
    return answers


def relayed_discover(model: str) -> Message:
    """Write a model's DISCOVER as it comes from a relay: giaddr, one hop, and option 82 behind all others."""
    payload = discover(PROFILES[model], SERIALS[model], bytes.fromhex(mac(model).replace(":", "")), 0x26F30339)
    message = packet.parse(payload)
    options = message.options | {int(Option.RELAY_AGENT): AGENT}
    return replace(message, giaddr=IPv4Address(RELAY), hops=1, options=options)


def test_what_a_relay_sends_is_answered_wherever_it_comes_in(lan: Lan) -> None:
    lan.wire("server", "eth1", "far", "10.57.0.2/24")
    daemon = lan.serve('interfaces = ["eth1"]\n')
    ((answer, sender),) = asked(lan, relayed_discover("pi4"))
    assert sender == (SERVER, 67)
    assert (str(answer.giaddr), str(answer.siaddr)) == (RELAY, SERVER)
    assert list(answer.options.items())[-1] == (Option.RELAY_AGENT, AGENT)
    (line,) = daemon.said("boot offered")
    assert (line["relay"], line["interface"]) == (RELAY, "eth0")
    # Without a relay, eth0 is not asked about.
    assert not asked(lan, replace(relayed_discover("pi4"), giaddr=packet.ZERO))
    assert len(daemon.said("boot offered")) == 1


def test_the_rom_of_a_pi_3b_is_answered_and_the_log_says_why_it_will_not_boot(lan: Lan) -> None:
    daemon = lan.serve()
    assert [sender for _, sender in asked(lan, relayed_discover(ROM))] == [(SERVER, 67)] * 2
    (line,) = daemon.said("boot offered in vain")
    assert (line["level"], line["rule"], line["relay"], line["from"]) == ("warning", "D42", RELAY, SERVER)
    assert line["what"] == f"the ROM of a Pi 3B asks through the relay {RELAY}"
    assert line["why"]
    assert line["do"]


@pytest.mark.parametrize("address", ["224.0.0.1", "255.255.255.255"])
def test_an_answer_never_goes_to_many_in_place_of_a_relay(lan: Lan, address: str) -> None:
    daemon = lan.serve()
    with wire(lan, "router") as ear:
        assert not asked(lan, replace(relayed_discover("pi4"), giaddr=IPv4Address(address)))
        assert not [heard for heard in datagrams(ear, 0.1) if heard.source == (SERVER, 67)]
    (line,) = daemon.said("dhcp packet dropped")
    assert line["why"] == f"the relay address {address} is no host's"
