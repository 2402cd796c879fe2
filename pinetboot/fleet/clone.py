"""Copying a tree whole: owners, modes, times, hard links, extended attributes, devices and holes as they are.

Belongs here: the copy itself, waiting for it to be on disk, and deleting a tree. Where the file system has reflinks
(XFS, btrfs), the copy shares its blocks with the image; elsewhere it is a plain one. On btrfs an image's root is a
subvolume, and the copy a snapshot.

What cp does for every file to keep its owner, mode and attributes takes a quarter of the time, and nearly every file of
a root is root's with no attributes at all. So cp copies without, and the few that are otherwise are put right after.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinetboot import run, subvolume

# It could say every file that it made, at a tenth of the time that it takes to make one with reflinks.
_COPY: Final = ("cp", "--reflink=auto", "--sparse=auto")
_ALL: Final = (*_COPY, "--archive")
_MOST: Final = (*_COPY, "--no-dereference", "--recursive", "--preserve=timestamps,links")
_SPECIAL_BITS: Final = 0o7000
_FEW: Final = 8  # one in so many files; where more are out of the ordinary, cp is quicker
# Copies that follow upon each other are spared a look each: an image that is changed while it is copied is nobody's
# anyway. A look is over once no copy began for so long, and at any rate after the second time.
_FRESH_S: Final = 5.0
_OLD_S: Final = 60.0
_LINGERS_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Odd:
    """A file that is not simply root's: its path in the tree, and what it is."""

    path: str
    mode: int
    owner: int
    group: int
    attributes: dict[str, bytes]


@dataclass(slots=True)
class _Look:
    """What a look through a tree found, when it was, and when it was used last; None where most files are odd."""

    odd: list[_Odd] | None
    at: float
    used: float

    def is_fresh(self, now: float) -> bool:
        return now - self.used <= _FRESH_S and now - self.at <= _OLD_S


_lock = threading.Lock()
_at_work: dict[int, int] = {}  # copies, by device
_seen: dict[Path, _Look] = {}


def clone(source: Path, folder: Path, *, files: Callable[[int], None], cancelled: Callable[[], bool]) -> None:
    """Copy the tree `source` into a folder, under the name that it has; it is not there yet.

    `files` is told now and then about how many files are done, where the file system says how many it holds. Raises
    OSError, run.Cancelled, run.ProgramMissing and run.ProgramFailed; what was copied so far stays then.
    """
    if subvolume.snapshot(source, folder / source.name):
        return
    odd = _odd_ones(source) if os.geteuid() == 0 else None
    # Paths from where the trees are: the kernel walks each of them again and again.
    what: list[str | Path] = ["--target-directory", folder.absolute(), "--", source.name]
    with _counting(folder, files) as looks:
        if odd is None:
            run.follow([*_ALL, *what], looks=looks, cancelled=cancelled, folder=source.parent)
            return
        run.follow([*_MOST, *what], looks=looks, cancelled=cancelled, folder=source.parent, umask=0)
    for one in odd:
        with suppress(FileNotFoundError):  # it was taken out of the image since the look
            _put_right(folder / source.name / one.path, one)


@contextmanager
def _counting(folder: Path, files: Callable[[int], None]) -> Iterator[Callable[[], None]]:
    """Estimate how many files were made in a folder: its share of what the file system holds more than before.

    Copies that are at work at once get the same share each; what others make meanwhile is counted as well.
    """
    device = folder.stat().st_dev
    before, done = _held(folder), 0.0

    def looks() -> None:
        nonlocal before, done
        now = _held(folder)
        with _lock:
            sharing = _at_work[device]
        if now > before:
            done += (now - before) / sharing
            files(int(done))
        before = now

    with _lock:
        _at_work[device] = _at_work.get(device, 0) + 1
    try:
        yield looks
    finally:
        with _lock:
            _at_work[device] -= 1
            if not _at_work[device]:
                del _at_work[device]


def _held(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_files - found.f_ffree


def settle(tree: Path) -> None:
    """Wait until everything in a tree is on disk. Raises run.ProgramMissing and run.ProgramFailed."""
    run.run(["sync", "--file-system", "--", tree])


def discard(tree: Path) -> None:
    """Delete a tree, all of it that can be, but nothing that is mounted in it."""
    if not os.path.lexists(tree):
        return  # an rm that outlives us might come upon what the next one makes by this name
    # To rm, a subvolume is another file system, unless it is named. To delete one takes more rights than to empty it.
    named = [path for path in (tree / "root", tree) if not subvolume.delete(path) and subvolume.is_one(path)]
    until = time.monotonic() + _LINGERS_S
    while True:
        try:
            run.run(["rm", "--recursive", "--force", "--one-file-system", "--", *named, tree])
        except run.ProgramFailed:
            # The cp of a process that was killed may still be in its last write.
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
        except run.ProgramMissing:
            pass
        # What is left is out of the way by its name; the next sweep tries again.
        return


def _put_right(path: Path, one: _Odd) -> None:
    """Give a copy its owner, then the mode and the capabilities, which a change of owner takes away."""
    if stat.S_IFMT(path.lstat().st_mode) != stat.S_IFMT(one.mode):
        return
    os.chown(path, one.owner, one.group, follow_symlinks=False)
    if not stat.S_ISLNK(one.mode):
        path.chmod(stat.S_IMODE(one.mode))
    for name, value in one.attributes.items():
        os.setxattr(path, name, value, follow_symlinks=False)


def _odd_ones(source: Path) -> list[_Odd] | None:
    """Find the files that cp alone would not copy as they are; None where these are many. Raises OSError."""
    with _lock:
        now = time.monotonic()
        for old in [path for path, look in _seen.items() if not look.is_fresh(now)]:
            del _seen[old]
        if source not in _seen:
            count, odd = 0, []
            for one in _look(str(source)):
                count += 1
                if one is not None:
                    odd.append(one)
            few = len(odd) * _FEW <= count + _FEW * _FEW
            _seen[source] = _Look(odd if few else None, now, now)
        _seen[source].used = time.monotonic()
        return _seen[source].odd


def _look(top: str) -> Iterator[_Odd | None]:
    """Go through a tree, None for every file that is like most."""
    yield _odd_one(top, ".", os.lstat(top), inherits=False)
    folders = [(top, "")]
    while folders:
        path, inside = folders.pop()
        # What is made in a folder with this bit gets the folder's group, and folders the bit as well.
        inherits = bool(os.lstat(path).st_mode & stat.S_ISGID)
        with os.scandir(path) as entries:
            for entry in entries:
                yield _odd_one(entry.path, inside + entry.name, entry.stat(follow_symlinks=False), inherits=inherits)
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, f"{inside}{entry.name}/"))


def _odd_one(path: str, inside: str, status: os.stat_result, *, inherits: bool) -> _Odd | None:
    names = os.listxattr(path, follow_symlinks=False)
    ordinary = not (status.st_uid or status.st_gid or status.st_mode & _SPECIAL_BITS or names or inherits)
    if ordinary:
        return None
    attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    return _Odd(inside, status.st_mode, status.st_uid, status.st_gid, attributes)
