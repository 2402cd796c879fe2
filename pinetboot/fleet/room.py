"""Whether the copy of an image fits, asked before it is begun.

Belongs here: how much room a copy takes. Where the file system shares blocks (XFS, btrfs) that is hardly any.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pinetboot.image import space

_FICLONE: Final = 0x40049409  # linux/fs.h
_BLOCK: Final = 512  # of st_blocks (stat(2))
_ENOUGH: Final = 4096  # a file that lies in blocks of its own


def need(trees: Sequence[Path], folder: Path, what: str, *, size: int, files: int) -> None:
    """Make sure that copies of `trees` fit into a folder. Raises OperatorError, and OSError for a tree that is none.

    `size` and `files` are how much all of them were said to hold, in bytes; 0 where nobody said.
    """
    if _shares(trees, folder):
        size = 0
    elif size > space.free(folder):
        # What was said counts holes as well, which take no room, and perhaps a tree that is left out.
        size = min(size, sum(_allocated(tree) for tree in trees))
    space.need(folder, size, what, files)


def _shares(trees: Sequence[Path], folder: Path) -> bool:
    """Whether a copy shares its blocks with the original here, told by making one."""
    original = next((path for tree in trees for path in _files(tree) if path.lstat().st_size >= _ENOUGH), None)
    if original is None:
        return False
    try:
        source = os.open(original, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        target = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.ioctl(target, _FICLONE, source)
        finally:
            os.close(target)
    except OSError:
        return False
    finally:
        os.close(source)
    return True


def _files(tree: Path) -> Iterator[Path]:
    with os.scandir(tree) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False))


def _allocated(tree: Path) -> int:
    """Count the bytes of a tree's blocks, a hard link's once."""
    blocks: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(tree):
        for name in names:
            found = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - many thousands of files
            blocks[found.st_dev, found.st_ino] = found.st_blocks
    return sum(blocks.values()) * _BLOCK
