"""A claim to keep the fleet of a data directory: one small file in `state/keeper/`, named by its number.

Belongs here: the file, proving the claim by it, answering for it and giving it up. How one is won, and when another's
is dead, is `fleet.keeper`'s.

A claim holds as long as its own file is there with its own token in it, which an open() asks the server of a network
file system each time. It is never renewed: a holder that was paused, and comes back, finds its file gone. What is done
under a claim goes through held() right before it changes anything that others see.

What remains: a holder that is stopped between its proof and the very next system call, for so long that it is taken for
dead, still makes that one call. So these calls are such that one too many does no harm: a rename into a name that is
free (it fails where it is not), a link to a generation that is whole, a managed file as fleet.toml has it, a name taken
away.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from pinetboot.fleet.fence import Lost

ASKED: Final = "asked"
_BYTES: Final = 512
_MOST_ASKED: Final = 32
_MOST_DIGITS: Final = 15
_GONE: Final = {errno.ENOENT, errno.ESTALE, errno.ENOTDIR}


@dataclass(frozen=True, slots=True)
class Record:
    """What a claim's file says. `locks`: its holder has it locked; `answered` is the last asking that it has seen."""

    token: str = ""
    host: str = ""
    pid: int = 0
    locks: bool = False
    released: bool = False
    answered: str = ""

    @property
    def who(self) -> str:
        """Whose it is, for people."""
        return f"{self.host} (process {self.pid})" if self.host else "another host"

    def to_bytes(self) -> bytes:
        """Always of one size, so that it is rewritten in place by a single write."""
        return json.dumps(asdict(self)).encode().ljust(_BYTES - 1) + b"\n"


class Claim:
    """A claim that was won. Every method may be called from any thread, and waits for the storage."""

    def __init__(self, folder: Path, epoch: int, record: Record, fd: int | None) -> None:
        self.epoch = epoch
        self._folder = folder
        self._path = folder / str(epoch)
        self._record = record
        self._fd = fd
        self._over = False
        self._lock = threading.RLock()

    @property
    def mark(self) -> str:
        """What is half made under this claim has it in its name."""
        return f"{self._record.token[:8]}-"

    @property
    def lost(self) -> bool:
        """Whether it is known to be lost, or was given up."""
        return self._over

    def check(self) -> None:
        """Make sure that it holds. Raises Lost, and OSError where the storage does not tell."""
        with self._lock:
            if not self._over:
                raw = read(self._path)
                if raw is not None and parse(raw).token == self._record.token:
                    return
                self.drop()
            raise Lost

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make sure that it holds, and do not give it up before the block is through. Raises as check() does."""
        with self._lock:
            self.check()
            yield

    def answer(self) -> None:
        """Answer whoever asks whether we live. Raises as check() does."""
        with self._lock:
            self.check()
            if max(epochs(self._folder), default=0) > self.epoch:
                self.drop()
                raise Lost
            asked = (read(self._folder / ASKED) or b"").decode("ascii", "replace").strip()[:_MOST_ASKED]
            if asked != self._record.answered and asked.isalnum():
                self._write(replace(self._record, answered=asked))

    def release(self) -> None:
        """Give it up: whoever wants it has it at the next look. No fault when it is gone already."""
        with self._lock:
            with suppress(OSError, Lost):
                self.check()
                self._write(replace(self._record, released=True))
            self.drop()

    def drop(self) -> None:
        """Use it no more, without a word to anybody."""
        with self._lock:
            self._over = True
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _write(self, record: Record) -> None:
        # Never made anew: what a successor took away must stay away.
        fd = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.pwrite(fd, record.to_bytes(), 0)
        finally:
            os.close(fd)
        self._record = record


def read(path: Path) -> bytes | None:
    """Read a small file as the server has it now; None where there is none. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return os.pread(fd, _BYTES, 0)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def parse(raw: bytes) -> Record:
    """Read a record; what makes no sense says nothing."""
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError):
        return Record()
    match told:
        case {
            "token": str(token),
            "host": str(host),
            "pid": int(pid),
            "locks": bool(locks),
            "released": bool(released),
            "answered": str(answered),
        }:
            return Record(token, host, pid, locks, released, answered)
    return Record()


def names(folder: Path) -> list[str]:
    """List what lies in the folder of claims; nothing where there is none. Raises OSError."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise


def epochs(folder: Path) -> list[int]:
    """List the numbers of the claims that lie there. Raises OSError."""
    return [int(name) for name in names(folder) if name.isascii() and name.isdigit() and len(name) <= _MOST_DIGITS]
