"""A tree like a real root's: mostly small files, some large, many folders and symlinks; a file system to hold it."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# btrfs would write metadata twice, which is twice the room for every name, and has nothing to do with sharing blocks.
_MAKE = {
    "xfs": ["mkfs.xfs", "-q"],
    "btrfs": ["mkfs.btrfs", "-q", "--metadata", "single"],
    "ext4": ["mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1"],
}
_LARGEST = 3 << 20


@contextmanager
def mounted(kind: str, folder: Path, size: str) -> Iterator[Path]:
    """Make a file system in a sparse file, and mount it by loop for as long as it is needed. Needs root."""
    image, point = folder / f"{kind}.img", folder / f"{kind}.mounted"
    point.mkdir()
    subprocess.run(["truncate", "-s", size, image], check=True)
    subprocess.run([*_MAKE[kind], image], check=True)
    subprocess.run(["mount", "-o", "loop", image, point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True)
        image.unlink()


def grow(top: Path, entries: int) -> None:
    """Fill a folder: of a hundred entries, nine are folders, eighteen symlinks, the rest files of some kilobytes."""
    chance = random.Random(entries)  # noqa: S311 - the same tree each time
    content = os.urandom(_LARGEST)
    top.mkdir(parents=True, exist_ok=True)
    folders = [top]
    for number in range(entries):
        nearest = int(chance.expovariate(3 / len(folders)))
        path = folders[min(len(folders) - 1, nearest)] / f"entry{number}"
        drawn = chance.random()
        if drawn < 0.09:
            path.mkdir()
            folders.append(path)
        elif drawn < 0.27:
            path.symlink_to(f"../lib/entry{number}.so.1")
        else:
            path.write_bytes(content[: min(_LARGEST, int(chance.lognormvariate(8.2, 1.9)))])


def used_bytes(folder: Path) -> int:
    """Say how much of a file system is taken, once all of it is on disk."""
    os.sync()
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize
