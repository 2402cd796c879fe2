"""DHCP messages, to and from bytes (RFC 2131, 3396): the one door to dpkt, whose faults end here.

Belongs here: the layout of messages. Never here: what an option means, or what to answer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

import dpkt

from pinetboot.dhcp.options import MessageType, Option
from pinetboot.errors import PeerError

BOOTREQUEST: Final = 1
BOOTREPLY: Final = 2
BROADCAST: Final = 0x8000
_FIXED: Final = 240  # BOOTP header and magic cookie
_ETHERNET: Final = 1
_MAC_SIZE: Final = 6
_MAX_OPTION: Final = 255
ZERO: Final = IPv4Address(0)


class MalformedMessage(PeerError):
    """A datagram that is no DHCP message."""


@dataclass(frozen=True, slots=True)
class Message:
    """A DHCP message over Ethernet. Options keep their order; one that came in pieces is whole (RFC 3396)."""

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

    @property
    def type(self) -> MessageType | None:
        """What option 53 says; None where it is absent or unknown."""
        value = self.options.get(Option.MESSAGE_TYPE, b"")
        try:
            return MessageType(value[0]) if len(value) == 1 else None
        except ValueError:
            return None

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
    try:
        # dpkt raises IndexError and others on broken options; those were read above, so it gets the fixed part alone.
        header = dpkt.dhcp.DHCP(datagram[:_FIXED] + bytes([Option.END]))
    except (dpkt.UnpackError, IndexError, ValueError, struct.error) as error:
        raise MalformedMessage(f"the header cannot be read: {error}") from None
    if header.magic != dpkt.dhcp.DHCP_MAGIC:
        raise MalformedMessage("it is BOOTP without the DHCP cookie")
    if header.op not in {BOOTREQUEST, BOOTREPLY}:
        raise MalformedMessage(f"op {header.op} is unknown")
    if header.hrd != _ETHERNET or header.hln != _MAC_SIZE:
        raise MalformedMessage(f"hardware type {header.hrd} with {header.hln} octets is not Ethernet")
    return Message(
        op=header.op,
        xid=header.xid,
        mac=header.chaddr[:_MAC_SIZE],
        options=options,
        secs=header.secs,
        flags=header.flags,
        hops=header.hops,
        ciaddr=IPv4Address(header.ciaddr),
        yiaddr=IPv4Address(header.yiaddr),
        siaddr=IPv4Address(header.siaddr),
        giaddr=IPv4Address(header.giaddr),
    )


def encode(message: Message) -> bytes:
    """Write a DHCP message, options in their order."""
    header = dpkt.dhcp.DHCP(
        op=message.op,
        hrd=_ETHERNET,
        hln=_MAC_SIZE,
        hops=message.hops,
        xid=message.xid,
        secs=message.secs,
        flags=message.flags,
        ciaddr=int(message.ciaddr),
        yiaddr=int(message.yiaddr),
        siaddr=int(message.siaddr),
        giaddr=int(message.giaddr),
        chaddr=message.mac.ljust(16, b"\0"),
        sname=bytes(64),
        file=bytes(128),
        opts=(),
    )
    fixed: bytes = header.pack_hdr()
    return fixed + _packed(message.options.items()) + bytes([Option.END])


def _options(area: bytes) -> dict[int, bytes]:
    options: dict[int, bytes] = {}
    at = 0
    while at < len(area):
        code = area[at]
        if code == Option.END:
            break
        if code == Option.PAD:
            at += 1
            continue
        if at + 2 > len(area) or at + 2 + area[at + 1] > len(area):
            raise MalformedMessage(f"option {code} runs past the end")
        value = area[at + 2 : at + 2 + area[at + 1]]
        options[code] = options.get(code, b"") + value
        at += 2 + len(value)
    return options


def _packed(options: Iterable[tuple[int, bytes]]) -> bytes:
    packed = bytearray()
    for code, value in options:
        for at in range(0, max(len(value), 1), _MAX_OPTION):
            piece = value[at : at + _MAX_OPTION]
            packed += bytes([code, len(piece)]) + piece
    return bytes(packed)
