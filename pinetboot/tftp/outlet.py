"""The sending side of a transfer's socket: packets one by one, or a whole run in one system call.

Belongs here: UDP_SEGMENT with its limits and fallbacks, and what a failed send means. What to do about it is the
session's to say.
"""

from __future__ import annotations

import errno
from enum import Enum, auto

from pinetboot.net import udp
from pinetboot.tftp.content import Chunk

_MAX_SEGMENTS = 64  # UDP_MAX_SEGMENTS of kernels before 6.9
_MAX_SEND = 65507  # the largest UDP payload over IPv4; IPv6 would take 20 bytes less
_MAX_SEND6 = 65487
_IP_AND_UDP = 28
_IP6_AND_UDP = 48
_CANNOT_CUT = {errno.EIO, errno.EINVAL, errno.EMSGSIZE}
_HOMELESS = {errno.EADDRNOTAVAIL, errno.EBADF, errno.EINVAL}


class Fate(Enum):
    """What became of a send that failed."""

    LOST = auto()  # take it as a packet that the network lost
    SOCKET_FULL = auto()  # the socket's buffer is full; the loop tells when it has room
    DEVICE_FULL = auto()  # the device's queue is full, and nobody tells when it is not
    REFUSED = auto()  # ICMP: nobody is there
    HOMELESS = auto()  # our own address left this host


def fate_of(error: OSError) -> Fate:
    """Say what a failed send or receive means for the transfer."""
    match error.errno:
        case errno.EAGAIN:
            return Fate.SOCKET_FULL
        case errno.ENOBUFS:
            return Fate.DEVICE_FULL
        case errno.ECONNREFUSED:
            return Fate.REFUSED
    return Fate.HOMELESS if error.errno in _HOMELESS else Fate.LOST


class Outlet:
    """Sends on a connected socket; `cut` asks for whole runs in packets of `stride` bytes where the kernel can."""

    __slots__ = ("_cuts", "_segments", "_sock")

    def __init__(self, sock: udp.Socket, stride: int, *, cut: bool) -> None:
        self._sock = sock
        ipv6 = sock.family == udp.IPV6
        # Above the MTU a packet is fragmented by IP, which does not go together with cutting.
        fits = cut and stride + (_IP6_AND_UDP if ipv6 else _IP_AND_UDP) <= udp.mtu(sock)
        most = (_MAX_SEND6 if ipv6 else _MAX_SEND) // stride
        self._segments = min(_MAX_SEGMENTS, most) if fits else 1
        self._cuts = False

    def packet(self, data: bytes) -> Fate | None:
        """Send one packet; None when it went out."""
        try:
            self._sock.send(data)
        except OSError as error:
            return fate_of(error)
        return None

    def run(self, chunk: Chunk, first: int, last: int) -> tuple[int, Fate | None]:
        """Send blocks `first` to `last` of a chunk's image. Returns the last one done with, and a fate if any."""
        stride = chunk.stride
        if self._segments > 1 and not self._cuts:
            # Not before the first run: an OACK may be longer than a block, and would be cut as well.
            self._cuts = udp.segment(self._sock, stride)
            self._segments = self._segments if self._cuts else 1
        while first <= last:
            until = min(first + self._segments - 1, last)
            try:
                self._sock.send(chunk.image[(first - chunk.first) * stride : (until - chunk.first + 1) * stride])
            except OSError as error:
                if self._segments > 1 and error.errno in _CANNOT_CUT:
                    # The device cannot (no checksum offload, say): one packet a send from now on.
                    self._whole_packets()
                    continue
                fate = fate_of(error)
                if fate is not Fate.LOST:
                    return first - 1, fate
            first = until + 1
        return last, None

    def error(self, data: bytes) -> None:
        """Send a last packet, an ERROR, and let its own fate be."""
        self._whole_packets()
        self.packet(data)

    def _whole_packets(self) -> None:
        if self._cuts:
            udp.segment(self._sock, 0)
        self._cuts = False
        self._segments = 1
