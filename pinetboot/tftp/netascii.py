"""netascii, the text mode of RFC 1350 (RFC 764): a line ends in CR LF, a CR that ends no line in CR NUL.

Belongs here: the translation and the arithmetic of sizes, so that a text file has a size, and any part of it can be
made, without translating the whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

PIECE = 1 << 18


def encode(text: bytes) -> bytes:
    """Translate bytes of a Unix text file into netascii."""
    return text.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")


def encoded_size(text: bytes) -> int:
    """Say how many bytes encode() would make."""
    return len(text) + text.count(b"\r") + text.count(b"\n")


class Index:
    """Where each piece of a file (of PIECE bytes) begins in its netascii form. `read(offset, size)` gives the file."""

    def __init__(self, size: int, read: Callable[[int, int], bytes]) -> None:
        self._read = read
        self._file_size = size
        self._starts = [0]
        for offset in range(0, size, PIECE):
            self._starts.append(self._starts[-1] + encoded_size(read(offset, min(PIECE, size - offset))))

    @property
    def size(self) -> int:
        """The size of the whole in netascii, bytes."""
        return self._starts[-1]

    def read(self, offset: int, size: int) -> bytes:
        """Make bytes `offset` to `offset + size` of the netascii form; shorter only at the end."""
        end = min(offset + size, self.size)
        made = []
        piece = max(bisect_right(self._starts, offset) - 1, 0)
        while offset < end:
            start = self._starts[piece]
            text = encode(self._read(piece * PIECE, min(PIECE, self._file_size - piece * PIECE)))
            part = text[offset - start : end - start]
            if not part:
                raise EOFError("the file is shorter than it was")
            made.append(part)
            offset += len(part)
            piece += 1
        return b"".join(made)
