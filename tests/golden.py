"""Datagrams as published, from files of hex: what each profile says and hears, byte for byte."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "pi" / "golden"
# Words of a file: text in quotes, `@64` for that many zeros, hex.
_WORD = re.compile(r'"([^"]*)"|@(\d+)|([0-9a-f]+)')
_CHADDR = slice(28, 34)


def load(name: str, folder: Path = FOLDER) -> list[bytes]:
    """Read a file: datagrams with an empty line between them, `#` before a comment."""
    text = re.sub(r"^#.*\n", "", (folder / f"{name}.hex").read_text(), flags=re.MULTILINE)
    return [b"".join(_octets(*word) for word in _WORD.findall(datagram)) for datagram in text.split("\n\n")]


def _octets(text: str, zeros: str, digits: str) -> bytes:
    return text.encode() if text else bytes(int(zeros)) if zeros else bytes.fromhex(digits)


@dataclass(frozen=True)
class Spoken:
    """What is known of one profile: `serial` and `due_s`, when its answers have to come after its DISCOVER."""

    model: str
    serial: str
    due_s: tuple[float, ...] = (0.0,)

    @property
    def discover(self) -> bytes:
        return load(f"discover-{self.model}")[0]

    @property
    def offer(self) -> bytes:
        """The answer of 10.55.0.2."""
        return load(f"offer-{self.model}")[0]

    @property
    def requests(self) -> list[bytes]:
        """Its first read requests, where everything is served."""
        return load(f"rrq-{self.model}")

    @property
    def mac(self) -> bytes:
        return self.discover[_CHADDR]

    @property
    def xid(self) -> int:
        return int.from_bytes(self.discover[4:8], "big")


SPOKEN = {
    spoken.model: spoken
    for spoken in (
        Spoken("pi3b-rom", "85e7d0c1", (0.6, 1.2)),
        Spoken("pi3bp", "7285c0f2"),
        Spoken("pi4-2020", "5b154510"),
        Spoken("pi4", "91cdf03d"),
        Spoken("pi5", "da591740"),
    )
}
