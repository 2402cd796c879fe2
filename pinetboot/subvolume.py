"""btrfs subvolumes: folders of which a copy is one step, however many files are in them.

Belongs here: making one, taking a snapshot of it, deleting it. Elsewhere than on btrfs, or without the right or the
program, nothing here is done, and the caller takes the plain way.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from pinetboot import mountinfo, run

_ROOT_INODE: Final = 256  # of every subvolume's own top folder


def make(path: Path, mode: int) -> None:
    """Make an empty folder, as a subvolume where that can be. Raises OSError."""
    if os.geteuid() == 0:
        with suppress(run.ProgramMissing, run.ProgramFailed):
            run.run(["btrfs", "subvolume", "create", "--", path])
            path.chmod(mode)
            return
    path.mkdir(mode=mode)


def snapshot(source: Path, target: Path) -> bool:
    """Take a writable snapshot of a subvolume; False, and nothing done, where `source` is none or it cannot be."""
    if os.geteuid() != 0 or not is_one(source):
        return False
    try:
        run.run(["btrfs", "subvolume", "snapshot", "--", source, target])
    except (run.ProgramMissing, run.ProgramFailed):
        return False
    return True


def delete(path: Path) -> bool:
    """Delete a subvolume with all that is in it; False where it is none or it cannot be."""
    if not is_one(path):
        return False
    try:
        run.run(["btrfs", "subvolume", "delete", "--", path])
    except (run.ProgramMissing, run.ProgramFailed):
        return False
    return True


def is_one(path: Path) -> bool:
    """Whether a folder is a subvolume, and no place where one is mounted."""
    try:
        if path.lstat().st_ino != _ROOT_INODE:
            return False
    except OSError:
        return False
    mount = mountinfo.mount_of(path)
    return mount is not None and mount.kind == "btrfs" and mount.point != os.path.realpath(path)
