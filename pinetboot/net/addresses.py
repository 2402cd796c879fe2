"""Addresses as values: MACs, socket addresses, port ranges.

Belongs here: parsing and printing of addresses, with no socket and no look-up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

IPAddress = IPv4Address | IPv6Address

_MAC = re.compile(r"[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}", re.IGNORECASE)
_PORTS = re.compile(r"([0-9]{1,5})(?: *- *([0-9]{1,5}))?")
_MAX_PORT = 65535


def format_mac(octets: bytes) -> str:
    """Print six octets as `dc:a6:32:2e:f8:ed`."""
    return octets.hex(":")


def parse_mac(text: str) -> bytes:
    """Read `dc:a6:32:2e:f8:ed` or `dc-a6-32-2e-f8-ed` into six octets. Raises ValueError with what would be right."""
    if not _MAC.fullmatch(text):
        raise ValueError(f"{text!r} is no MAC address; six pairs of hex digits such as dc:a6:32:2e:f8:ed are")
    return bytes.fromhex(text.replace(":", "").replace("-", ""))


# What the socket module takes and gives for IPv4 and for IPv6.
SocketAddress = tuple[str, int] | tuple[str, int, int, int]


class Endpoint(NamedTuple):
    """One end of a UDP exchange. `scope` is the interface index of a link-local IPv6 address, else 0."""

    host: str
    port: int
    scope: int = 0

    @property
    def is_ipv6(self) -> bool:
        """Whether `host` is an IPv6 address."""
        return ":" in self.host

    def sockaddr(self) -> SocketAddress:
        """The form that the socket module takes for this family."""
        return (self.host, self.port, 0, self.scope) if self.is_ipv6 else (self.host, self.port)

    def __str__(self) -> str:
        """`192.168.1.10:49152` or `[fe80::1]:49152`."""
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


def endpoint(sockaddr: SocketAddress) -> Endpoint:
    """Take what recvmsg() gives as the sender; a zone in the host part (`fe80::1%eth0`) is carried by `scope`."""
    if len(sockaddr) == 2:  # noqa: PLR2004 - the two shapes of the socket module
        return Endpoint(sockaddr[0], sockaddr[1])
    return Endpoint(sockaddr[0].partition("%")[0], sockaddr[1], sockaddr[3])


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        """How many ports there are."""
        return self.last - self.first + 1

    def __contains__(self, port: int) -> bool:
        """Whether `port` lies in the range."""
        return self.first <= port <= self.last

    def __str__(self) -> str:
        """`5000-5010`, or `69` for a single port."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def parse_port_range(text: str) -> PortRange | None:
    """Read `5000-5010`, `69` or an empty string (None: any port). Raises ValueError with what would be right."""
    text = text.strip()
    if not text:
        return None
    found = _PORTS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no port range; one port or two with a dash, such as 5000-5010, are")
    ports = PortRange(int(found[1]), int(found[2] or found[1]))
    if not 1 <= ports.first <= ports.last <= _MAX_PORT:
        raise ValueError(f"{text!r} is no port range; ports go from 1 to 65535, the lower one first")
    return ports


def parse_address(text: str) -> IPAddress:
    """Read an IPv4 or IPv6 address. Raises ValueError with what would be right."""
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IP address; 192.168.1.10, say, is") from None


def parse_ipv4(text: str, example: str = "192.168.1.101") -> IPv4Address:
    """Read an IPv4 address. Raises ValueError with what would be right, `example` say."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IPv4 address; {example}, say, is") from None
