"""What to add to a DHCP server of the user's own, so that it tells Pis to boot from here.

Belongs here: the text for each server, in its own language. It says what our own OFFER says (reference 2.6) to those
whom we would answer: a Pi's firmware, by its vendor class and its MAC or option 97. Lines for machines that are no Pi,
which follow, are `lines_machines`'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from typing import Final

from pinetboot.dhcp import lines_machines as machines
from pinetboot.dhcp.options import (
    EEPROM_MACHINES,
    PXE_CLIENT,
    RASPBERRY_PI_OUIS,
    ROM_MACHINE,
    encode_pxe_menu,
)
from pinetboot.dhcp.pxe import Pxe

# Pis ask for names of their own whatever option 67 says (reference 2.2); other programs look whether there is one.
_BOOT_FILE: Final = "bootcode.bin"
_CLASS: Final = PXE_CLIENT.decode()
_OUIS: Final = sorted(RASPBERRY_PI_OUIS)

_WHOM: Final = """\
# What follows is told to a Pi's firmware alone: it calls itself PXEClient, and has a MAC of Raspberry Pi's or says
# in option 97 what it is. Linux on the same Pi calls itself otherwise, so do UEFI and iPXE, and PCs have neither.
# A Pi whose MAC begins with something newer is known by option 97, but not a model before the 4: add its first
# three octets."""

_ROM: Final = """\
# The ROM of a Pi 3B (the plain 3B, not the 3B+) is told option 66 alone: by option 43 it would boot from whoever
# sent the offer, and that is this DHCP server."""


def dnsmasq(address: IPv4Address, pxe_menu: str, offered: Pxe | None = None) -> str:
    """Write a file for dnsmasq. `offered` is what there is for machines that are no Pi, None to leave them alone."""
    return f"""\
# {_title(address, offered)} boot from {address} (pinetboot).
#
# Save this as /etc/dnsmasq.d/pinetboot.conf on the host of the DHCP server, see that /etc/dnsmasq.conf has
# conf-dir=/etc/dnsmasq.d (Debian does without), and run: dnsmasq --test && systemctl restart dnsmasq
#
{_WHOM}
# Lines of your own for PCs that boot over the network go to Pis as well (all say architecture 0): begin what follows
# dhcp-boot= or pxe-service= in them with tag:!pinetboot, and a comma.
{_dnsmasq_tags()}
{_dnsmasq_options(address, pxe_menu)}
#
{_ROM}
# It must be answered late as well, a second after it asked (dnsmasq 2.80 or later), and best twice, which dnsmasq
# cannot: where it does not come up, put bootcode.bin alone onto an SD card, or let pinetboot answer beside dnsmasq.
dhcp-reply-delay=tag:pinetboot-rom,1
{_dnsmasq_machines(address, offered)}"""


def synology(address: IPv4Address, pxe_menu: str, offered: Pxe | None = None) -> str:
    """Write a file for the DHCP Server of Synology's DSM, which is a dnsmasq. `offered` as for dnsmasq."""
    return f"""\
# {_title(address, offered)} boot from {address} (pinetboot).
#
# DSM's DHCP Server is a dnsmasq. Leave the PXE settings of its page empty, save this on the NAS as root as
# /etc/dhcpd/dhcpd-pinetboot.conf, and run:
#   echo 'enable="yes"' > /etc/dhcpd/dhcpd-pinetboot.info
#   /etc/rc.network nat-restart-dhcp
# or, instead of the last one, switch DHCP Server off and on in DSM. Look again after an update of DSM.
#
{_WHOM}
{_dnsmasq_tags()}
{_dnsmasq_options(address, pxe_menu)}
#
{_ROM}
# It should be answered late as well, a second after it asked, which a dnsmasq before 2.80 cannot: where it does not
# come up, put bootcode.bin alone onto an SD card, or let pinetboot answer beside this server (dhcp.mode = "proxy").
{_dnsmasq_machines(address, offered)}"""


def _title(address: IPv4Address, offered: Pxe | None) -> str:
    others = machines.kinds(offered, address)
    return "Raspberry Pis, and other machines over the network," if others else "Raspberry Pis"


def _dnsmasq_tags() -> str:
    return "\n".join(
        (
            f"dhcp-vendorclass=set:pinetboot-pxe,{_CLASS}",
            "dhcp-userclass=set:pinetboot-ipxe,iPXE",
            "dhcp-match=set:pinetboot-arch,93",
            "dhcp-match=set:pinetboot-arch-0,93,00:00",
            "tag-if=set:pinetboot-bios,tag:!pinetboot-ipxe,tag:pinetboot-arch-0",
            "tag-if=set:pinetboot-bios,tag:!pinetboot-ipxe,tag:!pinetboot-arch",
            *(f"dhcp-mac=set:pinetboot-mac,{oui.hex(':')}:*:*:*" for oui in _OUIS),
            "tag-if=set:pinetboot-board,tag:pinetboot-mac,tag:pinetboot-bios",
            *(f"dhcp-match=set:pinetboot-board,97,{machine.hex(':')}" for machine in EEPROM_MACHINES),
            f"dhcp-match=set:pinetboot-rom,97,{ROM_MACHINE.hex(':')}",
            "tag-if=set:pinetboot,tag:pinetboot-pxe,tag:pinetboot-board",
        )
    )


def _dnsmasq_options(address: IPv4Address, pxe_menu: str) -> str:
    menu = encode_pxe_menu(pxe_menu)
    return f"""\
dhcp-boot=tag:pinetboot,{_BOOT_FILE},,{address}
dhcp-option-force=tag:pinetboot,60,{_CLASS}
# dnsmasq ends option 66 with a zero, which an EEPROM of 2019 takes for a part of the address: update that.
dhcp-option-force=tag:pinetboot,66,"{address}"
dhcp-option-force=tag:pinetboot,tag:!pinetboot-rom,43,{menu.hex(":")}"""


