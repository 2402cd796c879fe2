"""The load generator in Python, for machines without a C compiler: the same arguments and figures as load.c.

It is no match for a server and becomes the limit itself: what it compares is processor time, not rates.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

_OACK, _ERROR, _DATA = 6, 5, 3


@dataclass
class Client:
    """One client: its place in the script, and the transfer that runs."""

    number: int
    sock: socket.socket | None = None
    step: int = -1
    peer: tuple[str, int] | None = None
    blksize: int = 512
    window: int = 1
    in_window: int = 0
    acked: int = 0
    had: int = 0
    began: float = 0.0
    last: float = 0.0


@dataclass
class Load:
    """The whole load, and what came of it."""

    options: argparse.Namespace
    script: list[tuple[str, str]]
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    started: float = field(default_factory=time.monotonic)
    begun: int = 0
    ended: int = 0
    retries: int = 0
    answers: int = 0
    received: int = 0
    blocks: int = 0
    times: list[float] = field(default_factory=list)

    def due(self) -> bool:
        """Whether another run may begin now."""
        rate = self.options.r
        return self.begun < self.options.n and (not rate or self.started + self.begun / rate <= time.monotonic())

    def begin(self, client: Client) -> None:
        """Begin the next run of the script, if there is one."""
        if not self.due():
            return
        client.began = self.started + self.begun / self.options.r if self.options.r else time.monotonic()
        self.begun += 1
        client.step, client.had = 0, 0
        self.ask(client)

    def ask(self, client: Client) -> None:
        """Send the request of the client's step from a socket of its own."""
        client.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.sock.setblocking(False)
        client.peer, client.blksize, client.window, client.in_window, client.acked = None, 512, 1, 0, 0
        self.selector.register(client.sock, selectors.EVENT_READ, client)
        self.request(client)

    def request(self, client: Client) -> None:
        """Put the request on the wire."""
        name = self.script[client.step][1].replace("%d", str(client.number)).replace("%08d", f"{client.number:08d}")
        strings = [name, "octet", "tsize", "0"]
        strings += ["blksize", str(self.options.b)]
        if self.options.w > 1:
            strings += ["windowsize", str(self.options.w)]
        assert client.sock is not None
        client.last = time.monotonic()
        packet = b"\0\1" + "".join(f"{text}\0" for text in strings).encode()
        client.sock.sendto(packet, (self.options.host, self.options.port))

    def ack(self, client: Client) -> None:
        """Acknowledge what was had in order."""
        assert client.sock is not None
        assert client.peer is not None
        client.sock.sendto(struct.pack("!HH", 4, client.acked & 0xFFFF), client.peer)
        client.in_window = 0

    def over(self, client: Client, *, good: bool) -> None:
        """End a step; go on to the next one, or end the run."""
        assert client.sock is not None
        self.selector.unregister(client.sock)
        client.sock.close()
        client.sock = None
        self.answers += 1
        client.step += 1
        if good and client.step < len(self.script):
            self.ask(client)
            return
        if good and self.options.e in {-1, client.had}:
            self.times.append((time.monotonic() - client.began) * 1e3)
        self.received += client.had
        self.ended += 1
        self.begin(client)

    def readable(self, client: Client) -> None:
        """Take what waits in a client's socket."""
        sock = client.sock
        while sock is not None and client.sock is sock:
            try:
                packet, sender = sock.recvfrom(65536)
            except BlockingIOError:
                return
            client.peer = client.peer or sender
            client.last = time.monotonic()
            self.take(client, packet)

    def take(self, client: Client, packet: bytes) -> None:
        """Take one packet."""
        kind = self.script[client.step][0]
        opcode, number = struct.unpack_from("!HH", packet)
        if opcode == _ERROR:
            self.over(client, good=kind == "M" and number == 1)
        elif kind == "M":
            self.over(client, good=False)
        elif kind == "P":
            assert client.sock is not None
            assert client.peer is not None
            client.sock.sendto(b"\0\5\0\0Early terminate\0", client.peer)
            self.over(client, good=True)
        elif opcode == _OACK and not client.acked:
            strings = packet[2:-1].decode().split("\0")
            options = dict(zip(strings[::2], strings[1::2], strict=True))
            client.blksize = int(options.get("blksize", client.blksize))
            client.window = int(options.get("windowsize", client.window))
            self.ack(client)
        elif opcode == _DATA:
            self.data(client, number, len(packet) - 4)

    def data(self, client: Client, number: int, size: int) -> None:
        """Take a block; a gap is told once a window."""
        if number != (client.acked + 1) & 0xFFFF:
            if (number - client.acked) & 0xFFFF < 1 << 15 and client.in_window:
                self.retries += 1
                self.ack(client)
            return
        client.acked += 1
        client.in_window += 1
        client.had += size
        self.blocks += 1
        last = size < client.blksize
        if last or client.in_window >= client.window:
            self.ack(client)
        if last:
            self.over(client, good=True)

    def run(self) -> None:
        """Run to the end, or to the deadline."""
        clients = [Client(number) for number in range(min(self.options.c, self.options.n))]
        for client in clients:
            self.begin(client)
        while self.ended < self.options.n and time.monotonic() - self.started < self.options.d:
            for key, _ in self.selector.select(0.001 if self.options.r else 0.02):
                self.readable(key.data)
            now = time.monotonic()
            for client in clients:
                if client.sock is None:
                    self.begin(client)
                elif now - client.last > self.options.t / 1e3:
                    self.retries += 1
                    client.last = now
                    (self.ack if client.peer else self.request)(client)


def main() -> None:
    """Run a load and print one JSON object."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("host")
    arguments.add_argument("port", type=int)
    arguments.add_argument("script", type=Path)
    for flag, default in (("-c", 1), ("-n", 1), ("-b", 1468), ("-w", 1), ("-e", -1)):
        arguments.add_argument(flag, type=int, default=default)
    for flag, seconds in (("-t", 1000.0), ("-d", 60.0), ("-r", 0.0)):
        arguments.add_argument(flag, type=float, default=seconds)
    options = arguments.parse_args()
    lines = (line.split() for line in options.script.read_text().splitlines() if line.strip())
    load = Load(options, [(kind, name) for kind, name in lines])
    load.run()
    seconds = time.monotonic() - load.started
    times = sorted(load.times)

    def percentile(share: float) -> float:
        return round(times[int((len(times) - 1) * share)], 2) if times else -1.0

    figures = {
        "bytes": load.received,
        "seconds": round(seconds, 4),
        "MBps": round(load.received / seconds / 1e6, 2),
        "blocks_per_s": round(load.blocks / seconds),
        "answers_per_s": round(load.answers / seconds),
        "ok": len(times),
        "failed": options.n - len(times),
        "retries": load.retries,
        "ms_min": percentile(0),
        "ms_p50": percentile(0.5),
        "ms_p99": percentile(0.99),
        "ms_max": percentile(1),
    }
    print(json.dumps(figures))
    sys.exit(0 if len(times) == options.n else 1)


if __name__ == "__main__":
    main()
