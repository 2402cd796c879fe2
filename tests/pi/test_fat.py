"""A bootloader's way to read a FAT, whatever it is given."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import require

from pinetboot.pi.fat import BadFat, Fat

KERNEL = hashlib.shake_128(b"kernel").digest(200_000)
NAMES = ("kernel8.img", "a long name of a file.txt", "overlays/vc4-kms-v3d-pi5.dtbo", "overlays", "", "/")


@cache
def made(bits: int, sectors: int) -> bytes:
    """A file system that mkfs.fat made, and mtools filled."""
    require("mkfs.fat", "mcopy", "mmd")
    with TemporaryDirectory() as folder:
        image, kernel, other = (
            Path(folder) / "fat",
            Path(folder) / "kernel8.img",
            Path(folder) / "a long name of a file.txt",
        )
        kernel.write_bytes(KERNEL)
        other.write_text("long")
        command = ["mkfs.fat", "-F", str(bits), "-s", "1", "-C", str(image), str(sectors // 2)]
        subprocess.run(command, check=True, capture_output=True)
        subprocess.run(["mmd", "-i", image, "::overlays"], check=True)
        subprocess.run(["mcopy", "-i", image, kernel, other, "::"], check=True)
        subprocess.run(["mcopy", "-i", image, other, "::overlays/vc4-kms-v3d-pi5.dtbo"], check=True)
        return image.read_bytes()


@pytest.mark.parametrize(("bits", "sectors"), [(16, 20_000), (32, 70_000)])
def test_it_reads_what_others_made(bits: int, sectors: int) -> None:
    system = Fat(memoryview(made(bits, sectors)))
    kernel = system.find("KERNEL8.IMG")
    assert kernel is not None
    assert system.read(kernel, 1 << 20) == KERNEL
    assert system.read(kernel, 1000) == KERNEL[:1000]
    overlay = system.find("overlays/vc4-kms-v3d-pi5.dtbo")
    assert overlay is not None
    assert system.read(overlay, 100) == b"long"


@pytest.mark.parametrize(
    "image", [b"", bytes(511), bytes(4096), b"\xff" * 4096, bytes(510) + b"\x55\xaa" + bytes(4096)]
)
def test_what_is_none_is_refused(image: bytes) -> None:
    with pytest.raises(BadFat):
        Fat(memoryview(image))


def test_one_that_is_cut_off_is_refused() -> None:
    with pytest.raises(BadFat, match="cut off"):
        Fat(memoryview(made(16, 20_000)[:-512]))


def test_a_fat12_is_refused_as_such() -> None:
    with pytest.raises(BadFat, match="FAT12"):
        Fat(memoryview(made(12, 2000)))


def through(image: bytearray) -> None:
    system = Fat(memoryview(bytes(image)))
    for name in NAMES:
        found = system.find(name)
        if found is not None:
            assert len(system.read(found, 1000)) <= 1000


Change = tuple[int, int]
HEAD = st.tuples(st.integers(0, 511), st.integers(0, 255))
TABLE = st.tuples(st.integers(512, 3000), st.integers(0, 255))


def near_the_root_folder() -> st.SearchStrategy[Change]:
    start = made(16, 20_000).index(b"KERNEL8 IMG")
    return st.tuples(st.integers(start - 64, start + 400), st.integers(0, 255))


@pytest.mark.parametrize("where", [lambda: HEAD, lambda: TABLE, near_the_root_folder])
def test_a_damaged_one_is_read_or_refused(where: Callable[[], st.SearchStrategy[Change]]) -> None:
    @settings(max_examples=60)
    @given(st.lists(where(), max_size=5))
    def try_it(changes: list[Change]) -> None:
        image = bytearray(made(16, 20_000))
        for place, value in changes:
            image[place] = value
        with suppress(BadFat):
            through(image)

    try_it()
