"""A Pi's own disks: sparse ext4 files beside its generations, which they outlive.

Belongs here: making one that is missing. One that stands is never made again, shrunk or grown: a Pi may have it
mounted. They are made outside the folder that the Pi can write to, so that no link of its is followed.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from pinetboot import files, run
from pinetboot.boot.generated import disk_file
from pinetboot.causes import Finding
from pinetboot.errors import OperatorError
from pinetboot.fleet.fence import ALONE, Fence
from pinetboot.fleet.pi import Disk, Pi

FOLDER: Final = "disks"
_MAX_LABEL: Final = 16  # ext4's
_MAKE: Final = ("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0")


def ensure(own: Path, pi: Pi, fence: Fence = ALONE) -> list[Finding]:
    """Make the disks that a Pi with the folder `own` lacks. Raises OperatorError, OSError and Lost."""
    if not pi.disks:
        return []
    folder = own / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    found: list[Finding] = []
    for disk in pi.disks:
        path = folder / disk_file(disk.name)
        try:
            stands = path.lstat()
        except FileNotFoundError:
            _make(own / f".new-{fence.mark}{disk.name}-disk", path, disk, fence)
            continue
        found += _of_one(path, disk, stands)
    files.settle(folder)
    return found


def findings(own: Path, pi: Pi) -> list[Finding]:
    """Say which disks of a Pi with the folder `own` are missing, or not as fleet.toml says. Makes none."""
    found: list[Finding] = []
    for disk in pi.disks:
        path = own / FOLDER / disk_file(disk.name)
        try:
            found += _of_one(path, disk, path.lstat())
        except FileNotFoundError:
            found.append(
                Finding(
                    "warning",
                    f"the disk for {disk.mount} is not there",
                    "disks are made and mounted with a generation, and the Pi's is older than this line of fleet.toml",
                    "Bring its image in anew with `pinetboot image add SOURCE --replace`, then run "
                    f"`pinetboot pi upgrade {pi.serial}`.",
                )
            )
    return found


def _make(beside: Path, path: Path, disk: Disk, fence: Fence) -> None:
    with suppress(FileNotFoundError):
        beside.unlink()
    fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(fd, disk.size_bytes)
        run.run([*_MAKE, "-L", disk.name[-_MAX_LABEL:], beside])
        os.fsync(fd)
    except run.ProgramMissing:
        beside.unlink()
        raise OperatorError(
            f"the disk for {disk.mount} cannot be made: mke2fs is not installed", "Install the package e2fsprogs."
        ) from None
    except run.ProgramFailed as error:
        beside.unlink()
        raise OperatorError(
            f"the disk for {disk.mount} cannot be made: {error}", "Make room, or choose another size."
        ) from None
    finally:
        os.close(fd)
    # Linked in, for a rename would put it in place of one that another made meanwhile, and that a Pi may have mounted.
    with fence.held(), suppress(FileExistsError):
        os.link(beside, path)
    files.remove(beside)


def _of_one(path: Path, disk: Disk, stands: os.stat_result) -> list[Finding]:
    if not stat.S_ISREG(stands.st_mode):
        return [
            Finding(
                "warning",
                f"the disk for {disk.mount} is not mounted on the Pi",
                f"{path} is no regular file",
                "Move it away, and a new disk is made with the next generation.",
            )
        ]
    if stands.st_size == disk.size_bytes:
        return []
    larger = disk.size_bytes > stands.st_size
    return [
        Finding(
            "info",
            f"the disk for {disk.mount} stays at {stands.st_size:,} bytes, fleet.toml says {disk.size}",
            "a disk that a Pi may have mounted is neither grown nor shrunk",
            f"Shut the Pi down, then run `truncate -s {disk.size} {path} && e2fsck -f {path} && resize2fs {path}`."
            if larger
            else "Write its real size into fleet.toml; to shrink it, make another one and copy its files.",
        )
    ]
