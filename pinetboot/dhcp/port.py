"""The DHCP server's port: what is heard there and on which interface, and the way back for each answer.

Belongs here: sockets of port 67, shared with another DHCP server of this host where need be, and where RFC 2131 section
4.1 sends an answer. Whom to answer, and with what, is decided by the servers that use it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from typing import Final

from pinetboot.dhcp import packet
from pinetboot.dhcp.options import MessageType
from pinetboot.dhcp.packet import BROADCAST, ZERO, MalformedMessage, Message
from pinetboot.errors import OperatorError
from pinetboot.events import PacketDropped, Sink
from pinetboot.net import listening, packets, udp
from pinetboot.net.addresses import Endpoint, format_mac
from pinetboot.net.links import Link, Links

STANDARD: Final = 67
CLIENT: Final = 68
BOOT_SERVER: Final = 4011  # where PXE clients ask for the file alone (PXE 2.1 section 2.2.4)
# Other programs may well be on these.
_SHARED: Final = frozenset({STANDARD, BOOT_SERVER})
_BURST: Final = 64
_EVERYONE: Final = "255.255.255.255"
_NOBODY: Final = "0.0.0.0"  # noqa: S104 - as what a client without an address sends from


@dataclass(frozen=True, slots=True)
class Heard:
    """A message, the interface it came in on, and both addresses of its packet.

    `link` is a serving one, or for a relayed message any. `local` is the address of ours that it came in on, for a
    broadcast the one to answer from; empty where it is not known.
    """

    message: Message
    link: Link
    source: Endpoint
    destination: str
    local: str


@dataclass(frozen=True, slots=True)
class _Socket:
    """One way to use the port: plain UDP, which holds it, or raw, beside whoever does. `send` raises OSError."""

    sock: socket.socket
    receive: Callable[[], udp.Datagram | None]
    send: Callable[[bytes, Endpoint, str, int], None]
    held: bool


class Port:
    """Hears UDP `port` on the serving interfaces, as `links` tells them, and calls `heard` with each message.

    It is held by a socket of its own; where another program has it already, it is heard beside that one. With
    `shares` it is left for others from the start if this process may, so that a DHCP server of this host may come, go
    and come again. Either way one host has one pinetboot.
    """

    def __init__(
        self,
        port: int,
        interfaces: Sequence[str],
        links: Callable[[], Links],
        heard: Callable[[Heard], None],
        sink: Sink,
        *,
        shares: bool = False,
    ) -> None:
        self._port = port
        self._interfaces = interfaces
        self._links = links
        self._heard = heard
        self._sink = sink
        self._shares = shares
        self._claim: socket.socket | None = None
        self._open: _Socket | None = None
        self._frames: socket.socket | None = None

    @property
    def client_port(self) -> int:
        """Where clients listen: 68, or next to a port of our own choosing."""
        return self._port + 1

    @property
    def how(self) -> str:
        """What to tell people of it: `udp 67`, and that it is shared where it is."""
        shared = self._open is not None and not self._open.held
        return f"udp {self._port}" + (", shared with any other DHCP server of this host" if shared else "")

    def start(self) -> None:
        """Open the port and begin to hear. Raises OperatorError."""
        try:
            self._claim = listening.claim(f"dhcp/{self._port}")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise OperatorError(
                    f"another pinetboot answers DHCP on UDP port {self._port} of this host already",
                    'Stop that one, or set dhcp.mode = "off" for this one.',
                ) from None
            # Where a sandbox forbids such names, one pinetboot is the operator's to see to.
        try:
            self._open = self._opened()
        except BaseException:
            self.stop()
            raise
        try:
            self._frames = packets.sender()
        except OSError:
            self._frames = None  # it is broadcast then
        asyncio.get_running_loop().add_reader(self._open.sock.fileno(), self._read)

    def stop(self) -> None:
        """Leave the port."""
        if self._open is not None:
            asyncio.get_running_loop().remove_reader(self._open.sock.fileno())
            self._open.sock.close()
        for sock in (self._frames, self._claim):
            if sock is not None:
                sock.close()
        self._open = self._frames = self._claim = None

    def answer(self, reply: Message, link: Link, address: IPv4Address) -> None:
        """Send a BOOTREPLY from `address`, a broadcast out of `link`. A fault of sending becomes a PacketDropped."""
        # It may have moved to another host while the answer waited, and some kernels are told to send all the same.
        if self._open is None or not self._links().holds(address):
            return
        peer, interface = self._way_back(reply, link)
        try:
            if peer is None:
                # The kernel lets whole frames leave from any address.
                if udp.is_ours(str(address)):
                    self._send_to_mac(reply, link, address)
            else:
                self._open.send(packet.encode(reply), peer, str(address), interface)
        except OSError as error:
            if not udp.is_ours(str(address)):
                return  # it left, and word of it has not come yet: whoever has it now answers
            why = f"the answer to {format_mac(reply.mac)} could not be sent: {error.strerror}"
            self._sink(PacketDropped("dhcp", str(peer.host if peer else reply.yiaddr), why))

    def reply(self, reply: Message, heard: Heard, address: IPv4Address) -> None:
        """Send a BOOTREPLY back to where a message came from, as a boot server does; where that is nowhere, to all."""
        if self._open is None or not self._links().holds(address):
            return
        nowhere = heard.source.host == _NOBODY
        peer = Endpoint(_EVERYONE, CLIENT) if nowhere else heard.source
        try:
            self._open.send(packet.encode(reply), peer, str(address), heard.link.index if nowhere else 0)
        except OSError as error:
            why = f"the answer to {format_mac(reply.mac)} could not be sent: {error.strerror}"
            self._sink(PacketDropped("dhcp", peer.host, why))

    def _opened(self) -> _Socket:
        """Open the port the way that suits. Other ports than these have no other DHCP server on them."""
        if self._shares and self._port == STANDARD:
            try:
                return self._raw()
            except OSError:
                pass  # this process may not: the port is held, if it is free
        try:
            sock = udp.listen(self._port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or self._port not in _SHARED:
                raise listening.explained(error, f"UDP port {self._port}", "dhcp.port") from None
        else:
            return _Socket(sock, partial(udp.receive, sock), partial(_send, sock), held=True)
        try:
            return self._raw()
        except OSError:
            raise OperatorError(
                f"UDP port {self._port} is taken by another program, and to hear it beside that one needs CAP_NET_RAW",
                f"Run as root, give that capability, or stop that program (`ss -lunp sport = :{self._port}` names it); "
                'where it is this LAN\'s DHCP server, dhcp.mode = "off" will do too.',
            ) from None

    def _raw(self) -> _Socket:
        sock = packets.listen(self._port)
        receive = partial(packets.receive, sock, self._port)
        return _Socket(sock, receive, partial(_send_raw, (sock, self._port)), held=False)

    def _read(self) -> None:
        for _ in range(_BURST):
            if self._open is None:
                return
            try:
                datagram = self._open.receive()
            except OSError:
                continue  # an ICMP error for one of our answers is told here
            if datagram is None:
                return
            self._take(datagram)

    def _take(self, datagram: udp.Datagram) -> None:
        links = self._links()
        link = links.by_index.get(datagram.interface)
        if link is None:
            return
        serving = links.serves(link, self._interfaces)
        try:
            message = packet.parse(datagram.payload)
        except MalformedMessage as error:
            if serving:
                self._sink(PacketDropped("dhcp", str(datagram.peer), str(error)))
            return
        if message.giaddr.is_multicast or message.giaddr.is_reserved:
            why = f"the relay address {message.giaddr} is no host's"
            self._sink(PacketDropped("dhcp", str(datagram.peer), why))
        # What a relay forwards was sent to this very host, and comes in wherever the route from it leads.
        elif serving or message.giaddr != ZERO:
            self._heard(Heard(message, link, datagram.peer, datagram.destination, datagram.local))

    def _way_back(self, reply: Message, link: Link) -> tuple[Endpoint | None, int]:
        """Say where an answer goes and out of which interface (0: as routed), as RFC 2131 section 4.1 has it.

        None for a client that has no address yet, and can take what comes to its MAC.
        """
        if reply.giaddr != ZERO:
            return Endpoint(str(reply.giaddr), STANDARD), 0
        refusal = reply.type is MessageType.NAK
        if reply.ciaddr != ZERO and not refusal:
            near = any(reply.ciaddr in own.network for own in link.addresses)
            return Endpoint(str(reply.ciaddr), self.client_port), link.index if near else 0
        unreachable = self._frames is None or link.loopback or not link.mac
        if refusal or unreachable or reply.flags & BROADCAST or reply.yiaddr == ZERO:
            return Endpoint(_EVERYONE, self.client_port), link.index
        return None, link.index

    def _send_to_mac(self, reply: Message, link: Link, address: IPv4Address) -> None:
        if self._frames is None:
            return
        ends = Endpoint(str(address), self._port), Endpoint(str(reply.yiaddr), self.client_port)
        packets.send_to_mac(self._frames, packets.wrap(packet.encode(reply), *ends), reply.mac, device=link.name)


def _send(sock: udp.Socket, payload: bytes, peer: Endpoint, local: str, interface: int) -> None:
    udp.send(sock, payload, peer, local=local, interface=interface)


def _send_raw(ours: tuple[udp.Socket, int], payload: bytes, peer: Endpoint, local: str, interface: int) -> None:
    sock, port = ours
    packets.send(sock, payload, peer, port=port, local=local, interface=interface)
