"""The interfaces that the settings name: which of them are there, and the services that listen on these alone.

Belongs here: telling people, and having TFTP and HTTP follow. DHCP hears every interface anyway, and chooses by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from pinetboot.errors import OperatorError
from pinetboot.events import InterfaceChanged, Sink
from pinetboot.net.links import Links
from pinetboot.tftp.server import TftpServer
from pinetboot.web.server import HttpServer


class Interfaces:
    """Follows the interfaces `names`; one that is not there, a VLAN or a USB adapter say, is waited for."""

    def __init__(self, names: Sequence[str], sink: Sink) -> None:
        self._names = names
        self._sink = sink
        self._missing: set[str] = set()

    def take(self, links: Links) -> None:
        """Tell which of them came or went since the last time."""
        there = sorted(link.name for link in links.by_index.values())
        for name in self._names:
            if name in there and name in self._missing:
                self._missing.discard(name)
                self._sink(InterfaceChanged(name, there=True))
            elif name not in there and name not in self._missing:
                self._missing.add(name)
                self._sink(InterfaceChanged(name, there=False, why=f"this host has {', '.join(there)}"))

    async def follow(self, links: Links, tftp: TftpServer | None, http: HttpServer | None) -> None:
        """Have the services listen on those that are there now."""
        self.take(links)
        faults: list[OperatorError] = []
        if tftp is not None:
            faults += tftp.follow(links)
        if http is not None:
            faults += await http.follow(links)
        for fault in faults:
            self._sink(InterfaceChanged("", there=False, why=str(fault)))
