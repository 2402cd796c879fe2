"""What to add to a DHCP server of the user's own, so that it tells machines that are no Pi to boot from here.

Belongs here: which kinds of machines there are lines for, and the text of these for each server. What a kind is told is
asked of `pxe` itself, so that it is what our own DHCP server says. Who is a Pi is said in `lines`, and comes before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from pinetboot.dhcp import pxe
from pinetboot.dhcp.options import HTTP_CLIENT, PXE_CLIENT, Option
from pinetboot.dhcp.packet import BOOTREQUEST, Message
from pinetboot.dhcp.pxe import Machine, Pxe, Way

# IANA's "Processor Architecture Types" end below this; what [pxe] names beyond is looked at as well.
_ARCHITECTURES: Final = range(64)
_BIOS: Final = 0
_SOME_MAC: Final = bytes(6)
# iPXE fills in settings of its own in the name that it is told; netX is the card that it was told by.
_OWN_MAC: Final = "${netX/mac:hexhyp}"
# What needs no quoting in any server's language, and fits the field `file` of 128 octets behind a URL's beginning.
_PLAIN: Final = re.compile(r"[0-9A-Za-z._/+-]{1,80}")
_U_BOOT: Final = "U-Boot"
_IPXE: Final = "iPXE"


@dataclass(frozen=True, slots=True)
class Kind:
    """Machines that are told the same: their architectures, the first of which names them, and what that is.

    `file` stands in the header's field of that name and in option 67; one that boots by HTTP has it in 67 alone.
    """

    machine: Machine
    architectures: tuple[int, ...]
    file: str
    prefix: str
    options: tuple[int, ...]

    @property
    def name(self) -> str:
        """What to call them in a configuration."""
        how = "ipxe-" if self.machine.ipxe else "http-" if self.machine.http else ""
        return f"pinetboot-{how}{self.architectures[0]}"

    @property
    def title(self) -> str:
        """What to call them for people."""
        told = ", ".join(map(str, self.architectures))
        return f"{self.machine.name} (architecture {told})"


def kinds(offered: Pxe | None, address: IPv4Address) -> list[Kind]:
    """Ask for each kind of machine what our own server would tell it; those of which it says nothing are left out."""
    if offered is None:
        return []
    found: dict[tuple[str, str, bool, bool], Kind] = {}
    for machine in _machines(offered):
        way = pxe.way(machine, _SOME_MAC, offered, address)
        if not isinstance(way, Way) or not _PLAIN.fullmatch(offered.loader(machine)):
            continue
        file = way.file.replace(_SOME_MAC.hex("-"), _OWN_MAC)
        told = tuple(pxe.options(way, address, b"", proxy=False))
        key = (file, way.prefix, machine.ipxe, machine.http)
        before = found[key].architectures if key in found else ()
        first = found[key].machine if key in found else machine
        found[key] = Kind(first, (*before, machine.architecture), file, way.prefix, told)
    return list(found.values())


def _machines(offered: Pxe) -> Iterable[Machine]:
    """Go through all that a machine may say it is."""
    named = {int(name) for name in offered.loaders if int(name) < 1 << 16}
    said = sorted({*_ARCHITECTURES, *named})
    for user_class in (b"", _IPXE.encode()):
        for vendor in (PXE_CLIENT, HTTP_CLIENT):
            for architecture in said:
                options = {
                    int(Option.VENDOR_CLASS): vendor,
                    int(Option.CLIENT_ARCHITECTURE): architecture.to_bytes(2, "big"),
                    int(Option.USER_CLASS): user_class,
                }
                machine = pxe.recognise(Message(BOOTREQUEST, 0, _SOME_MAC, options))
                # UEFI that boots by HTTP is told the same whoever it is.
                if machine is not None and not (machine.http and machine.ipxe):
                    yield machine


def words(offered: Pxe | None, told: Sequence[Kind], address: IPv4Address) -> str:
    """Say in comments for whom the lines for machines are, or why there are none; empty where none are wanted."""
    if offered is None:
        return ""
    if not told:
        return """\
# Nobody else is told anything: the boot tree has no loader that [pxe] names for machines that are no Pi. Where
# `pinetboot installer add` has brought some, have these lines printed again."""
    return f"""\
# What follows is told to other machines that boot over the network, by the architecture that they say in option 93
# (RFC 4578), and to iPXE by its user class. All have {address} as next server: by that Debian's signed
# shim and GRUB find their menu by PXE with Secure Boot on, which they cannot where pinetboot answers beside another
# DHCP server. Leave out what boots from elsewhere. What fleet.toml has boot from its own disk comes to a menu that
# ends there."""


