"""One client's connected socket: its datagrams told from others', and those of others handed on.

Belongs here: what a port costs that is shared, with other transfers or with the listener. What the client's datagrams
mean is the session's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pinetboot.net import udp
from pinetboot.net.addresses import Endpoint, endpoint

# An ACK has 4 bytes. More than 479 would not come from Python's own allocator, and cost each block 0.2 µs.
MAX_INCOMING = 479


class ClientSocket:
    """`sock` is connected to the peer of `origin`; `hand_on` takes what was meant for the listener."""

    __slots__ = ("_hand_on", "origin", "sock")

    def __init__(self, sock: udp.Socket, origin: udp.Datagram, hand_on: Callable[[udp.Datagram], None]) -> None:
        self.sock = sock
        self.origin = origin
        self._hand_on = hand_on

    def receive(self) -> bytes:
        """Take the client's next datagram; what another client sent goes where it was meant to go. Raises OSError.

        On a port that is shared, a datagram of another client may have been on its way to this socket while it was
        being connected. It lies before the first answer of our own client, so that from there on nobody need ask.
        """
        while True:
            payload, sender = self.sock.recvfrom(MAX_INCOMING)
            peer = endpoint(sender)
            if peer == self.origin.peer:
                return payload
            self._hand_on(self._as_heard(payload, peer))

    def ask_anew(self, payload: bytes) -> None:
        """Hand on a request of our own client: with one port for everything it finds this socket, not the listener."""
        self._hand_on(self._as_heard(payload, self.origin.peer))

    def close(self) -> None:
        """Leave the loop and the kernel; what still waits is handed on at the loop's next turn.

        With one port for everything, the client's next request may wait behind its last ACK.
        """
        loop = asyncio.get_running_loop()
        fd = self.sock.fileno()
        loop.remove_reader(fd)
        loop.remove_writer(fd)
        waiting = udp.drain(self.sock)
        self.sock.close()
        for payload, peer in waiting:
            loop.call_soon(self._hand_on, self._as_heard(payload, peer))

    def _as_heard(self, payload: bytes, peer: Endpoint) -> udp.Datagram:
        asked = self.origin
        return udp.Datagram(payload, peer, asked.local, asked.interface, asked.local)
