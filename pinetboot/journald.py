"""Lines for systemd's journal, each with its fields (systemd.io/JOURNAL_NATIVE_PROTOCOL).

Belongs here: telling whether the journal is at the other end, and handing it an entry. Nothing here ever waits.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TextIO

SOCKET: Final = Path("/run/systemd/journal/socket")
# The numbers of syslog(3), which the journal sorts and colours by.
PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3}
_LONGEST_NAME: Final = 64
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Z0-9_]")


def reads(stream: TextIO) -> bool:
    """Whether what is written to a stream goes into the journal: JOURNAL_STREAM of systemd.exec(5)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def marked(level: str, text: str) -> str:
    """Write a line so that the journal takes its level from it (sd-daemon(3))."""
    return f"<{PRIORITIES[level]}>{text}"


def field(name: str) -> str:
    """Name a field of ours as the journal wants it, apart from everybody else's."""
    return f"PINETBOOT_{_NOT_IN_A_NAME.sub('_', name.upper())}"[:_LONGEST_NAME]


def first(level: str, message: str) -> dict[str, str]:
    """Give the fields that every entry has."""
    return {"MESSAGE": message, "PRIORITY": str(PRIORITIES[level]), "SYSLOG_IDENTIFIER": "pinetboot"}


def entry(fields: Mapping[str, str]) -> bytes:
    """Write an entry down."""
    return b"".join(_field(name.encode(), text.encode("utf-8", "replace")) for name, text in fields.items())


def _field(name: bytes, text: bytes) -> bytes:
    if b"\n" not in text:
        return name + b"=" + text + b"\n"
    return name + b"\n" + len(text).to_bytes(8, "little") + text + b"\n"


class Journal:
    """The journal's socket, opened when it is needed."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = str(path)
        self._sock: socket.socket | None = None

    def send(self, fields: Mapping[str, str]) -> bool:
        """Hand over an entry; False where it has to be told in another way: the journal is away, or far behind."""
        try:
            if self._sock is None:
                self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._sock.sendto(entry(fields), self._path)
        except OSError:
            return False
        return True
