"""DHCP messages, to and from bytes (RFC 2131, 3396).

Belongs here: the layout of messages. Never here: what an option means, or what to answer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from pinetboot.dhcp.options import MessageType, Option
from pinetboot.errors import PeerError

BOOTREQUEST: Final = 1
BOOTREPLY: Final = 2
BROADCAST: Final = 0x8000
# RFC 2131 figure 1, and the magic cookie of section 3; sname is of no use to anybody here.
_HEADER: Final = struct.Struct("!BBBBIHH4s4s4s4s16s64x128s4s")
_FIXED: Final = _HEADER.size
_COOKIE: Final = bytes([99, 130, 83, 99])
_ETHERNET: Final = 1
_MAC_SIZE: Final = 6
_MOST_FILE: Final = 127  # the field is text that ends in a NUL
_MAX_OPTION: Final = 255
_PAD_CODE: Final = int(Option.PAD)
_END_CODE: Final = int(Option.END)
_END: Final = bytes([_END_CODE])
_TYPES: Final = {bytes([kind]): kind for kind in MessageType}
ZERO: Final = IPv4Address(0)


class MalformedMessage(PeerError):
    """A datagram that is no DHCP message."""


@dataclass(frozen=True, slots=True)
class Message:
    """A DHCP message over Ethernet. Options keep their order; one that came in pieces is whole (RFC 3396).

    `file` is the header's field of that name, up to its first NUL; PCs read it there before they look at option 67.
    """

    op: int
    xid: int
    mac: bytes
    options: dict[int, bytes] = field(default_factory=dict)
    secs: int = 0
    flags: int = 0
    hops: int = 0
    ciaddr: IPv4Address = ZERO
    yiaddr: IPv4Address = ZERO
    siaddr: IPv4Address = ZERO
    giaddr: IPv4Address = ZERO
    file: bytes = b""

    @property
    def type(self) -> MessageType | None:
        """What option 53 says; None where it is absent or unknown."""
        return _TYPES.get(self.options.get(Option.MESSAGE_TYPE, b""))

    @property
    def requested(self) -> IPv4Address | None:
        """The address that a REQUEST asks for, or renews (RFC 2131 section 4.3.2); None in any other message."""
        if self.type is not MessageType.REQUEST:
            return None
        asked = self.address(Option.REQUESTED_ADDRESS)
        found = self.ciaddr if asked is None else asked
        return None if found == ZERO else found

    def address(self, option: int) -> IPv4Address | None:
        """Read the first address in an option; None where there is none."""
        value = self.options.get(option, b"")
        return IPv4Address(value[:4]) if len(value) >= 4 else None  # noqa: PLR2004 - an IPv4 address


def parse(datagram: bytes) -> Message:
    """Read a DHCP message. Raises MalformedMessage."""
    if len(datagram) < _FIXED:
        raise MalformedMessage(f"{len(datagram)} bytes are too few for a DHCP message")
    options = _options(datagram[_FIXED:])
    op, hardware, size, hops, xid, secs, flags, *addresses, chaddr, file, cookie = _HEADER.unpack_from(datagram)
    if cookie != _COOKIE:
        raise MalformedMessage("it is BOOTP without the DHCP cookie")
    if op not in {BOOTREQUEST, BOOTREPLY}:
        raise MalformedMessage(f"op {op} is unknown")
    if hardware != _ETHERNET or size != _MAC_SIZE:
        raise MalformedMessage(f"hardware type {hardware} with {size} octets is not Ethernet")
    ciaddr, yiaddr, siaddr, giaddr = (IPv4Address(packed) if any(packed) else ZERO for packed in addresses)
    file = file.partition(b"\0")[0][:_MOST_FILE]
    return Message(op, xid, chaddr[:_MAC_SIZE], options, secs, flags, hops, ciaddr, yiaddr, siaddr, giaddr, file)


def encode(message: Message) -> bytes:
    """Write a DHCP message, options in their order."""
    addresses = (message.ciaddr, message.yiaddr, message.siaddr, message.giaddr)
    begin = (message.op, _ETHERNET, _MAC_SIZE, message.hops, message.xid, message.secs, message.flags)
    file = message.file[:_MOST_FILE]
    fixed = _HEADER.pack(*begin, *(address.packed for address in addresses), message.mac, file, _COOKIE)
    return fixed + _packed(message.options.items()) + _END


def _options(area: bytes) -> dict[int, bytes]:
    options: dict[int, bytes] = {}
    at = 0
    size = len(area)
    while at < size:
        code = area[at]
        if code == _PAD_CODE:
            at += 1
            continue
        if code == _END_CODE:
            break
        begin = at + 2
        at = begin + area[at + 1] if begin <= size else begin
        if at > size:
            raise MalformedMessage(f"option {code} runs past the end")
        value = area[begin:at]
        options[code] = options[code] + value if code in options else value
    return options


def _packed(options: Iterable[tuple[int, bytes]]) -> bytes:
    packed = bytearray()
    for code, value in options:
        for at in range(0, len(value) or 1, _MAX_OPTION):
            piece = value[at : at + _MAX_OPTION]
            packed += bytes((code, len(piece)))
            packed += piece
    return bytes(packed)
