"""Which release a kernel image is, told by its own bytes.

Belongs here: finding "Linux version ..." in an Image, a gzip'd one, and the gzip'd part of a zImage. An image is read
once: its copies in every Pi's tree have the same size, time and beginning.
"""

from __future__ import annotations

import os
import re
import zlib
from typing import Final

_BANNER: Final = re.compile(rb"Linux version ([0-9][0-9A-Za-z.+~_-]{2,79}) ")
_GZIP: Final = b"\x1f\x8b\x08"
_CHUNK: Final = 1 << 20
_OVERLAP: Final = 128
_HEAD: Final = 1 << 17  # the unpacking code before a zImage's payload is smaller
_MOST: Final = 160 << 20
_REMEMBERED: Final = 256

_known: dict[tuple[int, int, int], str] = {}


def release(fd: int) -> str:
    """Say which release the kernel in an open file is; empty where it does not say. Raises OSError."""
    found = os.fstat(fd)
    head = os.pread(fd, _HEAD, 0)
    key = (found.st_size, found.st_mtime_ns, zlib.crc32(head))
    if key not in _known:
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[key] = _find(fd, head)
    return _known[key]


def _find(fd: int, head: bytes) -> str:
    if head.startswith(_GZIP):
        return _unpacked(fd, 0)
    told = _plain(fd)
    if told:
        return told
    packed = head.find(_GZIP)
    return _unpacked(fd, packed) if packed >= 0 else ""


def _plain(fd: int) -> str:
    offset, tail = 0, b""
    while offset < _MOST and (chunk := os.pread(fd, _CHUNK, offset)):
        told = _BANNER.search(tail + chunk)
        if told:
            return told[1].decode()
        offset += len(chunk)
        tail = chunk[-_OVERLAP:]
    return ""


def _unpacked(fd: int, offset: int) -> str:
    unpack = zlib.decompressobj(wbits=31)
    tail, done = b"", 0
    while done < _MOST and not unpack.eof:
        packed = unpack.unconsumed_tail
        if not packed:
            packed = os.pread(fd, _CHUNK >> 3, offset)
            offset += len(packed)
        if not packed:
            return ""
        try:
            chunk = unpack.decompress(packed, _CHUNK)
        except zlib.error:
            return ""
        told = _BANNER.search(tail + chunk)
        if told:
            return told[1].decode()
        done += len(chunk)
        tail = (tail + chunk)[-_OVERLAP:]
    return ""
