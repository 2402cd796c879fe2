"""The virtual Pi's TFTP on real sockets: one socket a request, its port counted on as the firmware does."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from contextlib import suppress
from dataclasses import replace

from pinetboot.errors import OperatorError
from pinetboot.pi.download import Download, Fetched, Out
from pinetboot.pi.firmware import Ask
from pinetboot.pi.profiles import Profile

_FIRST_PORT, _LAST_PORT = 32768, 60999
_MAX_DATAGRAM = 65535
_BURST = 64


class TftpClient:
    """Asks `server`:`port` for files, from `local` (empty: any address)."""

    def __init__(self, profile: Profile, server: str, port: int, local: str = "") -> None:
        self._profile = profile
        self._server = server
        self._port = port
        self._local = local
        self._own_port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)

    async def fetch(self, ask: Ask) -> Fetched:
        """Do one request to its end. Raises OperatorError when no socket can be had."""
        download = Download(ask.name, self._profile, probe=ask.probe, duplicates=ask.duplicates)
        sock = self._socket()
        try:
            return await _Running(download, sock, self._server, self._port).finish()
        finally:
            sock.close()

    def _socket(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._server else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self._profile.ttl)
        for _ in range(_LAST_PORT - _FIRST_PORT):
            # One port further with each request, as on the wire (reference 3.1).
            self._own_port = self._own_port + 1 if self._own_port < _LAST_PORT else _FIRST_PORT
            try:
                sock.bind((self._local, self._own_port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                sock.close()
                raise OperatorError(f"no request can be sent from {self._local}: {error.strerror}") from None
            return sock
        sock.close()
        raise OperatorError("no UDP port is free")


class _Running:
    """A Download with its socket and its clock."""

    def __init__(self, download: Download, sock: socket.socket, server: str, port: int) -> None:
        self._download = download
        self._sock = sock
        self._server = server
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._foreign = ""

    async def finish(self) -> Fetched:
        self._loop.add_reader(self._sock.fileno(), self._readable)
        try:
            self._put(self._download.start(self._loop.time()))
            self._wait()
            await self._over
        finally:
            self._loop.remove_reader(self._sock.fileno())
            if self._timer is not None:
                self._timer.cancel()
        done = self._download.done
        if done is None:
            raise AssertionError("a download is over when it is done")
        return replace(done, foreign=self._foreign)

    def _readable(self) -> None:
        for _ in range(_BURST):
            try:
                payload, sender = self._sock.recvfrom(_MAX_DATAGRAM)
            except OSError:
                # Nothing more, or an ICMP refusal, at which the firmware goes on waiting.
                return
            if sender[0] != self._server:
                self._foreign = sender[0]
                continue
            self._put(self._download.receive(payload, sender[1], self._loop.time()))
            if self._download.done:
                self._finished()
                return

    def _wait(self) -> None:
        delay_s = max(0.0, self._download.deadline - self._loop.time())
        self._timer = self._loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._put(self._download.tick(self._loop.time()))
        if self._download.done:
            self._finished()
        else:
            self._wait()

    def _finished(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _put(self, out: list[Out]) -> None:
        for datagram in out:
            with suppress(OSError):
                self._sock.sendto(datagram.payload, (self._server, datagram.port or self._port))
