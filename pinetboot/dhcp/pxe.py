"""Machines that boot by PXE or UEFI HTTP and are no Pi: what they say they are, and what they are told to boot.

Belongs here: RFC 4578's architectures, the user class of iPXE (RFC 3004), UEFI's HTTPClient (UEFI 2.10 section 24.7),
and the options of an answer. That somebody is a Pi is decided before, in `offer`: a Pi says the architecture of a PC.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from pinetboot.config import Config
from pinetboot.dhcp.options import HTTP_CLIENT, PXE_CLIENT, Option
from pinetboot.dhcp.packet import Message

_IPXE: Final = b"iPXE"
_ARCHITECTURE: Final = re.compile(rb":Arch:(\d{5})(?!\d)")
_BIOS: Final = 0
# The same loader runs on these (IANA, "Processor Architecture Types"): some firmwares call x64 9 and others 7.
_AS: Final = {9: 7, 15: 6, 16: 7, 18: 10, 19: 11}
_OVER_HTTP: Final = frozenset({15, 16, 17, 18, 19, 20})
_NAMES: Final = {
    _BIOS: "BIOS PC",
    6: "UEFI x86 PC",
    7: "UEFI x64 PC",
    10: "UEFI arm machine",
    11: "UEFI arm64 machine",
    21: "U-Boot arm board",
    22: "U-Boot arm64 board",
}
# Suboption 6 of option 43, discovery control: 8 says to take the file as it is told and to ask nobody else (PXE 2.1).
_NO_DISCOVERY: Final = bytes([6, 1, 8, 255])
_BY_HTTP: Final = "lpxelinux.0"
_BESIDE: Final = "beside"
_HTTP_PORT: Final = 80
# iPXE in the place of Debian's shim, and of the disk with that.
_IPXE_INSTEAD: Final = {"bootx64.efi": "snponly.efi", "bootx64.img": "snponly.efi"}
_UEFI: Final = frozenset({6, 7, 10, 11})


@dataclass(frozen=True, slots=True)
class Machine:
    """What asks to boot: its architecture, and whether it is iPXE or boots by HTTP."""

    architecture: int
    ipxe: bool = False
    http: bool = False

    @property
    def kind(self) -> int:
        """The architecture whose loader it runs."""
        return _AS.get(self.architecture, self.architecture)

    @property
    def name(self) -> str:
        """What to call it."""
        name = _NAMES.get(self.kind, f"machine of architecture {self.architecture}")
        return f"{name}, iPXE" if self.ipxe else f"{name}, HTTP boot" if self.http else name


@dataclass(frozen=True, slots=True)
class Pxe:
    """What there is to boot machines with. `loaders` are names in the boot tree by architecture, as in the settings.

    `http` is what follows the address in our URLs, "" or ":8080"; None where no HTTP is served. `has` says whether the
    boot tree has a file. `stays` says of a MAC that fleet.toml has it boot from its own disk. `beside`: another DHCP
    server gives the addresses. `has_root` says of a MAC that one of fleet.toml's Pis has it, whose root iPXE boots.
    """

    loaders: Mapping[str, str]
    http: str | None
    has: Callable[[str], bool]
    stays: Callable[[bytes], bool]
    beside: bool = False
    has_root: Callable[[bytes], bool] = lambda _: False

    def first(self, machine: Machine, address: IPv4Address) -> str:
        """What a machine boots first: its loader, or another in its place; empty for none.

        GRUB asks whom its address came from for its menu, which beside another server is somebody else: there it is one
        that knows `address`, as on a disk for HTTP boot, and iPXE where there is none.
        """
        loader = self.loader(machine)
        if not loader or not (machine.http or (self.beside and machine.kind in _UEFI)):
            return loader
        ipxe = _IPXE_INSTEAD.get(loader, "") if self.http is not None else ""
        instead = (f"{_BESIDE}/{address}/{loader}", loader if machine.http else "", ipxe)
        return next((name for name in instead if name and self.has(name)), loader)

    def loader(self, machine: Machine) -> str:
        """The loader for a machine; empty for none. One that boots by HTTP gets its own alone.

        Debian's GRUB knows no HTTP, so that what boots by PXE would come to its prompt.
        """
        same = "" if machine.http else self.loaders.get(str(machine.kind), "")
        return self.loaders.get(str(machine.architecture)) or same


def of_settings(
    config: Config,
    has: Callable[[str], bool],
    stays: Callable[[bytes], bool] = lambda _: False,
    has_root: Callable[[bytes], bool] = lambda _: False,
) -> Pxe | None:
    """Say what there is to boot machines with; None where [pxe] leaves them alone."""
    loaders = {kind: name for kind, name in config.pxe.items() if name}
    if not loaders:
        return None
    port = "" if config.http.port == _HTTP_PORT else f":{config.http.port}"
    http = port if config.http.enabled else None
    return Pxe(loaders, http, has, stays, beside=config.dhcp.mode == "proxy", has_root=has_root)


@dataclass(frozen=True, slots=True)
class Way:
    """What a machine is told: the file's name or URL, and what PXELINUX is to put before names of its own."""

    machine: Machine
    file: str
    prefix: str = ""
    lacks: str = ""

    @property
    def file_field(self) -> bytes:
        """What stands in the header's field `file`, where BIOS ROMs look first; UEFI takes a URL of option 67 alone."""
        return b"" if self.machine.http else self.file.encode()


