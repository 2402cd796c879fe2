"""A Pi's generations on disk: which there are, which one it boots, and moving from one to another.

Belongs here: `pis/<serial>/<n>/` and the link `boot/<serial>`. How a generation is made is `fleet.generation`'s.
A generation that stands under its number is whole: it was built beside and renamed in.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pinetboot import files
from pinetboot.errors import OperatorError
from pinetboot.fleet import made
from pinetboot.fleet.fence import ALONE, Fence

_REJECTED = "rolled-back"
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_LINK = re.compile(r"\.\./pis/([0-9a-f]{8})/([1-9][0-9]{0,8})/boot/?")


@dataclass(frozen=True, slots=True)
class Generation:
    """One finished generation. `identity` is the image's at the time; `rejected` after a rollback from it."""

    number: int
    image: str
    identity: str
    root: str
    rejected: bool


def generations(data: Path, serial: str) -> list[Generation]:
    """List the finished generations of a Pi, the oldest first."""
    found = (_read(one, int(one.name)) for one in _entries(data, serial) if _NUMBER.fullmatch(one.name))
    return sorted((one for one in found if one is not None), key=lambda one: one.number)


def next_number(data: Path, serial: str) -> int:
    """Give a number above every one that was ever used and is still there, finished or not."""
    names = [one.name for one in _entries(data, serial)]
    numbers = [int(found[0]) for name in names if (found := re.search(r"[0-9]{1,9}$", name))]
    return max(numbers, default=0) + 1


def _entries(data: Path, serial: str) -> list[Path]:
    try:
        return list((data / "pis" / serial).iterdir())
    except OSError:
        return []


def _read(folder: Path, number: int) -> Generation | None:
    told = made.read(folder)
    if told is None:
        return None
    return Generation(number, told.image, told.identity, told.root, rejected=(folder / _REJECTED).exists())


def link_in(data: Path, serial: str) -> Path:
    """Where the link lies that a Pi is served through."""
    return data / "boot" / serial


def current(data: Path, serial: str) -> int | None:
    """Say which generation a Pi boots; None where it boots none of ours."""
    try:
        target = str(link_in(data, serial).readlink())
    except OSError:
        return None
    found = _LINK.fullmatch(target)
    return int(found[2]) if found and found[1] == serial else None


def switch(data: Path, serial: str, number: int, fence: Fence = ALONE) -> None:
    """Have a Pi boot a generation from now on, at once and durably. Raises OperatorError, and Lost."""
    link = link_in(data, serial)
    if not link.is_symlink() and link.exists():
        raise OperatorError(
            f"{link} is a folder of your own, so the Pi's generation {number} is not served",
            f"Move it away, or take {serial} out of fleet.toml.",
        )
    beside = link.with_name(f".{serial}.new")
    try:
        with suppress(FileNotFoundError):
            beside.unlink()
        beside.symlink_to(f"../pis/{serial}/{number}/boot")
        with fence.held():
            beside.replace(link)
        files.settle(link.parent)
    except OSError as error:
        raise OperatorError(f"{link} cannot be set: {error.strerror}") from None


def unlink(data: Path, serial: str) -> None:
    """Serve a Pi no more; a folder of the user's own stays."""
    link = link_in(data, serial)
    if link.is_symlink():
        link.unlink(missing_ok=True)
        files.settle(link.parent)


def reject(data: Path, serial: str, number: int) -> None:
    """Remember that a generation was rolled back from, so that nothing moves to it again by itself."""
    folder = data / "pis" / serial / str(number)
    (folder / _REJECTED).touch()
    files.settle(folder)


def purge(data: Path, serial: str) -> None:
    """Delete all that a Pi has: trees, disks, identity. Raises OperatorError."""
    own = data / "pis" / serial
    gone = own.with_name(f".gone-{serial}")
    try:
        shutil.rmtree(gone, ignore_errors=True)
        if own.exists():
            own.rename(gone)
            shutil.rmtree(gone)
    except OSError as error:
        raise OperatorError(f"{own} cannot be deleted: {error.strerror}") from None
