"""Which DHCP servers a LAN has, found by asking as a new client does, and as a Pi does where that is wanted.

Belongs here: the sockets. What is asked, and what an answer tells, is `asking`'s; what follows from it is for others
to say.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Final

from pinetboot.dhcp import asking, packet
from pinetboot.dhcp.asking import Neighbour
from pinetboot.dhcp.options import Option
from pinetboot.dhcp.packet import MalformedMessage
from pinetboot.errors import OperatorError
from pinetboot.net import packets
from pinetboot.net.addresses import format_mac
from pinetboot.net.links import Link

# dnsmasq pings an address for 3 s before it offers it to a client that it does not know.
PATIENCE_S: Final = 3.5
_AGAIN_S: Final = 1.0
_STANDARD_PORT: Final = 67
_EVERYONE: Final = "255.255.255.255"
_MAX_PACKET: Final = 65535
_BURST: Final = 64

_PACKET_OUTGOING: Final = 4  # packet(7)


async def find(
    link: Link, *, timeout_s: float = PATIENCE_S, port: int = _STANDARD_PORT, as_pi: bool = False
) -> list[Neighbour]:
    """Ask out of `link` and collect every server that answers within `timeout_s`; with `as_pi` once more as a Pi 4.

    Raises OperatorError where this host or this user cannot ask.
    """
    round_ = _Round(link, port, as_pi=as_pi)
    again_s = min(_AGAIN_S, timeout_s / 2)
    round_.open()
    try:
        round_.ask()
        await asyncio.sleep(again_s)
        with suppress(OperatorError):
            round_.ask()
        await asyncio.sleep(timeout_s - again_s)
    finally:
        round_.close()
    return sorted(round_.found.values(), key=lambda one: (one.server, one.source))


class _Round:
    """One round of questions. Sends through the host's own stack, so that a server on this host hears them too.

    It hears frames, as answers may go to a MAC that nobody has, and those as well that this host sends.
    """

    def __init__(self, link: Link, port: int, *, as_pi: bool) -> None:
        # By server, the address it answers from, and whether it gives addresses: two programs may share a host.
        self.found: dict[tuple[IPv4Address, IPv4Address, bool], Neighbour] = {}
        self._link = link
        self._port = port
        # Locally administered, and no multicast address.
        self._mac = b"\x02" + secrets.token_bytes(5)
        kinds = (asking.plain, asking.as_pi) if as_pi else (asking.plain,)
        asks = [kind(self._mac, secrets.randbits(32)) for kind in kinds]
        self._asks = {ask.xid: packet.encode(ask) for ask in asks}
        self._mouth: socket.socket | None = None
        self._ear: socket.socket | None = None

    def open(self) -> None:
        """Begin to hear. Raises OperatorError."""
        try:
            self._ear = ear = packets.overhear(self._link.name, self._link.index, packets.filter_for(self._port + 1))
            self._mouth = _mouth(self._link.name, self._port + 1)
        except OSError as error:
            self.close()
            if isinstance(error, PermissionError):
                raise OperatorError(
                    "to ask for the DHCP servers of a LAN needs CAP_NET_RAW and CAP_NET_BIND_SERVICE",
                    "Run it as root, or give it these capabilities.",
                ) from None
            raise OperatorError(
                f"the DHCP servers of {self._link.name} cannot be asked for: {error.strerror}"
            ) from None
        asyncio.get_running_loop().add_reader(ear.fileno(), self._hear, ear)

    def close(self) -> None:
        """Hear no more."""
        if self._ear is not None:
            asyncio.get_running_loop().remove_reader(self._ear.fileno())
            self._ear.close()
        if self._mouth is not None:
            self._mouth.close()

    def ask(self) -> None:
        """Send every question. Raises OperatorError."""
        for payload in self._asks.values():
            try:
                if self._mouth is not None:
                    self._mouth.sendto(payload, (_EVERYONE, self._port))
            except OSError as error:
                raise OperatorError(f"nothing can be sent out of {self._link.name}: {error.strerror}") from None

    def _hear(self, ear: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                heard, (_, _, kind, _, sender) = ear.recvfrom(_MAX_PACKET)
            except OSError:
                return
            carried = packets.unwrap(heard)
            if carried is not None and carried.destination.port == self._port + 1:
                source = IPv4Address(carried.source.host)
                with suppress(MalformedMessage):
                    self._take(carried.payload, source, format_mac(sender), own_host=kind == _PACKET_OUTGOING)

    def _take(self, payload: bytes, source: IPv4Address, mac: str, *, own_host: bool) -> None:
        message = packet.parse(payload)
        if asking.is_offer(message) and message.xid in self._asks and message.mac == self._mac:
            key = message.address(Option.SERVER_IDENTIFIER) or source, source, message.yiaddr != packet.ZERO
            self.found[key] = asking.merged(self.found.get(key), message, source, mac, own_host=own_host)


def _mouth(device: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sock.bind(("", port))
    except BaseException:
        sock.close()
        raise
    return sock