def dnsmasq(told: Sequence[Kind], address: IPv4Address) -> str:
    """Write lines for dnsmasq. Those for Pis have set the tags pinetboot, -rom, -pxe, -ipxe and -bios before."""
    if not told:
        return ""
    lines = [f"dhcp-vendorclass=set:pinetboot-http,{HTTP_CLIENT.decode()}"]
    lines += [f"dhcp-vendorclass=set:pinetboot-u-boot,{_U_BOOT}"]
    architectures = sorted({one for kind in told for one in kind.architectures} - {_BIOS})
    lines += [f"dhcp-match=set:pinetboot-arch-{one},93,{one.to_bytes(2, 'big').hex(':')}" for one in architectures]
    for kind in told:
        lines.append(f"# {kind.title}")
        lines += [f"tag-if=set:{kind.name},{_dnsmasq_tags(kind, one)}" for one in kind.architectures]
        lines.append(f"dhcp-boot=tag:{kind.name},{kind.file},,{address}")
        if Option.VENDOR_CLASS in kind.options:
            lines.append(f"dhcp-option-force=tag:{kind.name},60,{HTTP_CLIENT.decode()}")
        if Option.TFTP_SERVER in kind.options:
            lines.append(f'dhcp-option-force=tag:{kind.name},66,"{address}"')
        if kind.prefix:
            lines.append(f"dhcp-option-force=tag:{kind.name},210,{kind.prefix}")
    return "\n".join([*lines, "# U-Boot, on any board", f"dhcp-boot=tag:pinetboot-u-boot,,,{address}", ""])


def _dnsmasq_tags(kind: Kind, architecture: int) -> str:
    if kind.machine.http:
        return f"tag:pinetboot-http,tag:pinetboot-arch-{architecture}"
    if kind.machine.ipxe:
        told = f"tag:pinetboot-ipxe,tag:pinetboot-arch-{architecture}"
    elif architecture == _BIOS:
        told = "tag:pinetboot-bios,tag:!pinetboot-rom"
    else:
        told = f"tag:!pinetboot-ipxe,tag:pinetboot-arch-{architecture}"
    return f"tag:pinetboot-pxe,tag:!pinetboot,{told}"


def isc(told: Sequence[Kind], address: IPv4Address, eeprom: str, older: str) -> str:
    """Write classes for ISC dhcpd. `eeprom` is true of Pis from the 4 on, `older` of those that look like a BIOS PC."""
    if not told:
        return ""
    texts = [_ISC_PREFIX] if any(kind.prefix for kind in told) else []
    for kind in told:
        vendor = (HTTP_CLIENT if kind.machine.http else PXE_CLIENT).decode()
        lines = [f'  match if substring(option vendor-class-identifier, 0, {len(vendor)}) = "{vendor}"']
        lines.append(f"    and ({' or '.join(map(_isc_architecture, _values(kind)))})")
        if not kind.machine.http:
            lines += [f"    and {'' if kind.machine.ipxe else 'not '}{ISC_IPXE}", f"    and not ({eeprom})"]
            lines += [f"    and not ({older})"] if _is_bios(kind) else []
        lines[-1] += ";"
        lines += _isc_statements(kind, address)
        texts.append("\n".join([f"# {kind.title}", f'class "{kind.name}" {{', *lines, "}"]))
    u_boot = f'  match if substring(option vendor-class-identifier, 0, {len(_U_BOOT)}) = "{_U_BOOT}";'
    texts.append(f'# U-Boot, on any board\nclass "pinetboot-u-boot" {{\n{u_boot}\n  next-server {address};\n}}')
    return "\n".join([*texts, ""])


ISC_IPXE: Final = f'(option user-class = "{_IPXE}" or substring(option user-class, 1, 4) = "{_IPXE}")'
_ISC_PREFIX: Final = """\
# Where you have declared option 210 already, leave this line out, and write your name for it in place of this one.
option pinetboot-prefix code 210 = text;"""
# RFC 4578 section 2.1: two octets each, the first of which counts. A BIOS PC may leave it out.
_ISC_FIRST: Final = "substring(option pxe-system-type, 0, 2)"
ISC_BIOS: Final = f"((not exists pxe-system-type) or {_ISC_FIRST} = 00:00)"