def _dnsmasq_machines(address: IPv4Address, offered: Pxe | None) -> str:
    told = machines.kinds(offered, address)
    words = machines.words(offered, told, address)
    return f"#\n{words}\n{machines.dnsmasq(told, address)}" if words else ""


def isc(address: IPv4Address, pxe_menu: str, offered: Pxe | None = None) -> str:
    """Write classes for ISC dhcpd. `offered` as for dnsmasq."""
    ouis = _any(f"substring(hardware, 1, 3) = {oui.hex(':')}" for oui in _OUIS)
    eeprom = _any(f"substring(option pxe-client-id, 0, 5) = {machine.hex(':')}" for machine in EEPROM_MACHINES)
    bios = f"{machines.ISC_BIOS} and not {machines.ISC_IPXE}"
    board = f"\n      {eeprom}\n      or (({ouis})\n        and {bios})\n    "
    pxe = f'substring(option vendor-class-identifier, 0, {len(_CLASS)}) = "{_CLASS}"'
    rom = f"option pxe-client-id = {ROM_MACHINE.hex(':')}"
    common = f"""\
  next-server {address};
  filename "{_BOOT_FILE}";
  option vendor-class-identifier "{_CLASS}";
  option tftp-server-name "{address}";"""
    told = machines.kinds(offered, address)
    words = machines.words(offered, told, address)
    return f"""\
# {_title(address, offered)} boot from {address} (pinetboot).
#
# Put this into /etc/dhcp/dhcpd.conf, outside of any subnet, and run: dhcpd -t && systemctl restart isc-dhcp-server
#
{_WHOM}
# A class of your own for PCs that boot over the network takes Pis as well where it goes by architecture 0 alone: add
# and not (substring(hardware, 1, 3) = ...) to its match.
class "pinetboot" {{
  match if {pxe}
    and not ({rom})
    and ({board});
{common}
  option vendor-encapsulated-options {encode_pxe_menu(pxe_menu).hex(":")};
}}

{_ROM}
# It must be answered late as well, a second after it asked, and best twice, which dhcpd cannot: where it does not come
# up, put bootcode.bin alone onto an SD card, or let pinetboot answer beside dhcpd (dhcp.mode = "proxy").
class "pinetboot-rom" {{
  match if {pxe}
    and {rom};
{common}
}}
""" + (f"\n{words}\n{machines.isc(told, address, eeprom, f'{rom} or {ouis}')}" if words else "")


def kea(address: IPv4Address, pxe_menu: str, offered: Pxe | None = None) -> str:
    """Write client classes for Kea's DHCPv4 server. `offered` as for dnsmasq."""
    ouis = _any(f"substring(pkt4.mac, 0, 3) == 0x{oui.hex()}" for oui in _OUIS)
    eeprom = _any(f"substring(option[97].hex, 0, 5) == 0x{machine.hex()}" for machine in EEPROM_MACHINES)
    bios = f"{machines.KEA_BIOS} and not {machines.KEA_IPXE}"
    pxe = f"substring(option[60].hex, 0, {len(_CLASS)}) == '{_CLASS}'"
    rom = f"option[97].hex == 0x{ROM_MACHINE.hex()}"
    common = f"""\
      "next-server": "{address}",
      "boot-file-name": "{_BOOT_FILE}","""
    options = f"""\
        {{ "name": "vendor-class-identifier", "data": "{_CLASS}", "always-send": true }},
        {{ "name": "tftp-server-name", "data": "{address}", "always-send": true }}"""
    told = machines.kinds(offered, address)
    words = machines.words(offered, told, address)
    others = machines.kea(told, address)
    more = f"{',' if others else ''}\n{_indented(words)}{others}" if words else ""
    return f"""\
    # {_title(address, offered)} boot from {address} (pinetboot).
    #
    # Put this into /etc/kea/kea-dhcp4.conf, right below the line "Dhcp4": {{, and run:
    #   kea-dhcp4 -t /etc/kea/kea-dhcp4.conf && systemctl restart kea-dhcp4-server
    # Where it has "client-classes" already, add those below to them.
    #
{_indented(_WHOM)}
    # A class of your own for PCs that boot over the network takes Pis as well where it goes by architecture 0 alone:
    # add and not member('pinetboot') to its test, and have it behind these.
    "client-classes": [
    {{
      "name": "pinetboot",
      "test": "{pxe} and not ({rom}) and ({eeprom} or (({ouis}) and {bios}))",
{common}
      "option-def": [
        {{ "name": "vendor-encapsulated-options", "code": 43, "type": "binary" }}
      ],
      "option-data": [
{options},
        {{ "name": "vendor-encapsulated-options", "csv-format": false, "always-send": true,
          "data": "{encode_pxe_menu(pxe_menu).hex()}" }}
      ]
    }},
{_indented(_ROM)}
    # It must be answered late as well, a second after it asked, and best twice, which Kea cannot: where it does not
    # come up, put bootcode.bin alone onto an SD card, or let pinetboot answer beside Kea (dhcp.mode = "proxy").
    {{
      "name": "pinetboot-rom",
      "test": "{pxe} and {rom}",
{common}
      "option-data": [
{options}
      ]
    }}{more}
    ],
"""


def _any(conditions: Iterable[str]) -> str:
    return " or ".join(conditions)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


FOR: Final[Mapping[str, Callable[[IPv4Address, str, Pxe | None], str]]] = {
    "dnsmasq": dnsmasq,
    "isc": isc,
    "kea": kea,
    "synology": synology,
}
