"""A TFTP client of the tests' own, written from RFC 1350 by hand so that no mistake of pinetboot's can hide in it."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

RRQ, WRQ, DATA, ACK, ERROR, OACK = 1, 2, 3, 4, 5, 6
_MAX_DATAGRAM = 65535

Address = tuple[str, int]


@dataclass(frozen=True)
class Heard:
    """A packet as it came: `number` is the block or error code, `body` what follows it, `options` an OACK's."""

    opcode: int
    number: int
    body: bytes
    options: dict[str, str]
    sender: Address
    at: float

    @property
    def message(self) -> str:
        return self.body.rstrip(b"\0").decode()


class TransferFailed(Exception):
    """The server answered with an ERROR, or not at all."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


def request_bytes(name: bytes, mode: bytes = b"octet", opcode: int = RRQ, /, **options: str | int) -> bytes:
    strings = [name, mode]
    for option, value in options.items():
        strings += [option.encode(), str(value).encode()]
    return struct.pack("!H", opcode) + b"".join(string + b"\0" for string in strings)


def parse(datagram: bytes, sender: Address) -> Heard:
    assert len(datagram) >= 4, f"no TFTP packet: {datagram!r}"
    opcode = struct.unpack_from("!H", datagram)[0]
    if opcode == OACK:
        assert datagram.endswith(b"\0")
        strings = [string.decode() for string in datagram[2:-1].split(b"\0")]
        options = dict(zip(strings[::2], strings[1::2], strict=True))
        return Heard(opcode, 0, b"", options, sender, time.monotonic())
    number = struct.unpack_from("!H", datagram, 2)[0]
    return Heard(opcode, number, datagram[4:], {}, sender, time.monotonic())


class Client:
    """One UDP socket towards `server`. Answers go to whoever sent the last packet, as in RFC 1350 section 4."""

    def __init__(self, port: int, server: str = "127.0.0.1", local: str = "", timeout_s: float = 5.0) -> None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        if local:
            self.sock.bind((local, 0))
        self.server: Address = (server, port)
        self.peer: Address = self.server
        self.timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # A transfer that outlives its test would be counted in the next one.
        with suppress(OSError):
            if self.peer != self.server:
                self.error()
        self.sock.close()

    @property
    def port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    def send(self, datagram: bytes, to: Address | None = None) -> None:
        self.sock.sendto(datagram, to or self.peer)

    def ask(self, name: str | bytes, mode: bytes = b"octet", opcode: int = RRQ, /, **options: str | int) -> None:
        raw = name.encode() if isinstance(name, str) else name
        self.send(request_bytes(raw, mode, opcode, **options), self.server)

    def ack(self, block: int) -> None:
        self.send(struct.pack("!HH", ACK, block & 0xFFFF))

    def error(self, code: int = 0, message: str = "Early terminate") -> None:
        self.send(struct.pack("!HH", ERROR, code) + message.encode() + b"\0")

    def hear_or_nothing(self, within_s: float) -> Heard | None:
        self.sock.settimeout(within_s)
        try:
            datagram, sender = self.sock.recvfrom(_MAX_DATAGRAM)
        except (TimeoutError, BlockingIOError):
            return None
        self.peer = (sender[0], sender[1])
        return parse(datagram, self.peer)

    def hear(self, within_s: float | None = None) -> Heard:
        heard = self.hear_or_nothing(self.timeout_s if within_s is None else within_s)
        if heard is None:
            raise TransferFailed("the server is silent")
        return heard

    def hear_all(self, for_s: float) -> list[Heard]:
        """Listen for that long, whatever comes."""
        end = time.monotonic() + for_s
        heard = []
        while (left := end - time.monotonic()) > 0:
            packet = self.hear_or_nothing(left)
            if packet is not None:
                heard.append(packet)
        return heard

    def answer(self, name: str | bytes, mode: bytes = b"octet", opcode: int = RRQ, /, **options: str | int) -> Heard:
        """Ask and return the first packet that comes."""
        self.ask(name, mode, opcode, **options)
        return self.hear()

    def take(self, first: Heard, until: int | None = None) -> bytes:
        """Receive from the packet `first` on to the end, or to block `until`, acknowledging each window."""
        window = int(first.options.get("windowsize", "1"))
        blksize = int(first.options.get("blksize", "512"))
        heard = first
        if first.opcode == OACK:
            self.ack(0)
            heard = self.hear()
        content = bytearray()
        block = since_ack = 0
        while True:
            if heard.opcode == ERROR:
                raise TransferFailed(heard.message, heard.number)
            if heard.opcode == DATA and heard.number == (block + 1) & 0xFFFF:
                block += 1
                since_ack += 1
                content += heard.body
                assert len(heard.body) <= blksize
                if len(heard.body) < blksize or block == until:
                    self.ack(block)
                    return bytes(content)
                if since_ack == window:
                    self.ack(block)
                    since_ack = 0
            elif heard.opcode == DATA and window > 1 and since_ack:
                # A block of the window was lost on its way: RFC 7440 has the last good one acknowledged.
                self.ack(block)
                since_ack = 0
            heard = self.hear()


def fetch(
    port: int,
    name: str | bytes,
    mode: bytes = b"octet",
    /,
    *,
    server: str = "127.0.0.1",
    local: str = "",
    timeout_s: float = 5.0,
    **options: str | int,
) -> bytes:
    """Get a file. Raises TransferFailed."""
    with Client(port, server, local, timeout_s) as client:
        return client.take(client.answer(name, mode, **options))
