"""A boot.img read as a bootloader reads it: FAT16 or FAT32 without partitions, long names, case of no matter.

Belongs here: finding a file in bytes that anybody may have made (Microsoft's FAT specification). It is written apart
from what makes a boot.img, so that a rehearsal tries that as well. Never here: files, sockets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_LEAST_FAT16: Final = 4085
_LEAST_FAT32: Final = 65525
_ENTRY: Final = 32
_LAST: Final = 0x40
_LONG, _FOLDER, _LABEL = 0x0F, 0x10, 0x08
_LOWER_NAME, _LOWER_ENDING = 0x08, 0x10  # where a short name is all in lower case
_MOST_ENTRIES: Final = 20_000
_MOST_UNITS: Final = 260
_NO_CLUSTER: Final = 2


class BadFat(ValueError):
    """It is no such file system, or a damaged one; the text says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder: its name, where it begins, and its bytes (0 for a folder)."""

    name: str
    first: int
    size: int
    is_folder: bool


class Fat:
    """One file system. Raises BadFat wherever it finds that it is none."""

    def __init__(self, image: memoryview) -> None:
        if len(image) < 512 or bytes(image[510:512]) != b"\x55\xaa":  # noqa: PLR2004 - a sector
            raise BadFat("its first sector is none of a file system")
        sector, self._per_cluster, reserved, tables, roots, small, _, table16 = struct.unpack_from(
            "<HBHBHHBH", image, 11
        )
        large, table32 = struct.unpack_from("<L", image, 32)[0], struct.unpack_from("<L", image, 36)[0]
        sectors, table = small or large, table16 or table32
        if sector not in {512, 1024, 2048, 4096} or not self._per_cluster or not tables or not reserved or not table:
            raise BadFat("its first sector makes no sense")
        root_sectors = -(-roots * _ENTRY // sector)
        data = reserved + tables * table + root_sectors
        clusters = (sectors - data) // self._per_cluster
        if clusters < _LEAST_FAT16 or sectors * sector > len(image):
            raise BadFat("it is a FAT12" if 0 < clusters < _LEAST_FAT16 else "it is cut off")
        self._image, self._sector, self._data = image, sector, data * sector
        self._is_32 = clusters >= _LEAST_FAT32
        self._end = clusters + _NO_CLUSTER
        self._table = image[reserved * sector : (reserved + table) * sector]
        root_at = (reserved + tables * table) * sector
        self._root: bytes = bytes(image[root_at : root_at + root_sectors * sector])
        if self._is_32:
            self._root = b"".join(self._chain(struct.unpack_from("<L", image, 44)[0]))

    def find(self, path: str) -> Entry | None:
        """Find a file by its path; None where there is none."""
        folder = self._root
        *above, name = path.strip("/").lower().split("/")
        for one in above:
            found = next((entry for entry in _entries(folder) if entry.is_folder and entry.name.lower() == one), None)
            if found is None:
                return None
            folder = b"".join(self._chain(found.first))
        return next((one for one in _entries(folder) if not one.is_folder and one.name.lower() == name), None)

    def read(self, entry: Entry, most: int) -> bytes:
        """Read a file to its end; the first `most` bytes of it are given."""
        kept, left = bytearray(), entry.size
        for piece in self._chain(entry.first) if entry.size else ():
            kept += piece[: max(0, min(left, most - len(kept)))]
            left -= len(piece)
            if left <= 0:
                break
        if left > 0:
            raise BadFat(f"{entry.name} ends before its end")
        return bytes(kept)

    def _chain(self, cluster: int) -> Iterator[memoryview]:
        size = self._per_cluster * self._sector
        for _ in range(self._end):
            if not _NO_CLUSTER <= cluster < self._end:
                return
            at = self._data + (cluster - _NO_CLUSTER) * size
            yield self._image[at : at + size]
            try:
                (cluster,) = (
                    struct.unpack_from("<L", self._table, cluster * 4)
                    if self._is_32
                    else struct.unpack_from("<H", self._table, cluster * 2)
                )
            except struct.error:
                raise BadFat("its table is too short") from None
            cluster &= 0x0FFFFFFF
        raise BadFat("a file in it goes in a circle")


def _entries(folder: bytes) -> Iterator[Entry]:
    long: dict[int, bytes] = {}
    for at in range(0, min(len(folder), _MOST_ENTRIES * _ENTRY) - _ENTRY + 1, _ENTRY):
        entry = folder[at : at + _ENTRY]
        if not entry[0]:
            return
        kind = entry[11]
        if entry[0] == 0xE5:  # noqa: PLR2004 - deleted
            long = {}
        elif kind == _LONG:
            if entry[0] & _LAST:
                long = {}
            long[entry[0] & ~_LAST] = entry[1:11] + entry[14:26] + entry[28:32]
        elif not kind & _LABEL:
            high, first, size = struct.unpack_from("<H", entry, 20)[0], *struct.unpack_from("<HL", entry, 26)
            yield Entry(_long_name(long) or _short_name(entry), high << 16 | first, size, bool(kind & _FOLDER))
            long = {}


def _long_name(parts: dict[int, bytes]) -> str:
    units = b"".join(parts[number] for number in sorted(parts))[: 2 * _MOST_UNITS]
    return units.decode("utf-16-le", "replace").partition("\0")[0]


def _short_name(entry: bytes) -> str:
    name, ending = (part.decode("latin-1").rstrip() for part in (entry[:8], entry[8:11]))
    name = name.lower() if entry[12] & _LOWER_NAME else name
    ending = ending.lower() if entry[12] & _LOWER_ENDING else ending
    return f"{name}.{ending}" if ending else name
