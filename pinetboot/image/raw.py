"""From a file as it came to a raw disk image or tar that programs can read: unpacked, summed, looked into.

Belongs here: doing it in one pass, and saying early that it cannot be done. Never here: what is in the file systems.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pinetboot.errors import OperatorError
from pinetboot.image import disk, space
from pinetboot.image.disk import BadDisk, Layout, Read
from pinetboot.image.formats import MAGIC_BYTES, Packing, is_tar
from pinetboot.image.unpack import BadPack, Source, Sparse, reader
from pinetboot.image.watch import Watch

_DO = "Name a disk image with a FAT boot partition: plain, or packed with xz, gzip, zstd or zip."
_TAR = "Give tars and directories as --boot and --root."
_UNKNOWN = 1 << 62


@dataclass(frozen=True, slots=True)
class Raw:
    """A raw disk image. `own` says that it was unpacked here; the sums are of the file as it came and of the image."""

    path: Path
    own: bool
    layout: Layout
    sha256: str
    image_sha256: str


def disk_of(path: Path, folder: Path, called: str, watch: Watch, image_size: int = 0) -> Raw:
    """Unpack a disk image into `folder`; one that is not packed stays where it is. Raises OperatorError.

    `image_size` is the unpacked size where somebody knows it, 0 for nobody.
    """
    with _open(path, called) as (file, source):
        if source.kind is Packing.NONE:
            layout = _layout(reader(file), source.size, called)
            if is_tar(source.read(0, MAGIC_BYTES)):
                raise OperatorError(f"{called} is a tar, not a disk image", _TAR)
            total = _summed(source, watch)
            return Raw(path, False, layout, total, total)
        target = folder / "disk.img"
        packed, unpacked = _unpack(source, target, called, watch, image_size)
        with target.open("rb") as made:
            layout = _layout(reader(made), target.stat().st_size, called)
        return Raw(target, True, layout, packed, unpacked)


def tar_of(path: Path, target: Path, called: str, watch: Watch) -> tuple[Path, str]:
    """Unpack what a tar is packed with; returns the plain tar and the sum of the file as it came."""
    with _open(path, called) as (_, source):
        if source.kind is Packing.NONE:
            made, total = path, _summed(source, watch)
        else:
            made = target
            total, _ = _unpack(source, target, called, watch, 0)
    with made.open("rb") as file:
        if not is_tar(file.read(MAGIC_BYTES)):
            raise OperatorError(f"{called} is neither a directory nor a tar", _TAR)
    return made, total


def sum_of_file(path: Path, called: str, watch: Watch) -> str:
    """Sum up a file as it is."""
    with _open(path, called, look=False) as (file, _):
        digest = hashlib.sha256()
        watch.stage(f"reading {path.name}", path.stat().st_size)
        while data := file.read(1 << 20):
            digest.update(data)
            watch.at(file.tell())
        return digest.hexdigest()


@contextmanager
def _open(path: Path, called: str, *, look: bool = True) -> Iterator[tuple[BinaryIO, Source]]:
    try:
        with path.open("rb") as file:
            source = Source(path, file) if look else Source.__new__(Source)
            yield file, source
    except BadPack as error:
        raise OperatorError(f"{called} {error}", _DO) from None
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise space.ran_out(path.parent, f"while unpacking {called}") from None
        raise OperatorError(f"{called} cannot be read: {error.strerror}") from None


def _layout(read: Read, size: int, called: str) -> Layout:
    try:
        return disk.layout(read, size)
    except BadDisk as error:
        raise OperatorError(f"{called} {error}", _DO) from None


def _summed(source: Source, watch: Watch) -> str:
    digest, done = hashlib.sha256(), 0
    watch.stage(f"reading {source.path.name}", source.size)
    for part in source.parts(digest.update):
        done += len(part)
        watch.at(done)
    return digest.hexdigest()


def _unpack(source: Source, target: Path, called: str, watch: Watch, image_size: int) -> tuple[str, str]:
    known = max(source.unpacked or 0, image_size)
    space.need(target.parent, known, f"unpacking {called}")
    packed, unpacked, taken = hashlib.sha256(), hashlib.sha256(), 0

    def took(data: bytes) -> None:
        nonlocal taken
        packed.update(data)
        taken += len(data)

    watch.stage(f"unpacking {called.rpartition('/')[2]}", source.size)
    with target.open("xb+") as file:
        sparse, early = Sparse(file), _EarlyLook(reader(file), target.parent, known, called)
        for part in source.parts(took):
            sparse.write(part)
            unpacked.update(part)
            early.look(sparse.size)
            watch.at(min(taken, source.size))
        sparse.finish()
    return packed.hexdigest(), unpacked.hexdigest()


class _EarlyLook:
    """Tells that the trees will not fit as soon as the file systems' own figures are there, long before all is."""

    def __init__(self, read: Read, folder: Path, known: int, called: str) -> None:
        self._read = read
        self._folder = folder
        self._known = known
        self._called = called
        self._enough = disk.HEAD
        self._knows_where = False

    def look(self, written: int) -> None:
        """Look again when `written` bytes are there. Raises OperatorError."""
        while 0 < self._enough <= written:
            enough, self._enough = self._enough, 0
            # Whatever is wrong is told when all of it is there.
            with suppress(BadDisk):
                if self._knows_where:
                    self._needs(disk.layout(self._read, _UNKNOWN), written)
                else:
                    starts = [part.start for part in disk.partitions(self._read)]
                    self._knows_where, self._enough = True, max(enough, max(starts) + disk.SUPERBLOCK_END)

    def _needs(self, found: Layout, written: int) -> None:
        trees = found.boot_bytes + found.root_bytes
        space.need(self._folder, max(0, self._known - written) + trees, f"importing {self._called}", found.root_files)
