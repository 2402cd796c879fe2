"""The installers of a boot tree: `installers/<name>/<architecture>/{linux,initrd.gz,installer.toml}`.

Belongs here: where they lie, who may change them, and folders that appear and go at once. What begins with a dot is no
installer. The tree is a plain one: any other server could serve it too.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pinetboot.errors import ConfigError, OperatorError
from pinetboot.image import swap
from pinetboot.installer import release
from pinetboot.installer.release import ARCHITECTURES, FOLDER, RECORD, Installer

_NEW: Final = ".new-"
_MOST_RECORD: Final = 1 << 16


def installers(boot: Path) -> list[Installer]:
    """List what is there, by name and architecture; what has no readable record is none. Raises OSError."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for folder in sorted((boot / FOLDER).iterdir()):
            for architecture in ARCHITECTURES:
                record = folder / architecture / RECORD
                with suppress(FileNotFoundError, NotADirectoryError, ConfigError, UnicodeDecodeError):
                    if record.stat().st_size > _MOST_RECORD:
                        continue
                    one = release.from_text(record.read_text(), str(record))
                    if (one.name, one.architecture) == (folder.name, architecture):
                        found.append(one)
    return found


@contextmanager
def locked(boot: Path) -> Iterator[Path]:
    """Be the only one who changes installers; their folder, without what a dead one left. Raises OperatorError."""
    home = boot / FOLDER
    try:
        home.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(home / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperatorError(
            f"{home} cannot be written: {error.strerror}", "Run this as the user that the daemon runs as."
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        for left in home.glob(f"{_NEW}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield home
    finally:
        os.close(fd)


@contextmanager
def staging(home: Path) -> Iterator[Path]:
    """Make a folder to build in, on the same file system; what is still there at the end goes. Under the lock."""
    made = home / f"{_NEW}{secrets.token_hex(4)}"
    made.mkdir(mode=0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def place(home: Path, installer: Installer, built: Path) -> None:
    """Put what was built in its place, in that of an earlier one too. Under the lock. Raises OSError."""
    target = home / installer.name / installer.architecture
    target.parent.mkdir(mode=0o755, exist_ok=True)
    if not target.exists():
        built.rename(target)
    elif not swap.exchange(built, target):
        shutil.rmtree(target)
        built.rename(target)


def remove(home: Path, name: str) -> None:
    """Take an installer away, all its architectures: gone at once. Under the lock. Raises OSError."""
    gone = home / f"{_NEW}{secrets.token_hex(4)}"
    (home / name).rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
