"""What of a boot tree goes into a boot.img, and whether it is still the same.

Belongs here: looking through a tree that a Pi writes to, and copying it where the Pi does not: nothing is opened but
regular files within it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pinetboot import files
from pinetboot.bootimg import layout
from pinetboot.fleet.inside import Tree
from pinetboot.pi.config_txt import without_ramdisk

IMAGE: Final = "boot.img"
SIG: Final = "boot.sig"
# Counted on when the same tree comes to be another image.
_FORM: Final = 1
# What is for the firmware before any boot.img, and of no use inside of one.
_OUTSIDE: Final = frozenset({IMAGE, SIG, "pieeprom.sig", "pieeprom.upd", "pieeprom.bin", "recovery.bin"})
_CONFIG: Final = "config.txt"
_MAX_CONFIG: Final = 1 << 20
_MAX_DEPTH: Final = 16
_PIECE: Final = 1 << 20


class Unsettled(Exception):
    """The boot tree changed while it was read: it is to be tried again soon."""


def sizes(boot: Path) -> dict[str, int]:
    """Say what a boot.img of a tree would hold: bytes by path. Raises OSError, and layout.Unfit for far too much."""
    with Tree(boot) as tree:
        return {path: status.st_size for path, status in _files(tree, boot)}


def _files(tree: Tree, top: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Go through the regular files of a tree in an order of their names. Raises OSError and layout.Unfit."""
    count = 0
    todo = [""]
    while todo:
        folder = todo.pop()
        with os.scandir(top / folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if path in _OUTSIDE or entry.name.startswith(files.TEMPORARY):
                continue
            if entry.is_dir(follow_symlinks=False):
                if path.count("/") < _MAX_DEPTH:
                    todo.append(path)
                continue
            fd = tree.open(path)
            if fd is None:
                continue  # neither a file nor a link to one within the tree
            try:
                status = os.fstat(fd)
            finally:
                os.close(fd)
            count += 1
            if count > layout.MOST_FILES:
                raise layout.Unfit(f"it has more than {layout.MOST_FILES:,} files", "Take out what no Pi boots with.")
            yield path, status


def state(boot: Path) -> str:
    """Give a digest that differs as soon as a file in a boot tree does. Raises OSError."""
    seen = hashlib.sha256(f"{_FORM}\n".encode())
    try:
        with Tree(boot) as tree:
            for path, status in _files(tree, boot):
                seen.update(f"{path!a} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
    except layout.Unfit:
        seen.update(b"unfit\n")
    return seen.hexdigest()


def stage(boot: Path, folder: Path) -> dict[str, int]:
    """Copy what goes into a boot.img where nobody else writes: bytes by path."""
    inside: dict[str, int] = {}
    folder.mkdir(mode=0o700)
    left = layout.MOST
    with Tree(boot) as tree:
        for path, status in _files(tree, boot):
            left -= status.st_size
            if left < 0:
                raise layout.Unfit(f"it has more than {layout.MOST >> 20} MiB", "Take out what no Pi boots with.")
            fd = tree.open(path)
            if fd is None:
                raise Unsettled
            target = folder / path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(fd, "rb") as source, target.open("xb") as copy:
                if path == _CONFIG:
                    copy.write(without_ramdisk(source.read(_MAX_CONFIG)))
                else:
                    _copy(source, copy, status.st_size)
                inside[path] = copy.tell()
    return inside


def _copy(source: BinaryIO, copy: BinaryIO, size: int) -> None:
    """Copy no more than `size` bytes: a file that grows meanwhile is tried again anyway."""
    while size and (piece := source.read(min(size, _PIECE))):
        copy.write(piece)
        size -= len(piece)
