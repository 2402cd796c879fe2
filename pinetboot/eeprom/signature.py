"""A `.sig` file, as it stands beside pieeprom.upd and boot.img: digest, time, and a signature (reference 4.3, 4.4).

Belongs here: its text, and checking an RSA signature against the public key as an EEPROM holds it. Who has the private
key is `pinetboot.signing`'s.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Final

NAME: Final = "pieeprom.sig"
UPDATE: Final = "pieeprom.upd"
MODULUS: Final = 256  # bytes of RSA-2048
EXPONENT: Final = 8
_LONGEST: Final = 4096
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LATEST: Final = 1 << 40
# The DER of "this is a SHA-256 digest" (RFC 8017 section 9.2, note 1).
_SHA256: Final = bytes.fromhex("3031300d060960864801650304020105000420")


@dataclass(frozen=True, slots=True)
class Signature:
    """What one says. `soc` is the chip that the image is for, `rsa` the signature; each is empty if it is not told."""

    digest: bytes
    timestamp: int
    soc: str = ""
    rsa: bytes = b""


def to_text(digest: bytes, timestamp: int, *, soc: str = "", rsa: bytes = b"") -> str:
    """Write one for a SHA-256 digest; the time is seconds since 1970."""
    lines = [digest.hex(), f"ts: {timestamp}"]
    lines += [f"target-soc: {soc}"] if soc else []
    lines += [f"rsa2048: {rsa.hex()}"] if rsa else []
    return "".join(f"{line}\n" for line in lines)


def parse(content: bytes) -> Signature | None:
    """Read one; None for what is none. A line that is not known is passed over."""
    if len(content) > _LONGEST:
        return None
    first, *rest = content.decode("ascii", "replace").splitlines() or [""]
    if not _DIGEST.fullmatch(first.strip().lower()):
        return None
    told = {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in rest) if colon}
    time, rsa = told.get("ts", ""), told.get("rsa2048", "")
    if not re.fullmatch(r"[0-9]{1,13}", time) or int(time) >= _LATEST:
        return None
    if rsa and not re.fullmatch(rf"[0-9a-fA-F]{{{2 * MODULUS}}}", rsa):
        return None
    return Signature(bytes.fromhex(first.strip()), int(time), told.get("target-soc", ""), bytes.fromhex(rsa))


def verified(digest: bytes, rsa: bytes, public: bytes) -> bool:
    """Whether a signature (PKCS#1 v1.5) over a SHA-256 digest is by a key: modulus and exponent, little endian."""
    if len(public) != MODULUS + EXPONENT or len(rsa) != MODULUS:
        return False
    modulus, exponent = int.from_bytes(public[:MODULUS], "little"), int.from_bytes(public[MODULUS:], "little")
    number = int.from_bytes(rsa, "big")
    if number >= modulus or exponent < 3:  # noqa: PLR2004 - the least that RSA knows
        return False
    ending = b"\0" + _SHA256 + digest
    right = b"\0\1" + b"\xff" * (MODULUS - 2 - len(ending)) + ending
    return hmac.compare_digest(pow(number, exponent, modulus).to_bytes(MODULUS, "big"), right)
