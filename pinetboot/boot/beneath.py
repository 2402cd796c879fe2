"""Opening a path so that nothing in it, no symlink and no `..`, can lead out of a directory.

Belongs here: the openat2 system call (Linux 5.6; the C library has no wrapper), and the same rules by hand where the
kernel or a seccomp filter lacks it. Every descriptor from here is O_PATH: nothing was opened for reading yet, so that
a FIFO does not block and a device node (which a Pi may plant over NFS) does not react.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from functools import cache
from typing import Final

_SYS_OPENAT2: Final = 437  # the same number on every architecture
_RESOLVE_NO_XDEV: Final = 0x01
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_RESOLVE_CACHED: Final = 0x20  # Linux 5.12

_OPEN_HOW: Final = struct.Struct("=QQQ")
_FLAGS: Final = os.O_PATH | os.O_CLOEXEC
_AT_FDCWD: Final = -100
_RACES: Final = 8
_MAX_LINKS: Final = 40  # what the kernel allows (path_resolution(7))

_libc: Final = ctypes.CDLL(None, use_errno=True)
_syscall: Final = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]


def _how(resolve: int) -> bytes:
    return _OPEN_HOW.pack(_FLAGS, 0, resolve)


_BENEATH: Final = _how(_RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
_PLAIN: Final = _how(_RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)
_PLAIN_CACHED: Final = _how(_RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_CACHED | _RESOLVE_NO_XDEV)
_CACHED: Final = _how(_RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | _RESOLVE_CACHED | _RESOLVE_NO_XDEV)


def _openat2(dir_fd: int, path: str, how: bytes) -> int:
    fd: int = _syscall(_SYS_OPENAT2, dir_fd, os.fsencode(path), how, len(how))
    if fd >= 0:
        return fd
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), path)


@cache
def _kernel_has(how: bytes) -> bool:
    try:
        os.close(_openat2(_AT_FDCWD, ".", how))
    except OSError as error:
        return error.errno not in {errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG}
    return True


def open_beneath(dir_fd: int, path: str) -> int:
    """Open `path` below `dir_fd`, following symlinks that stay below it.

    Returns an O_PATH descriptor. Raises OSError: EXDEV for a path that leads out, ELOOP for a magic link or a loop.
    """
    if not _kernel_has(_BENEATH):
        return _walk(dir_fd, path)
    for _ in range(_RACES):
        try:
            return _openat2(dir_fd, path, _BENEATH)
        except BlockingIOError:  # a rename elsewhere raced with a `..`; openat2(2) asks to try again
            continue
    raise OSError(errno.EBUSY, "the tree changes too fast to be read", path)


def open_plain(dir_fd: int, path: str) -> int:
    """Open `path` below `dir_fd`, following no symlink at all. Raises OSError, ELOOP at a symlink."""
    if _kernel_has(_PLAIN):
        return _openat2(dir_fd, path, _PLAIN)
    return _walk(dir_fd, path, links=0)


def open_cached(dir_fd: int, path: str) -> int | None:
    """Open as open_beneath() does, but only what the kernel's caches answer on this very mount: never wait for a disk.

    None means that it is not known without waiting. Raises OSError for what is known, ENOENT among it, and EXDEV both
    for a path that leads out and for one that enters another mount.
    """
    return _only_cached(dir_fd, path, _CACHED)


def open_plain_cached(dir_fd: int, path: str) -> int | None:
    """Open as open_plain() does, with the limits of open_cached()."""
    return _only_cached(dir_fd, path, _PLAIN_CACHED)


def _only_cached(dir_fd: int, path: str, how: bytes) -> int | None:
    if not _kernel_has(how):
        return None
    try:
        return _openat2(dir_fd, path, how)
    except BlockingIOError:
        return None


def _walk(dir_fd: int, path: str, links: int = _MAX_LINKS) -> int:
    """Do what RESOLVE_BENEATH does, one component at a time. `stack` holds the directories from the top down."""
    stack = [os.dup(dir_fd)]
    try:
        todo = path.split("/")[::-1]
        while todo:
            part = todo.pop()
            if part in {"", ".", ".."} and not stat.S_ISDIR(os.fstat(stack[-1]).st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            if part in {"", "."}:
                continue
            if part == "..":
                if len(stack) == 1:
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
                os.close(stack.pop())
                continue
            fd = os.open(part, _FLAGS | os.O_NOFOLLOW, dir_fd=stack[-1])
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                stack.append(fd)
                continue
            try:
                target = os.readlink("", dir_fd=fd)
            finally:
                os.close(fd)
            links -= 1
            if links < 0:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
            todo.extend(target.split("/")[::-1])
        return stack.pop()
    finally:
        for fd in stack:
            os.close(fd)
