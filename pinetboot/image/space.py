"""Room on a disk: said before the work.

Belongs here: asking the file system, and the one sentence for too little.
"""

from __future__ import annotations

import os
from pathlib import Path

from pinetboot.errors import OperatorError

_PER_FILE = 512  # what a name and an inode take, roughly
_FREE_IT = "Free some, or name a data directory elsewhere with --data."


def free(folder: Path) -> int:
    """Count the bytes that may still be written there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def need(folder: Path, size: int, what: str, files: int = 0) -> None:
    """Make sure that `size` bytes in `files` files fit. Raises OperatorError."""
    wanted, there = size + files * _PER_FILE, free(folder)
    if wanted > there:
        raise OperatorError(
            f"{what} needs {_told(wanted)} in {folder}, where {_told(there)} are free",
            _FREE_IT,
        )


def ran_out(folder: Path, what: str) -> OperatorError:
    """Say that the disk was full before the work was done."""
    return OperatorError(f"{folder} ran out of space {what}", _FREE_IT)


def _told(size: int) -> str:
    if size >= 10**9:
        return f"{size / 10**9:.1f} GB"
    return f"{-(-size // 10**6)} MB" if size >= 10**6 else f"{-(-size // 1000)} kB"
