"""Files that are whole or absent, whatever moment the process dies or the power goes.

Belongs here: writing beside and renaming in, waiting for the disk, and telling whether a file is another by now. Where
a name leads is for others to find out.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

# What a write that was cut off leaves behind begins so.
TEMPORARY: Final = ".pinetboot-new-"

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write(path: Path, content: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Put a file in place, on disk when this returns if `durable`. `mode` is for a file that is new. Raises OSError."""
    folder = os.open(path.parent, _FOLDER)
    try:
        write_in(folder, path.name, content, mode=mode, durable=durable)
    finally:
        os.close(folder)


def write_in(folder: int, name: str, content: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Put a file in place in an open folder; what was there by that name, a symlink even, is not followed but replaced.

    A regular file's mode and owner pass to the new one. `durable` waits for the disk. Raises OSError.
    """
    before = _regular(folder, name)
    temporary = TEMPORARY + secrets.token_hex(8)
    fd = os.open(temporary, _NEW, 0o600, dir_fd=folder)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            if before is not None:
                with suppress(PermissionError):
                    os.fchown(fd, before.st_uid, before.st_gid)
            os.fchmod(fd, mode if before is None else before.st_mode & 0o777)
            if durable:
                os.fsync(fd)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    if durable:
        os.fsync(folder)


def _regular(folder: int, name: str) -> os.stat_result | None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def remove(path: Path) -> bool:
    """Remove a file for good; says whether there was one. Raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    settle(path.parent)
    return True


def move(old: Path, new: Path) -> None:
    """Rename for good, within one file system. Raises OSError."""
    old.rename(new)
    settle(new.parent)
    if old.parent != new.parent:
        settle(old.parent)


def stamp(path: Path) -> tuple[int, ...] | None:
    """Tell one state of a file from another, links followed; None where there is none that can be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def settle(folder: Path) -> None:
    """Wait until the names in a folder are on disk. Raises OSError."""
    fd = os.open(folder, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
