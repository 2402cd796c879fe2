"""What is known of every machine that is no Pi, joined for whoever asks: fleet.toml, and what was seen on the network.

Belongs here: joining, and the clock. Each part is known best where it comes from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from pinetboot.events import DhcpHeard, Event
from pinetboot.fleet.pi import Machine
from pinetboot.observe.machines import Machines


class MachineOverview:
    """Every machine. `fleet` gives those of fleet.toml by MAC; `beside`: another server than ours gives addresses."""

    def __init__(self, fleet: Callable[[], Mapping[str, Machine]], *, beside: bool) -> None:
        self._fleet = fleet
        self._seen = Machines(beside=beside)

    def take(self, event: Event) -> None:
        """Take what was seen of anybody."""
        # A rack of Pis asks for ten thousand files a second.
        if self._seen or isinstance(event, DhcpHeard):
            self._seen.take(event, time.time())

    def starts_http(self, client: str, path: str) -> None:
        """Note that a request of HTTP boot begins."""
        if self._seen:
            self._seen.starts_http(client, path, time.time())

    def macs(self) -> list[str]:
        """All of them by MAC, in the order to show."""
        return self._seen.macs(self._fleet())

    def shown(self, mac: str) -> dict[str, Any]:
        """Show one and its present boot."""
        return self._seen.shown(mac, self._fleet(), time.time())

    def mark(self, mac: str) -> Hashable:
        """Give what is another value as soon as shown() would show something else; it costs less."""
        return self._seen.mark(mac, self._fleet(), time.time())

    def one(self, mac: str) -> dict[str, Any] | None:
        """Show one with the files of its present boot; None for one that nobody knows."""
        return self._seen.one(mac, self._fleet(), time.time())
