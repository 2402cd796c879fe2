"""What each Pi model does on the wire, as data (the reference's section 8).

Belongs here: constants of the models. How they are used is in `dhcp`, `download` and `firmware` beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

PXE_MENU = "Raspberry Pi Boot"  # the text that the firmware searches in option 43 (reference 2.6)
STRICT_MENU = f"{PXE_MENU}   "  # what some builds of a Pi 3B's ROM are said to want (reference 2.6)


class Duplicates(Enum):
    """What a TFTP client does with a DATA that it has had already (reference 3.2)."""

    IGNORED = auto()
    ACKED_AGAIN = auto()
    STALLS = auto()  # start4.elf acknowledges the next block and hangs (fw#1631)


class Machine(Enum):
    """What stands in option 97 (reference 2.3)."""

    ROM = auto()  # 16 times 0x44
    SERIAL = auto()  # the serial, four times
    BOARD = auto()  # FourCC, revision, the end of the MAC, serial


class Server(Enum):
    """Where a model finds the address of the boot server (reference 2.7)."""

    TFTP_IP = auto()  # a setting of the bootloader's own
    OPTION_66 = auto()
    SIADDR = auto()  # with the PXE text in option 43 only
    SOURCE = auto()  # the sender of the offer, with the PXE text only


@dataclass(frozen=True, slots=True)
class Profile:
    """One model, or a program that it loads. Times are seconds; `parameters` is option 55.

    `family` is the FourCC of option 97 as sent. `servers` go by their order, or with `last_server` by that of the
    options in the offer, of which the last counts. `decides_after_s` is when a ROM looks at its offers: once a packet
    comes later than that, and `silence_s` without any ends its try; 0 is at once. `needs_menu`: no offer counts
    without the text `menu`, as it is told of one that was set (PXE_OPTION43, reference 2.6). `one_oack`: a second
    one loses the file. `overlaps`: a probe goes on until its first block. `loads` is what asks over DHCP anew, with
    manners of its own, once it was fetched; TFTP ports are counted from `first_port` on in each program.
    """

    model: str
    name: str
    generation: int
    revision: int
    oui: str
    parameters: bytes
    tftp_options: tuple[tuple[str, str], ...]
    device_tree: str
    family: bytes = b""
    machine: Machine = Machine.BOARD
    xid: int | None = None
    dhcp_retry_s: float = 4.0
    dhcp_timeout_s: float = 45.0
    decides_after_s: float = 0.0
    silence_s: float = 0.0
    requests: bool = True
    class_in_request: bool = True
    menu: str = PXE_MENU
    needs_menu: bool = False
    servers: tuple[Server, ...] = (Server.TFTP_IP, Server.OPTION_66, Server.SIADDR, Server.SOURCE)
    last_server: bool = False
    rrq_retry_s: float = 2.0
    file_timeout_s: float = 30.0
    max_blocks: int | None = 65535
    double_slash: bool = False
    duplicates: Duplicates = Duplicates.ACKED_AGAIN
    loader_duplicates: Duplicates = Duplicates.ACKED_AGAIN
    one_oack: bool = False
    overlaps: bool = False
    first_port: int | None = None
    ttl: int = 128
    checksum: bool = True
    writable: bool = True  # its EEPROM
    loads: Profile | None = None

    def speaking(self, program: int) -> Profile:
        """Whose manners the `program`-th one to run has, counted from 0."""
        return self.loads if program and self.loads is not None else self


VENDOR_CLASS = b"PXEClient:Arch:00000:UNDI:002001"
ARCHITECTURE = bytes([0, 0])  # every Pi says that it is an x86 BIOS (reference 2.2)
INTERFACE = bytes([1, 2, 1])
ROM_MACHINE = b"\0" + b"\x44" * 16  # reference 2.3
_PARAMETERS = bytes([1, 3, 43, 60, 66, 67, *range(128, 136)])  # reference 2.1
_ROM_PARAMETERS = bytes([43, 60, 67, *range(128, 136), 66])
_ROM_XID = 0x26F30339

_TSIZE = (("tsize", "0"),)
_PI3B, _PI3BP = 0xA02082, 0xA020D3  # boards of Sony UK, 1 GB; nothing on the wire tells them

# bootcode.bin, and start.elf after it: the same TFTP manners, ports counted anew (reference 2.1, 3.1, 3.2).
_BOOTCODE = Profile(
    model="pi3bp",
    name="bootcode.bin",
    generation=3,
    revision=_PI3BP,
    oui="b827eb",
    machine=Machine.SERIAL,
    xid=_ROM_XID,
    parameters=_ROM_PARAMETERS + bytes([1, 3]),
    tftp_options=_TSIZE,
    device_tree="bcm2710-rpi-3-b-plus.dtb",
    dhcp_retry_s=5.0,
    dhcp_timeout_s=25.0,
    requests=False,
    servers=(Server.OPTION_66, Server.SIADDR, Server.SOURCE),
    file_timeout_s=10.0,
    one_oack=True,
    first_port=49153,
    checksum=False,
)


def _pi3(**different: Any) -> Profile:
    """Make the profile of a ROM that loads bootcode.bin: no TFTP options, all else alike where not said otherwise."""
    return replace(_BOOTCODE, tftp_options=(), loads=replace(_BOOTCODE, **_board(different)), **different)


def _board(different: dict[str, Any]) -> dict[str, Any]:
    return {name: different[name] for name in ("model", "revision", "device_tree") if name in different}


PROFILES = {
    profile.model: profile
    for profile in (
        _pi3(
            model="pi3b-rom",
            name="Raspberry Pi 3B with its ROM's faults",
            revision=_PI3B,
            device_tree="bcm2710-rpi-3-b.dtb",
            machine=Machine.ROM,
            parameters=_ROM_PARAMETERS,
            decides_after_s=1.0,
            silence_s=1.0,
            servers=(Server.OPTION_66, Server.SOURCE),
            last_server=True,
        ),
        _pi3(model="pi3bp", name="Raspberry Pi 3B+"),
        Profile(
            model="pi4-2020",
            name="Raspberry Pi 4, bootloader of 2020",
            generation=4,
            family=b"RPi4",
            revision=0xA03111,
            oui="dca632",
            parameters=_PARAMETERS,
            tftp_options=(*_TSIZE, ("blksize", "1024")),
            device_tree="bcm2711-rpi-4-b.dtb",
            class_in_request=False,
            duplicates=Duplicates.IGNORED,
            loader_duplicates=Duplicates.STALLS,
        ),
        Profile(
            model="pi4",
            name="Raspberry Pi 4, bootloader of 2024",
            generation=4,
            family=b"4iPR",
            revision=0xD03114,
            oui="dca632",
            parameters=_PARAMETERS,
            tftp_options=(*_TSIZE, ("blksize", "1468")),
            device_tree="bcm2711-rpi-4-b.dtb",
            loader_duplicates=Duplicates.STALLS,
        ),
        Profile(
            model="pi5",
            name="Raspberry Pi 5",
            generation=5,
            family=b"5iPR",
            revision=0xD04170,
            oui="2ccf67",
            parameters=_PARAMETERS,
            tftp_options=(*_TSIZE, ("blksize", "1468")),
            device_tree="bcm2712-rpi-5-b.dtb",
            double_slash=True,
        ),
    )
}


def mac_of(profile: Profile, serial: str) -> bytes:
    """Make up the MAC of a virtual Pi: its model's prefix, then the low octets of its serial (reference 2.3)."""
    return bytes.fromhex(profile.oui + serial[-6:])
