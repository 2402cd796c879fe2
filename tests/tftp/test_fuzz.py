"""Broken TFTP packets by the hundred thousand: the parsers refuse them in their own way, and a daemon lives on."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Self

import pytest
from mutation import Mutants, each
from support import Daemon, wait_until

from pinetboot.boot import names
from pinetboot.boot.names import BadName
from pinetboot.pi import config_txt
from pinetboot.pi.download import Download
from pinetboot.pi.profiles import PROFILES
from pinetboot.tftp import packet
from pinetboot.tftp.options import Limits, negotiate
from pinetboot.tftp.packet import Ack, ErrorCode, MalformedPacket, Oack, Opcode, Request
from pinetboot.tftp.transfer import Patience, Send, Transfer

Serve = Callable[..., Daemon]

MUTANTS = 100_000
MUTANTS_LIVE = 20_000

CONFIG_TXT = b"""# comment
[pi4]
kernel=kernel8.img
initramfs initramfs8 followkernel
[all]
include extra.txt
dtoverlay=vc4-kms-v3d,cma-256
"""
FILES = {
    "5b154510/start4.elf": bytes(range(256)) * 40,
    "5b154510/config.txt": CONFIG_TXT,
    "da591740/config.txt": b"",
    "bootcode.bin": bytes(1468 * 3),
    "notes.txt": b"one\ntwo\r\n" * 300,
}

REQUESTS = [
    packet.encode_request(b"5b154510/start4.elf", "octet", {"tsize": "0", "blksize": "1468"}),
    packet.encode_request(b"5b154510/start4.elf", "octet", {"blksize": "512", "windowsize": "4", "timeout": "1"}),
    packet.encode_request(b"5b154510/config.txt", "octet", {"tsize": "0", "blksize": "1024"}),
    packet.encode_request(b"da591740//config.txt", "octet", {"tsize": "0", "blksize": "1468"}),
    packet.encode_request(b"bootcode.bin", "octet", {}),
    packet.encode_request(b"\\notes.txt", "netascii", {"tsize": "0", "timeout": "5", "blksize": "1432"}),
    packet.encode_request(b"nowhere", "octet", {"windowsize": "65535"}),
    packet.encode_request(b"../../etc/passwd", "octet", {}),
    packet.encode_request(b"upload", "octet", {"tsize": "100"}, Opcode.WRQ),
]
OTHERS = [
    packet.encode_ack(0),
    packet.encode_ack(1),
    packet.encode_ack(2),
    packet.encode_error(ErrorCode.NOT_DEFINED, "Early terminate"),
    packet.encode_error(ErrorCode.FILE_NOT_FOUND, "there is no such file"),
    packet.encode_oack({"tsize": "10240", "blksize": "1468"}),
    packet.encode_oack({"blksize": "8", "windowsize": "4", "timeout": "255"}),
    b"\x00\x03\x00\x01" + CONFIG_TXT,
    b"\x00\x03\x00\x02" + bytes(1468),
    b"\x00\x03\x00\x03",
]

BYTES = (0, 1, 2, 6, 0x0A, 0x0D, 0x2E, 0x2F, 0x5C, 0x7F, 0x80, 0xFF)
NAMES = (b"\0", b"\0\0", b"/", b"//", b"..", b"/../", b"\\..\\", b"%00", b"\r\n", b"blksize\0", b"windowsize\0002\0")
NUMBERS = (b"0", b"-1", b"7", b"65464", b"65465", b"65536", b"4294967296", b"99999999999999999999", b"1e9", b"\xd9\xa3")
WORDS = NAMES + NUMBERS


class Packets(Mutants):
    """Broken TFTP packets."""

    values = BYTES
    words = WORDS

    def bend(self, made: bytearray, at: int, to: int) -> None:
        """Change one byte, often one of those that end a string: there a parser can be led astray."""
        ends = [index for index, byte in enumerate(made) if byte == 0 and index > 1]
        astray: bool = self.pick((True, False))
        if ends and astray:
            at = self.pick(ends)
        super().bend(made, at, to)


def mutants(seed: int, corpus: list[bytes], count: int) -> Iterator[bytes]:
    return islice(Packets(seed, corpus), count)


LIMITS = Limits(blksize=1468, windowsize=64)
PATIENCE = Patience(2.0, 5)


@dataclass
class Server:
    """What the server decides on a datagram, without its sockets."""

    transfer: Transfer = field(default_factory=lambda: Transfer(blocks=1, windowsize=1, oack=True, patience=PATIENCE))
    kinds: Counter[str] = field(default_factory=Counter)

    def take(self, datagram: bytes) -> None:
        try:
            heard = packet.parse(datagram)
        except MalformedPacket as error:
            self.kinds["malformed"] += 1
            if error.code is not None:
                packet.encode_error(error.code, error.message)
            return
        self.kinds[type(heard).__name__] += 1
        match heard:
            case Request():
                self._request(heard)
            case Ack(block):
                step = self.transfer.acknowledged(block, 0.0)
                if isinstance(step, Send):
                    assert 0 <= step.first <= step.last <= self.transfer.blocks

    def _request(self, request: Request) -> None:
        assert names.printable(request.mode).isprintable()
        assert names.printable(request.filename.decode("utf-8", "surrogateescape")).isprintable()
        try:
            path = names.normalise(request.filename)
        except BadName:
            self.kinds["bad name"] += 1
        else:
            assert not {"", ".", ".."} & set(path.split("/"))
        granted = negotiate(request.options, LIMITS, 10240)
        assert 8 <= granted.blksize <= LIMITS.blksize
        assert 1 <= granted.windowsize <= LIMITS.windowsize
        if granted.oack is not None:
            assert packet.parse(packet.encode_oack(granted.oack)) == Oack(granted.oack)
        self.transfer = Transfer(
            blocks=10240 // granted.blksize + 1,
            windowsize=granted.windowsize,
            oack=granted.oack is not None,
            patience=PATIENCE,
        )
        self.transfer.start(0.0)


def test_no_broken_packet_surprises_the_server() -> None:
    server = Server()
    assert each(mutants(1, REQUESTS * 2 + OTHERS, MUTANTS), server.take) == MUTANTS
    # The packets are broken enough to be refused, and whole enough to get further.
    assert min(server.kinds[kind] for kind in ("malformed", "Request", "Ack", "Data", "Error", "Oack")) > MUTANTS // 50


@dataclass
class Pi:
    """A virtual Pi that is sent broken answers; it begins anew whenever a download is over."""

    download: Download = field(default_factory=lambda: Download("file", PROFILES["pi4"]))
    now: float = 0.0
    begun: int = 0
    ended: int = 0

    def take(self, datagram: bytes) -> None:
        self.now += 0.01
        if self.download.done is not None or not self.begun:
            self.ended += self.begun > 0
            self.download = Download("file", PROFILES[("pi4", "pi5")[self.begun % 2]], probe=self.begun % 5 == 0)
            self.download.start(self.now)
            self.begun += 1
        for out in self.download.receive(datagram, 50000, self.now) + self.download.tick(self.now):
            packet.parse(out.payload)


def test_no_broken_answer_surprises_a_virtual_pi() -> None:
    pi = Pi()
    assert each(mutants(2, OTHERS, MUTANTS), pi.take) == MUTANTS
    assert pi.ended > MUTANTS // 100


def test_no_broken_config_txt_surprises_a_virtual_pi() -> None:
    def take(text: bytes) -> None:
        found = config_txt.parse(text, "pi4")
        assert all([*found.overlays, *found.includes])
        config_txt.parse(text, "pi5", found)
        config_txt.root_of(text)
        assert (config_txt.seed_url(text) or "http://").startswith("http")

    cmdline = b"console=tty1 root=/dev/nfs ds=nocloud;s=http://192.168.1.10/ ip=dhcp rootwait"
    each(mutants(3, [CONFIG_TXT, cmdline, CONFIG_TXT + cmdline, *OTHERS[-3:]], MUTANTS // 4), take)


@dataclass
class Clients:
    """Many client ports that send broken packets to a daemon, and broken ones to the transfers that come of it."""

    port: int
    sockets: list[socket.socket] = field(default_factory=list)
    answers: int = 0

    def __enter__(self) -> Self:
        for _ in range(48):
            sock = udp()
            sock.setblocking(False)
            self.sockets.append(sock)
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self.sockets:
            sock.close()

    def send(self, number: int, datagram: bytes, to_transfer: bytes) -> None:
        sock = self.sockets[number % len(self.sockets)]
        sock.sendto(datagram, ("127.0.0.1", self.port))
        try:
            _, sender = sock.recvfrom(2048)
        except OSError:
            return
        self.answers += 1
        sock.sendto(to_transfer, sender)


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(5.0)
    return sock


def read(port: int, name: str) -> bytes:
    """Read a file the plain way; raises AssertionError for an ERROR."""
    with udp() as sock:
        sock.sendto(packet.encode_request(name.encode(), "octet", {"blksize": "1024"}), ("127.0.0.1", port))
        heard, sender = sock.recvfrom(2048)
        assert packet.parse(heard) == Oack({"blksize": "1024"})
        file = bytearray()
        for block in range(10_000):
            sock.sendto(packet.encode_ack(block), sender)
            if block and len(heard) < 4 + 1024:
                return bytes(file)
            heard = sock.recv(2048)
            assert heard[:4] == b"\0\3" + (block + 1).to_bytes(2, "big")
            file += heard[4:]
    raise AssertionError("the file does not end")


def is_missing(port: int) -> bool:
    """Ask for what is not there; the answer tells as well that all that was sent before has been taken."""
    with udp() as sock:
        sock.sendto(packet.encode_request(b"no/such/file", "octet", {}), ("127.0.0.1", port))
        return sock.recv(2048)[:4] == b"\0\5\0\1"


def descriptors(daemon: Daemon) -> int:
    assert daemon.process is not None
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


def test_a_daemon_outlives_twenty_thousand_broken_packets(serve: Serve) -> None:
    daemon = serve(tftp="timeout_s = 0.05\nretries = 1")
    for name, content in FILES.items():
        (daemon.data / "boot" / name).parent.mkdir(exist_ok=True)
        (daemon.data / "boot" / name).write_bytes(content)
    assert is_missing(daemon.tftp_port)
    # netascii has the daemon start a thread; what that costs is no leak.
    assert read(daemon.tftp_port, "notes.txt") == FILES["notes.txt"]
    before = descriptors(daemon)

    pairs = zip(
        mutants(4, REQUESTS * 3 + OTHERS, MUTANTS_LIVE), mutants(5, OTHERS + REQUESTS, MUTANTS_LIVE), strict=True
    )
    with Clients(daemon.tftp_port) as clients:
        for number, (datagram, to_transfer) in enumerate(pairs):
            clients.send(number, datagram, to_transfer)
            if number % 100 == 99:
                assert is_missing(daemon.tftp_port)
        assert clients.answers > MUTANTS_LIVE // 4

    for name, content in FILES.items():
        if content:
            assert read(daemon.tftp_port, name) == content
    assert wait_until(lambda: descriptors(daemon) <= before + 2, within_s=15)
    assert not daemon.process_ended
    assert daemon.stop() == 0
    for sign in ("Traceback", "Exception", "Error ", "was never"):
        assert sign not in daemon.text


def memory(daemon: Daemon) -> int:
    """Bytes that the daemon holds now."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


@pytest.mark.parametrize(("large", "count"), [("mode", 250), ("option", 1000), ("name", 1000)])
def test_a_flood_of_large_requests_does_not_fill_the_memory(serve: Serve, large: str, count: int) -> None:
    daemon = serve(tftp="timeout_s = 0.05\nretries = 0")

    def request(number: int) -> bytes:
        # What cannot be printed takes more room in a log than on the wire.
        text = f"{number}" + "\x01" * 60_000
        match large:
            case "mode":
                return packet.encode_request(b"no/such/file", text, {})
            case "option":
                return packet.encode_request(b"no/such/file", "octet", {text: "0"})
        return packet.encode_request(text[:2000].encode(), "octet", {})

    with udp() as sock:
        for number in range(count):
            sock.sendto(request(number), ("127.0.0.1", daemon.tftp_port))
            if number == 50:
                assert is_missing(daemon.tftp_port)
                before = memory(daemon)
            if number % 5 == 4:
                assert is_missing(daemon.tftp_port)
    assert memory(daemon) < before + (48 << 20)