def _values(kind: Kind) -> list[int | None]:
    """List the architectures of a kind; None is one that is not told."""
    return [*([None] if _is_bios(kind) else []), *kind.architectures]


def _is_bios(kind: Kind) -> bool:
    """Whether a kind is that of PCs which say what older Pis say as well."""
    return _BIOS in kind.architectures and not kind.machine.ipxe


def _isc_architecture(value: int | None) -> str:
    if value is None:
        return "(not exists pxe-system-type)"
    return f"{_ISC_FIRST} = {value.to_bytes(2, 'big').hex(':')}"


def _isc_statements(kind: Kind, address: IPv4Address) -> list[str]:
    lines = [f"  next-server {address};"]
    if not kind.machine.http:
        lines.append(f'  filename "{kind.file}";')
    lines.append(f'  option bootfile-name "{kind.file}";')
    if Option.VENDOR_CLASS in kind.options:
        lines.append(f'  option vendor-class-identifier "{HTTP_CLIENT.decode()}";')
    if Option.TFTP_SERVER in kind.options:
        lines.append(f'  option tftp-server-name "{address}";')
    if kind.prefix:
        lines.append(f'  option pinetboot-prefix "{kind.prefix}";')
    # dhcpd sends what is asked for, and no ROM asks for all that its loader needs.
    asked = ",".join(f"{option:02x}" for option in kind.options)
    lines.append("  if exists dhcp-parameter-request-list {")
    lines.append(f"    option dhcp-parameter-request-list = concat(option dhcp-parameter-request-list,{asked});")
    return [*lines, "  }"]


def kea(told: Sequence[Kind], address: IPv4Address) -> str:
    """Write client classes for Kea, to stand behind the classes pinetboot and pinetboot-rom; empty where none are."""
    texts = []
    for kind in told:
        vendor = (HTTP_CLIENT if kind.machine.http else PXE_CLIENT).decode()
        conditions = [f"substring(option[60].hex, 0, {len(vendor)}) == '{vendor}'"]
        conditions.append(f"({' or '.join(map(_kea_architecture, _values(kind)))})")
        if not kind.machine.http:
            conditions.append(KEA_IPXE if kind.machine.ipxe else f"not {KEA_IPXE}")
            conditions += ["not member('pinetboot')"] + (["not member('pinetboot-rom')"] if _is_bios(kind) else [])
        field = "" if kind.machine.http else f'\n      "boot-file-name": "{kind.file}",'
        options = ",\n".join(f"        {one}" for one in _kea_options(kind, address))
        texts.append(f"""\
    # {kind.title}
    {{
      "name": "{kind.name}",
      "test": "{" and ".join(conditions)}",
      "next-server": "{address}",{field}
      "option-data": [
{options}
      ]
    }}""")
    if told:
        texts.append(f"""\
    # U-Boot, on any board
    {{
      "name": "pinetboot-u-boot",
      "test": "substring(option[60].hex, 0, {len(_U_BOOT)}) == '{_U_BOOT}'",
      "next-server": "{address}"
    }}""")
    return "\n" + ",\n".join(texts) if texts else ""


KEA_IPXE: Final = f"(option[77].hex == '{_IPXE}' or substring(option[77].hex, 1, 4) == '{_IPXE}')"
_KEA_FIRST: Final = "substring(option[93].hex, 0, 2)"
KEA_BIOS: Final = f"(not option[93].exists or {_KEA_FIRST} == 0x0000)"


def _kea_architecture(value: int | None) -> str:
    return "not option[93].exists" if value is None else f"{_KEA_FIRST} == 0x{value:04x}"


def _kea_options(kind: Kind, address: IPv4Address) -> list[str]:
    named = [("boot-file-name", kind.file)]
    if Option.VENDOR_CLASS in kind.options:
        named.append(("vendor-class-identifier", HTTP_CLIENT.decode()))
    if Option.TFTP_SERVER in kind.options:
        named.append(("tftp-server-name", str(address)))
    lines = [f'{{ "name": "{name}", "data": "{text}", "always-send": true }}' for name, text in named]
    if kind.prefix:
        octets = kind.prefix.encode().hex()
        lines.append(f'{{ "code": 210, "csv-format": false, "data": "{octets}", "always-send": true }}')
    return lines
