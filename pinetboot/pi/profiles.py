"""What each Pi model does on the wire, as data (the reference's section 8).

Belongs here: constants of the models. How they are used is in `dhcp`, `download` and `firmware` beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

PXE_MENU = "Raspberry Pi Boot"  # the text that the firmware searches in option 43 (reference 2.6)


class Duplicates(Enum):
    """What a TFTP client does with a DATA that it has had already (reference 3.2)."""

    IGNORED = auto()
    ACKED_AGAIN = auto()
    STALLS = auto()  # start4.elf acknowledges the next block and hangs (fw#1631)


@dataclass(frozen=True, slots=True)
class Profile:
    """One model. Times are seconds; `parameters` is option 55, `family` the FourCC of option 97 as sent."""

    model: str
    name: str
    family: bytes
    revision: int
    oui: str
    parameters: bytes
    tftp_options: tuple[tuple[str, str], ...]
    dhcp_retry_s: float = 4.0
    dhcp_timeout_s: float = 45.0
    rrq_retry_s: float = 2.0
    file_timeout_s: float = 30.0
    max_blocks: int | None = 65535
    double_slash: bool = False
    duplicates: Duplicates = Duplicates.ACKED_AGAIN
    loader_duplicates: Duplicates = Duplicates.ACKED_AGAIN
    ttl: int = 128


VENDOR_CLASS = b"PXEClient:Arch:00000:UNDI:002001"
ARCHITECTURE = bytes([0, 0])  # every Pi says that it is an x86 BIOS (reference 2.2)
INTERFACE = bytes([1, 2, 1])
_PARAMETERS = bytes([1, 3, 43, 60, 66, 67, *range(128, 136)])  # reference 2.1

PROFILES = {
    profile.model: profile
    for profile in (
        Profile(
            model="pi4",
            name="Raspberry Pi 4, bootloader of 2024",
            family=b"4iPR",
            revision=0xD03114,
            oui="dca632",
            parameters=_PARAMETERS,
            tftp_options=(("tsize", "0"), ("blksize", "1468")),
            loader_duplicates=Duplicates.STALLS,
        ),
        Profile(
            model="pi5",
            name="Raspberry Pi 5",
            family=b"5iPR",
            revision=0xD04170,
            oui="2ccf67",
            parameters=_PARAMETERS,
            tftp_options=(("tsize", "0"), ("blksize", "1468")),
            double_slash=True,
        ),
    )
}


def mac_of(profile: Profile, serial: str) -> bytes:
    """Make up the MAC of a virtual Pi: its model's prefix, then the low octets of its serial."""
    return bytes.fromhex(profile.oui + serial[-6:])
