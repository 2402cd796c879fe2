"""Partition tables and file systems: read as the tools write them, and never anything but BadDisk for other bytes."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from diskimages import BOOT_FILES, MIB, TOOLS, make_disk, make_ext4, make_fat, simple_disk, write_tree
from hypothesis import given
from hypothesis import strategies as st
from support import require

from pinetboot.image import disk
from pinetboot.image.disk import BadDisk, Partition, Read


def bytes_reader(content: bytes) -> Read:
    return lambda offset, length: content[offset : offset + length]


def mbr(*entries: tuple[int, int, int]) -> bytes:
    """Make a sector of (type, first sector, sectors)."""
    lines = b"".join(struct.pack("<B3sB3sII", 0, b"", kind, b"", first, count) for kind, first, count in entries)
    return bytes(446) + lines.ljust(64, b"\0") + b"\x55\xaa"


def gpt(*entries: tuple[int, int]) -> bytes:
    table = b"".join(struct.pack("<16s16sQQ72x", b"k" * 16, b"u" * 16, *span) for span in entries).ljust(
        128 * 128, b"\0"
    )
    fields = (34, 1000, b"disk", 2, 128, 128, zlib.crc32(table))

    def head(crc: int) -> bytes:
        return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, crc, 0, 1, 0, *fields)

    return mbr((0xEE, 1, 0xFFFFFFFF)) + head(zlib.crc32(head(0))).ljust(512, b"\0") + table


def refused(content: bytes, size: int | None = None) -> str:
    with pytest.raises(BadDisk) as caught:
        disk.layout(bytes_reader(content), len(content) if size is None else size)
    return str(caught.value)


@pytest.mark.parametrize("gpt", [False, True], ids=["mbr", "gpt"])
@pytest.mark.parametrize("bits", [12, 16, 32])
def test_a_disk_as_the_tools_make_it(tmp_path: Path, bits: int, *, gpt: bool) -> None:
    require(*TOOLS)
    boot = write_tree(tmp_path / "boot", BOOT_FILES)
    root = write_tree(tmp_path / "root", {f"file{number}": bytes([number + 1]) * 10_000 for number in range(100)})
    fat = make_fat(tmp_path / "fat", boot, bits=bits, mib={12: 4, 16: 16, 32: 40}[bits])
    ext4 = make_ext4(tmp_path / "ext4", root)
    image = make_disk(tmp_path / "disk.img", fat, ext4, gpt=gpt)
    content = image.read_bytes()
    found = disk.layout(bytes_reader(content), len(content))
    assert (found.boot.size, found.boot.start) == (fat.stat().st_size, MIB)
    assert found.root is not None
    assert content[found.root.start :][: found.root.size] == ext4.read_bytes()
    files = sum(map(len, BOOT_FILES.values()))
    assert files <= found.boot_bytes <= (files + 100_000 if bits > 12 else found.boot.size)
    assert 1_000_000 <= found.root_bytes <= 12 * MIB
    assert 100 <= found.root_files <= 120
    assert not found.replay


def test_logical_partitions_count(tmp_path: Path) -> None:
    require(*TOOLS)
    image = simple_disk(tmp_path)
    whole = image.read_bytes()
    first, second = disk.partitions(bytes_reader(whole))
    moved = bytearray(whole[:512] + bytes(511 * 512) + whole)
    shift = 512 * 512
    extended = (0x0F, 512, len(whole) // 512 - 1)
    moved[:512] = mbr(extended)
    # A chain: the first link says where its own partition lies and where the next link is.
    moved[shift : shift + 512] = mbr((0x0C, first.start // 512, first.size // 512), (0x05, 100, 10))
    link = shift + 100 * 512
    moved[link : link + 512] = mbr((0x83, second.start // 512 - 100, second.size // 512))
    found = disk.layout(bytes_reader(bytes(moved)), len(moved))
    assert (found.boot, found.root) == (
        Partition(first.start + shift, first.size),
        Partition(second.start + shift, second.size),
    )


def test_a_journal_that_was_not_written_back_is_told(tmp_path: Path) -> None:
    require(*TOOLS)
    image = simple_disk(tmp_path)
    content = bytearray(image.read_bytes())
    root = disk.layout(bytes_reader(bytes(content)), len(content)).root
    assert root is not None
    content[root.start + 1024 + 96] |= 0x04
    assert disk.layout(bytes_reader(bytes(content)), len(content)).replay


def test_a_table_that_points_past_the_end() -> None:
    content = mbr((0x0C, 2048, 4096), (0x83, 6144, 8192)) + bytes(MIB)
    assert "partition 1 ends at byte 3,145,728 of 1,049,088" in refused(content)


def test_what_is_no_disk_is_told() -> None:
    assert refused(b"") == "has no partition table"
    assert refused(b"just a text file\n" * 100) == "has no partition table"
    assert refused(mbr()) == "has a partition table with nothing in it"
    assert "GPT is announced and not there" in refused(mbr((0xEE, 1, 99)) + bytes(4096))
    assert "has no FAT" in refused(mbr((0x83, 1, 8)) + bytes(8192))
    assert "chain of logical partitions" in refused(mbr((0x05, 4, 8)) + bytes(8192))


def test_gpt_is_believed_only_with_its_checksums() -> None:
    content = gpt((40, 47)) + bytes(32 * 512)
    assert disk.partitions(bytes_reader(content)) == [Partition(40 * 512, 8 * 512)]
    for at, what in ((512 + 40, "header"), (1024 + 32, "entries")):
        broken = bytearray(content)
        broken[at] ^= 1
        assert f"GPT's {what}" in refused(bytes(broken))


def test_a_chain_that_bites_its_tail_ends() -> None:
    content = mbr((0x05, 1, 8)) + mbr((0x83, 1, 1), (0x05, 0, 8)) + bytes(4096)
    assert len(disk.partitions(bytes_reader(content))) == 1


@given(st.binary(max_size=4096), st.booleans())
def test_no_bytes_raise_anything_else(content: bytes, signed: bool) -> None:
    if signed:
        content = content[:510].ljust(510, b"\0") + b"\x55\xaa" + content
    with suppress(BadDisk):
        disk.layout(bytes_reader(content), len(content))


@given(st.lists(st.tuples(st.integers(0, 40000), st.binary(min_size=1, max_size=8)), max_size=30), st.booleans())
def test_no_damage_raises_anything_else(damage: list[tuple[int, bytes]], with_gpt: bool) -> None:
    fat = bytearray(512)
    fat[11:36] = struct.pack("<HBHBHHBHHHII", 512, 4, 1, 2, 16, 60, 0xF8, 1, 0, 0, 0, 0)[:25]
    fat[510:512] = b"\x55\xaa"
    head = gpt((40, 99), (100, 139)) if with_gpt else mbr((0x0C, 40, 60), (0x83, 100, 40), (0x05, 10, 20), (0, 0, 0))
    content = bytearray(head.ljust(40 * 512, b"\0") + fat.ljust(60 * 512, b"\0") + bytes(40 * 512))
    content[100 * 512 + 1024 + 56 :][:2] = b"\x53\xef"
    for at, some in damage:
        content[at : at + len(some)] = some
    with suppress(BadDisk):
        disk.layout(bytes_reader(bytes(content)), len(content))


def test_fat_is_not_seen_in_an_ntfs_or_exfat_sector(tmp_path: Path) -> None:
    require(*TOOLS)
    image = simple_disk(tmp_path)
    content = bytearray(image.read_bytes())
    content[MIB + 14 : MIB + 17] = bytes(3)  # no reserved sectors, no FAT: as in NTFS and exFAT
    assert refused(bytes(content)) == "has no FAT boot partition"
