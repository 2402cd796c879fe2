"""An EEPROM image as rpi-eeprom publishes it: its sections, and putting a file into it.

Belongs here: the format, and nothing of what the files in it say. Sections follow one another from the start, each with
a magic number, the length of what follows, both big endian, and the next 8-byte boundary after it. Files that may be
changed lie in 4 KiB sectors of their own, with padding between; the last 4 KiB are the bootloader's to write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

BOOTCONF: Final = "bootconf.txt"
BOOTCONF_SIGNATURE: Final = "bootconf.sig"
PUBLIC_KEY: Final = "pubkey.bin"

_SIZES: Final[Mapping[int, str]] = {512 << 10: "pi4", 2 << 20: "pi5"}
CHIPS: Final[Mapping[str, str]] = {"pi4": "2711", "pi5": "2712"}
_MASK: Final = 0xFFFFF00F
_SECTION: Final = 0x55AAF00F
_FILE: Final = 0x55AAF11F
_PADDING: Final = 0x55AAFEEF
_ENDS: Final = frozenset({0x00000000, 0xFFFFFFFF})
_HEADER: Final = 8  # magic and length
_NAME: Final = 12
_FILE_HEADER: Final = _HEADER + _NAME + 4  # four more bytes stand before the content
_ALIGNMENT: Final = 8
_SECTOR: Final = 4096
_ERASED: Final = b"\xff"
_BUILT: Final = re.compile(rb"BUILD_TIMESTAMP=([0-9]{9,10})\b")


class Spoilt(ValueError):
    """The bytes are no EEPROM image, or a damaged one; the message is a sentence that says where."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section: where its header is, and where what belongs to it ends. `name` is empty but for a file."""

    magic: int
    start: int
    end: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was read. `family` is pi4 or pi5, told by its size."""

    content: bytes
    family: str
    sections: tuple[Section, ...]

    @property
    def built(self) -> int | None:
        """When its bootloader was made, seconds since 1970; None where it does not say."""
        found = _BUILT.search(self.content)
        return int(found[1]) if found else None

    def has(self, name: str) -> bool:
        """Whether there is a place for a file."""
        return any(section.name == name for section in self.sections)

    def read(self, name: str) -> bytes:
        """Read a file. Raises Spoilt where there is none."""
        section = self.sections[self._at(name)]
        return self.content[section.start + _FILE_HEADER : section.end]

    def room(self, name: str) -> int:
        """How many bytes a file may have. Raises Spoilt where there is none."""
        at = self._at(name)
        start = self.sections[at].start
        within = _SECTOR - start % _SECTOR - _FILE_HEADER
        return max(0, min(within, self._limit(at) - start - _FILE_HEADER))

    def put(self, name: str, content: bytes) -> Image:
        """Give a file another content. Raises Spoilt where there is no such file, or it has no room for that."""
        at = self._at(name)
        if len(content) > self.room(name):
            raise Spoilt(f"{name} has {len(content):,} bytes, and the image has room for {self.room(name):,}")
        start, limit = self.sections[at].start, self._limit(at)
        made = bytearray(self.content)
        end = start + _FILE_HEADER + len(content)
        made[start + 4 : start + _HEADER] = (end - start - _HEADER).to_bytes(4, "big")
        made[start + _FILE_HEADER : end] = content
        # What is left becomes padding, erased; behind the last section nothing has to be jumped over.
        padded = _aligned(end)
        made[end:limit] = _ERASED * (limit - end)
        if padded < limit and at < len(self.sections) - 1:
            header = _PADDING.to_bytes(4, "big") + (limit - padded - _HEADER).to_bytes(4, "big")
            made[padded : padded + _HEADER] = header
        return parse(bytes(made))

    def _at(self, name: str) -> int:
        for at, section in enumerate(self.sections):
            if section.name == name:
                return at
        raise Spoilt(f"the image has no section {name}")

    def _limit(self, at: int) -> int:
        """Where the section after the padding begins; the bootloader's own sector where none follows."""
        later = (section.start for section in self.sections[at + 1 :] if section.magic != _PADDING)
        return next(later, len(self.content) - _SECTOR)


def parse(content: bytes) -> Image:
    """Read an image. Raises Spoilt."""
    family = _SIZES.get(len(content))
    if family is None:
        raise Spoilt(f"it has {len(content):,} bytes; an image for a Pi 4 has 512 KiB, one for a Pi 5 has 2 MiB")
    sections: list[Section] = []
    at = 0
    while at <= len(content) - _SECTOR - _HEADER:
        magic, length = (int.from_bytes(content[at + part : at + part + 4], "big") for part in (0, 4))
        if magic in _ENDS:
            break
        section = _section(content, magic, at, length)
        if section.name and any(section.name == other.name for other in sections):
            raise Spoilt(f"it has {section.name} twice, again at {at:#x}")
        sections.append(section)
        at = _aligned(section.end)
    if not sections:
        raise Spoilt("it has no section at all: it is empty, or no EEPROM image")
    return Image(content, family, tuple(sections))


def _section(content: bytes, magic: int, at: int, length: int) -> Section:
    if magic & _MASK != _SECTION:
        raise Spoilt(f"it is damaged: at {at:#x} a section should begin, and there is {magic:08x}")
    end = at + _HEADER + length
    if end > len(content) - _SECTOR:
        raise Spoilt(f"it is damaged: the section at {at:#x} would have {length:,} bytes, more than there are")
    if magic != _FILE:
        return Section(magic, at, end)
    raw = content[at + _HEADER : at + _HEADER + _NAME].rstrip(b"\0")
    if length < _FILE_HEADER - _HEADER or not re.fullmatch(rb"[!-~]{1,12}", raw):
        raise Spoilt(f"it is damaged: the file at {at:#x} has no name")
    return Section(magic, at, end, raw.decode("ascii"))


def _aligned(at: int) -> int:
    return -(-at // _ALIGNMENT) * _ALIGNMENT
