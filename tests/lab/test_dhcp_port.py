"""Port 67 itself: which way each answer goes, as RFC 2131 section 4.1 has it, and what broken messages do to it."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from lab.lan import Lan
from lab.test_beside_dhcp import EVERYONE, Heard, datagrams, wire
from mutation import Mutants, each
from support import wait_until

from pinetboot.dhcp import packet
from pinetboot.dhcp import port as ports
from pinetboot.dhcp.options import MessageType, Option
from pinetboot.dhcp.packet import BOOTREPLY, BROADCAST, Message
from pinetboot.dhcp.port import Port
from pinetboot.events import Event, PacketDropped
from pinetboot.net import links
from pinetboot.pi.dhcp import discover
from pinetboot.pi.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(120)

SERVER, CLIENT, RELAY = IPv4Address("10.55.0.2"), IPv4Address("10.55.0.50"), IPv4Address("10.55.0.1")
MAC = bytes.fromhex("dca6322ef8ed")
XID = 0x5AB07D11
BROKEN = 20_000


@dataclass
class Answering:
    """A Port on the host `server`, and what it told."""

    lan: Lan
    shares: bool
    events: list[Event] = field(default_factory=list)
    heard: list[ports.Heard] = field(default_factory=list)

    def answer(self, reply: Message, address: IPv4Address = SERVER) -> list[Heard]:
        """Send an answer out of the server's eth0; what is on the wire then, as the host `client` sees it."""
        with wire(self.lan, "client") as ear:

            async def run() -> None:
                found = await asyncio.to_thread(links.read)
                port = Port(67, (), lambda: found, self.heard.append, self.events.append, shares=self.shares)
                port.start()
                try:
                    link = next(link for link in found.by_index.values() if link.name == "eth0")
                    port.answer(reply, link, address)
                finally:
                    port.stop()

            with self.lan.inside("server"):
                asyncio.run(run())
            return datagrams(ear, 0.3)


@pytest.fixture
def answering(lan: Lan, request: pytest.FixtureRequest) -> Answering:
    lan.address("client", f"{CLIENT}/24")
    return Answering(lan, request.param)


both = pytest.mark.parametrize("answering", [True, False], indirect=True, ids=["shared", "held"])


def reply(kind: MessageType = MessageType.OFFER) -> Message:
    return Message(BOOTREPLY, XID, MAC, {int(Option.MESSAGE_TYPE): bytes([kind])}, siaddr=SERVER)


@both
def test_an_answer_goes_where_its_client_can_take_it(answering: Answering) -> None:
    to_client = answering.lan.mac("client")
    given = replace(reply(), yiaddr=IPv4Address("10.55.0.77"), mac=to_client)
    cases = [
        # A relay; its neighbour sees nothing of it but the broadcast that asks for its MAC.
        (replace(given, giaddr=CLIENT, flags=BROADCAST), ("10.55.0.50", 67), to_client),
        (replace(given, ciaddr=CLIENT), ("10.55.0.50", 68), to_client),
        (replace(given, flags=BROADCAST), ("255.255.255.255", 68), EVERYONE),
        (replace(reply(MessageType.NAK), ciaddr=CLIENT), ("255.255.255.255", 68), EVERYONE),
        (reply(), ("255.255.255.255", 68), EVERYONE),
        # No address yet, and nobody to ask for its MAC: it is in the message.
        (given, ("10.55.0.77", 68), to_client),
    ]
    for message, destination, mac in cases:
        (one,) = answering.answer(message)
        assert (one.source, one.destination, one.to_mac) == ((str(SERVER), 67), destination, mac), message
        assert packet.parse(one.payload) == message
    assert answering.events == []


@both
def test_an_answer_that_cannot_be_sent_is_told_and_harms_nothing(answering: Answering) -> None:
    assert answering.answer(replace(reply(), giaddr=IPv4Address("198.51.100.1"))) == []
    (event,) = answering.events
    assert event == PacketDropped(
        "dhcp", "198.51.100.1", "the answer to dc:a6:32:2e:f8:ed could not be sent: Network is unreachable"
    )


@both
def test_nothing_is_sent_from_an_address_that_is_gone_whatever_the_kernel_would_let_go(answering: Answering) -> None:
    assert answering.lan.run("server", "sysctl", "-qw", "net.ipv4.ip_nonlocal_bind=1").returncode == 0
    for message in (replace(reply(), yiaddr=IPv4Address("10.55.0.77")), replace(reply(), flags=BROADCAST)):
        assert answering.answer(message, IPv4Address("10.55.0.9")) == []
    assert answering.events == []


class Broken(Mutants):
    """Broken DISCOVERs of Pis, with and without a relay."""

    repeats = (1, 2, 20)
    longest = 24


def broken(count: int) -> Iterator[bytes]:
    plain = [discover(PROFILES[model], "5b154510", MAC, XID) for model in PROFILES]
    whole = [packet.parse(datagram) for datagram in plain]
    agent = {int(Option.RELAY_AGENT): b"\1\4eth1"}
    relayed = [replace(message, giaddr=CLIENT, hops=1, options=message.options | agent) for message in whole]
    return islice(Broken(6, [packet.encode(message) for message in whole + relayed * 2]), count)


def test_a_daemon_that_shares_its_port_outlives_broken_messages_of_relays(lan: Lan) -> None:
    lan.address("client", f"{CLIENT}/24")
    daemon = lan.serve("[dhcp]\nrom_offers_s = [0.05, 0.1]\n")
    with lan.inside("client"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind((str(CLIENT), 67))
        sock.settimeout(0.3)
        sent = 0

        def offered() -> bool:
            nonlocal sent
            sent += 1
            payload = discover(PROFILES["pi4"], "5b154510", MAC, sent)
            sock.sendto(packet.encode(replace(packet.parse(payload), giaddr=CLIENT)), (str(SERVER), 67))
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                try:
                    answer = packet.parse(sock.recv(2048))
                except TimeoutError:
                    return False
                if answer.xid == sent:
                    return answer.giaddr == CLIENT and answer.siaddr == SERVER
            return False

        def send(datagram: bytes) -> None:
            sock.sendto(datagram, (str(SERVER), 67))

        assert wait_until(offered)
        mutants = broken(BROKEN)
        for _ in range(20):
            assert each(islice(mutants, BROKEN // 20), send) == BROKEN // 20
            assert wait_until(offered)
    assert not daemon.process_ended
    assert daemon.stop() == 0
    for sign in ("Traceback", "unexpected fault", "was never"):
        assert sign not in daemon.text
    assert daemon.said("boot offered")
    assert daemon.said("dhcp packet dropped")
