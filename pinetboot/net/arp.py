"""Asking by ARP who has an address, before it is given to somebody (RFC 5227).

Belongs here: the questions, the frames (RFC 826), and the time to wait. What follows from an answer is for others.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from pinetboot.net.links import Link

PATIENCE_S: Final = 0.2
_AGAIN_S: Final = PATIENCE_S / 2
_ETH_P_ARP: Final = 0x0806
_ARPHRD_ETHER: Final = 1
_REQUEST: Final = 1
_EVERYONE: Final = b"\xff" * 6
_BURST: Final = 256
# Hardware and protocol with the lengths of their addresses, operation; MAC and address of the sender, of the target.
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_IPV4_OVER_ETHERNET: Final = (_ARPHRD_ETHER, 0x0800, 6, 4)

Heard = Callable[[bytes | None], None]


def encode_probe(mac: bytes, address: IPv4Address) -> bytes:
    """Write the question who has `address`, from somebody at `mac` who has none: it changes no one's tables."""
    return _ARP.pack(*_IPV4_OVER_ETHERNET, _REQUEST, mac, bytes(4), bytes(6), address.packed)


def sender(packet: bytes) -> tuple[bytes, IPv4Address] | None:
    """Read who says in an ARP packet to have which address; None where nobody does."""
    if len(packet) < _ARP.size:
        return None
    *kind, _, mac, address, _, _ = _ARP.unpack_from(packet)
    if tuple(kind) != _IPV4_OVER_ETHERNET or not any(address):
        return None
    return mac, IPv4Address(address)


@dataclass(slots=True)
class _Question:
    link: Link
    heard: Heard
    timer: asyncio.TimerHandle


class Prober:
    """Asks on any interface, many questions at a time. Every method is called on the loop's thread."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._asked: dict[IPv4Address, _Question] = {}

    def open(self) -> None:
        """Begin to hear. Raises OSError, PermissionError without CAP_NET_RAW."""
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ARP))
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._hear, self._sock)

    def close(self) -> None:
        """Hear no more; nobody is called back."""
        for question in self._asked.values():
            question.timer.cancel()
        self._asked.clear()
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None

    @property
    def ready(self) -> bool:
        """Whether it can ask."""
        return self._sock is not None

    def asks(self, address: IPv4Address) -> bool:
        """Whether it waits for an answer about an address."""
        return address in self._asked

    def ask(self, link: Link, address: IPv4Address, heard: Heard) -> None:
        """Ask who has an address, twice; `heard` is called once, with a MAC or, after PATIENCE_S, with None."""
        if self._sock is None or address in self._asked:
            heard(None)
            return
        self._send(link, address)
        timer = asyncio.get_running_loop().call_later(_AGAIN_S, self._again, address)
        self._asked[address] = _Question(link, heard, timer)

    def _again(self, address: IPv4Address) -> None:
        question = self._asked[address]
        self._send(question.link, address)
        rest_s = PATIENCE_S - _AGAIN_S
        question.timer = asyncio.get_running_loop().call_later(rest_s, self._settle, address, None)

    def _settle(self, address: IPv4Address, mac: bytes | None) -> None:
        question = self._asked.pop(address)
        question.timer.cancel()
        question.heard(mac)

    def _send(self, link: Link, address: IPv4Address) -> None:
        if self._sock is None or not link.mac:
            return
        probe = encode_probe(bytes.fromhex(link.mac.replace(":", "")), address)
        with suppress(OSError):  # an interface that is down hears nobody
            self._sock.sendto(probe, (link.name, _ETH_P_ARP, 0, _ARPHRD_ETHER, _EVERYONE))

    def _hear(self, sock: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                packet, (device, *_) = sock.recvfrom(_ARP.size)
            except OSError:
                return
            told = sender(packet) if self._asked else None
            if told is not None:
                mac, address = told
                question = self._asked.get(address)
                if question is not None and question.link.name == device:
                    self._settle(address, mac)
