"""The ProxyDHCP server: adds "boot from me" to what the LAN's own DHCP server says.

Belongs here: which address is named, and the time of answers. Whom to answer, and with what, is decided in `offer`;
`port` hears and sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address

from pinetboot.config import Config, Dhcp
from pinetboot.dhcp import offer, telling
from pinetboot.dhcp.offer import Ignored, Offer, Proxy
from pinetboot.dhcp.packet import Message
from pinetboot.dhcp.port import Heard, Port
from pinetboot.events import Sink
from pinetboot.net.links import Link, Links


class ProxyDhcpServer:
    """Answers Pis on every serving interface. `links` gives the interfaces as they are now."""

    def __init__(self, config: Config, links: Callable[[], Links], sink: Sink) -> None:
        self._config: Dhcp = config.dhcp
        self._address = config.server.address
        self._links = links
        self._sink = sink
        # The LAN's own DHCP server may live on this host, and start after pinetboot.
        self._port = Port(config.dhcp.port, config.server.interfaces, links, self._take, sink, shares=True)
        self._later: set[asyncio.TimerHandle] = set()

    def start(self) -> None:
        """Open the port and begin. Raises OperatorError."""
        self._port.start()

    def configure(self, config: Config) -> None:
        """Take what may change while running."""
        self._config = config.dhcp
        self._address = config.server.address

    def stop(self) -> None:
        """Leave the port; answers that were still to come are dropped."""
        for handle in self._later:
            handle.cancel()
        self._later.clear()
        self._port.stop()

    @property
    def how(self) -> str:
        """What to tell people of the port: `udp 67`, and that it is shared where it is."""
        return self._port.how

    def _take(self, heard: Heard) -> None:
        address = self._own_address(heard)
        if address is None:
            why = "this host does not hold an address to boot from"
            self._tell(heard, Ignored(why, offer.recognise(heard.message)))
            return
        answer = offer.decide(heard.message, Proxy(address, self._config.pxe_menu, self._config.rom_offers_s))
        self._tell(heard, answer, address)
        if isinstance(answer, Offer):
            for delay_s in answer.delays_s:
                self._send_after(delay_s, answer.message, heard.link, address)

    def _own_address(self, heard: Heard) -> IPv4Address | None:
        """Say which address to name: the one set, else the one that was asked, else the interface's first.

        A relay asks the one that it was told, to which it has a route.
        """
        links = self._links()
        if self._address != "auto":
            named = IPv4Address(self._address)
            return named if links.holds(named) else None
        asked = IPv4Address(heard.destination)
        if heard.destination == heard.local and links.holds(asked):
            return asked
        return heard.link.primary.ip if heard.link.primary else None

    def _send_after(self, delay_s: float, answer: Message, link: Link, address: IPv4Address) -> None:
        if not delay_s:
            self._port.answer(answer, link, address)
            return

        def send() -> None:
            self._later.discard(handle)
            self._port.answer(answer, link, address)

        handle = asyncio.get_running_loop().call_later(delay_s, send)
        self._later.add(handle)

    def _tell(self, heard: Heard, answer: Offer | Ignored, address: IPv4Address | None = None) -> None:
        if isinstance(answer, Offer):
            telling.tell(self._sink, heard, answer.pi, answered=str(address), cause=answer.cause)
        else:
            telling.tell(self._sink, heard, answer.pi, why=answer.why)
