"""What a Pi does with an update of its bootloader that lies in its boot tree, told by the files that it is sent.

Belongs here: the rule. It asks for pieeprom.sig at each start; what is newer than its EEPROM it takes, as pieeprom.upd,
flashes it and starts over; at the next start it asks for pieeprom.sig again and goes on (reference 3.6, 4.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pinetboot.eeprom.signature import NAME, UPDATE

# So often an update is given; a Pi that wants it once more is in a loop (D25).
MOST: Final = 3
# Asked for before the update, or beside it: no sign that a start went past it.
_BEFORE: Final = frozenset(
    {NAME, UPDATE, "pieeprom.bin", "vl805.sig", "vl805.bin"}
    | {"start4.elf", "start.elf", "config.txt", "autoboot.txt", "tryboot.txt", "bootcode.bin", "bootsig.bin"}
)


class Came(StrEnum):
    """What came of an update."""

    OFFERED = "offered"
    FLASHED = "flashed"
    SAME = "same"  # it took the image, and went on as if it had it
    DECLINED = "declined"
    LOOP = "loop"
    CANCELLED = "cancelled"


WORDS: Final = {
    Came.OFFERED: "it lies in the Pi's boot tree and is taken at its next network boot",
    Came.FLASHED: "the Pi took it, started over and went on with it",
    Came.SAME: "the Pi took it and went on without starting over: it has that image, or its EEPROM is write-protected",
    Came.DECLINED: "the Pi looked at it and went on without: its EEPROM has a newer one, or takes none of this sort",
    Came.LOOP: f"the Pi took it {MOST} times and wanted it again: its EEPROM does not keep it (write-protected?)",
    Came.CANCELLED: "it was taken back before the Pi had it",
}


@dataclass(slots=True)
class Watched:
    """One Pi's way with an update. `fetched` is how often it took the image, `came` what has come of it."""

    fetched: int = 0
    came: Came = Came.OFFERED
    _looked: bool = False
    _took: bool = False

    def sent(self, name: str) -> None:
        """A file was sent to it, all of it."""
        if name == NAME:
            self._looked, self._took = True, False
            if self.fetched >= MOST and self.came is Came.OFFERED:
                self.came = Came.LOOP
        elif name == UPDATE:
            self.fetched += 1
            self._took = True

    def asked(self, name: str) -> None:
        """It asked for a file, there or not: once that is one of what comes after, the start went past the update."""
        if not self._looked or name in _BEFORE or self.came is not Came.OFFERED:
            return
        if self._took:
            self.came = Came.SAME
        else:
            self.came = Came.FLASHED if self.fetched else Came.DECLINED
