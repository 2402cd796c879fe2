"""Which file a name means, and that file opened: the one way in for TFTP and HTTP.

Belongs here: the boot root, the link `boot/<serial>` into a Pi's own generation, and refusing all that is no regular
file within its tree. A symlink is followed only within the tree it lies in: the boot root or, after our own
`boot/<serial>` link, that generation's boot tree.
"""

from __future__ import annotations

import _thread
import errno
import os
import re
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn, Protocol

from pinetboot import mountinfo
from pinetboot.boot import beneath

_SERIAL = re.compile(r"[0-9a-f]{8}")
_OWN_LINK = re.compile(r"\.\./pis/([0-9a-f]{8})/([0-9A-Za-z][0-9A-Za-z._-]*)/boot/?")
# File systems whose server may be gone, so that even a look at them may hang.
_REMOTE = re.compile(r"nfs4?|cifs|smb3|fuse(\..+)?|9p|ceph|glusterfs|afs|lustre|virtiofs|autofs")

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_Opener = Callable[[int, str], int | None]


class NotServed(Exception):
    """A name that gets no file, and why."""


class Missing(NotServed):
    """There is no such file."""


class Refused(NotServed):
    """There is something by that name, and it is not given out."""


class Unreadable(NotServed):
    """The storage failed."""


class BootFile:
    """A regular file, open for reading, with what it was when it was opened.

    It is closed when the last one who holds it lets go: a thread may still read while the transfer that asked is over.
    `remote` files lie where the storage may hang, at a look and even at the close; they are for threads alone.
    """

    __slots__ = ("ctime_ns", "device", "fd", "inode", "mtime_ns", "path", "remote", "size")

    def __init__(self, path: str, fd: int, *, remote: bool) -> None:
        self.fd = fd
        self.path = path
        self.remote = remote
        try:
            found = os.fstat(fd)
        except OSError as error:
            raise _answer(error) from None
        self.size = found.st_size
        self.mtime_ns = found.st_mtime_ns
        self.ctime_ns = found.st_ctime_ns
        self.device = found.st_dev
        self.inode = found.st_ino

    @property
    def identity(self) -> tuple[int, int, int, int, int]:
        """What names this very content: (device, inode, size, mtime_ns, ctime_ns)."""
        return (self.device, self.inode, self.size, self.mtime_ns, self.ctime_ns)

    def unchanged(self) -> bool:
        """Whether the file still has the size and time of writing that it was opened with.

        ctime is left out: it changes when another file is renamed over this one, which leaves the content as it was.
        """
        now = os.fstat(self.fd)
        return now.st_size == self.size and now.st_mtime_ns == self.mtime_ns

    def __del__(self) -> None:
        """Give the descriptor back."""
        if self.remote:
            try:
                # The bare call: threading's own waits for the thread and takes locks, which a __del__ must not.
                _thread.start_new_thread(_close, (self.fd,))
            except RuntimeError:
                _close(self.fd)
        else:
            _close(self.fd)


def _close(fd: int) -> None:
    with suppress(OSError):
        os.close(fd)


class Names(Protocol):
    """What a name means that the tree itself does not have."""

    def folders(self, asked: str) -> Sequence[str]:
        """Other names of the folder that a Pi asked for: its serial for its MAC, lower case for upper, and so on."""

    def stand_in(self, path: str) -> Path | None:
        """A file from elsewhere for a path that is missing, trusted to be ours."""


