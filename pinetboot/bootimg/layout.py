"""The file system inside a boot.img: which names it can hold, how large it gets, and what its readers take.

Belongs here: arithmetic of FAT16 (Microsoft's FAT specification, section 3), and the limits of the firmware (reference
3.5). Never here: a look at any file, or making one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pinetboot.causes import Finding

# No more of a ramdisk fits a Pi 4 whose bootloader has HTTP boot, 2022-03-10 or later (reference 3.5, 4.4).
PI4_MOST: Final = 128 << 20
# Of a Pi 5 no limit is known; a file system beyond this is none that a firmware should be asked to hold in memory.
MOST: Final = 512 << 20
MOST_FILES: Final = 5000

SECTOR: Final = 512
_ENTRY: Final = 32
_LONG_NAME: Final = 13  # UTF-16 units in one entry of a long name
_LONGEST_NAME: Final = 255
_FORBIDDEN: Final = frozenset('"*:<>?\\|')
_LEAST_CLUSTERS: Final = 4200  # with fewer than 4085 it would be a FAT12
_MOST_CLUSTERS: Final = 32_000  # far from the 65525 with which it would be a FAT32; larger clusters are read sooner
_LEAST_ROOT: Final = 32  # sectors: 512 entries, as everybody makes it
_MOST_ROOT: Final = 4095
_SLACK: Final = 64  # clusters, for what a maker rounds otherwise
_ROUND: Final = 128  # sectors
_CLUSTERS: Final = (1, 2, 4, 8, 16, 32, 64)


class Unfit(Exception):
    """A tree that no boot.img can be made of; the text says why, `do` what to do about it."""

    def __init__(self, why: str, do: str) -> None:
        super().__init__(why)
        self.do = do


@dataclass(frozen=True, slots=True)
class Geometry:
    """Numbers of 512-byte sectors: all of them, those of a cluster, and those of the root folder."""

    sectors: int
    cluster: int
    root: int

    @property
    def size(self) -> int:
        """Bytes of the whole."""
        return self.sectors * SECTOR


def geometry(files: Mapping[str, int]) -> Geometry:
    """Lay out a FAT16 that holds `files`: bytes by path, folders as in their names. Raises Unfit."""
    if len(files) > MOST_FILES:
        raise Unfit(f"it has more than {MOST_FILES:,} files", "Take out what no Pi boots with.")
    inside = _folders(files)
    for folder, names in inside.items():
        _check_names(folder, names)
    entries = {folder: sum(map(_entries, names)) for folder, names in inside.items()}
    root = max(_LEAST_ROOT, -(-(entries.pop("") + 1) * _ENTRY // SECTOR))  # the label is an entry
    if root > _MOST_ROOT:
        raise Unfit("it has too many files at its top", "Take out what no Pi boots with.")
    tables = [(count + 2) * _ENTRY for count in entries.values()]  # `.` and `..`
    if sum(files.values()) > MOST:
        raise Unfit(*_too_large(sum(files.values())))
    for cluster in _CLUSTERS:
        size = cluster * SECTOR
        count = sum(-(-length // size) for length in (*files.values(), *tables)) + _SLACK
        if count <= _MOST_CLUSTERS:
            count = max(count, _LEAST_CLUSTERS)
            table = -(-(count + 2) * 2 // SECTOR)
            sectors = 1 + 2 * table + root + count * cluster
            return Geometry(-(-sectors // _ROUND) * _ROUND, cluster, root)
    raise Unfit(*_too_large(sum(files.values())))


def folders(files: Mapping[str, int]) -> list[str]:
    """List the folders of a tree, each after those that it lies in."""
    return sorted(folder for folder in _folders(files) if folder)


def of_the_size(size: int, family: str) -> list[Finding]:
    """Say what a boot.img of that size means for a Pi of a family (pi4, pi5; empty where that is not known)."""
    if size <= PI4_MOST:
        return []
    return [
        Finding(
            "info" if family == "pi5" else "warning",
            f"its boot.img has {size:,} bytes",
            "a Pi 5 may take it, though nothing says so"
            if family == "pi5"
            else f"the bootloader of a Pi 4 takes {PI4_MOST:,}",
            "Take files of other models out of the image's boot tree, or make its initramfs smaller (MODULES=dep).",
            "D17",
        )
    ]


def _too_large(size: int) -> tuple[str, str]:
    why = f"it has {size / 2**20:,.0f} MiB, and a boot.img of more than {MOST >> 20} is nothing that a Pi could load"
    return why, "Take out what no Pi boots with."


def _folders(files: Mapping[str, int]) -> dict[str, list[str]]:
    """List what lies in each folder, the top being the empty name."""
    found: dict[str, set[str]] = {"": set()}
    for path in files:
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, set()).add(name)
        while folder:
            above, _, name = folder.rpartition("/")
            found.setdefault(above, set()).add(name)
            folder = above
    return {folder: sorted(names, key=lambda name: (name.casefold(), name)) for folder, names in found.items()}


def _check_names(folder: str, names: list[str]) -> None:
    where = f"{folder}/" if folder else ""
    for name in names:
        bad = _FORBIDDEN.intersection(name) or any(char < " " or "\ud800" <= char <= "\udfff" for char in name)
        if bad or name.strip(" ") != name or name.endswith(".") or _units(name) > _LONGEST_NAME:
            shown = ascii(where + name)
            raise Unfit(f"FAT has no such name as {shown}", "Give the file another name, or take it out.")
    for one, other in pairwise(names):
        if one.casefold() == other.casefold():
            raise Unfit(f"{where}{one} and {where}{other} are one name to FAT", "Take one of them out.")


def _entries(name: str) -> int:
    return 1 + -(-_units(name) // _LONG_NAME)


def _units(name: str) -> int:
    return len(name.encode("utf-16-le", "surrogatepass")) // 2
