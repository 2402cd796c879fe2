"""The ProxyDHCP server: adds "boot from me" to what the LAN's own DHCP server says.

Belongs here: the socket on port 67 and the time of answers. Whom to answer, and with what, is decided in `offer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address

from pinetboot.config import Config, Dhcp
from pinetboot.dhcp import offer, packet
from pinetboot.dhcp.offer import Ignored, Offer, Proxy
from pinetboot.dhcp.packet import MalformedMessage, Message
from pinetboot.events import DhcpHeard, PacketDropped, Sink
from pinetboot.net import udp
from pinetboot.net.addresses import Endpoint, format_mac
from pinetboot.net.links import Link, Links
from pinetboot.net.listening import udp_sockets

_BURST = 64
_EVERYONE = "255.255.255.255"
_STANDARD_PORT = 67


class ProxyDhcpServer:
    """Answers Pis on every serving interface. `links` gives the interfaces as they are now."""

    def __init__(self, config: Config, links: Callable[[], Links], sink: Sink) -> None:
        self._config: Dhcp = config.dhcp
        self._address = config.server.address
        self._interfaces: Sequence[str] = config.server.interfaces
        self._links = links
        self._sink = sink
        self._sock: udp.Socket | None = None
        self._later: set[asyncio.TimerHandle] = set()

    def start(self) -> None:
        """Bind and begin. Raises OperatorError."""
        (self._sock,) = udp_sockets(self._config.port, (), "dhcp.port", ipv6=False)
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._heard)

    def configure(self, config: Config) -> None:
        """Take what may change while running."""
        self._config = config.dhcp
        self._address = config.server.address

    def stop(self) -> None:
        """Leave the port; answers that were still to come are dropped."""
        for handle in self._later:
            handle.cancel()
        self._later.clear()
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None

    @property
    def client_port(self) -> int:
        """Where clients listen: 68, or next to a port of our own choosing."""
        return self._config.port + 1

    def _heard(self) -> None:
        for _ in range(_BURST):
            if self._sock is None:
                return
            try:
                datagram = udp.receive(self._sock)
            except OSError:
                continue
            if datagram is None:
                return
            self._take(datagram)

    def _take(self, datagram: udp.Datagram) -> None:
        link = self._links().by_index.get(datagram.interface)
        if link is None or link not in self._links().serving(self._interfaces):
            return
        try:
            message = packet.parse(datagram.payload)
        except MalformedMessage as error:
            self._sink(PacketDropped("dhcp", str(datagram.peer), str(error)))
            return
        address = self._own_address(datagram, link)
        if address is None:
            why = "this host does not hold an address to boot from"
            self._tell(message, link, Ignored(why, offer.recognise(message)), datagram)
            return
        proxy = Proxy(address, self._config.pxe_menu, self._config.rom_offers_s)
        answer = offer.decide(message, proxy)
        self._tell(message, link, answer, datagram, address)
        if isinstance(answer, Offer):
            payload = packet.encode(answer.message)
            for delay_s in answer.delays_s:
                self._send_after(delay_s, payload, answer.message, address, link)

    def _own_address(self, datagram: udp.Datagram, link: Link) -> IPv4Address | None:
        """Say which address to name: the one set, else the one that was asked, else the interface's first."""
        if self._address != "auto":
            named = IPv4Address(self._address)
            return named if self._links().holds(named) else None
        asked = IPv4Address(datagram.destination)
        if datagram.destination == datagram.local and self._links().holds(asked):
            return asked
        return link.primary.ip if link.primary else None

    def _send_after(self, delay_s: float, payload: bytes, answer: Message, address: IPv4Address, link: Link) -> None:
        if not delay_s:
            self._send(payload, answer, address, link)
            return

        def send() -> None:
            self._later.discard(handle)
            self._send(payload, answer, address, link)

        handle = asyncio.get_running_loop().call_later(delay_s, send)
        self._later.add(handle)

    def _send(self, payload: bytes, answer: Message, address: IPv4Address, link: Link) -> None:
        if self._sock is None:
            return
        if answer.giaddr != packet.ZERO:
            # RFC 2131 section 4.1: what came through a relay goes back to its server port.
            peer, interface = Endpoint(str(answer.giaddr), _STANDARD_PORT), 0
        else:
            peer, interface = Endpoint(_EVERYONE, self.client_port), link.index
        with suppress(BlockingIOError):
            try:
                udp.send(self._sock, payload, peer, local=str(address), interface=interface)
            except OSError as error:
                why = f"the answer to {format_mac(answer.mac)} could not be sent: {error.strerror}"
                self._sink(PacketDropped("dhcp", str(peer), why))

    def _tell(
        self,
        message: Message,
        link: Link,
        answer: Offer | Ignored,
        datagram: udp.Datagram,
        address: IPv4Address | None = None,
    ) -> None:
        pi = answer.pi
        self._sink(
            DhcpHeard(
                mac=format_mac(message.mac),
                kind=message.type.name if message.type is not None else "BOOTP",
                interface=link.name,
                answered=str(address) if isinstance(answer, Offer) else None,
                why=answer.why if isinstance(answer, Ignored) else "",
                serial=pi.serial if pi else None,
                model=pi.model if pi else None,
                source=datagram.peer.host,
                requested=str(message.requested or ""),
            )
        )
