"""GRUB's image for UEFI: where the folder stands in which it looks for its menu, and another one in its place.

Belongs here: the layout of that image (grub2's include/grub/kernel.h) inside a PE file (Microsoft's specification):
bytes in, bytes out. The section `mods` holds objects one after the other, each with a type and a size before it. One
of them names that folder, the prefix; of several GRUB takes the last.
"""

from __future__ import annotations

import struct
from typing import Final

_SECTION: Final = struct.Struct("<8sIIII16x")  # name, size and address in memory, size and place in the file
_INFO: Final = struct.Struct("<4sIQQ")  # of 64-bit processors: magic, padding, offset of the objects, end of them
_OBJECT: Final = struct.Struct("<II")  # type, and size with this header
_MAGIC: Final = b"mimg"
_PREFIX: Final = 3
_ALIGNED: Final = 8


def with_prefix(image: bytes, prefix: str) -> bytes | None:
    """Make an image, of the same length, that looks for its menu in `prefix`; None of what is no such image.

    Whatever signature it has does not hold after that.
    """
    try:
        return _with_prefix(image, prefix.encode())
    except struct.error:
        return None


def _with_prefix(image: bytes, prefix: bytes) -> bytes | None:
    section = _mods(image)
    if section is None:
        return None
    start, size = section
    magic, padding, offset, end = _INFO.unpack_from(image, start)
    size_told = _OBJECT.size + -(-(len(prefix) + 1) // _ALIGNED) * _ALIGNED
    if magic != _MAGIC or not _INFO.size <= offset <= end or end + size_told > size:
        return None
    told = (_OBJECT.pack(_PREFIX, size_told) + prefix).ljust(size_told, b"\0")
    place = start + end
    if (
        len(image) < place + size_told
        or any(image[place : place + size_told])
        or not _are_objects(image, start, offset, end)
    ):
        return None
    info = _INFO.pack(magic, padding, offset, end + size_told)
    return image[:start] + info + image[start + len(info) : place] + told + image[place + size_told :]


def _mods(image: bytes) -> tuple[int, int] | None:
    """Find the section: its place in the file, and how many bytes of it are loaded."""
    (header,) = struct.unpack_from("<I", image, 0x3C)
    if image[:2] != b"MZ" or image[header : header + 4] != b"PE\0\0":
        return None
    (count,) = struct.unpack_from("<H", image, header + 6)
    (optional,) = struct.unpack_from("<H", image, header + 20)
    for number in range(count):
        name, in_memory, _, in_file, place = _SECTION.unpack_from(
            image, header + 24 + optional + number * _SECTION.size
        )
        if name.rstrip(b"\0") == b"mods":
            return place, min(in_memory, in_file)
    return None


def _are_objects(image: bytes, start: int, offset: int, end: int) -> bool:
    """Whether the objects end where it is said that they do, one of them being a prefix."""
    kinds = set()
    while offset < end:
        kind, size = _OBJECT.unpack_from(image, start + offset)
        if size < _OBJECT.size:
            return False
        kinds.add(kind)
        offset += size
    return offset == end and _PREFIX in kinds
