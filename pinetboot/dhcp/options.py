"""DHCP options that matter for booting a Pi: their numbers, and what is inside 43, 60 and 97.

Belongs here: the contents of single options (RFC 2132, 4578; the reference's sections 2.2, 2.3 and 2.6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum


class Option(IntEnum):
    """Option numbers, RFC 2132 unless said otherwise."""

    PAD = 0
    SUBNET_MASK = 1
    ROUTER = 3
    DNS = 6
    HOST_NAME = 12
    BROADCAST_ADDRESS = 28
    VENDOR_SPECIFIC = 43
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    MESSAGE_TYPE = 53
    SERVER_IDENTIFIER = 54
    PARAMETER_LIST = 55
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    VENDOR_CLASS = 60
    CLIENT_IDENTIFIER = 61
    TFTP_SERVER = 66
    BOOT_FILE = 67
    USER_CLASS = 77  # RFC 3004
    CLIENT_ARCHITECTURE = 93  # RFC 4578
    CLIENT_INTERFACE = 94  # RFC 4578
    MACHINE_IDENTIFIER = 97  # RFC 4578
    RELAY_AGENT = 82  # RFC 3046
    PATH_PREFIX = 210  # RFC 5071
    END = 255


class MessageType(IntEnum):
    """Option 53, RFC 2132 section 9.6."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


PXE_CLIENT = b"PXEClient"
HTTP_CLIENT = b"HTTPClient"  # UEFI 2.10 section 24.7

# What a pinetboot that asks a LAN for its DHCP servers says in option 77, so that another takes it for no Pi.
PROBE = b"pinetboot"

# MAC prefixes of Raspberry Pi (reference section 1). A new one does no harm: option 97 tells as well.
RASPBERRY_PI_OUIS = frozenset(
    bytes.fromhex(prefix) for prefix in ("b827eb", "dca632", "e45f01", "28cdc1", "d83add", "2ccf67", "88a29e")
)

_ROM_CONSTANT = b"\x44" * 16
# Option 97 of a Pi 3B's ROM, whole, and how that of an EEPROM begins (reference 2.3): for those who match octets.
ROM_MACHINE = b"\0" + _ROM_CONSTANT
_FAMILIES = {b"RPi4": "pi4", b"4iPR": "pi4", b"RPi5": "pi5", b"5iPR": "pi5"}
EEPROM_MACHINES = tuple(b"\0" + family for family in sorted(_FAMILIES))
_IDENTIFIER_SIZE = 17
_PXE_BOOT_MENU = 9  # suboption of option 43


@dataclass(frozen=True, slots=True)
class Machine:
    """What option 97 tells of a Pi. `family` is rom (the 3B's constant), serial, pi4 or pi5 (reference 2.3).

    `serial` is eight hex digits, the folder that the firmware asks for; None where the option does not hold it.
    `mac_tail` is the last four octets of the MAC that the firmware was given, None where they are not told.
    """

    family: str
    serial: str | None = None
    revision: int | None = None
    mac_tail: bytes | None = None


def decode_machine(value: bytes) -> Machine | None:
    """Read the value of option 97; None when it is no Pi's."""
    if len(value) != _IDENTIFIER_SIZE or value[0] != 0:
        return None
    body = value[1:]
    family = _FAMILIES.get(body[:4])
    if family is not None:
        revision = int.from_bytes(body[4:8], "little")
        return Machine(family, _serial(body[12:16]), revision, body[8:12])
    if body == _ROM_CONSTANT:
        return Machine("rom")
    if body == body[:4] * 4 and body[:4] not in {bytes(4), b"\xff" * 4}:
        return Machine("serial", _serial(body[:4]))
    return None


def encode_machine(family: bytes, revision: int, mac: bytes, serial: str) -> bytes:
    """Write option 97 as a Pi 4 or 5 does; `family` is one of the four FourCC orders (reference 2.3)."""
    return b"\0" + family + revision.to_bytes(4, "little") + mac[2:6] + int(serial, 16).to_bytes(4, "little")


def encode_serial_machine(serial: str) -> bytes:
    """Write option 97 as a Pi 3B+ and bootcode.bin do: the serial four times (reference 2.3)."""
    return b"\0" + int(serial, 16).to_bytes(4, "little") * 4


def _serial(little_endian: bytes) -> str:
    return f"{int.from_bytes(little_endian, 'little'):08x}"


def encode_pxe_menu(text: str) -> bytes:
    """Write option 43 as the Pi wants it: control, an empty prompt, one menu entry (reference 2.6, form B)."""
    label = text.encode("ascii")
    control = bytes([6, 1, 3])
    prompt = bytes([10, 4, 0]) + b"PXE"
    menu = bytes([9, len(label) + 3, 0, 0, len(label)]) + label
    return control + prompt + menu + b"\xff"


def decode_pxe_menu(value: bytes) -> str:
    """Read the text of the first entry of the boot menu in option 43; empty where there is none."""
    at = 0
    while at + 2 <= len(value) and value[at] != Option.END:
        if value[at] == _PXE_BOOT_MENU:
            return value[at + 5 : at + 5 + value[at + 4]].decode("ascii", "replace") if at + 5 <= len(value) else ""
        at += 2 + value[at + 1]
    return ""


_SERIAL_TEXT = re.compile(r"[0-9a-f]{8}")


def is_serial(text: str) -> bool:
    """Whether `text` is a serial as the firmware writes it in paths: eight hex digits, lower case."""
    return _SERIAL_TEXT.fullmatch(text) is not None
