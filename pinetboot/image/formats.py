"""In what a disk image or a tar comes packed: told by its first bytes, never by its name.

Belongs here: magic numbers, and the unpacked size where a format writes it down. The bytes come through `Read`.
Never here: unpacking.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final

from pinetboot.image.disk import Read

MAGIC_BYTES: Final = 512

_XZ_HEADER: Final = 12
_XZ_FOOTER: Final = struct.Struct("<IIH2s")
_XZ_MOST_INDEX: Final = 16 << 20
_ZSTD_SIZES: Final = {0: (0, 0), 1: (2, 256), 2: (4, 0), 3: (8, 0)}
_ZSTD_SINGLE_SEGMENT: Final = 0x20


class Packing(Enum):
    """How a source is packed; the value is what it is called."""

    XZ = "xz"
    GZIP = "gzip"
    ZSTD = "zstd"
    ZIP = "zip"
    NONE = ""


_MAGICS: Final = (
    (b"\xfd7zXZ\x00", Packing.XZ),
    (b"\x1f\x8b\x08", Packing.GZIP),
    (b"\x28\xb5\x2f\xfd", Packing.ZSTD),
    (b"PK\x03\x04", Packing.ZIP),
    (b"PK\x05\x06", Packing.ZIP),  # one with nothing in it
)


def packing(head: bytes) -> Packing:
    """Tell the packing by a file's first bytes."""
    return next((kind for magic, kind in _MAGICS if head.startswith(magic)), Packing.NONE)


def is_tar(head: bytes) -> bool:
    """Tell a tar by its first 512 bytes."""
    return len(head) >= MAGIC_BYTES and head[257:262] == b"ustar"


def unpacked_size(kind: Packing, read: Read, size: int) -> int | None:
    """Say how many bytes a packed file of `size` bytes holds; None where that is not told (a zip tells it elsewhere).

    gzip tells no size beyond 4 GiB and zstd only the first frame's, so that for these it is the least there can be.
    """
    if kind is Packing.NONE:
        return size
    if kind is Packing.XZ:
        return _xz_size(read, size)
    if kind is Packing.ZSTD:
        return _zstd_size(read(0, 18))
    if kind is Packing.GZIP and size >= 18:  # noqa: PLR2004 - an empty one
        return int.from_bytes(read(size - 4, 4), "little")
    return None


def _zstd_size(head: bytes) -> int | None:
    """Read the frame header (RFC 8878, 3.1.1.1)."""
    if len(head) < 6:  # noqa: PLR2004
        return None
    descriptor = head[4]
    flag, single = descriptor >> 6, bool(descriptor & _ZSTD_SINGLE_SEGMENT)
    length, plus = (1, 0) if single and not flag else _ZSTD_SIZES[flag]
    at = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    return int.from_bytes(head[at : at + length], "little") + plus if length else None


def _xz_size(read: Read, size: int) -> int | None:
    """Add up what the indexes of all streams say, from the last to the first (the .xz file format 1.2.1, 2 and 4)."""
    total, end = 0, size
    while end > 0:
        while end >= 4 and read(end - 4, 4) == bytes(4):  # noqa: PLR2004 - stream padding
            end -= 4
        footer = read(end - _XZ_HEADER, _XZ_HEADER) if end >= 2 * _XZ_HEADER else b""
        if len(footer) < _XZ_HEADER:
            return None
        _, backward, _, magic = _XZ_FOOTER.unpack(footer)
        index = (backward + 1) * 4
        if magic != b"YZ" or index > min(_XZ_MOST_INDEX, end - 2 * _XZ_HEADER):
            return None
        found = _xz_index(read(end - _XZ_HEADER - index, index))
        if found is None:
            return None
        blocks, unpacked = found
        end -= 2 * _XZ_HEADER + index + blocks
        total += unpacked
        if end < 0:
            return None
    return total


def _xz_index(index: bytes) -> tuple[int, int] | None:
    """Read an index: the bytes that its blocks take, padding included, and those that they hold."""
    if not index or index[0]:
        return None
    try:
        count, at = _multibyte(index, 1)
        blocks = unpacked = 0
        for _ in range(count):
            block, at = _multibyte(index, at)
            holds, at = _multibyte(index, at)
            blocks += -(-block // 4) * 4
            unpacked += holds
    except IndexError:
        return None
    return blocks, unpacked


def _multibyte(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return value | data[at] << shift, at + 1
