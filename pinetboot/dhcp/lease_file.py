"""The leases on disk, `state/leases.json`: a line of JSON an address and change, the last one of an address counting.

Belongs here: that what append() was given is on disk when it returns, whatever moment the process dies or the power
goes, and comes back whole. What a line says is `leases`'. Everything here waits for the disk: call it in a thread.

A crash may leave the end of the last append() behind, whole lines of it and a piece of one; nobody was told of these
leases, and a piece is no JSON. The first append() writes the file anew without it.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pinetboot import files

_MODE: Final = 0o600
# So many lines that no longer count may gather beyond one for each address that is known.
_SUPERSEDED: Final = 4096
_OPEN: Final = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class LeaseFile:
    """The file at `path`, kept by one process, from any thread. Keys are addresses as text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, bytes] = {}
        self._fd: int | None = None
        self._written = 0
        self._lock = threading.Lock()

    def read(self) -> tuple[list[Any], int]:
        """Read what every address's last line says, and how many lines are no JSON; nothing is written.

        A piece of a line at the end does not count. Raises OSError, also where it could not be written later.
        """
        with self._lock:
            return self._read()

    def _read(self) -> tuple[list[Any], int]:
        self._close()
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{self.path.parent} may not be written")
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            content = b""
        *whole, _piece = content.split(b"\n")
        found: dict[str, Any] = {}
        self._lines = {}
        spoilt = 0
        for line in whole:
            try:
                item = json.loads(line)
            except (ValueError, RecursionError):
                spoilt += 1
                continue
            if isinstance(item, dict) and isinstance(address := item.get("address"), str):
                found[address] = item
                self._lines[address] = line + b"\n"
        return list(found.values()), spoilt

    def append(self, lines: Mapping[str, bytes]) -> None:
        """Keep lines, each of which ends in a newline; they are on disk when this returns. Raises OSError."""
        with self._lock:
            self._append(lines)

    def close(self) -> None:
        """Keep it no more; a later append() writes it anew."""
        with self._lock:
            self._close()

    def _append(self, lines: Mapping[str, bytes]) -> None:
        content = b"".join(lines.values())
        self._lines.update(lines)
        if self._fd is None or not self._is_in_place(self._fd):
            self._write_anew()
            return
        try:
            _write_all(self._fd, content)
            os.fdatasync(self._fd)
        except OSError:
            # What is on disk by now cannot be known: it is all written anew the next time.
            self._close()
            raise
        self._written += len(lines)
        if self._written > len(self._lines) + _SUPERSEDED:
            # It is only too long: that can wait for more room on the disk.
            with suppress(OSError):
                self._write_anew()

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _write_anew(self) -> None:
        files.write(self.path, b"".join(self._lines.values()), mode=_MODE)
        self._close()
        self._fd = os.open(self.path, _OPEN)
        self._written = len(self._lines)

    def _is_in_place(self, fd: int) -> bool:
        """Whether the name still leads to the file that is written; `state` may be deleted at any time."""
        try:
            return os.path.samestat(os.fstat(fd), self.path.lstat())
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            return False


def _write_all(fd: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]
