"""A bad link for TFTP: a relay that loses, repeats, holds back and delays datagrams, in a process of its own.

To the client it is the server: it listens on one port, and gives every port that the server answers from a port of its
own, as RFC 1350's change of ports wants it. To the server it is the client: one port for each.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

HOST: Final = "127.0.0.1"
SHARES: Final = {"dropped": 0.05, "overtaken": 0.05, "repeated": 0.02, "delayed": 0.02}
HELD_S: Final = (0.0005, 0.003)
# A copy may come when many more blocks have gone by.
STALE_S: Final = (0.0005, 0.03)

_MAX_DATAGRAM: Final = 65535
_BUFFER: Final = 1 << 20

Address = tuple[str, int]
Send = Callable[[bytes], object]


class Relay:
    """The relay as a process, for clients of the server at `server_port`: they turn to `port` instead.

    The first `spared` datagrams come through unharmed.
    """

    def __init__(self, server_port: int, *, seed: int, spared: int = 0) -> None:
        self._counts: dict[str, int] | None = None
        command = [sys.executable, __file__, str(server_port), str(seed), str(spared)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> dict[str, int]:
        """End it and say how many datagrams it took and what befell them."""
        if self._counts is None:
            # The end of its standard input is its own, so that it cannot outlive the tests, however those end.
            told, _ = self._process.communicate(timeout=10)
            self._counts = dict(json.loads(told))
        return self._counts


class _Way:
    """One direction of one transfer, and what happens to datagrams on it."""

    def __init__(self, link: _Link, send: Send) -> None:
        self._link = link
        self._send = send
        self._free_at = 0.0

    def take(self, payload: bytes) -> None:
        link, now = self._link, time.monotonic()
        fate = link.fate()
        if fate == "dropped":
            return
        if fate == "overtaken":
            link.at(now + link.chance.uniform(*HELD_S), self._send, payload)
            return
        if fate == "repeated":
            link.at(now + link.chance.uniform(*STALE_S), self._send, payload)
        # All but the overtaken stay in order: what follows a delayed datagram waits behind it.
        held_s = link.chance.uniform(*HELD_S) if fate == "delayed" else 0.0
        self._free_at = max(self._free_at, now + held_s)
        link.at(self._free_at, self._send, payload)


class _Link:
    """All sockets of the relay, and the datagrams that it holds back."""

    def __init__(self, server: Address, seed: int, spared: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same faults each time, nothing to keep secret
        self.counts = Counter(dict.fromkeys(("taken", *SHARES), 0))
        self._server = server
        self._spared = spared
        self._poll = select.epoll()
        self._heard: dict[int, Callable[[], None]] = {}
        self._held: list[tuple[float, int, Send, bytes]] = []
        self._turn = 0
        self._to_server: dict[Address, tuple[socket.socket, _Way]] = {}
        self._to_client: dict[tuple[Address, Address], _Way] = {}
        self.listener = self._socket()
        self._watch(self.listener, self._asked)

    def run(self) -> None:
        """Relay until standard input ends."""
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)
        while True:
            wait_s = max(self._held[0][0] - time.monotonic(), 0.0) if self._held else -1
            for fd, _ in self._poll.poll(wait_s):
                if fd == sys.stdin.fileno():
                    return
                self._heard[fd]()
            self._release()

    def fate(self) -> str:
        """Draw what befalls the next datagram."""
        self.counts["taken"] += 1
        if self.counts["taken"] <= self._spared:
            return ""
        drawn = self.chance.random()
        for fate, share in SHARES.items():
            if drawn < share:
                self.counts[fate] += 1
                return fate
            drawn -= share
        return ""

    def at(self, due: float, send: Send, payload: bytes) -> None:
        """Send when it is time, in the order of taking where that is the same time."""
        self._turn += 1
        heapq.heappush(self._held, (due, self._turn, send, payload))

    def _release(self) -> None:
        now = time.monotonic()
        while self._held and self._held[0][0] <= now:
            _, _, send, payload = heapq.heappop(self._held)
            # The other side may have closed its port, as a client does after its last acknowledgement.
            with suppress(ConnectionRefusedError):
                send(payload)

    def _socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.bind((HOST, 0))
        return sock

    def _watch(self, sock: socket.socket, take: Callable[[bytes, Address], None]) -> None:
        def heard() -> None:
            with suppress(BlockingIOError, ConnectionRefusedError):
                while True:
                    payload, sender = sock.recvfrom(_MAX_DATAGRAM)
                    take(payload, sender)

        self._heard[sock.fileno()] = heard
        self._poll.register(sock, select.EPOLLIN)

    def _asked(self, payload: bytes, client: Address) -> None:
        """A client talks to the server's own port."""
        if client not in self._to_server:
            upstream = self._socket()
            self._watch(upstream, lambda answer, server: self._answered(client, server, answer))
            self._to_server[client] = upstream, _Way(self, lambda request: upstream.sendto(request, self._server))
        self._to_server[client][1].take(payload)

    def _answered(self, client: Address, server: Address, payload: bytes) -> None:
        """The server answers a client, from whatever port."""
        if (client, server) not in self._to_client:
            upstream = self._to_server[client][0]
            downstream = self._socket()
            downstream.connect(client)
            back = _Way(self, lambda answer: upstream.sendto(answer, server))
            self._watch(downstream, lambda answer, _: back.take(answer))
            self._to_client[client, server] = _Way(self, downstream.send)
        self._to_client[client, server].take(payload)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("server_port", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("spared", type=int)
    arguments = parser.parse_args()
    link = _Link((HOST, arguments.server_port), arguments.seed, arguments.spared)
    sys.stdout.write(f"{link.listener.getsockname()[1]}\n")
    sys.stdout.flush()
    link.run()
    sys.stdout.write(json.dumps(link.counts))


if __name__ == "__main__":
    _main()