@dataclass(frozen=True, slots=True)
class NoWay:
    """Why a machine is told nothing. `lacks` is the file in the boot tree that would change this, empty for none."""

    why: str
    lacks: str = ""
    machine: None = None
    file_field: bytes = b""


def architecture(message: Message) -> int | None:
    """Read the first of the architectures in option 93, else the one in option 60; None where neither tells."""
    told = message.options.get(Option.CLIENT_ARCHITECTURE, b"")
    if len(told) >= 2:  # noqa: PLR2004 - RFC 4578 section 2.1
        return int.from_bytes(told[:2], "big")
    found = _ARCHITECTURE.search(message.options.get(Option.VENDOR_CLASS, b""))
    return int(found[1]) if found else None


def is_ipxe(message: Message) -> bool:
    """Whether iPXE asks: its user class stands alone, or behind a length (RFC 3004 section 4)."""
    told = message.options.get(Option.USER_CLASS, b"")
    return told == _IPXE or told[1:] == _IPXE


def recognise(message: Message) -> Machine | None:
    """Tell what machine asks, by the vendor class; whether it is a Pi is not looked at."""
    vendor = message.options.get(Option.VENDOR_CLASS, b"")
    over_http = vendor.startswith(HTTP_CLIENT)
    if not over_http and not vendor.startswith(PXE_CLIENT):
        return None
    told = architecture(message)
    kind = _BIOS if told is None else told
    if over_http != (kind in _OVER_HTTP):
        return None  # its two halves do not fit
    return Machine(kind, is_ipxe(message), over_http)


def way(machine: Machine, mac: bytes, pxe: Pxe, address: IPv4Address) -> Way | NoWay:
    """Decide what a machine boots from this server, whose `address` it is told."""
    if pxe.stays(mac):
        return NoWay("fleet.toml says that it boots from its own disk")
    here = None if pxe.http is None else f"http://{address}{pxe.http}"
    if machine.ipxe and here is not None and pxe.has_root(mac):
        return _way(machine, mac, "", here)
    loader = pxe.loader(machine) if machine.ipxe else pxe.first(machine, address)
    if not loader:
        return NoWay(f"[pxe] names no loader for a {machine.name} (architecture {machine.architecture})")
    if machine.http and pxe.http is None:
        return NoWay("http.enabled is false")
    if not pxe.has(loader):
        return NoWay(f"boot/{loader}, which a {machine.name} would boot, is not there", loader)
    return _way(machine, mac, loader, here)


def _way(machine: Machine, mac: bytes, loader: str, here: str | None) -> Way:
    if here is None:
        return Way(machine, loader)  # iPXE too, which gets its script over HTTP alone, is a PXE client like any other
    if machine.http:
        return Way(machine, f"{here}/boot/{loader}")
    folder, slash, name = loader.rpartition("/")
    prefix = f"{here}/boot/{folder}{slash}" if name == _BY_HTTP else ""
    return Way(machine, f"{here}/ipxe?mac={mac.hex('-')}&arch={machine.kind}" if machine.ipxe else loader, prefix)


def way_of(message: Message, pxe: Pxe | None, address: IPv4Address) -> Way | NoWay:
    """Decide likewise for whoever sends a message. `pxe` is None for a Pi, and where machines are left alone."""
    machine = recognise(message) if pxe is not None else None
    if pxe is None or machine is None:
        return NoWay("it is no PXE client")
    return way(machine, message.mac, pxe, address)


def is_u_boot(message: Message) -> bool:
    """Whether U-Boot asks, which takes siaddr for the server of its `tftpboot`."""
    return message.options.get(Option.VENDOR_CLASS, b"").startswith(b"U-Boot")


def by_itself(chosen: Way) -> bool:
    """Whether a ProxyDHCP's OFFER tells the file: UEFI takes it from port 4011 alone, as a boot server's ACK."""
    return chosen.machine.http or chosen.machine.ipxe or chosen.machine.kind not in _UEFI


def options(chosen: Way, address: IPv4Address, identifier: bytes, *, proxy: bool) -> dict[int, bytes]:
    """Make the options that tell a machine to boot; `identifier` is its option 97, `proxy`: no address comes with it.

    What also leases the address is no PXE server to a client, which would ask port 4011 for more: it tells the file.
    """
    told: dict[Option, bytes] = {}
    if chosen.machine.http:
        told = {Option.VENDOR_CLASS: HTTP_CLIENT, Option.BOOT_FILE: chosen.file.encode()}
    else:
        if proxy:
            told |= {Option.VENDOR_CLASS: PXE_CLIENT, Option.MACHINE_IDENTIFIER: identifier}
        told |= {
            Option.TFTP_SERVER: str(address).encode(),
            Option.BOOT_FILE: chosen.file.encode(),
            Option.PATH_PREFIX: chosen.prefix.encode(),
        }
        if proxy:
            told[Option.VENDOR_SPECIFIC] = _NO_DISCOVERY
    return {int(code): value for code, value in told.items() if value}
