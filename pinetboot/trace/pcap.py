"""The file that a trace is written to: the pcap writer's door to dpkt.

Belongs here: opening it and writing frames. It may hold what a seed tells one Pi alone, so that only its owner may
read it.
"""

from __future__ import annotations

import os
import sys
from typing import BinaryIO, Final

from pinetboot.errors import OperatorError

STDOUT: Final = "-"
_ETHERNET: Final = 1  # LINKTYPE_ETHERNET
_LONGEST: Final = 1 << 18


class Pcap:
    """Writes frames to the file `path`, `-` for standard output, that is made or written anew. Raises OperatorError."""

    def __init__(self, path: str) -> None:
        self.written = 0
        self._path = path
        self._file = sys.stdout.buffer if path == STDOUT else _opened(path)
        # It loads all the protocols that it knows, which no other command should wait for.
        import dpkt  # noqa: PLC0415

        self._writer = dpkt.pcap.Writer(self._file, snaplen=_LONGEST, linktype=_ETHERNET)

    def add(self, frame: bytes, at: float) -> None:
        """Write an Ethernet frame that was seen at a time, seconds since 1970. Raises OSError."""
        self._writer.writepkt(frame, at)
        self.written += 1

    def flush(self) -> None:
        """Have all of it in the file, for whoever reads along. Raises OSError."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left. Raises OSError."""
        if self._path == STDOUT:
            self._file.flush()
        else:
            self._file.close()


def _opened(path: str) -> BinaryIO:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror}", "Name another file with -o.") from None
    return os.fdopen(fd, "wb", buffering=1 << 20)
