"""EEPROM images made from the format's public description, and a reader that shares nothing with pinetboot's.

rpi-eeprom's own images are not to be had from where tests get things; these have the same sections in the same places:
the bootloader and what it loads, files in 4 KiB sectors with padding between, and a last sector that is not ours.
"""

from __future__ import annotations

import random
import re
import struct

PI4, PI5 = 512 << 10, 2 << 20
CONFIG = b"[all]\nBOOT_UART=0\nWAKE_ON_GPIO=1\nBOOT_ORDER=0xf41\n\n[none]\nFREEZE_VERSION=0\n"
BUILT = 1_736_000_000
SECTOR = 4096


def make(
    size: int = PI4, config: bytes = CONFIG, *, built: int = BUILT, signs: bool = True, after: bool = True
) -> bytes:
    """Make an image: without places for signature and key if not `signs`, with something `after` the last file."""
    noise = random.Random(7)  # noqa: S311 - the same image each time
    made = bytearray(_section(0x55AAF00F, noise.randbytes(70_001) + f"BUILD_TIMESTAMP={built}\0".encode()))
    made += _section(0x55AAF33F, b"start.bin\0\0\0" + noise.randbytes(40_003))
    for name, content in (("bootconf.txt", config), ("bootconf.sig", b""), ("pubkey.bin", b"")):
        if name == "bootconf.txt" or signs:
            _pad(made)
            made += _section(0x55AAF11F, name.encode().ljust(12, b"\0") + b"\0\0\0\0" + content)
    if after:
        _pad(made)
        made += _section(0x55AAF22F, noise.randbytes(5_000))
    made += b"\xff" * (size - SECTOR - len(made))
    return bytes(made + noise.randbytes(SECTOR))


def files(content: bytes) -> dict[str, bytes]:
    """Find the files by their magic number wherever a sector begins, and take their lengths at their word."""
    found = {}
    for match in re.finditer(rb"\x55\xaa\xf1\x1f", content):
        if match.start() % SECTOR == 0:
            length, name = struct.unpack_from(">I12s", content, match.start() + 4)
            start = match.start() + 24
            found[name.split(b"\0")[0].decode()] = content[start : start + length - 16]
    return found


def walk(content: bytes) -> list[tuple[int, int]]:
    """Jump from section to section as a bootloader does: (offset, magic) of each. Breaks on anything odd."""
    found: list[tuple[int, int]] = []
    view = memoryview(content)
    at = 0
    while True:
        magic, length = struct.unpack_from(">II", view, at)
        if magic == 0xFFFFFFFF:
            return found
        assert hex(magic).startswith("0x55aaf") or magic == 0x55AAFEEF, hex(magic)
        found.append((at, magic))
        at += 8 + length + -length % 8


def _section(magic: int, body: bytes) -> bytes:
    return struct.pack(">II", magic, len(body)) + body + b"\xff" * (-len(body) % 8)


def _pad(made: bytearray) -> None:
    """Fill a sector up with a section of padding."""
    left = -len(made) % SECTOR
    if left:
        made += struct.pack(">II", 0x55AAFEEF, left - 8) + b"\xff" * (left - 8)
