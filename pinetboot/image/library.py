"""The images of a data directory: `images/<name>/{boot,root,image.toml}`.

Belongs here: where they lie, who may change them, and names that appear and go at once. Whatever begins with a dot is
no image: `.new-` is being built, `.old-` has been replaced, `.gone-` was removed; none is looked at but by sweep().
Never here: what is in an image.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pinetboot import files, subvolume
from pinetboot.checking import parse
from pinetboot.errors import ConfigError, OperatorError
from pinetboot.fleet import pi as fleet_pi
from pinetboot.image import record, swap
from pinetboot.image.record import ImageRecord

_FOLDER = "images"
_RECORD = "image.toml"
_LOCK = ".lock"
_NEW, _OLD, _GONE = ".new-", ".old-", ".gone-"
_MARK_BYTES = 4
_LINGERS_S = 5.0


def folder(data: Path, name: str) -> Path:
    """Where an image of that name lies, or would."""
    return data / _FOLDER / name


def load(data: Path, name: str) -> ImageRecord | None:
    """Read what is written down of an image; None where there is none. Raises ConfigError for a damaged record."""
    path = folder(data, name) / _RECORD
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}", "Run this as the user who made it.") from None
    return record.from_text(text, str(path))


def names(data: Path) -> list[str]:
    """List what lies there as an image, sorted; a record may still turn out damaged. Raises OperatorError."""
    try:
        found = [path.name for path in (data / _FOLDER).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise OperatorError(
            f"{data / _FOLDER} cannot be read: {error.strerror}", "Run this as the user that the daemon runs as."
        ) from None
    return sorted(name for name in found if not name.startswith(".") and (folder(data, name) / _RECORD).is_file())


def images(data: Path) -> list[ImageRecord]:
    """List the images, sorted by name; one with a damaged record is left out."""
    found = []
    for name in names(data):
        with suppress(ConfigError):
            one = load(data, name)
            if one is not None:
                found.append(one)
    return found


def users(fleet: Path, name: str) -> list[str]:
    """List the Pis that a fleet.toml gives this image, by their names. Raises OperatorError."""
    try:
        text = fleet.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{fleet} cannot be read: {error}", "Who uses the image is written there.") from None
    return [pi.name for pi in fleet_pi.build(parse(text, str(fleet)), str(fleet)).pi if pi.image == name]


@contextmanager
def held(data: Path, name: str) -> Iterator[Path]:
    """Keep an image as it is while it is copied from: gives a path to it that stays the same image's, come what may.

    A replacement or a removal takes the name away at once, and waits with deleting. Raises FileNotFoundError.
    """
    fd = os.open(folder(data, name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        path = Path(f"/proc/{os.getpid()}/fd/{fd}")
        (path / _RECORD).stat()  # else it was being deleted when it was opened
        yield path
    finally:
        os.close(fd)


@contextmanager
def locked(data: Path, waits: Callable[[], None]) -> Iterator[None]:
    """Be the only one who changes images; what a dead one left behind is swept away first.

    `waits` is called once where another is at it. Raises OperatorError.
    """
    fd = _open_lock(data)
    try:
        if not _lock(fd):
            waits()
            fcntl.flock(fd, fcntl.LOCK_EX)
        _sweep(data / _FOLDER)
        yield
    finally:
        os.close(fd)


def sweep(data: Path) -> None:
    """Clear away what interrupted imports left, unless one is at work right now."""
    if not (data / _FOLDER / _LOCK).exists():
        return
    fd = _open_lock(data)
    try:
        if _lock(fd):
            _sweep(data / _FOLDER)
    finally:
        os.close(fd)


@contextmanager
def staging(data: Path, name: str) -> Iterator[Path]:
    """Make a folder to build an image in; what is still there at the end goes. Under the lock."""
    made = _aside(data, _NEW, name)
    made.mkdir(mode=0o700)
    try:
        yield made
    finally:
        if made.exists():
            _delete(made)


def place(data: Path, name: str, built: Path) -> None:
    """Make what was built the image of that name, in place of one that is there. Under the lock.

    Pis have their own copies; none of them notices.
    """
    target = folder(data, name)
    if not target.exists():
        built.rename(target)
    elif swap.exchange(built, target):
        _delete(built)
    else:
        # Between these two the name is missing; sweep() puts the old one back if we do not come to the second.
        old = _aside(data, _OLD, name)
        target.rename(old)
        built.rename(target)
        _delete(old)


def rewrite(data: Path, now: ImageRecord) -> None:
    """Write down something else of an image that stays what it is. Under the lock. Raises OperatorError."""
    path = folder(data, now.name) / _RECORD
    try:
        files.write(path, record.to_text(now).encode())
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror}") from None


def remove(data: Path, name: str) -> None:
    """Delete an image: gone at once, its files a little later. Under the lock. Raises OSError."""
    gone = _aside(data, _GONE, name)
    folder(data, name).rename(gone)
    _delete(gone)


def _aside(data: Path, kind: str, name: str) -> Path:
    return data / _FOLDER / f"{kind}{name}-{secrets.token_hex(_MARK_BYTES)}"


def _open_lock(data: Path) -> int:
    home = data / _FOLDER
    try:
        data.mkdir(mode=0o755, parents=True, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
        return os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperatorError(
            f"{home} cannot be written: {error.strerror}",
            "Run this as the user that the daemon runs as, or name another data directory with --data.",
        ) from None


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(home: Path) -> None:
    for path in home.iterdir():
        if path.name.startswith(_OLD):
            name = path.name[len(_OLD) : -2 * _MARK_BYTES - 1]
            if not (home / name).exists():
                path.rename(home / name)
                continue
        if path.name.startswith((_NEW, _OLD, _GONE)):
            _delete(path)


def _delete(path: Path) -> None:
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # whoever holds it
        finally:
            os.close(fd)
    subvolume.delete(path / "root")
    # A copying program that died with its import may still be in its last write.
    until = time.monotonic() + _LINGERS_S
    while True:
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            if not path.exists():
                return
        except OSError:
            if time.monotonic() > until:
                raise
        else:
            return
        time.sleep(0.05)
