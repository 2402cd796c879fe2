"""Which of the daemons over one data directory keeps its fleet: one at a time, by a numbered claim.

Belongs here: winning a claim, and judging that another's is dead. What one holds by it is `fleet.claim`'s.

Of the claims in `state/keeper/` the highest counts. It is won by link(2), which of many only one gets done for a name,
on NFS as well; the winner unlinks all lower ones before it does anything.

A holder is judged by its silence alone. Whoever wants its place writes into `asked`, the holder answers in its own
file, and one that has not for SILENT_S of the asker's own time, in which the asker itself was awake, is dead. No clocks
of two hosts are compared, nothing is written while nobody asks, and no lock of NFS is taken, which may hang. On a disk
of one host alone the claim's file is locked as well, and the kernel tells at once that its holder is gone.

The folder may be deleted at any time: the holder finds its claim gone, and the next look begins at 1 again.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pinetboot import files, mountinfo
from pinetboot.fleet import claim as claims
from pinetboot.fleet.claim import ASKED, Claim, Record
from pinetboot.fleet.fence import Lost

SILENT_S: Final = 10.0
_STEP_S: Final = 2.0  # a longer pause between two looks was our own, or the storage's: not all of it is silence
_PAUSE_S: Final = 5.0
_MOST_HOST: Final = 64
_TRIES: Final = 3
# File systems of one kernel alone: a lock that is free there is free.
_LOCAL: Final = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "nilfs2", "reiserfs", "zfs", "bcachefs", "tmpfs", "overlay"}
)


class Keeper:
    """One daemon's part in it. look() and release() are called one at a time, in a thread; `clock` gives seconds."""

    def __init__(self, data: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.claim: Claim | None = None
        self.other = ""
        self._folder = data / "state" / "keeper"
        self._clock = clock
        self._local: bool | None = None
        self._forget()

    def look(self, *, wanted: bool) -> Claim | None:
        """Answer for the claim that we have, else win one where it is wanted and nobody else has it. Raises OSError.

        Returns the claim that holds; `other` names who has it where that is somebody else.
        """
        if self.claim is not None:
            try:
                self.claim.answer()
            except Lost:
                self.claim = None
            else:
                return self.claim
        epoch, raw = self._newest()
        record = claims.parse(raw)
        self.other = record.who if epoch and not record.released else ""
        if not wanted:
            self._forget()
        elif not epoch or record.released or self._is_dead(epoch, record) or self._is_silent(epoch, raw):
            self.claim = self._win(epoch + 1)
            if self.claim is not None:
                self.other = ""
            self._forget()
        return self.claim

    def release(self) -> None:
        """Give up the claim, if there is one."""
        claim, self.claim = self.claim, None
        if claim is not None:
            claim.release()

    def _forget(self) -> None:
        self._heard: tuple[int, bytes] | None = None
        self._silence_s = 0.0
        self._asking = False
        self._next = 0.0
        self._looked = 0.0

    def _newest(self) -> tuple[int, bytes]:
        """Find the claim that counts, and what it says; 0 where there was never one."""
        epoch = 0
        for _ in range(_TRIES):
            epoch = max(claims.epochs(self._folder), default=0)
            raw = claims.read(self._folder / str(epoch)) if epoch else b""
            if raw is not None:
                return epoch, raw
        return epoch, b""  # what a network file system remembers of the folder is not always of today

    def _is_silent(self, epoch: int, raw: bytes) -> bool:
        """Ask the holder of a claim for a sign of life, and say whether it has had its time to give one."""
        now = self._clock()
        if self._heard != (epoch, raw):
            another = self._heard is None or self._heard[0] != epoch
            self._heard, self._asking = (epoch, raw), False
            self._next = now if another else now + _PAUSE_S
        if self._asking:
            self._silence_s += min(now - self._looked, _STEP_S)
        elif now >= self._next:
            _overwrite(self._folder / ASKED, secrets.token_hex(8).encode())
            self._asking, self._silence_s = True, 0.0
        self._looked = self._clock()
        return self._asking and self._silence_s >= SILENT_S

    def _is_dead(self, epoch: int, record: Record) -> bool:
        """Whether the kernel says that the holder of a claim is gone."""
        if not record.locks or not self._is_local():
            return False
        try:
            fd = os.open(self._folder / str(epoch), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            return True
        finally:
            os.close(fd)

    def _is_local(self) -> bool:
        if self._local is None:
            mount = mountinfo.mount_of(self._folder)
            self._local = mount is not None and mount.kind in _LOCAL
        return self._local

    def _win(self, epoch: int) -> Claim | None:
        """Try to be the one who has the claim of that number. Raises OSError."""
        folder, token = self._folder, secrets.token_hex(8)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        host = os.uname().nodename.encode("ascii", "replace").decode()[:_MOST_HOST]
        record = Record(token, host, os.getpid(), locks=self._is_local())
        beside = folder / f"{files.TEMPORARY}{token}"
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        won = False
        try:
            if record.locks:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, record.to_bytes())
            os.fsync(fd)
            won = _link(beside, folder / str(epoch), fd) and self._is_highest(epoch)
        finally:
            _unlink(beside)
            if not won or not record.locks:
                os.close(fd)
        return Claim(folder, epoch, record, fd if record.locks else None) if won else None

    def _is_highest(self, epoch: int) -> bool:
        """Take all lower claims away; where there is a higher one, give way to it instead.

        A number is free once more when its successor has taken it away, so one who comes late may get such a one. The
        highest is never taken away: the late one sees it.
        """
        files.settle(self._folder)
        found = claims.epochs(self._folder)
        late = max(found, default=0) > epoch
        for number in found:
            if (number == epoch) if late else (number < epoch):
                _unlink(self._folder / str(number))
        if late:
            return False
        for name in claims.names(self._folder):
            if name.startswith(files.TEMPORARY):
                _unlink(self._folder / name)
        # It is there from now on: that a name is missing is remembered for long on a network file system.
        with suppress(FileExistsError):
            os.close(os.open(self._folder / ASKED, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return True


def _link(beside: Path, path: Path, fd: int) -> bool:
    """Give a file its name unless that is another's; says whether it has it."""
    try:
        os.link(beside, path)
    except FileNotFoundError:
        return False  # swept away by one who won
    except FileExistsError:
        # A request whose answer got lost is sent once more by NFS, and then it is our own name that is in the way.
        with suppress(OSError):
            own, there = os.fstat(fd), path.lstat()
            return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)
        return False
    return True


def _overwrite(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
