"""Asking a LAN for its DHCP servers: the DISCOVERs to send, and what an OFFER tells of the server that it comes from.

Belongs here: the questions and the reading of answers. The sockets are `neighbours`'s. No offer is ever taken, so that
no lease is left behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Final

from pinetboot.dhcp import packet
from pinetboot.dhcp.options import PROBE, PXE_CLIENT, MessageType, Option, encode_machine
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, BROADCAST, Message

_MENU: Final = b"Raspberry Pi Boot"

# What a client asks for that wants nothing but an address, and what an EEPROM asks for (reference 2.1).
_PLAIN_PARAMETERS: Final = bytes([Option.SUBNET_MASK, Option.ROUTER, Option.DNS])
_PI_PARAMETERS: Final = bytes([1, 3, 43, 60, 66, 67, *range(128, 136)])
_PI_CLASS: Final = b"PXEClient:Arch:00000:UNDI:002001"
_PI_FAMILY: Final = b"4iPR"
_PI_REVISION: Final = 0xD03114
_NO_SERIAL: Final = "00000000"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A DHCP server that answered: its option 54, and the address and MAC that its answers came from.

    `own_host`: it runs on this very host. `offered` is the address that it would give, None where it gives none, as a
    ProxyDHCP does. The rest is what it says of booting (reference 2.6, 2.7): option 60 as `pxe`, 43 as `menu`, 66 as
    `tftp_server`, 67 as `boot_file`, and siaddr, which many servers set to themselves, as `next_server`.
    """

    server: IPv4Address
    source: IPv4Address
    mac: str = ""
    own_host: bool = False
    offered: IPv4Interface | None = None
    pxe: bool = False
    menu: bytes = b""
    tftp_server: str = ""
    boot_file: str = ""
    next_server: IPv4Address | None = None

    @property
    def boots_pis(self) -> bool:
        """Whether a Pi would boot from where it says: the text that the firmware looks for, or option 66 alone."""
        return _MENU in self.menu or bool(self.tftp_server)

    @property
    def boots_others(self) -> bool:
        """Whether it takes what asks as a Pi for a PC, and tells it a PC's way to boot (D06)."""
        return not self.boots_pis and (self.pxe or bool(self.boot_file))

    @property
    def boot_server(self) -> str:
        """Where a Pi 4 or 5 that takes its word would ask for files (reference 2.7)."""
        return self.tftp_server or str(self.next_server or self.source)


def plain(mac: bytes, xid: int) -> Message:
    """Ask as a client that wants nothing but an address."""
    return _discover(mac, xid, {Option.PARAMETER_LIST: _PLAIN_PARAMETERS})


def as_pi(mac: bytes, xid: int) -> Message:
    """Ask as an EEPROM does (reference 2.1), but for the serial, which no Pi has."""
    return _discover(
        mac,
        xid,
        {
            Option.PARAMETER_LIST: _PI_PARAMETERS,
            Option.CLIENT_ARCHITECTURE: bytes(2),
            Option.CLIENT_INTERFACE: bytes([1, 2, 1]),
            Option.MACHINE_IDENTIFIER: encode_machine(_PI_FAMILY, _PI_REVISION, mac, _NO_SERIAL),
            Option.VENDOR_CLASS: _PI_CLASS,
        },
    )


def is_probe(message: Message) -> bool:
    """Whether a pinetboot asks, and no Pi: it is answered like one, and nothing follows."""
    return message.options.get(Option.USER_CLASS) == PROBE


def merged(before: Neighbour | None, offer: Message, source: IPv4Address, mac: str, *, own_host: bool) -> Neighbour:
    """Add what one more OFFER of a server says; what another said already stays."""
    options = offer.options
    known = before or Neighbour(offer.address(Option.SERVER_IDENTIFIER) or source, source, mac)
    return replace(
        known,
        own_host=known.own_host or own_host,
        offered=known.offered or _offered(offer),
        pxe=known.pxe or options.get(Option.VENDOR_CLASS, b"").startswith(PXE_CLIENT),
        menu=known.menu or options.get(Option.VENDOR_SPECIFIC, b""),
        tftp_server=known.tftp_server or _text(options.get(Option.TFTP_SERVER, b"")),
        boot_file=known.boot_file or _text(options.get(Option.BOOT_FILE, b"")),
        next_server=known.next_server or (offer.siaddr if offer.siaddr != packet.ZERO else None),
    )


def is_offer(message: Message) -> bool:
    """Whether a message is an OFFER, to whomever."""
    return message.op == BOOTREPLY and message.type == MessageType.OFFER


def _discover(mac: bytes, xid: int, more: dict[Option, bytes]) -> Message:
    options = {Option.MESSAGE_TYPE: bytes([MessageType.DISCOVER]), **more, Option.USER_CLASS: PROBE}
    return Message(BOOTREQUEST, xid, mac, {int(code): value for code, value in options.items()}, flags=BROADCAST)


def _offered(offer: Message) -> IPv4Interface | None:
    if offer.yiaddr == packet.ZERO:
        return None
    mask = offer.address(Option.SUBNET_MASK)
    try:
        return IPv4Interface(f"{offer.yiaddr}/{mask or 32}")
    except ValueError:
        return IPv4Interface(offer.yiaddr)


def _text(value: bytes) -> str:
    """Read a name that anybody may have sent, for people."""
    text = value.rstrip(b"\0").decode("ascii", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
