"""Hearing what a switch's port says on an interface.

Belongs here: the packet socket (packet(7)). What a frame tells is `spanning`'s.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from pinetboot.host import spanning
from pinetboot.host.spanning import Bpdu
from pinetboot.net.links import Link

# 802.1D has a port speak every 2 s.
HELLO_S: Final = 2.0
_ETH_P_802_2: Final = 0x0004
_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_MR_MULTICAST: Final = 0
_MAX_FRAME: Final = 2048


async def bpdu(link: Link, for_s: float) -> Bpdu | None:
    """Wait for a frame of the spanning tree that comes in on a link; None where none does. Raises OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    try:
        sock.bind((link.name, _ETH_P_802_2))
        membership = struct.pack("=iHH8s", link.index, _PACKET_MR_MULTICAST, len(spanning.GROUP), spanning.GROUP)
        sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[Bpdu] = loop.create_future()
        loop.add_reader(sock.fileno(), _hear, sock, heard)
        try:
            async with asyncio.timeout(for_s):
                return await heard
        except TimeoutError:
            return None
        finally:
            loop.remove_reader(sock.fileno())
    finally:
        sock.close()


def _hear(sock: socket.socket, heard: asyncio.Future[Bpdu]) -> None:
    try:
        frame = sock.recv(_MAX_FRAME)
    except OSError:
        return
    found = spanning.parse(frame)
    if found is not None and not heard.done():
        heard.set_result(found)
