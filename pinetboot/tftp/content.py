"""A file as TFTP transfers it: how long it is, and its bytes, laid out as ready packets.

Belongs here: the layout, in octet or netascii form. Reading happens on the loop only when the page cache has the bytes.
"""

from __future__ import annotations

import os
from typing import Final

from pinetboot.boot.reading import ContentChanged, read_exactly, read_now
from pinetboot.boot.resolver import BootFile
from pinetboot.tftp import netascii
from pinetboot.tftp.packet import HEADER_SIZE, Opcode

CHUNK_BYTES: Final = 128 << 10
_CHUNK_BLOCKS: Final = 512  # preadv() takes at most 1024 pieces

# Every ACK there can be, so that the common case is one comparison of bytes; 3 MiB, shared by all transfers.
_ACKS: Final = tuple(Opcode.ACK.to_bytes(2, "big") + number.to_bytes(2, "big") for number in range(0x10000))


class Chunk:
    """Consecutive blocks, `first` to `last`, as packets.

    For lock-step `packets` and `acks` hold each block's DATA and the ACK it will get, None for the last: there the next
    chunk is due. For windows `image` holds the packets one behind the other, `stride` bytes apart.
    """

    __slots__ = ("acks", "cost", "first", "image", "last", "packets", "stride")

    def __init__(self, first: int, last: int, image: memoryview, stride: int, *, lock_step: bool) -> None:
        self.first = first
        self.last = last
        self.stride = stride
        self.image = memoryview(b"") if lock_step else image
        self.packets = [bytes(image[at : at + stride]) for at in range(0, len(image), stride)] if lock_step else []
        self.acks = [*(_ACKS[block & 0xFFFF] for block in range(first, last)), None] if lock_step else []
        self.cost = len(image) + (last - first + 1) * (57 if lock_step else 0)


class Content:
    """One file in one form: `blocks` blocks of `blksize` bytes, the last one shorter, of `size` bytes in all."""

    def __init__(self, file: BootFile, blksize: int, *, lock_step: bool, index: netascii.Index | None = None) -> None:
        self.file = file
        self.blksize = blksize
        self.stride = blksize + HEADER_SIZE
        self.lock_step = lock_step
        self._index = index
        self.size = file.size if index is None else index.size
        self.blocks = self.size // blksize + 1
        self.blocks_per_chunk = max(1, min(_CHUNK_BLOCKS, CHUNK_BYTES // self.stride))
        self.key = (*file.identity, blksize, lock_step, index is not None)

    def chunk_of(self, block: int) -> int:
        """Say which chunk holds a block (counted from 1)."""
        return (block - 1) // self.blocks_per_chunk

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return self.chunk_of(self.blocks) + 1

    def build(self, number: int, *, wait: bool) -> Chunk | None:
        """Lay out a chunk. Without `wait` None when the page cache lacks a byte of it.

        Raises ContentChanged, or OSError from the storage.
        """
        first = number * self.blocks_per_chunk + 1
        last = min(first + self.blocks_per_chunk - 1, self.blocks)
        offset = (first - 1) * self.blksize
        length = min(self.size - offset, (last - first + 1) * self.blksize)
        image = _headers(first, last, self.stride, length + (last - first + 1) * HEADER_SIZE)
        view = memoryview(image)
        if length:
            gaps = [view[at + HEADER_SIZE : at + self.stride] for at in range(0, len(image), self.stride)]
            if gaps and not gaps[-1]:
                gaps.pop()
            if self._index is not None:
                if not wait:
                    return None
                _scatter(_read_text(self._index, offset, length), gaps)
            elif not self._read(gaps, offset, length, wait=wait):
                return None
        if not self.file.unchanged():
            raise ContentChanged
        return Chunk(first, last, view.toreadonly(), self.stride, lock_step=self.lock_step)

    def _read(self, gaps: list[memoryview], offset: int, length: int, *, wait: bool) -> bool:
        if not wait:
            return read_now(self.file, gaps, offset) == length
        if os.preadv(self.file.fd, gaps, offset) != length:
            # A short read in the middle of a file is rare (a signal, a slow file system): read on in one piece.
            _scatter(read_exactly(self.file, offset, length), gaps)
        return True


def index_text(file: BootFile) -> netascii.Index:
    """Measure a file for netascii; reads all of it. Raises ContentChanged, or OSError from the storage."""
    index = netascii.Index(file.size, lambda offset, size: read_exactly(file, offset, size))
    if not file.unchanged():
        raise ContentChanged
    return index


def _headers(first: int, last: int, stride: int, length: int) -> bytearray:
    image = bytearray(length)
    count = last - first + 1
    numbers = range(first, last + 1)
    image[1::stride] = bytes([Opcode.DATA]) * count
    image[2::stride] = bytes((number >> 8) & 0xFF for number in numbers)
    image[3::stride] = bytes(number & 0xFF for number in numbers)
    return image


def _scatter(data: bytes, gaps: list[memoryview]) -> None:
    at = 0
    for gap in gaps:
        gap[:] = data[at : at + len(gap)]
        at += len(gap)


def _read_text(index: netascii.Index, offset: int, length: int) -> bytes:
    try:
        return index.read(offset, length)
    except EOFError:
        raise ContentChanged from None
