"""The ProxyDHCP server: adds "boot from me" to what the LAN's own DHCP server says, on port 67 and on port 4011.

Belongs here: which address is named, and the time of answers. Whom to answer, and with what, is decided in `offer`;
`port` hears and sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address

from pinetboot.config import Config, Dhcp
from pinetboot.dhcp import offer, telling
from pinetboot.dhcp.events import DhcpTold
from pinetboot.dhcp.machines import Machines
from pinetboot.dhcp.offer import Ignored, Offer, Proxy
from pinetboot.dhcp.packet import Message
from pinetboot.dhcp.port import BOOT_SERVER, STANDARD, Heard, Port
from pinetboot.errors import OperatorError
from pinetboot.events import Sink
from pinetboot.net.links import Link, Links


class ProxyDhcpServer:
    """Answers Pis on every serving interface, and `machines`. `links` gives the interfaces as they are now."""

    def __init__(self, config: Config, links: Callable[[], Links], machines: Machines, sink: Sink) -> None:
        self._config: Dhcp = config.dhcp
        self._address = config.server.address
        self._links = links
        self._sink = sink
        # The LAN's own DHCP server may live on this host, and start after pinetboot.
        self._port = Port(config.dhcp.port, config.server.interfaces, links, self._take, sink, shares=True)
        # Next to a port of one's own choosing there is the clients'.
        number = BOOT_SERVER if config.dhcp.port == STANDARD else config.dhcp.port + 2
        # It is held where it is free: from a port that nobody holds, the kernel itself tells a client that it is shut.
        boot = Port(number, config.server.interfaces, links, self._take_boot, sink)
        self._boot_port = boot if machines.pxe is not None else None
        self._machines = machines
        self._later: set[asyncio.TimerHandle] = set()

    def start(self) -> None:
        """Open the ports and begin. Raises OperatorError for that of DHCP; no Pi needs the other."""
        self._port.start()
        try:
            if self._boot_port is not None:
                self._boot_port.start()
        except OperatorError as error:
            self._boot_port = None
            what = f"UEFI machines cannot ask for what to boot, Pis can: {error.what}"
            self._sink(DhcpTold(well=False, what=what))

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
        if self._boot_port is not None:
            self._boot_port.stop()

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
        answer = offer.decide(heard.message, self._proxy(address))
        self._tell(heard, answer, address)
        if isinstance(answer, Offer):
            for delay_s in answer.delays_s:
                self._send_after(delay_s, answer.message, heard.link, address)

    def _take_boot(self, heard: Heard) -> None:
        """Answer on port 4011, to where it came from."""
        address = self._own_address(heard)
        if address is None:
            return
        answer = offer.decide_boot(heard.message, self._proxy(address))
        self._tell(heard, answer, address)
        if isinstance(answer, Offer) and self._boot_port is not None:
            self._boot_port.reply(answer.message, heard, address)

    def _proxy(self, address: IPv4Address) -> Proxy:
        return Proxy(address, self._config.pxe_menu, self._config.rom_offers_s, self._machines.pxe)

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
            telling.tell(
                self._sink, heard, answer.pi, machine=answer.machine, answered=str(address), cause=answer.cause
            )
        else:
            self._machines.lacks(answer.lacks, answer.why)
            telling.tell(self._sink, heard, answer.pi, machine=answer.machine, why=answer.why)
