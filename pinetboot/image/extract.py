"""Boot and root out of a raw disk image: FAT by mtools, ext4 by mounting it.

Belongs here: getting at the two file systems. A mount lives in a name space of its own and dies with the program that
copies from it, however that ends; its loop device goes with it. Never here: finding partitions, placing what comes out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pinetboot import run, subvolume
from pinetboot.errors import OperatorError
from pinetboot.image import copying
from pinetboot.image.copying import COPY, NotPermitted
from pinetboot.image.disk import Layout, Partition

_NO_MOUNT: Final = 98
_SCRIPT: Final = f"""\
mount -t "$1" -o "$2" -- "$3" "$4" || exit {_NO_MOUNT}
from="$4/." to="$5"
shift 5
exec "$@" -- "$from" "$to"
"""
# What mount(8) says where this machine, not the file system, is at fault.
_NOT_HERE: Final = (
    *("loop device", "unknown filesystem type", "ermission denied", "not permitted", "superuser", "No such device"),
    *("block device", "write-protected"),
)
_SAFE: Final = "loop,nosuid,nodev,noexec"


class NoRoot(Exception):
    """The root tree cannot be had here; the text says why, and what it needs."""


def ready() -> None:
    """Make sure that a boot partition can be read here, before anything is fetched. Raises OperatorError."""
    if run.find("mcopy") is None and copying.lacking(copying.MOUNTING):
        raise OperatorError("reading a disk image needs the program mcopy, which is not installed", "Install mtools.")


def boot(image: Path, part: Partition, target: Path, folder: Path) -> None:
    """Copy the FAT boot partition into `target`. `folder` is for what is made in between. Raises OperatorError."""
    what = "reading the boot partition"
    if run.find("mcopy") is None:
        _boot_by_mount(image, part, target, folder)
        return
    target.mkdir(mode=0o755)
    # FAT's times have no zone; taken as UTC they are the same wherever the import runs. Sizes that do not fit the
    # made-up geometry of a disk image are no fault.
    plain = ["env", "TZ=UTC", "MTOOLS_SKIP_CHECK=1", "MTOOLSRC=/dev/null"]
    try:
        names = copying.command([*plain, "mdir", "-b", "-a", "-i", f"{image}@@{part.start}", "::/"], what, good=(0, 1))
        if names.out.strip():
            copying.command([*plain, "mcopy", "-s", "-m", "-n", "-i", f"{image}@@{part.start}", "::*", target], what)
    except NotPermitted as error:
        raise OperatorError(f"{what} failed: {error}") from None
    copying.like_fat(target)


def _boot_by_mount(image: Path, part: Partition, target: Path, folder: Path) -> None:
    options = f"{_SAFE},ro,offset={part.start},sizelimit={part.size},utf8,tz=UTC"
    try:
        _copy_mounted("vfat", options, image, target, folder=folder, copy=["cp", "-dR", "--preserve=timestamps"])
    except NotPermitted as error:
        raise OperatorError(
            f"the boot partition cannot be read: mcopy is not installed, and it cannot be mounted ({error})",
            "Install mtools.",
        ) from None
    copying.like_fat(target)


def root(image: Path, layout: Layout, target: Path, folder: Path, *, own: bool) -> None:
    """Copy the ext4 root partition into `target`, all of it. `own` says that the image is ours to write to.

    Raises NoRoot where it cannot be mounted or files of all owners cannot be made, OperatorError for other faults.
    """
    part = layout.root
    if part is None:
        return
    reason = copying.lacking(copying.MOUNTING)
    if reason:
        raise NoRoot(f"{reason} to mount ext4 and to make files of all owners")
    access = "ro,noload"
    if layout.replay:
        # The journal holds writes that are not in their places yet. Mounting puts them there, in a copy of ours.
        access = "rw"
        if not own:
            copy = folder / "replayed.img"
            copying.command([*COPY, "--", image, copy], "copying the disk image")
            image = copy
    options = f"{_SAFE},{access},offset={part.start},sizelimit={part.size}"
    try:
        _copy_mounted("ext4", options, image, target, folder=folder, copy=COPY)
    except NotPermitted as error:
        raise NoRoot(str(error)) from None
    _without_lost_and_found(target)


def _copy_mounted(kind: str, options: str, image: Path, target: Path, *, folder: Path, copy: Sequence[str]) -> None:
    mounted = folder / "mounted"
    mounted.mkdir(exist_ok=True)
    subvolume.make(target, 0o700)
    places = [str(path.absolute()) for path in (image, mounted, target)]
    done = copying.command(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh", kind, options, *places, *copy],
        "copying the files of the disk image",
        good=(0, _NO_MOUNT),
    )
    mounted.rmdir()
    if done.code == _NO_MOUNT:
        said = done.err.splitlines() or ["no reason given"]
        text = f"{kind} cannot be mounted here: {said[0].removeprefix(f'mount: {places[1]}: ').rstrip('.')}"
        if any(reason in done.err for reason in _NOT_HERE):
            raise NotPermitted(text)
        raise OperatorError(f"the {kind} partition of {image.name} is damaged: {said[0]}", "Get the image again.")


def _without_lost_and_found(target: Path) -> None:
    """Leave out what every ext4 has and no tree needs, unless something was found."""
    found = target / "lost+found"
    if found.is_dir() and not found.is_symlink() and not any(found.iterdir()):
        before = target.stat()
        found.rmdir()
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
