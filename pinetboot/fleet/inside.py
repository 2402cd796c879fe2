"""A tree as the machine sees it that will boot from it: every path and symlink begins and ends at the tree's own top.

Belongs here: finding, reading and writing in a tree that came from elsewhere. A link in it to /etc means its own /etc,
`..` at the top stays there, and what is no regular file is never opened: an image may say what it likes.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pinetboot import files

_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_LINKS: Final = 40  # what the kernel allows (path_resolution(7))
_MAX_DEPTH: Final = 256  # each folder on the way is a descriptor
_MAX_READ: Final = 1 << 20
_FOLDER_MODE: Final = 0o755


class Tree:
    """One tree, open until close(). Paths are the machine's own, with or without a slash in front.

    Looking never fails: what cannot be looked at is not there. Writing raises OSError.
    """

    def __init__(self, top: Path) -> None:
        self._top = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._top)

    def has(self, path: str) -> bool:
        """Whether there is anything at the end of a path."""
        return self._mode(path) is not None

    def has_file(self, path: str) -> bool:
        """Whether a path leads to a regular file."""
        mode = self._mode(path)
        return mode is not None and stat.S_ISREG(mode)

    def has_folder(self, path: str) -> bool:
        """Whether a path leads to a folder."""
        mode = self._mode(path)
        return mode is not None and stat.S_ISDIR(mode)

    def names(self, path: str) -> list[str]:
        """List what is in a folder, sorted; nothing where there is none."""
        try:
            fd = self._open_folder(path)
        except (OSError, ValueError):
            return []
        try:
            return sorted(os.listdir(fd))  # noqa: PTH208 - pathlib knows no descriptors
        except OSError:
            return []
        finally:
            os.close(fd)

    def read(self, path: str, limit: int = _MAX_READ) -> bytes | None:
        """Read a regular file of at most `limit` bytes; None where there is no such."""
        fd = self.open(path)
        if fd is None:
            return None
        with os.fdopen(fd, "rb") as file:
            try:
                content = file.read(limit + 1)
            except OSError:
                return None
        return content if len(content) <= limit else None

    def text(self, path: str, limit: int = _MAX_READ) -> str | None:
        """Read a regular file as text; bytes that are no UTF-8 survive being written again."""
        content = self.read(path, limit)
        return None if content is None else content.decode("utf-8", "surrogateescape")

    def open(self, path: str) -> int | None:
        """Open a regular file to read it; None where there is no such."""
        try:
            found = self._reach(path)
        except (OSError, ValueError):
            return None
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                return None
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return None
        finally:
            os.close(found)

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644, durable: bool = False) -> None:
        """Put a file in place, its folders made where they are missing; a link by that name is replaced.

        `durable` waits for the disk; a tree that is still being made is waited for as a whole.
        """
        octets = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        folder, name = self._open_parent(path)
        try:
            files.write_in(folder, name, octets, mode=mode, durable=durable)
        finally:
            os.close(folder)

    def link(self, path: str, target: str) -> None:
        """Put a symlink in place of whatever file is there."""
        folder, name = self._open_parent(path)
        try:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            os.symlink(target, name, dir_fd=folder)
        finally:
            os.close(folder)

    def remove(self, path: str) -> bool:
        """Remove a file or a symlink itself; says whether there was one."""
        try:
            folder, name = self._open_parent(path, make=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            os.unlink(name, dir_fd=folder)
        except (FileNotFoundError, IsADirectoryError):
            return False
        finally:
            os.close(folder)
        return True

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it, where they are missing."""
        os.close(self._reach(path, make=True))

    def _mode(self, path: str) -> int | None:
        try:
            found = self._reach(path)
        except (OSError, ValueError):
            return None
        try:
            return os.fstat(found).st_mode
        finally:
            os.close(found)

    def _open_parent(self, path: str, *, make: bool = True) -> tuple[int, str]:
        parent, _, name = path.rstrip("/").rpartition("/")
        if name in {"", ".", ".."}:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        return self._open_folder(parent, make=make), name

    def _open_folder(self, path: str, *, make: bool = False) -> int:
        found = self._reach(path, make=make)
        try:
            return os.open(".", _FOLDER, dir_fd=found)
        finally:
            os.close(found)

    def _reach(self, path: str, *, make: bool = False) -> int:
        """Open what a path leads to as O_PATH. `make` makes the folders that are missing.

        `stack` holds the folders from the top down; a link's target is walked in place of the link.
        """
        stack = [os.dup(self._top)]
        links = _MAX_LINKS
        try:
            todo = path.split("/")[::-1]
            while todo:
                if links < 0 or len(stack) > _MAX_DEPTH:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                part = todo.pop()
                if part in {"", "."}:
                    continue
                if not stat.S_ISDIR(os.fstat(stack[-1]).st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
                if part == "..":
                    if len(stack) > 1:
                        os.close(stack.pop())
                    continue
                target = _step(stack, part, make=make)
                if target is None:
                    continue
                links -= 1
                while target.startswith("/") and len(stack) > 1:
                    os.close(stack.pop())
                todo.extend(target.split("/")[::-1])
            return stack.pop()
        finally:
            for fd in stack:
                os.close(fd)


def _step(stack: list[int], name: str, *, make: bool) -> str | None:
    """Go down to `name`; where that is a symlink, stay and return its target."""
    fd = _open(stack[-1], name, make=make)
    if not stat.S_ISLNK(os.fstat(fd).st_mode):
        stack.append(fd)
        return None
    try:
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)


def _open(folder: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _LOOK, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
        os.mkdir(name, dir_fd=folder)
        os.chmod(name, _FOLDER_MODE, dir_fd=folder)  # whatever the umask
        return os.open(name, _LOOK, dir_fd=folder)
