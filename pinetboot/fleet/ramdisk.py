"""boot.img and boot.sig of a generation: made from its boot tree, and made anew when that changes (reference 4.4).

Belongs here: looking whether they are of the tree as it is, making them beside it, and putting them in place. A Pi
writes to its boot tree over NFS: nothing is opened there but regular files within it, and mtools sees copies alone.
Every function waits, and belongs in a thread. When to do it is `fleet.ramdisks`'.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from pinetboot import files, run, signing
from pinetboot.bootimg import fat, layout
from pinetboot.eeprom import signature
from pinetboot.errors import OperatorError
from pinetboot.fleet import clone, ramdisk_tree
from pinetboot.fleet.fence import ALONE, Fence
from pinetboot.fleet.inside import Tree
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.ramdisk_tree import IMAGE, SIG, Unsettled

_NEW: Final = ".new-"
_RECORD: Final = "boot-img.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What the boot.img that stands was made of: digests of the tree and of the key's public half, empty for none.

    `sha256`, `size` and `written` (its mtime, nanoseconds) are its own, `sig` is a digest of its boot.sig.
    """

    tree: str
    key: str
    sha256: str
    size: int
    written: int
    sig: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A boot.img that was made, and waits to be put in place, with the text of its boot.sig; `replaces` another."""

    generation: Path
    folder: Path
    sig: str
    record: Record
    replaces: bool


class Keys:
    """The key that signs. Its file is read again when it is another; nothing of it but its public half is kept."""

    def __init__(self) -> None:
        self._known: tuple[str, tuple[int, ...] | None, str] = ("", None, "")

    def name(self, path: str) -> str:
        """Name the key in a file by a digest of its public half; empty for no path. Raises OperatorError."""
        if not path:
            return ""
        stamp = files.stamp(Path(path).expanduser())
        if stamp is None or self._known[:2] != (path, stamp):
            self._known = (path, stamp, hashlib.sha256(signing.load(Path(path).expanduser()).public).hexdigest())
        return self._known[2]


def record(generation: Path) -> Record | None:
    """Read what the boot.img of a generation was made of; None where we made none."""
    try:
        told = json.loads((generation / _RECORD).read_text(encoding="utf-8"))
        tree, key, sha256, sig = (str(told[name]) for name in ("tree", "key", "sha256", "sig"))
        return Record(tree, key, sha256, int(told["size"]), int(told["written"]), sig)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_current(generation: Path, key: str) -> bool:
    """Whether boot.img and boot.sig stand, and are of the boot tree and the key as they are now. Raises OSError."""
    made = record(generation)
    if made is None or made.key != key:
        return False
    with Tree(generation / "boot") as tree:
        fd = tree.open(IMAGE) if _stands(tree, made) else None
        if fd is None:
            return False
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
    same = (found.st_size, found.st_mtime_ns) == (made.size, made.written)
    return same and made.tree == ramdisk_tree.state(generation / "boot")


def _stands(tree: Tree, made: Record) -> bool:
    """Whether boot.sig is the one that was written."""
    return hashlib.sha256(tree.read(SIG) or b"").hexdigest() == made.sig


def prepare(
    generation: Path, pi: Pi, key_file: str, cancelled: Callable[[], bool], fence: Fence = ALONE
) -> Ready | None:
    """Make a boot.img beside a generation; None where the one that stands is already the same.

    Raises OperatorError, Unsettled, run.Cancelled and Lost.
    """
    folder = generation.parent / f"{_NEW}{fence.mark}{generation.name}-boot-img"
    try:
        ready = _made(generation, pi, key_file, folder, cancelled)
        if ready is not None and not _is_same(generation, ready.record):
            return ready
        if ready is not None:
            with fence.held():
                _note(generation, _again(generation, ready.record))
    except BaseException as error:
        clone.discard(folder)
        if isinstance(error, layout.Unfit):
            raise OperatorError(f"no boot.img can be made for {pi.name}: {error}", error.do) from None
        if isinstance(error, run.ProgramMissing | run.ProgramFailed | OSError):
            raise _blamed(error, pi) from None
        raise
    clone.discard(folder)
    if ready is None:
        raise Unsettled
    return None


def _made(generation: Path, pi: Pi, key_file: str, folder: Path, cancelled: Callable[[], bool]) -> Ready | None:
    """Make it in a folder of its own; None where the boot tree changed meanwhile."""
    boot = generation / "boot"
    clone.discard(folder)
    folder.mkdir(mode=0o700)
    key = signing.load(Path(key_file).expanduser()) if key_file else None
    state = ramdisk_tree.state(boot)
    inside = ramdisk_tree.stage(boot, folder / "tree")
    if ramdisk_tree.state(boot) != state:
        return None
    image = folder / IMAGE
    fat.make(folder / "tree", inside, image, pi.serial, cancelled)
    shutil.rmtree(folder / "tree")
    with image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
        found = os.fstat(file.fileno())
    sig = signature.to_text(digest, int(time.time()), rsa=key.sign(digest) if key else b"")
    public = hashlib.sha256(key.public).hexdigest() if key else ""
    told = hashlib.sha256(sig.encode()).hexdigest()
    now = Record(state, public, digest.hex(), found.st_size, found.st_mtime_ns, told)
    return Ready(generation, folder, sig, now, replaces=os.path.lexists(boot / IMAGE))


def place(ready: Ready, fence: Fence = ALONE) -> None:
    """Put a boot.img and its boot.sig in place, each by a rename. Raises OperatorError, and Lost."""
    boot = ready.generation / "boot"
    try:
        folder = os.open(boot, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            with fence.held():
                os.rename(ready.folder / IMAGE, IMAGE, dst_dir_fd=folder)
                files.write_in(folder, SIG, ready.sig.encode(), durable=True)
                _note(ready.generation, ready.record)
        finally:
            os.close(folder)
    except OSError as error:
        raise OperatorError(
            f"{boot / IMAGE} cannot be put in place: {error.strerror or error}", f"Look at {boot}."
        ) from None
    finally:
        clone.discard(ready.folder)


def remove(generation: Path, fence: Fence = ALONE) -> bool:
    """Take away the boot.img that we made, if there is one; says whether there was. Raises OperatorError, and Lost."""
    if record(generation) is None:
        return False
    try:
        with Tree(generation / "boot") as tree, fence.held():
            tree.remove(SIG)
            tree.remove(IMAGE)
            files.remove(generation / _RECORD)
    except OSError as error:
        raise OperatorError(f"{generation / 'boot' / IMAGE} cannot be removed: {error.strerror or error}") from None
    return True


def _note(generation: Path, made: Record) -> None:
    files.write(generation / _RECORD, (json.dumps(asdict(made)) + "\n").encode(), mode=0o600)


def _is_same(generation: Path, now: Record) -> bool:
    """Whether the very bytes stand already, signed by the same key: a file was only touched, say."""
    made = record(generation)
    if made is None or (made.sha256, made.key) != (now.sha256, now.key):
        return False
    try:
        with Tree(generation / "boot") as tree:
            fd = tree.open(IMAGE)
            if fd is None:
                return False
            with os.fdopen(fd, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return digest == now.sha256 and _stands(tree, made)
    except OSError:
        return False


def _again(generation: Path, now: Record) -> Record:
    """Note that the files which stand are of the tree as it is now. Raises OSError."""
    made = record(generation)
    written = (generation / "boot" / IMAGE).lstat().st_mtime_ns
    return replace(now, written=written, sig=made.sig if made is not None else now.sig)


def _blamed(error: run.ProgramMissing | run.ProgramFailed | OSError, pi: Pi) -> OperatorError:
    if isinstance(error, run.ProgramMissing):
        return OperatorError(f"no boot.img can be made for {pi.name}: mtools is not installed", "Install mtools.")
    why = str(error) if isinstance(error, run.ProgramFailed) else error.strerror or str(error)
    return OperatorError(f"no boot.img can be made for {pi.name}: {why}", "Look at the disk of the data directory.")
