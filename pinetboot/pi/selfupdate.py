"""How the bootloader of a virtual Pi updates itself from its boot tree (reference 4.3).

Belongs here: when an update is taken, and what is in the EEPROM then. The order of all other requests
is `firmware`'s. Never here: sockets, files, time.
"""

from __future__ import annotations

from collections.abc import Generator
from hashlib import sha256
from typing import Final

from pinetboot import causes
from pinetboot.eeprom import image, signature
from pinetboot.eeprom.image import Image
from pinetboot.eeprom.signature import Signature
from pinetboot.pi.asking import Ask, Firmware, Stopped
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.eeprom import Eeprom

_GOES_ON: Final = 1_725_494_400  # 2024-09-05
_SELF_UPDATES: Final = frozenset({"pi4", "pi5"})


class Flashed(Exception):
    """The bootloader was flashed, and the Pi starts over with what is in `eeprom` now."""

    def __init__(self, eeprom: Eeprom) -> None:
        super().__init__("the bootloader was flashed")
        self.eeprom = eeprom


def update(firmware: Firmware) -> Generator[Ask, Fetched, None]:
    """Look for an update where the bootloader does; raises Flashed where it takes one."""
    fetched = yield from firmware.get(signature.NAME, "firmware")
    eeprom = firmware.eeprom
    if fetched.result is not Result.OK or eeprom is None or firmware.profile.model not in _SELF_UPDATES:
        return
    told = signature.parse(fetched.content)
    why = _refused(told, firmware, eeprom)
    if told is None or why:
        firmware.notes.append(f"{fetched.name} is left: {why}")
        return
    taken = yield from firmware.get(signature.UPDATE, "firmware", whole=True)
    if taken.result is not Result.OK:
        firmware.notes.append(f"{taken.name} is not there, so the update is left")
        return
    try:
        made = _made(taken.content, told, firmware, eeprom)
    except ValueError as why:
        firmware.notes.append(f"{taken.name} is left: {why}")
        return
    raise Flashed(made)


def _refused(told: Signature | None, firmware: Firmware, eeprom: Eeprom) -> str:
    """Say why the bootloader does not even ask for the image; empty where it does (reference 4.2, 4.3)."""
    if told is None:
        return "it holds no digest and time"
    settings = eeprom.settings
    if settings.get("ENABLE_SELF_UPDATE") == "0" or settings.get("FREEZE_VERSION") == "1":
        return "ENABLE_SELF_UPDATE=0 or FREEZE_VERSION=1 in the EEPROM"
    if not firmware.config.flag("bootloader_update", default=True):
        return "bootloader_update=0 in config.txt"
    if told.soc and told.soc != _chip(firmware):
        return f"it is for a BCM{told.soc}"
    if told.timestamp <= eeprom.timestamp:
        return f"its time {told.timestamp} is not after the EEPROM's, {eeprom.timestamp}"
    return ""


def _made(content: bytes, told: Signature, firmware: Firmware, eeprom: Eeprom) -> Eeprom:
    """Give what the EEPROM holds after it was flashed. Raises ValueError with the reason where it is not."""
    digest = sha256(content).digest()
    if digest != told.digest:
        raise ValueError("its SHA-256 is not the one that the signature names")
    found = image.parse(content)
    text = found.read(image.BOOTCONF).decode("utf-8", "replace")
    if image.CHIPS[found.family] != _chip(firmware):
        raise ValueError(f"it is for a BCM{image.CHIPS[found.family]}")
    if eeprom.digest == digest.hex():
        raise ValueError("the EEPROM holds that very image")
    if eeprom.settings.get("SIGNED_BOOT") == "1" and not _signed(found, eeprom):
        raise ValueError("SIGNED_BOOT=1, and its bootconf.txt is not signed with the key in the EEPROM")
    if not firmware.profile.writable:
        if eeprom.timestamp < _GOES_ON:
            return eeprom  # before that date it was tried again for ever (reference 4.3)
        raise ValueError("the EEPROM is write-protected")
    public = found.read(image.PUBLIC_KEY) if found.has(image.PUBLIC_KEY) else b""
    return Eeprom(told.timestamp, text, public if any(public.strip(b"\xff")) else b"", digest.hex())


def _signed(found: Image, eeprom: Eeprom) -> bool:
    """Check the signature over the settings, which is what a bootloader with SIGNED_BOOT goes by."""
    if not found.has(image.BOOTCONF_SIGNATURE):
        return False
    told = signature.parse(found.read(image.BOOTCONF_SIGNATURE))
    digest = sha256(found.read(image.BOOTCONF)).digest()
    return told is not None and told.digest == digest and signature.verified(digest, told.rsa, eeprom.public)


def _chip(firmware: Firmware) -> str:
    return "2712" if firmware.profile.generation == 5 else "2711"  # noqa: PLR2004 - a Pi 5


def require_network(eeprom: Eeprom) -> None:
    """Stop where BOOT_ORDER has nothing that a server could boot. Raises Stopped."""
    if not eeprom.boots_by_network:
        raise Stopped("seen", causes.no_network_in_order(f"0x{eeprom.order:x}"))
