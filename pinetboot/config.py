"""The settings of `pinetboot.toml`, as values that have been checked.

Belongs here: names, types, ranges and defaults. Never here: reading a file, the environment, or the network.
Every key is optional; an unknown key, a wrong type or an impossible range is an error, and all are told at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator

from pinetboot.checking import Section, Text, problems
from pinetboot.errors import ConfigError
from pinetboot.net.addresses import PortRange, parse_address, parse_ipv4, parse_port_range

DEFAULT_DATA = "/srv/pinetboot"

MIN_BLKSIZE = 8  # RFC 2348
MAX_BLKSIZE = 65464  # RFC 2348
MAX_WINDOWSIZE = 65535  # RFC 7440

_NO_OPTION = re.compile(r"[^0-9A-Za-z_=,:.@/+-]")


def _port_range(text: str) -> str:
    parse_port_range(text)
    return text


def _server_address(text: str) -> str:
    if text != "auto":
        address = parse_ipv4(text, "192.168.1.10 or auto")
        if address.is_unspecified or address.is_multicast or address == IPv4Address("255.255.255.255"):
            raise ValueError(f"{text} is no address that a Pi could boot from; one of this host's own is")
    return text


def _address_or_empty(text: str) -> str:
    if text:
        parse_address(text)
    return text


def _ipv4_or_empty(text: str) -> str:
    if text:
        parse_ipv4(text, "10.55.0.1")
    return text


def _network_or_empty(text: str) -> str:
    if text:
        try:
            ip_network(text)
        except ValueError:
            raise ValueError(f"{text!r} is no network; 10.0.0.0/24, say, is") from None
    return text


def _export_options(text: str) -> str:
    found = _NO_OPTION.search(text)
    if found:
        raise ValueError(f"{text!r} holds {found[0]!r}; options between commas, rw,sync say, are")
    if "fsid" in text:
        raise ValueError(
            f"{text!r} holds an fsid, which would be that of every export; each gets its own where it needs one"
        )
    return text


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"{text!r} is no URL; https://host/path, say, is")
    return text


def _lease_range(text: str) -> str:
    if text:
        first, _, last = text.partition("-")
        try:
            fine = IPv4Address(first) <= IPv4Address(last)
        except ValueError:
            fine = False
        if not fine:
            raise ValueError(f"{text!r} is no address range; 10.55.0.100-10.55.0.199, say, is")
    return text


def _rising(times: list[float]) -> list[float]:
    if times != sorted(times):
        raise ValueError("the times must rise, [0.6, 1.2] say")
    return times


Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Server(Section):
    """What holds for every service."""

    address: Annotated[str, AfterValidator(_server_address)] = "auto"
    interfaces: list[Annotated[str, Field(min_length=1, max_length=15)]] = []
    stop_s: Annotated[float, Field(ge=0, le=3600)] = 10
    data: Annotated[Text, Field(min_length=1)] = DEFAULT_DATA
    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Tftp(Section):
    """The TFTP server. `max_blksize` 0 means what fits one frame of the interface towards the client."""

    enabled: bool = True
    port: Port = 69
    data_ports: Annotated[str, AfterValidator(_port_range)] = ""
    root: Text = ""
    max_blksize: Annotated[int, Field(ge=0, le=MAX_BLKSIZE)] = 0
    max_windowsize: Annotated[int, Field(ge=1, le=MAX_WINDOWSIZE)] = 64
    timeout_s: Annotated[float, Field(ge=0.01, le=255)] = 2.0
    retries: Annotated[int, Field(ge=0, le=100)] = 5
    cache_mib: Annotated[int, Field(ge=1, le=1 << 20)] = 256
    max_transfers: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    max_transfers_per_address: Annotated[int, Field(ge=1, le=1_000_000)] = 2048

    @property
    def port_range(self) -> PortRange | None:
        """The ports that transfers leave from; None for any."""
        return parse_port_range(self.data_ports)

    @field_validator("max_blksize")
    @classmethod
    def _blksize_is_legal_or_automatic(cls, value: int) -> int:
        if 0 < value < MIN_BLKSIZE:
            raise ValueError(f"{value} is below RFC 2348's {MIN_BLKSIZE}; 0 takes what fits a frame")
        return value


class Dhcp(Section):
    """ProxyDHCP, or DHCP for a LAN of its own."""

    mode: Literal["proxy", "server", "off"] = "proxy"
    port: Port = 67
    pxe_menu: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x20-\x7e]+$")] = "Raspberry Pi Boot   "
    range: Annotated[str, AfterValidator(_lease_range)] = ""
    lease_s: Annotated[int, Field(ge=10, le=0xFFFFFFFF)] = 3600
    router: Annotated[str, AfterValidator(_ipv4_or_empty)] = ""
    dns: list[Annotated[str, Field(min_length=1), AfterValidator(_ipv4_or_empty)]] = []
    allow_other_server: bool = False
    rom_offers_s: Annotated[
        list[Annotated[float, Field(ge=0, le=5)]], Field(min_length=1, max_length=5), AfterValidator(_rising)
    ] = [0.6, 1.2]

    @field_validator("range")
    @classmethod
    def _a_server_needs_a_range(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("mode") == "server" and not value:
            raise ValueError('mode "server" needs it, "10.55.0.100-10.55.0.199" say')
        return value


class Http(Section):
    """Seeds, HTTP boot, dashboard."""

    enabled: bool = True
    port: Port = 80


class Nfs(Section):
    """What the kernel's nfsd is told to export."""

    mode: Literal["auto", "exports", "daemons", "external", "off"] = "auto"
    address: Annotated[str, AfterValidator(_address_or_empty)] = ""
    path: Text = ""
    options: Annotated[Text, AfterValidator(_export_options)] = "rw,sync,no_subtree_check,no_root_squash"
    versions: Annotated[list[Literal[3, 4]], Field(min_length=1)] = [3, 4]
    clients: Annotated[str, AfterValidator(_network_or_empty)] = ""
    threads: Annotated[int, Field(ge=1, le=4096)] = 8
    mountd_port: Port = 32767
    statd_port: Port = 32765
    lockd_port: Port = 32768

    @field_validator("address", "path")
    @classmethod
    def _external_says_where(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("mode") == "external" and not value:
            raise ValueError(
                'mode "external" needs it: the NFS server\'s own address, and the path it knows our data under'
            )
        return value


class Fleet(Section):
    """How the fleet in fleet.toml is kept true. `file` says where that lies; empty: in the data directory."""

    file: Text = ""
    adopt: Literal["manual", "auto"] = "manual"
    default_image: Text = ""
    keep_generations: Annotated[int, Field(ge=1, le=100)] = 2
    rollback_after_s: Annotated[int, Field(ge=0, le=86400)] = 0


class Images(Section):
    """Where images come from that are asked for by name."""

    list_url: Annotated[Text, AfterValidator(_url)] = "https://downloads.raspberrypi.com/os_list_imagingutility_v4.json"


class Netconsole(Section):
    """The bootloader's log over UDP."""

    enabled: bool = False
    port: Port = 6666


class BootImg(Section):
    """Signing of boot.img."""

    key_file: Text = ""


PXE_LOADERS = {
    "0": "lpxelinux.0",
    "7": "bootx64.efi",
    "11": "bootaa64.efi",
    "16": "bootx64.img",
    "19": "bootaa64.img",
}


class Config(Section):
    """All of `pinetboot.toml`."""

    server: Server = Server()
    tftp: Tftp = Tftp()
    dhcp: Dhcp = Dhcp()
    http: Http = Http()
    nfs: Nfs = Nfs()
    pxe: dict[Annotated[str, Field(pattern=r"^[0-9]{1,5}$")], str] = PXE_LOADERS
    fleet: Fleet = Fleet()
    images: Images = Images()
    netconsole: Netconsole = Netconsole()
    boot_img: BootImg = BootImg()

    @field_validator("pxe")
    @classmethod
    def _what_is_not_named_stays(cls, value: dict[str, str]) -> dict[str, str]:
        """An empty table leaves all PXE machines alone, an empty name those of one architecture."""
        return PXE_LOADERS | value if value else value

    @property
    def data(self) -> Path:
        """The data directory."""
        return Path(self.server.data).expanduser()

    @property
    def fleet_file(self) -> Path:
        """Where the fleet is written down."""
        return Path(self.fleet.file).expanduser() if self.fleet.file else self.data / "fleet.toml"

    @property
    def boot_root(self) -> Path:
        """The tree that TFTP and HTTP boot serve."""
        return Path(self.tftp.root).expanduser() if self.tftp.root else self.data / "boot"


def build(
    settings: Mapping[str, Any], source: str, overrides: Mapping[tuple[str, str], tuple[Any, str]] | None = None
) -> Config:
    """Check `settings`, laid under `overrides` ((section, key) to (value, where it was said)). Raises ConfigError."""
    overrides = overrides or {}
    merged: dict[str, Any] = {name: dict(part) if isinstance(part, dict) else part for name, part in settings.items()}
    for (section, key), (value, _) in overrides.items():
        part = merged.setdefault(section, {})
        if isinstance(part, dict):
            part[key] = value
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        said = {path: where for path, (_, where) in overrides.items()}
        raise ConfigError(source, problems(error, Config, said)) from None
