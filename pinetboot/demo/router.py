"""The router of the demonstration: the least DHCP server that gives a virtual Pi an address on loopback.

Belongs here: what any LAN has beside pinetboot, so that the demonstration shows a ProxyDHCP doing its part.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from pinetboot.dhcp import packet
from pinetboot.dhcp.options import MessageType, Option
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, BROADCAST, MalformedMessage, Message
from pinetboot.net import udp
from pinetboot.net.addresses import Endpoint

ADDRESS = IPv4Address("127.0.0.53")
_FIRST = IPv4Address("127.0.0.101")
_LEASE_S = 3600


@dataclass(slots=True)
class Router:
    """Listens on `port` of loopback beside pinetboot and answers the port next to it."""

    port: int
    _sock: socket.socket | None = None
    _given: dict[bytes, IPv4Address] = field(default_factory=dict)

    def start(self) -> None:
        """Bind and begin. The port is shared, as every broadcast reaches each of its sockets."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind(("", self.port))
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._heard, sock)

    def stop(self) -> None:
        """Leave the port."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()

    def _heard(self, sock: socket.socket) -> None:
        with suppress(OSError, MalformedMessage):
            request = packet.parse(sock.recv(65535))
            answers = {MessageType.DISCOVER: MessageType.OFFER, MessageType.REQUEST: MessageType.ACK}
            if request.op == BOOTREQUEST and request.type in answers:
                answer = self._answer(request, answers[request.type])
                everyone = Endpoint("255.255.255.255", self.port + 1)
                loopback = socket.if_nametoindex("lo")
                udp.send(sock, packet.encode(answer), everyone, local=str(ADDRESS), interface=loopback)

    def _answer(self, request: Message, kind: MessageType) -> Message:
        address = self._given.setdefault(request.mac, _FIRST + len(self._given))
        options = {
            int(Option.MESSAGE_TYPE): bytes([kind]),
            int(Option.SERVER_IDENTIFIER): ADDRESS.packed,
            int(Option.LEASE_TIME): _LEASE_S.to_bytes(4, "big"),
            int(Option.SUBNET_MASK): IPv4Address("255.0.0.0").packed,
        }
        return Message(BOOTREPLY, request.xid, request.mac, options, flags=BROADCAST, yiaddr=address)
