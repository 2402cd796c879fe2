"""What a disk image is made of: its partition table, and the file systems that it leads to.

Belongs here: reading MBR and GPT, telling FAT from ext4, and how much they hold. The bytes come through `Read`.
Never here: opening a file. Whatever the bytes say, nothing but BadDisk comes out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

# Gives the bytes at an offset: as many as asked for, fewer at the end of the disk.
Read = Callable[[int, int], bytes]

SECTOR: Final = 512
HEAD: Final = 34 * SECTOR  # MBR, GPT header, and the 128 entries that every tool writes
SUPERBLOCK_END: Final = 2048  # ext4's superblock lies at 1024, FAT's at 0

_MBR_ENTRY: Final = struct.Struct("<B3xB3xII")
_GPT_HEADER: Final = struct.Struct("<8sIII4xQQQQ16sQIII")
_GPT_ENTRY: Final = struct.Struct("<16s16sQQ")
_EXTENDED: Final = {0x05, 0x0F, 0x85}
_PROTECTIVE: Final = 0xEE
_MOST_ENTRIES: Final = 1024
_MOST_LOGICAL: Final = 64

_RECOVER: Final = 0x0004  # ext4: the journal holds what is not in its place yet
_FAT_COPIES: Final = {1, 2}
_FAT_WIDTHS: Final = ((4085, 12), (65525, 16))  # fewer clusters than this, and an entry has so many bits


class BadDisk(ValueError):
    """Not a disk image that a Pi could have booted from; the text is a sentence's end, "… has no partition table"."""


@dataclass(frozen=True, slots=True)
class Partition:
    """Where a partition lies, in bytes."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The two partitions that count, the bytes of files in each, and whether ext4's journal must be replayed first."""

    boot: Partition
    boot_bytes: int
    root: Partition | None
    root_bytes: int
    root_files: int
    replay: bool


def partitions(read: Read) -> list[Partition]:
    """Read the partition table. `read` must give the first HEAD bytes. Raises BadDisk."""
    sector = read(0, SECTOR)
    if len(sector) < SECTOR or sector[510:512] != b"\x55\xaa":
        raise BadDisk("has no partition table")
    entries = list(_mbr_entries(sector))
    if any(kind == _PROTECTIVE for kind, _ in entries):
        found = list(_gpt(read))
    else:
        found = [part for kind, part in entries if kind not in _EXTENDED]
        for kind, part in entries:
            if kind in _EXTENDED:
                found += _logical(read, part)
    if not found:
        raise BadDisk("has a partition table with nothing in it")
    return found


def layout(read: Read, size: int) -> Layout:
    """Find boot and root on a disk of `size` bytes. `read` must give SUPERBLOCK_END bytes of each partition.

    Boot is the first FAT, root the largest ext4. Raises BadDisk.
    """
    found = partitions(read)
    for number, part in enumerate(found, 1):
        if part.start + part.size > size:
            raise BadDisk(
                f"is cut short or damaged: partition {number} ends at byte {part.start + part.size:,} of {size:,}"
            )
    heads = [(part, read(part.start, SUPERBLOCK_END)) for part in found]
    fats = [(part, fat) for part, head in heads if (fat := _fat(head)) is not None and fat.end <= part.size]
    if not fats:
        raise BadDisk("has no FAT boot partition")
    boot, fat = fats[0]
    exts = [(part, ext) for part, head in heads if (ext := _ext(head)) is not None]
    if not exts:
        return Layout(boot, fat.used(read, boot), None, 0, 0, replay=False)
    root, ext = max(exts, key=lambda pair: pair[0].size)
    if ext.size > root.size:
        raise BadDisk("is cut short or damaged: its root file system is larger than its partition")
    return Layout(boot, fat.used(read, boot), root, ext.used, ext.files, ext.replay)


def _mbr_entries(sector: bytes) -> Iterator[tuple[int, Partition]]:
    for at in range(446, 510, _MBR_ENTRY.size):
        status, kind, first, count = _MBR_ENTRY.unpack_from(sector, at)
        if status not in {0x00, 0x80}:
            raise BadDisk("has no partition table")
        if kind and count:
            yield kind, Partition(first * SECTOR, count * SECTOR)


def _logical(read: Read, extended: Partition) -> Iterator[Partition]:
    at = extended.start
    for _ in range(_MOST_LOGICAL):
        sector = read(at, SECTOR)
        if len(sector) < SECTOR or sector[510:512] != b"\x55\xaa":
            raise BadDisk("has a damaged partition table: its chain of logical partitions breaks off")
        chained = 0
        for kind, part in _mbr_entries(sector):
            if kind in _EXTENDED:
                chained = extended.start + part.start
            else:
                yield Partition(at + part.start, part.size)
        if chained <= at:
            return
        at = chained


