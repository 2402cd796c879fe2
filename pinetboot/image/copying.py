"""Copying whole trees with everything that hangs on their files, by cp and tar, which know all of it.

Belongs here: the commands, and that they die with us. Owners, modes, times, hard links, extended attributes, file
capabilities, device nodes and holes are kept; what cannot be kept is an error. Never here: where a tree comes from.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pinetboot import run, subvolume
from pinetboot.errors import OperatorError
from pinetboot.image import space
from pinetboot.image.watch import Watch

COPY: Final = ("cp", "-dR", "--preserve=mode,ownership,timestamps,links,xattr", "--sparse=always", "--reflink=auto")
_COPY_BOOT: Final = ("cp", "-dR", "--preserve=timestamps", "--reflink=auto")
_UNTAR: Final = ("tar", "--extract", "--delay-directory-restore", "--no-same-owner")
_UNTAR_WHOLE: Final = (
    *("tar", "--extract", "--delay-directory-restore", "--numeric-owner", "--same-owner", "--same-permissions"),
    *("--xattrs", "--xattrs-include=*", "--acls"),
)
_LEASH: Final = "setpriv"
_ORPHANED: Final = 97
_FULL: Final = ("No space left on device", "Disk quota exceeded")
_REFUSED: Final = "Operation not permitted"
_POLL_S: Final = 0.25

# What it takes to make files of all owners and kinds, by the bits of capabilities(7).
_CAPABILITIES: Final = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "MKNOD": 27, "SETFCAP": 31}
MOUNTING: Final = {"SYS_ADMIN": 21}


class NotPermitted(Exception):
    """This process may not do it; the text says what it takes."""


def lacking(extra: dict[str, int] | None = None) -> str:
    """Say what keeps this process from making a root tree; empty where nothing does."""
    try:
        with Path("/proc/self/status").open() as file:
            held = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return "" if os.geteuid() == 0 else "it needs root"
    missing = [name for name, bit in (_CAPABILITIES | (extra or {})).items() if not held >> bit & 1]
    if not missing:
        return ""
    return "it needs root" if os.geteuid() else f"it needs the capabilities {', '.join(missing)}"


def command(line: Sequence[str | os.PathLike[str]], what: str, *, good: Sequence[int] = (0,)) -> run.Done:
    """Run a command that is killed when this process is. `what` says what it does, "copying the root tree".

    Raises OperatorError for what went wrong, NotPermitted where the kernel refused.
    """
    leash: list[str] = []
    if run.find(_LEASH) is not None:
        # Between fork and prctl this process may have died: then its child has another parent already.
        check = f'test "$PPID" = "$0" || exit {_ORPHANED}; exec "$@"'
        leash = [_LEASH, "--pdeathsig", "KILL", "--", "sh", "-c", check, str(os.getpid())]
    try:
        return run.run([*leash, *line], good=good)
    except run.ProgramMissing as error:
        raise OperatorError(f"{what} needs the program {error.program}", f"Install {error.program}.") from None
    except run.ProgramFailed as error:
        said = str(error).removeprefix(f"{_LEASH} failed: ").splitlines()
        last = said[-1] if said else "no reason given"
        if any(text in str(error) for text in _FULL):
            raise OperatorError(f"the disk ran full {what}", "Free some, or use another data directory.") from None
        if _REFUSED in str(error):
            raise NotPermitted(last) from None
        raise OperatorError(f"{what} failed: {last}") from None


def copy_whole(source: Path, target: Path, what: str) -> None:
    """Copy a directory as it is into a new one, without what is mounted in it. Raises as command() does."""
    subvolume.make(target, 0o700)
    command([*COPY, "--one-file-system", "--", f"{source}/.", target], what)


def copy_boot(source: Path, target: Path, what: str) -> None:
    """Copy a directory of boot files into a new one. Raises as command() does."""
    target.mkdir(mode=0o755)
    command([*_COPY_BOOT, "--one-file-system", "--", f"{source}/.", target], what)
    like_fat(target)


def untar(source: Path, target: Path, what: str, *, whole: bool) -> None:
    """Unpack a plain tar into a new directory: `whole` with owners and all. Raises as command() does.

    GNU tar makes no file outside: it refuses `..`, takes a leading `/` off, and makes links that lead out last.
    """
    if whole:
        subvolume.make(target, 0o755)
    else:
        target.mkdir(mode=0o755)
    command([*(_UNTAR_WHOLE if whole else _UNTAR), "--file", source, "--directory", target], what)
    if not whole:
        like_fat(target)


def like_fat(top: Path) -> None:
    """Give boot files the owner and modes that FAT would show: ours, 0644, folders 0755; devices and sockets go."""
    for path in (top, *top.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            path.chmod(0o755)
        elif stat.S_ISREG(mode):
            path.chmod(0o644)
        elif not stat.S_ISLNK(mode):
            path.unlink()
        if os.geteuid() == 0:
            os.lchown(path, 0, 0)


def count(folders: Sequence[Path]) -> tuple[int, int]:
    """Count files (all that are no directories) and the bytes in them, a hard link's once."""
    files = size = 0
    seen: set[tuple[int, int]] = set()
    for entry in _entries(folders):
        found = entry.stat(follow_symlinks=False)
        files += 1
        if stat.S_ISREG(found.st_mode) and (found.st_dev, found.st_ino) not in seen:
            size += found.st_size
            if found.st_nlink > 1:
                seen.add((found.st_dev, found.st_ino))
    return files, size


def _entries(folders: Sequence[Path]) -> Iterator[os.DirEntry[str]]:
    todo = [os.fspath(folder) for folder in folders]
    while todo:
        with os.scandir(todo.pop()) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                else:
                    yield entry


@contextmanager
def growing(folder: Path, total: int, what: str, watch: Watch) -> Iterator[None]:
    """Tell how far a program is that writes `total` bytes, by the room that it leaves."""
    watch.stage(what, total or None)
    before, over = space.free(folder), threading.Event()

    def look() -> None:
        while not over.wait(_POLL_S):
            watch.at(max(0, min(total, before - space.free(folder))))

    with _beside(look, over):
        yield
    watch.at(total)


@contextmanager
def _beside(work: Callable[[], None], over: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work, name="pinetboot-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
