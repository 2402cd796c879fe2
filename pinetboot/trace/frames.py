"""Frames as a packet socket shows them, and as they went over the wire.

Belongs here: finding IP, UDP and TCP in a frame (RFC 791, 8200, 768, 9293), cutting up what the kernel sent in one
piece for the card to cut, and the checksums that it left to the card. Never here: what a payload means.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

ETHERNET: Final = 14
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
TCP: Final = 6
UDP: Final = 17
_FRAGMENT: Final = 44  # IPv6's header of a fragment, RFC 8200 section 4.5
_IP_SIZE, _IP6_SIZE, _IP6_FRAGMENT_SIZE, _UDP_SIZE = 20, 40, 8, 8
_MORE: Final = 0x2000
_OFFSET: Final = 0x1FFF
_CHECKSUM_AT: Final = {UDP: 6, TCP: 16}
_PORTS: Final = struct.Struct("!HH")
_ALL_ONES: Final = 0xFFFF
_DATA: Final = b"\0\3"  # RFC 1350


@dataclass(frozen=True, slots=True)
class Frame:
    """An Ethernet frame with IP in it. Ports are 0 in a fragment that does not begin its packet.

    `above` says where the header behind IP's begins, `end` where the packet ends. `begins` and `ends`: whether it is
    the first, and the last part of its packet; `packet` is what all parts have in common.
    """

    octets: bytes
    source: str
    destination: str
    protocol: int
    source_port: int
    destination_port: int
    above: int
    end: int
    begins: bool
    ends: bool
    packet: tuple[str, str, int]

    @property
    def source_mac(self) -> bytes:
        """Six octets; zeros where the link has none."""
        return self.octets[6:12]

    @property
    def destination_mac(self) -> bytes:
        """Six octets; zeros where the link has none."""
        return self.octets[:6]

    @property
    def is_ipv6(self) -> bool:
        """Whether it is IPv6."""
        return ":" in self.source

    @property
    def payload(self) -> bytes:
        """What a UDP datagram carries."""
        return self.octets[self.above + _UDP_SIZE : self.end]


class _Ip(NamedTuple):
    """What an IP header tells: the fields of Frame."""

    source: str
    destination: str
    protocol: int
    above: int
    end: int
    begins: bool
    ends: bool
    ident: int


def parse(octets: bytes) -> Frame | None:
    """Find IP with UDP or TCP in a frame; None where there is none, or not all of it."""
    kind = octets[12:ETHERNET]
    if kind == _IPV4 and len(octets) >= ETHERNET + _IP_SIZE:
        ip = _ipv4(octets)
    elif kind == _IPV6 and len(octets) >= ETHERNET + _IP6_SIZE + _IP6_FRAGMENT_SIZE:
        ip = _ipv6(octets)
    else:
        return None
    least = _CHECKSUM_AT.get(ip.protocol)
    if least is None or not ip.above <= ip.end <= len(octets) or (ip.begins and ip.end < ip.above + least + 2):
        return None
    source_port, destination_port = _PORTS.unpack_from(octets, ip.above) if ip.begins else (0, 0)
    return Frame(
        octets,
        ip.source,
        ip.destination,
        ip.protocol,
        source_port,
        destination_port,
        above=ip.above,
        end=ip.end,
        begins=ip.begins,
        ends=ip.ends,
        packet=(ip.source, ip.destination, ip.ident),
    )


def _ipv4(octets: bytes) -> _Ip:
    above = ETHERNET + (octets[ETHERNET] & 15) * 4
    size, ident, fragment = struct.unpack_from("!HHH", octets, ETHERNET + 2)
    end = ETHERNET + size if size else len(octets)  # that of a piece of more than 64 KB is left out
    source, destination = (str(IPv4Address(octets[at : at + 4])) for at in (ETHERNET + 12, ETHERNET + 16))
    begins, ends = not fragment & _OFFSET, not fragment & _MORE
    return _Ip(source, destination, octets[ETHERNET + 9], above, end, begins, ends, ident)


def _ipv6(octets: bytes) -> _Ip:
    above = ETHERNET + _IP6_SIZE
    size, protocol = struct.unpack_from("!HB", octets, ETHERNET + 4)
    end = above + size if size else len(octets)
    source, destination = (str(IPv6Address(octets[at : at + 16])) for at in (ETHERNET + 8, ETHERNET + 24))
    if protocol != _FRAGMENT:
        return _Ip(source, destination, protocol, above, end, begins=True, ends=True, ident=0)
    protocol, _, fragment, ident = struct.unpack_from("!BBHI", octets, above)
    begins, ends = not fragment >> 3, not fragment & 1
    return _Ip(source, destination, protocol, above + _IP6_FRAGMENT_SIZE, end, begins, ends, ident)


def as_sent(frame: Frame, stride: int, *, unfinished: bool) -> list[bytes]:
    """Give the frames that went over the wire. `unfinished`: the kernel left the checksum to the card.

    `stride` is the size of a whole TFTP DATA packet of this transfer: a longer one was given to the card as one, for it
    to cut (UDP_SEGMENT). 0 where that is not known.
    """
    if not (frame.begins and frame.ends):
        return [frame.octets]
    if stride and frame.protocol == UDP and frame.end - frame.above - _UDP_SIZE > stride and frame.payload[:2] == _DATA:
        return _cut(frame, stride)
    return [_summed(bytearray(frame.octets[: frame.end]), frame)] if unfinished else [frame.octets]


def _cut(frame: Frame, stride: int) -> list[bytes]:
    head, payload = frame.octets[: frame.above + _UDP_SIZE], frame.payload
    found = []
    for count, at in enumerate(range(0, len(payload), stride)):
        one = bytearray(head + payload[at : at + stride])
        size = len(one) - ETHERNET
        if frame.is_ipv6:
            struct.pack_into("!H", one, ETHERNET + 4, size - _IP6_SIZE)
        else:
            ident = frame.packet[2] + count & 0xFFFF
            struct.pack_into("!HH", one, ETHERNET + 2, size, ident)
            struct.pack_into("!H", one, ETHERNET + 10, 0)
            struct.pack_into("!H", one, ETHERNET + 10, _checksum(bytes(one[ETHERNET : frame.above])))
        struct.pack_into("!H", one, frame.above + 4, len(one) - frame.above)
        found.append(_summed(one, frame))
    return found


def _summed(octets: bytearray, frame: Frame) -> bytes:
    """Write the checksum of UDP or TCP, over the addresses, the protocol and the size as well (RFC 768, 8200)."""
    at = frame.above + _CHECKSUM_AT[frame.protocol]
    struct.pack_into("!H", octets, at, 0)
    first, last = (8, 40) if frame.is_ipv6 else (12, 20)
    ends = bytes(octets[ETHERNET + first : ETHERNET + last])
    above = bytes(octets[frame.above :])
    pseudo = ends + struct.pack("!II", len(above), frame.protocol)
    struct.pack_into("!H", octets, at, _checksum(pseudo + above) or _ALL_ONES)
    return bytes(octets)


def _checksum(octets: bytes) -> int:
    """RFC 1071: the sum in ones' complement is the number's rest by 65535, and that of a large number is quick."""
    return _ALL_ONES - int.from_bytes(octets + b"\0" * (len(octets) % 2), "big") % _ALL_ONES
