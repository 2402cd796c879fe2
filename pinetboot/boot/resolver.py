"""Which file a name means, and that file opened: the one way in for TFTP and HTTP.

Belongs here: the boot root, the link `boot/<serial>` into a Pi's own generation, and refusing all that is no regular
file within its tree. A symlink is followed only within the tree it lies in: the boot root or, after our own
`boot/<serial>` link, that generation's boot tree.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pinetboot.boot import beneath

_SERIAL = re.compile(r"[0-9a-f]{8}")
_OWN_LINK = re.compile(r"\.\./pis/([0-9a-f]{8})/([0-9A-Za-z][0-9A-Za-z._-]*)/boot/?")
# File systems whose server may be gone, so that even a look at them may hang.
_REMOTE = re.compile(r"nfs4?|cifs|smb3|fuse(\..+)?|9p|ceph|glusterfs|afs|lustre|virtiofs|autofs")

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_Fd = TypeVar("_Fd", int, int | None)


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
    """

    __slots__ = ("ctime_ns", "device", "fd", "inode", "mtime_ns", "path", "size")

    def __init__(self, path: str, fd: int) -> None:
        self.fd = fd
        self.path = path
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
        with suppress(OSError):
            os.close(self.fd)


@dataclass(frozen=True, slots=True)
class BootTree:
    """The tree below `root`. `pis` is where `boot/<serial>` links may lead, None where there are no such links."""

    root: Path
    pis: Path | None = None

    def open_now(self, path: str) -> BootFile | None:
        """Open a normal path when the kernel's caches can answer, None otherwise. Raises NotServed."""
        try:
            found = self._find(path, beneath.open_cached)
        except OSError as error:
            # EXDEV may be no more than another file system mounted in the tree.
            if error.errno == errno.EXDEV:
                return None
            raise _answer(error) from None
        return None if found is None else _regular(path, found)

    def open(self, path: str) -> BootFile:
        """Open a normal path, waiting for the storage as long as it takes. Raises NotServed."""
        try:
            found = self._find(path, beneath.open_beneath)
        except OSError as error:
            raise _answer(error) from None
        return _regular(path, found)

    def _find(self, path: str, opener: Callable[[int, str], _Fd]) -> _Fd:
        top = os.open(self.root, _DIRECTORY)
        try:
            own = self._own(top, path)
            if own is None:
                return opener(top, path)
        finally:
            os.close(top)
        generation, rest = own
        try:
            return opener(generation, rest)
        finally:
            os.close(generation)

    def _own(self, root: int, path: str) -> tuple[int, str] | None:
        """Open the generation that `boot/<serial>` points at, when the path begins with such a link of ours."""
        serial, _, rest = path.partition("/")
        if self.pis is None or not rest or not _SERIAL.fullmatch(serial):
            return None
        try:
            target = os.readlink(serial, dir_fd=root)
        except OSError:
            return None
        link = _OWN_LINK.fullmatch(target)
        if link is None or link[1] != serial:
            return None
        pis = os.open(self.pis, _DIRECTORY)
        try:
            return beneath.open_plain(pis, f"{serial}/{link[2]}/boot"), rest
        finally:
            os.close(pis)

    def is_remote(self) -> bool:
        """Whether the tree lies on a file system that may hang, so that it is never opened on the loop."""
        return _REMOTE.fullmatch(_file_system(self.root)) is not None


def _regular(path: str, found: int) -> BootFile:
    """Turn an O_PATH descriptor into a file to read, if a regular file is what it is."""
    try:
        mode = os.fstat(found).st_mode
        if stat.S_ISDIR(mode):
            raise Refused("it is a directory")
        if not stat.S_ISREG(mode):
            raise Refused("it is no regular file")
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise _answer(error) from None
    finally:
        os.close(found)
    return BootFile(path, fd)


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
    """Name the type of the file system that holds `path`, from /proc/self/mountinfo (proc(5)) alone."""
    best, kind = "", ""
    real = os.path.realpath(path)
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split(" ")[4].encode().decode("unicode_escape")
        inside = point in {"/", real} or real.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, rest.split(" ")[0]
    return kind