def _gpt(read: Read) -> Iterator[Partition]:
    """Read GPT's first copy (UEFI 2.10, 5.3)."""
    head = read(SECTOR, SECTOR)
    if len(head) < SECTOR or head[:8] != b"EFI PART":
        raise BadDisk("has a damaged partition table: GPT is announced and not there")
    _, _, size, crc, _, _, _, _, _, at, count, each, entries_crc = _GPT_HEADER.unpack_from(head)
    whole = _GPT_HEADER.size <= size <= SECTOR and crc == zlib.crc32(head[:16] + bytes(4) + head[20:size])
    if not whole or count > _MOST_ENTRIES or not _GPT_ENTRY.size <= each <= SECTOR:
        raise BadDisk("has a damaged partition table: GPT's header does not fit its checksum")
    table = read(at * SECTOR, count * each)
    if len(table) < count * each or zlib.crc32(table) != entries_crc:
        raise BadDisk("has a damaged partition table: GPT's entries do not fit their checksum")
    for number in range(count):
        kind, _, first, last = _GPT_ENTRY.unpack_from(table, number * each)
        if any(kind) and last >= first:
            yield Partition(first * SECTOR, (last - first + 1) * SECTOR)


@dataclass(frozen=True, slots=True)
class _Fat:
    """A FAT file system: where its table lies and what a cluster is, in bytes; `bits` of a table entry."""

    table: int
    clusters: int
    cluster: int
    bits: int
    end: int

    def used(self, read: Read, part: Partition) -> int:
        """Count the bytes in clusters that are taken; all of them where the table cannot be read."""
        if self.bits < 16:  # noqa: PLR2004 - packed by one and a half, and never large
            return self.clusters * self.cluster
        width = self.bits // 8
        table = read(part.start + self.table, (self.clusters + 2) * width)[2 * width :]
        free = sum(1 for at in range(0, len(table) - width + 1, width) if not any(table[at : at + width]))
        return (self.clusters - free) * self.cluster


def _fat(head: bytes) -> _Fat | None:
    """Recognise FAT by its BIOS parameter block (Microsoft's FAT specification 1.03)."""
    if len(head) < SECTOR or head[510:512] != b"\x55\xaa":
        return None
    sector, per_cluster, reserved, copies, entries, small, media, per_fat16 = struct.unpack_from("<HBHBHHBH", head, 11)
    large, per_fat32 = struct.unpack_from("<II", head, 32)
    powers = sector in {512, 1024, 2048, 4096} and per_cluster and not per_cluster & (per_cluster - 1)
    if not powers or not reserved or copies not in _FAT_COPIES or (media != 0xF0 and media < 0xF8):  # noqa: PLR2004
        return None
    sectors, per_fat = small or large, per_fat16 or per_fat32
    data = reserved + copies * per_fat + -(-entries * 32 // sector)
    if not per_fat or sectors <= data:
        return None
    clusters = (sectors - data) // per_cluster
    bits = next((bits for fewer, bits in _FAT_WIDTHS if clusters < fewer), 32)
    if (clusters + 2) * bits > per_fat * sector * 8:
        return None
    return _Fat(reserved * sector, clusters, per_cluster * sector, bits, sectors * sector)


@dataclass(frozen=True, slots=True)
class _Ext:
    """An ext2, 3 or 4 file system."""

    size: int
    used: int
    files: int
    replay: bool


def _ext(head: bytes) -> _Ext | None:
    block = head[1024:]
    if len(block) < 1024 or block[56:58] != b"\x53\xef":  # noqa: PLR2004
        return None
    inodes, blocks, _, free, free_inodes, _, log_size = struct.unpack_from("<IIIIIII", block)
    incompatible = struct.unpack_from("<I", block, 96)[0]
    blocks_high, _, free_high = struct.unpack_from("<III", block, 0x150)
    if log_size > 6:  # noqa: PLR2004 - 64 KiB
        return None
    if incompatible & 0x80:  # 64 bit
        blocks, free = blocks | blocks_high << 32, free | free_high << 32
    size = 1024 << log_size
    taken, files = max(0, blocks - free), max(0, inodes - free_inodes)
    return _Ext(blocks * size, taken * size, files, bool(incompatible & _RECOVER))
