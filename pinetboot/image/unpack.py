"""Unpacking what images come in, into a file with holes where there are only zeros.

Belongs here: the packers' libraries (lzma, zlib, zstandard, zipfile) and reading a file. What a packing is called is
decided in `formats`. Nothing here follows a name that is written in an archive.
"""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import zstandard

from pinetboot.image.disk import Read
from pinetboot.image.formats import MAGIC_BYTES, Packing, packing, unpacked_size

_CHUNK: Final = 1 << 20
_OUT_CHUNK: Final = 1 << 22
_BLOCK: Final = 4096
_ZEROS: Final = bytes(_BLOCK)
_ZSTD_WINDOW: Final = 1 << 31  # what `zstd --ultra --long=31` may want
_ZSTD_STEP: Final = 1 << 12  # which zeros can unfold to 128 MiB
_MOST_SHOWN: Final = 5
_IMAGE_NAMES: Final = (".img", ".raw", ".wic", ".iso")


class BadPack(ValueError):
    """The file is not what its first bytes promise; the text is a sentence's end, "… is cut short"."""


Took = Callable[[bytes], None]


class Source:
    """A file to unpack, open. `size` and `unpacked` are bytes, the latter None where nobody knows."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        self.kind = packing(self.read(0, MAGIC_BYTES))
        self._member = _only_image(file) if self.kind is Packing.ZIP else None
        if self._member is not None:
            self.unpacked: int | None = self._member.file_size
        else:
            self.unpacked = unpacked_size(self.kind, self.read, self.size)

    def read(self, offset: int, length: int) -> bytes:
        """Give bytes of the file as it is, fewer at its end."""
        return reader(self.file)(offset, length)

    def parts(self, took: Took) -> Iterator[bytes]:
        """Unpack, part by part. `took` is given the packed bytes, all of them. Raises BadPack, OSError."""
        self.file.seek(0)
        match self.kind:
            case Packing.XZ:
                return _streams(self.file, took, _Xz)
            case Packing.GZIP:
                return _streams(self.file, took, _Gzip)
            case Packing.ZSTD:
                return _streams(self.file, took, _Zstd)
            case Packing.ZIP if self._member is not None:
                return _zipped(self.file, self._member, took)
            case _:
                return _plain(self.file, took)


def reader(file: BinaryIO) -> Read:
    """Give a function that reads at an offset, and knows that there is nothing beyond what files can be."""

    def read(offset: int, length: int) -> bytes:
        if not 0 <= offset < 1 << 62:
            return b""
        return os.pread(file.fileno(), length, offset)

    return read


class Sparse:
    """A file being written from its start, with holes where whole blocks are zero."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0

    def write(self, data: bytes) -> None:
        """Write the next bytes. Raises OSError."""
        view = memoryview(data)
        at = 0
        while at < len(data):
            # Up to the next block's border, so that zeros are looked for where the file system has its blocks.
            step = _BLOCK - (self.size + at) % _BLOCK
            end = at + step
            zero = data[at:end] == _ZEROS[: len(view[at:end])]
            while end < len(data) and (data[end : end + _BLOCK] == _ZEROS[: len(view[end : end + _BLOCK])]) == zero:
                end += _BLOCK
            end = min(end, len(data))
            if not zero:
                self._put(view[at:end], self.size + at)
            at = end
        self.size += len(data)

    def finish(self) -> None:
        """Give the file its length, which a hole at its end does not."""
        self._file.truncate(self.size)

    def _put(self, view: memoryview, offset: int) -> None:
        while view:
            written = os.pwrite(self._file.fileno(), view, offset)
            view, offset = view[written:], offset + written


class _Decoder(Protocol):
    """One stream's decompressor. `rest` is what came after the stream's end."""

    eof: bool
    rest: bytes

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack, in pieces of which each fits in memory however well the data was packed."""


class _Xz:
    def __init__(self) -> None:
        self._inner = lzma.LZMADecompressor(lzma.FORMAT_XZ)
        self.eof, self.rest = False, b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield self._inner.decompress(data, _OUT_CHUNK)
        while not self._inner.eof and not self._inner.needs_input:
            yield self._inner.decompress(b"", _OUT_CHUNK)
        self.eof, self.rest = self._inner.eof, self._inner.unused_data


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self.eof, self.rest = False, b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data and not self._inner.eof:
            yield self._inner.decompress(data, _OUT_CHUNK)
            data = self._inner.unconsumed_tail
        self.eof, self.rest = self._inner.eof, self._inner.unused_data


class _Zstd:
    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self.eof, self.rest = False, b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data) and not self._inner.eof:
            yield self._inner.decompress(data[at : at + _ZSTD_STEP])
            at += _ZSTD_STEP
        self.eof, self.rest = self._inner.eof, self._inner.unused_data + data[at:]


def _streams(file: BinaryIO, took: Took, begin: Callable[[], _Decoder]) -> Iterator[bytes]:
    """Unpack streams, one after the other, with zeros between them where a tool padded."""
    stream: _Decoder | None = begin()
    try:
        while data := file.read(_CHUNK):
            took(data)
            while data:
                if stream is None:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    stream = begin()
                yield from stream.feed(data)
                if not stream.eof:
                    break
                data, stream = stream.rest, None
    except (lzma.LZMAError, zlib.error, zstandard.ZstdError) as error:
        raise BadPack(f"is damaged: {_plainly(error)}") from None
    if stream is not None:
        raise BadPack("is cut short")


def _plain(file: BinaryIO, took: Took) -> Iterator[bytes]:
    while data := file.read(_CHUNK):
        took(data)
        yield data


def _zipped(file: BinaryIO, member: zipfile.ZipInfo, took: Took) -> Iterator[bytes]:
    for data in _plain(file, took):
        del data
    try:
        with zipfile.ZipFile(file) as archive, archive.open(member) as inner:
            while data := inner.read(_OUT_CHUNK):
                yield data
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise BadPack(f"is damaged: {_plainly(error)}") from None
    except EOFError:
        raise BadPack("is cut short") from None
    except (RuntimeError, NotImplementedError) as error:  # a password, a method of packing that Python lacks
        raise BadPack(f"cannot be unpacked: {_plainly(error)}") from None


def _only_image(file: BinaryIO) -> zipfile.ZipInfo:
    try:
        with zipfile.ZipFile(file) as archive:
            files = [member for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise BadPack(f"is cut short or damaged: {_plainly(error)}") from None
    found = [member for member in files if member.filename.lower().endswith(_IMAGE_NAMES)] or files
    if len(found) == 1:
        return found[0]
    if not found:
        raise BadPack("holds nothing")
    raise BadPack(f"holds {len(found)} files that could be the image: {', '.join(_shown(found))}")


def _shown(members: list[zipfile.ZipInfo]) -> Iterator[str]:
    for member in members[:_MOST_SHOWN]:
        yield repr(member.filename[:80])
    if len(members) > _MOST_SHOWN:
        yield "…"


def _plainly(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
