"""What `fleet.toml` says of a Pi or of another machine, as values that have been checked.

Belongs here: names, types, ranges and defaults. Never here: reading the file, or what is done about it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from pinetboot.checking import Section, Text, problems
from pinetboot.errors import ConfigError
from pinetboot.net.addresses import format_mac, parse_ipv4, parse_mac

_SERIAL = re.compile(r"(?:[0-9a-f]{8})?([0-9a-f]{8})")
_HOSTNAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_SIZE = re.compile(r"([0-9]{1,9})([KMGT])")
_MOUNT = re.compile(r"(/[0-9A-Za-z][0-9A-Za-z._@-]*)+")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SMALLEST_DISK = 1 << 20


def parse_serial(text: object) -> str:
    """Read a serial as /proc/cpuinfo or the firmware writes it; its last eight hex digits count. Raises ValueError."""
    found = _SERIAL.fullmatch(text.lower()) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f'{text!r} is no serial; eight hex digits in quotes, such as "5b154510", are')
    return found[1]


def parse_name(text: str) -> str:
    """Check the name of an image or a seed, which becomes a folder. Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is no name; letters, digits, '.', '_' and '-' are, beginning with a letter or digit"
        )
    return text


def _name_or_empty(text: str) -> str:
    return parse_name(text) if text else text


def _mac_or_empty(text: str) -> str:
    return format_mac(parse_mac(text)) if text else text


def _hostname_or_empty(text: str) -> str:
    if text and not _HOSTNAME.fullmatch(text):
        raise ValueError(f"{text!r} is no host name; letters, digits and '-' inside are, at most 63 (RFC 1123)")
    return text.lower()


def _address_or_empty(text: str) -> str:
    if text:
        parse_ipv4(text)
    return text


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} is not one line of text, which cmdline.txt has to be")
    return text


def _userconf(text: str) -> str:
    if text and (":" not in text or not text.isprintable()):
        raise ValueError("it is USER:PASSWORD-HASH, as `openssl passwd -6` makes one")
    return text


def _mount(text: str) -> str:
    if not _MOUNT.fullmatch(text):
        raise ValueError(f"{text!r} is no place to mount at; an absolute path without spaces, /var/lib/rancher say, is")
    return text


def _size(text: str) -> str:
    found = _SIZE.fullmatch(text)
    if found is None or int(found[1]) * _UNITS[found[2]] < _SMALLEST_DISK:
        raise ValueError(f'{text!r} is no size of a disk; "20G", say, is: at least 1M, in K, M, G or T')
    return text


class Disk(Section):
    """A file system of a Pi's own, kept across generations."""

    mount: Annotated[str, AfterValidator(_mount)]
    size: Annotated[str, AfterValidator(_size)]

    @property
    def size_bytes(self) -> int:
        """Its size in bytes."""
        return int(self.size[:-1]) * _UNITS[self.size[-1]]

    @property
    def name(self) -> str:
        """The name of its file: the mount point, `/` as `-`."""
        return self.mount.strip("/").replace("-", "--").replace("/", "-")


class Pi(Section):
    """One Raspberry Pi. `mac`, `address`, `hostname` and `image` are empty where nothing was said."""

    serial: Annotated[str, BeforeValidator(parse_serial)]
    mac: Annotated[str, AfterValidator(_mac_or_empty)] = ""
    hostname: Annotated[str, AfterValidator(_hostname_or_empty)] = ""
    image: Annotated[str, AfterValidator(_name_or_empty)] = ""
    root: Literal["nfs", "none"] = "nfs"
    address: Annotated[str, AfterValidator(_address_or_empty)] = ""
    seed: Annotated[str, AfterValidator(parse_name)] = "default"
    cmdline: Annotated[Text, AfterValidator(_one_line)] = ""
    disks: list[Disk] = []
    boot: Literal["files", "img"] = "files"
    ssh: bool = False
    userconf: Annotated[Text, AfterValidator(_userconf)] = ""
    data: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Its host name: the one given, else `pi-<serial>`."""
        return self.hostname or f"pi-{self.serial}"


class Machine(Section):
    """A PXE machine that is no Pi. `boot` is `menu`, `local` (its own disk) or an installer's name.

    `preseed` names a file below preseed/, empty for none, and `data` has free keys for it.
    """

    mac: Annotated[str, Field(min_length=1), AfterValidator(_mac_or_empty)]
    boot: Annotated[str, AfterValidator(parse_name)] = "menu"
    preseed: Annotated[str, AfterValidator(_name_or_empty)] = ""
    hostname: Annotated[str, AfterValidator(_hostname_or_empty)] = ""
    data: dict[str, Any] = {}


class FleetFile(Section):
    """All of `fleet.toml`."""

    pi: list[Pi] = []
    machine: list[Machine] = []


def build(content: dict[str, Any], source: str) -> FleetFile:
    """Check what was read from a fleet.toml. Raises ConfigError naming everything that is wrong in it."""
    try:
        return FleetFile.model_validate(content)
    except ValidationError as error:
        raise ConfigError(source, problems(error, FleetFile)) from None
