"""Hearing the bootloader's log on a UDP port (reference 4.5): one way, nothing is ever answered.

Belongs here: the sockets, and how much is taken. What a line says is `netconsole`'s.
"""

from __future__ import annotations

import asyncio

from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.events import ConsoleHeard, PacketDropped, Sink
from pinetboot.net import udp
from pinetboot.net.links import Links
from pinetboot.net.listening import Listeners, udp_sockets
from pinetboot.observe.netconsole import lines_of

_BURST = 64  # datagrams taken before other sockets get their turn
# Lines a second that are taken: a bootloader writes some hundred in all, and whoever floods is heard no more.
_MOST_A_SECOND = 5000


class NetconsoleServer:
    """Gives every line to `sink`. start() binds; stop() frees the port."""

    def __init__(self, config: Config, sink: Sink) -> None:
        port = config.netconsole.port
        self._listeners = Listeners(
            config.server.interfaces, lambda names: udp_sockets(port, names, "netconsole.port", ipv6=False)
        )
        self._sink = sink
        self._second = 0
        self._taken = 0
        self._hears = False

    def start(self, links: Links) -> None:
        """Bind and begin. Raises OperatorError."""
        self._hears = True
        faults = self.follow(links)
        if faults:
            self.stop()
            raise faults[0]

    def follow(self, links: Links) -> list[OperatorError]:
        """Listen where the interfaces that the settings name are now; returns why some of it cannot be."""
        if not self._hears:
            return []
        loop = asyncio.get_running_loop()
        followed = self._listeners.follow(links)
        for sock in followed.went:
            loop.remove_reader(sock.fileno())
            sock.close()
        for sock in followed.came:
            loop.add_reader(sock.fileno(), self._heard, sock)
        return followed.faults

    def stop(self) -> None:
        """Hear no more."""
        self._hears = False
        for sock in self._listeners.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        self._listeners.close()

    def _heard(self, sock: udp.Socket) -> None:
        for _ in range(_BURST):
            try:
                datagram = udp.receive(sock)
            except OSError:
                continue
            if datagram is None:
                return
            for text in lines_of(datagram.payload):
                if self._full():
                    return
                self._sink(ConsoleHeard(datagram.peer.host, text))

    def _full(self) -> bool:
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        if self._taken == _MOST_A_SECOND + 1:
            self._sink(PacketDropped("netconsole", "", f"more than {_MOST_A_SECOND} lines came within a second"))
        return self._taken > _MOST_A_SECOND
