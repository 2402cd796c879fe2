"""What the DHCP servers know of machines that are no Pi: loaders in the boot tree, what fleet.toml says, what was said.

Belongs here: asking the tree without waiting for the storage. What a machine is told is decided in `pxe`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pinetboot.boot.resolver import BootTree, NotServed
from pinetboot.config import Config
from pinetboot.dhcp import pxe
from pinetboot.dhcp.events import DhcpTold
from pinetboot.events import Sink
from pinetboot.fleet.inventory import Inventory
from pinetboot.net.addresses import format_mac
from pinetboot.threads import Busy, Pool

LOCAL: Final = "local"
_PLACE: Final = "pxe"
_HOW: Final = "`pinetboot installer add` brings one"


class Machines:
    """Machines that are no Pi. `tree` is what is served, `inventory` gives the fleet as it is now."""

    def __init__(
        self, config: Config, tree: BootTree, pool: Pool, inventory: Callable[[], Inventory], sink: Sink
    ) -> None:
        self._tree = tree
        self._pool = pool
        self._inventory = inventory
        self._sink = sink
        self._found: dict[str, bool] = {}
        self._looking: set[str] = set()
        self._said: set[str] = set()
        self.pxe = pxe.of_settings(config, self._has, self._stays, self._has_root)

    def lacks(self, name: str, why: str) -> None:
        """Say, once until it comes, that a loader is not there. An empty name says nothing."""
        if name and name not in self._said and name not in self._looking:
            self._said.add(name)
            self._sink(DhcpTold(well=True, what=f"a machine asks to boot, and gets no answer: {why}; {_HOW}"))

    def _stays(self, mac: bytes) -> bool:
        machine = self._inventory().machine_by_mac.get(format_mac(mac))
        return machine is not None and machine.boot == LOCAL

    def _has_root(self, mac: bytes) -> bool:
        return format_mac(mac) in self._inventory().by_mac

    def _has(self, name: str) -> bool:
        """Whether the tree has a file, as it is now or, where only the storage could tell, as it was told last."""
        try:
            file = None if self._tree.is_remote() else self._tree.open_now(name)
        except NotServed:
            there = False
        else:
            if file is None:
                return self._look(name)
            there = True
        return self._take(name, there)

    def _take(self, name: str, there: bool) -> bool:
        self._found[name] = there
        if there:
            self._said.discard(name)
        return there

    def _look(self, name: str) -> bool:
        """Ask the storage in a thread, for the next time: a machine asks again within seconds."""
        if name not in self._looking:
            try:
                looking = self._pool.submit(_PLACE, lambda: self._tree.has(name))
            except Busy:
                return self._found.get(name, False)
            self._looking.add(name)
            looking.add_done_callback(lambda done: self._looked(name, not done.cancelled() and done.result()))
        return self._found.get(name, False)

    def _looked(self, name: str, there: bool) -> None:
        self._looking.discard(name)
        self._take(name, there)
