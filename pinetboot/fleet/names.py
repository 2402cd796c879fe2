"""Which folder of the boot tree is whose: a Pi asks by serial or by MAC, in whatever case (reference 3.4).

Belongs here: names alone. Whether a folder is there is the resolver's to find out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pinetboot.fleet.inventory import Inventory

_SERIAL = re.compile(r"[0-9a-f]{8}")
_MAC = re.compile(r"[0-9a-f]{2}(?:[-:][0-9a-f]{2}){5}")
LOADER = "bootcode.bin"  # the one file that a Pi 3 asks for in the root (reference 3.6)


class FleetNames:
    """The folders of Pis by all their names. `mac_of` and `serial_of` give what was learned on the network.

    `inventory` and `loader` (a bootcode.bin for a root that has none) are set anew as the fleet changes.
    """

    def __init__(
        self,
        mac_of: Callable[[str], str | None] = lambda _: None,
        serial_of: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self.inventory = Inventory()
        self.loader: Path | None = None
        self._mac_of = mac_of
        self._serial_of = serial_of

    def folders(self, asked: str) -> Sequence[str]:
        """Other names of a folder, the most likely first; none for a folder that is no Pi's."""
        name = asked.lower()
        if _SERIAL.fullmatch(name):
            pi = self.inventory.by_serial.get(name)
            mac = (pi.mac if pi else "") or self._mac_of(name)
            return [name, *_as_folders(mac), name.upper()]
        if _MAC.fullmatch(name):
            mac = name.replace("-", ":")
            by_mac = self.inventory.by_mac.get(mac)
            serial = by_mac.serial if by_mac else self._serial_of(mac)
            return [*([serial, serial.upper()] if serial else []), *_as_folders(mac)]
        return []

    def stand_in(self, path: str) -> Path | None:
        """The loader of an image for a root that has none."""
        return self.loader if path.lower() == LOADER else None


def _as_folders(mac: str | None) -> list[str]:
    if not mac:
        return []
    dashed = mac.replace(":", "-")
    return [dashed, dashed.upper(), mac]