@dataclass(frozen=True)
class BootTree:
    """The tree below `root`. `pis` is where `boot/<serial>` links may lead, None where there are no such links."""

    root: Path
    pis: Path | None = None
    names: Names | None = None

    def open_now(self, path: str) -> BootFile | None:
        """Open a normal path when the kernel's caches can answer, None otherwise. Raises NotServed."""
        try:
            found = self._find_by_any_name(path, beneath.open_cached, beneath.open_plain_cached)
        except OSError as error:
            # EXDEV may be no more than another file system mounted in the tree.
            if error.errno == errno.EXDEV:
                return None
            raise _answer(error) from None
        return None if found is None else _regular(path, found, mounts=False)

    def open(self, path: str) -> BootFile:
        """Open a normal path, waiting for the storage as long as it takes. Raises NotServed."""
        try:
            found = self._find_by_any_name(path, beneath.open_beneath, beneath.open_plain)
        except OSError as error:
            raise _answer(error) from None
        if found is None:
            raise AssertionError("an open that may wait ends in a descriptor or an error")
        return _regular(path, found, mounts=True)

    def has(self, path: str) -> bool:
        """Whether open() gives a file."""
        try:
            self.open(path)
        except NotServed:
            return False
        return True

    def is_remote(self) -> bool:
        """Whether the tree lies on a file system that may hang, so that it is never opened on the loop.

        Found out at the first call, which belongs before anything can hang.
        """
        return self._remote

    @cached_property
    def _remote(self) -> bool:
        return any(path is not None and _REMOTE.fullmatch(_file_system(path)) for path in (self.root, self.pis))

    def _find_by_any_name(self, path: str, opener: _Opener, plain: _Opener) -> int | None:
        try:
            return self._find(path, opener, plain)
        except OSError as error:
            if self.names is None or error.errno not in _MISSING:
                raise
            missing = error
        folder, _, rest = path.partition("/")
        if not rest:
            elsewhere = self.names.stand_in(path)
            return os.open(elsewhere, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW) if elsewhere else _raise(missing)
        if not os.path.lexists(self.root / folder):
            for other in self.names.folders(folder):
                # The first of a Pi's folders that is there is its tree; what that one lacks is missing.
                if os.path.lexists(self.root / other):
                    return self._find(f"{other}/{rest}", opener, plain)
        raise missing

    def _find(self, path: str, opener: _Opener, plain: _Opener) -> int | None:
        top = os.open(self.root, _DIRECTORY)
        try:
            link = self._own_link(top, path)
            if link is None:
                return opener(top, path)
        finally:
            os.close(top)
        pis = os.open(self.pis or "", _DIRECTORY)
        try:
            generation = plain(pis, link)
        finally:
            os.close(pis)
        if generation is None:
            return None
        try:
            return opener(generation, path.partition("/")[2])
        finally:
            os.close(generation)

    def _own_link(self, root: int, path: str) -> str | None:
        """Read which generation below `pis` the link `boot/<serial>` names, when the path begins with one of ours."""
        serial, _, rest = path.partition("/")
        if self.pis is None or not rest or not _SERIAL.fullmatch(serial):
            return None
        try:
            target = os.readlink(serial, dir_fd=root)
        except OSError:
            return None
        link = _OWN_LINK.fullmatch(target)
        return f"{serial}/{link[2]}/boot" if link is not None and link[1] == serial else None


def _raise(error: OSError) -> NoReturn:
    raise error


def _regular(path: str, found: int, *, mounts: bool) -> BootFile:
    """Turn an O_PATH descriptor into a file to read, if a regular file is what it is.

    `mounts` says that it may lie on another mount than the tree, which is then looked at.
    """
    try:
        status = os.fstat(found)
        if stat.S_ISDIR(status.st_mode):
            raise Refused("it is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise Refused("it is no regular file")
        remote = mounts and _is_remote_device(status.st_dev)
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise _answer(error) from None
    finally:
        os.close(found)
    return BootFile(path, fd, remote=remote)


_MISSING = {errno.ENOENT, errno.ENOTDIR}
_REFUSED = {
    errno.EXDEV: "a symlink in it leaves its own tree",
    errno.ELOOP: "its symlinks go in a circle or lead out",
    errno.EACCES: "pinetboot may not read it",
    errno.EPERM: "pinetboot may not read it",
    errno.ENAMETOOLONG: "the name is too long",
}


def _answer(error: OSError) -> NotServed:
    if error.errno in _MISSING:
        return Missing("there is no such file")
    if error.errno in _REFUSED:
        return Refused(_REFUSED[error.errno])
    return Unreadable(f"the storage failed: {error.strerror}")


def _file_system(path: Path) -> str:
    """Name the type of the file system that holds `path`."""
    mount = mountinfo.mount_of(path)
    return mount.kind if mount is not None else ""


def _is_remote_device(device: int) -> bool:
    """Whether the file system with that device number may hang; one that is not listed by it (btrfs) does not."""
    number = f"{os.major(device)}:{os.minor(device)}"
    return any(mount.device == number and _REMOTE.fullmatch(mount.kind) for mount in mountinfo.mounts())
