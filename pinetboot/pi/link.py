"""How a virtual Pi's DHCP gets onto the wire: on a real interface, or on loopback without any privilege.

Belongs here: sockets of the DHCP phase. What is said over them is `dhcp`'s.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Protocol

from pinetboot.errors import OperatorError
from pinetboot.net import links, udp
from pinetboot.net.addresses import Endpoint
from pinetboot.pi.dhcp import Lease

_CLIENT_PORT = 68
_SERVER_PORT = 67
_ETH_P_IP = 0x0800
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_MR_PROMISC = 1
_MEMBERSHIP = struct.Struct("=iHH8s")
_LENT_S = 600
_EVERYONE = "255.255.255.255"
_MAX_FRAME = 65535
_UDP = 17
_FRAGMENT = 0x3FFF

Heard = Callable[[bytes, str], None]


class Link(Protocol):
    """A place to speak DHCP. `heard` is called with each datagram to the client port and its sender's address."""

    def open(self, heard: Heard) -> None:
        """Begin to listen. Raises OperatorError."""

    def broadcast(self, payload: bytes) -> None:
        """Send to every DHCP server."""

    async def take(self, lease: Lease) -> None:
        """Use the address of a lease from here on."""

    async def close(self) -> None:
        """Stop listening and give the address back."""


@dataclass(slots=True)
class LanLink:
    """A real interface: sends from port 68, hears every frame, as answers may go to an address it does not have yet.

    Sending goes through the host's own stack, so that a server on this very host hears it too.
    """

    name: str
    index: int
    _sender: socket.socket | None = None
    _ear: socket.socket | None = None
    _lent: IPv4Interface | None = None

    def open(self, heard: Heard) -> None:
        """Begin to listen. Raises OperatorError, naming the privileges that are missing."""
        try:
            self._ear = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_IP)
            )
            self._ear.bind((self.name, _ETH_P_IP))
            membership = _MEMBERSHIP.pack(self.index, _PACKET_MR_PROMISC, 0, b"")
            self._ear.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
            self._sender = _client_socket(_CLIENT_PORT, self.name)
        except PermissionError:
            raise OperatorError(
                "a rehearsal with DHCP needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_NET_BIND_SERVICE",
                "Run it as root, or leave DHCP out with --no-dhcp --server IP.",
            ) from None
        except OSError as error:
            raise OperatorError(f"DHCP cannot be spoken on {self.name}: {error.strerror}") from None
        ear = self._ear
        asyncio.get_running_loop().add_reader(ear.fileno(), lambda: _frames(ear, heard))

    def broadcast(self, payload: bytes) -> None:
        """Send to every DHCP server on this LAN."""
        if self._sender is not None:
            with suppress(OSError):
                self._sender.sendto(payload, (_EVERYONE, _SERVER_PORT))

    async def take(self, lease: Lease) -> None:
        """Put the leased address on the interface. Raises OperatorError."""
        address = IPv4Interface((lease.address, lease.prefix))
        await asyncio.to_thread(links.lend, self.index, address, _LENT_S)
        self._lent = address

    async def close(self) -> None:
        """Stop listening and take the address off again."""
        if self._ear is not None:
            asyncio.get_running_loop().remove_reader(self._ear.fileno())
            self._ear.close()
        if self._sender is not None:
            self._sender.close()
        if self._lent is not None:
            await asyncio.to_thread(links.take_back, self.index, self._lent)


@dataclass(slots=True)
class LoopbackLink:
    """The loopback interface with ports of one's own: `port` for servers and the next one for clients.

    Every 127.x.y.z is ours without asking, so that taking an address is nothing to do.
    """

    port: int
    source: str
    _sock: socket.socket | None = None

    def open(self, heard: Heard) -> None:
        """Begin to listen. Raises OperatorError."""
        try:
            self._sock = sock = _client_socket(self.port + 1, None)
        except OSError as error:
            raise OperatorError(f"UDP port {self.port + 1} cannot be opened: {error.strerror}") from None
        asyncio.get_running_loop().add_reader(sock.fileno(), lambda: _datagrams(sock, heard))

    def broadcast(self, payload: bytes) -> None:
        """Send to every DHCP server on loopback."""
        if self._sock is not None:
            everyone = Endpoint(_EVERYONE, self.port)
            with suppress(OSError):
                udp.send(self._sock, payload, everyone, local=self.source, interface=socket.if_nametoindex("lo"))

    async def take(self, lease: Lease) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Stop listening."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()


def _client_socket(port: int, device: str | None) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 128)
        if device is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sock.bind(("", port))
    except BaseException:
        sock.close()
        raise
    return sock


def _datagrams(sock: socket.socket, heard: Heard) -> None:
    with suppress(OSError):
        payload, (source, _) = sock.recvfrom(_MAX_FRAME)
        heard(payload, source)


def _frames(ear: socket.socket, heard: Heard) -> None:
    with suppress(OSError):
        found = dhcp_in(ear.recv(_MAX_FRAME))
        if found is not None:
            heard(*found)


def dhcp_in(packet: bytes) -> tuple[bytes, str] | None:
    """Find a datagram to the DHCP client port in an IPv4 packet (RFC 791, 768): its payload and its sender."""
    if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != _UDP:  # noqa: PLR2004 - the two headers, IPv4
        return None
    size = (packet[0] & 15) * 4
    if int.from_bytes(packet[6:8], "big") & _FRAGMENT or len(packet) < size + 8:
        return None
    if int.from_bytes(packet[size + 2 : size + 4], "big") != _CLIENT_PORT:
        return None
    length = int.from_bytes(packet[size + 4 : size + 6], "big")
    return packet[size + 8 : size + length], socket.inet_ntoa(packet[12:16])
