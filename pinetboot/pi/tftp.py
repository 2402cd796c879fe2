"""The virtual Pi's TFTP on real sockets: one socket a request, its port counted on as the firmware does."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from contextlib import suppress
from dataclasses import replace

from pinetboot.errors import OperatorError
from pinetboot.pi.asking import Ask
from pinetboot.pi.download import Download, Fetched, Out
from pinetboot.pi.faults import Meddler, Way
from pinetboot.pi.profiles import Profile

_FIRST_PORT, _LAST_PORT = 32768, 60999
_MAX_DATAGRAM = 65535
_BURST = 64
_LINGER_S = 5.0
_SO_NO_CHECK = 11  # socket(7); the socket module lacks it


class TftpClient:
    """Asks `server`:`port` for files, from `local` (empty: any address); `meddler` has its way with each datagram."""

    def __init__(
        self, profile: Profile, server: str, port: int, local: str = "", meddler: Meddler | None = None
    ) -> None:
        self._profile = profile
        self._server = server
        self._port = port
        self._local = local
        self._meddler = meddler
        self._program = -1
        self._own_port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        self._lingering: set[_Running] = set()

    async def fetch(self, ask: Ask) -> Fetched:
        """Do one request to its end. Raises OperatorError when no socket can be had."""
        profile = self._profile.speaking(ask.program)
        if ask.program != self._program and profile.first_port is not None:
            self._own_port = profile.first_port - 1
        self._program = ask.program
        download = Download(ask.name, profile, probe=ask.probe, duplicates=ask.duplicates, whole=ask.whole)
        running = _Running(download, self._socket(profile), (self._server, self._port), self._meddler)
        try:
            return await running.finish()
        finally:
            if download.lingers:
                self._lingering.add(running)
                running.linger(_LINGER_S)
            else:
                running.close()

    def close(self) -> None:
        """Close what waits for the end of a probe."""
        for running in self._lingering:
            running.close()
        self._lingering.clear()

    def _socket(self, profile: Profile) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._server else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, profile.ttl)
            sock.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, not profile.checksum)
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

    def __init__(
        self, download: Download, sock: socket.socket, server: tuple[str, int], meddler: Meddler | None
    ) -> None:
        self._download = download
        self._sock = sock
        self._server, self._port = server
        self._meddler = meddler
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._foreign = ""
        self._loop.add_reader(self._sock.fileno(), self._readable)

    async def finish(self) -> Fetched:
        try:
            self._put(self._download.start(self._loop.time()))
            self._wait()
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
        done = self._download.done
        if done is None:
            raise AssertionError("a download is over when it is done")
        return replace(done, foreign=self._foreign)

    def linger(self, for_s: float) -> None:
        """Go on hearing, for a client that ends a transfer when it has begun the next."""
        self._timer = self._loop.call_later(for_s, self.close)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

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
            if self._meddler is None:
                self._take(payload, sender[1])
                continue
            for late_s in self._meddler.fate(Way.TFTP_HEARD, payload):
                if late_s:
                    self._loop.call_later(late_s, self._take, payload, sender[1])
                else:
                    self._take(payload, sender[1])

    def _take(self, payload: bytes, port: int) -> None:
        if self._sock.fileno() < 0 or (self._download.done and not self._download.lingers):
            return
        self._put(self._download.receive(payload, port, self._loop.time()))
        if self._over.done():
            self.close()
        elif self._download.done:
            self._over.set_result(None)

    def _wait(self) -> None:
        delay_s = max(0.0, self._download.deadline - self._loop.time())
        self._timer = self._loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._put(self._download.tick(self._loop.time()))
        if not self._download.done:
            self._wait()
        elif not self._over.done():
            self._over.set_result(None)

    def _put(self, out: list[Out]) -> None:
        for datagram in out:
            to = (self._server, datagram.port or self._port)
            for late_s in self._meddler.fate(Way.TFTP_SENT, datagram.payload) if self._meddler is not None else (0.0,):
                if late_s:
                    self._loop.call_later(late_s, self._send, datagram.payload, to)
                else:
                    self._send(datagram.payload, to)

    def _send(self, payload: bytes, to: tuple[str, int]) -> None:
        with suppress(OSError):
            self._sock.sendto(payload, to)
