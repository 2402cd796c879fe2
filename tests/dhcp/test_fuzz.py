"""Broken DHCP messages by the hundred thousand: they are refused or understood, and a daemon lives on."""

from __future__ import annotations

import json
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from pathlib import Path

from mutation import Fault, Mutants, each
from support import Daemon, wait_until

from pinetboot.dhcp import offer, packet, serving
from pinetboot.dhcp.lease import Range, from_kept, to_kept
from pinetboot.dhcp.leases import Leases
from pinetboot.dhcp.offer import Ignored, Proxy
from pinetboot.dhcp.options import PXE_CLIENT, MessageType, Option, encode_pxe_menu, encode_serial_machine
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, MalformedMessage, Message
from pinetboot.dhcp.serving import Answer, Ground, Known
from pinetboot.pi import link
from pinetboot.pi.dhcp import DhcpDialogue, discover, release
from pinetboot.pi.profiles import INTERFACE, PROFILES, VENDOR_CLASS

MUTANTS = 100_000
MUTANTS_LIVE = 20_000

XID = 0x5EED1234
MAC = bytes.fromhex("dca6322ef8ed")
ROUTER, SERVER, LEASED = IPv4Address("192.168.1.1"), IPv4Address("192.168.1.10"), IPv4Address("192.168.1.50")
PI4, PI5 = PROFILES["pi4"], PROFILES["pi5"]
PROXY = Proxy(SERVER, "Raspberry Pi Boot   ", (0.6, 1.2))

_FIXED = 240
_GIADDR = slice(24, 28)


def request(options: dict[int, bytes], mac: bytes = MAC, xid: int = XID) -> bytes:
    return packet.encode(Message(BOOTREQUEST, xid, mac, options))


def reply(options: dict[int, bytes], yiaddr: IPv4Address = LEASED) -> bytes:
    return packet.encode(Message(BOOTREPLY, XID, MAC, options, yiaddr=yiaddr, siaddr=SERVER))


ROM = request(
    {
        Option.MESSAGE_TYPE: b"\1",
        Option.PARAMETER_LIST: bytes([43, 60, 67, *range(128, 136), 66]),
        Option.CLIENT_ARCHITECTURE: bytes(2),
        Option.CLIENT_INTERFACE: INTERFACE,
        Option.MACHINE_IDENTIFIER: b"\0" + b"\x44" * 16,
        Option.VENDOR_CLASS: VENDOR_CLASS,
    },
    bytes.fromhex("b827eb123456"),
    0x26F30339,
)
PI_3BP = request(
    {
        Option.MESSAGE_TYPE: b"\1",
        Option.MACHINE_IDENTIFIER: encode_serial_machine("7285c0f2"),
        Option.VENDOR_CLASS: VENDOR_CLASS,
        Option.RELAY_AGENT: b"\1\4eth0",
    },
    bytes.fromhex("b827eb85c0f2"),
)
REQUESTS = [
    discover(PI4, "5b154510", MAC, XID),
    discover(PI5, "da591740", bytes.fromhex("2ccf67591740"), XID + 1),
    ROM,
    PI_3BP,
    request({Option.MESSAGE_TYPE: b"\3", Option.REQUESTED_ADDRESS: LEASED.packed, Option.VENDOR_CLASS: VENDOR_CLASS}),
    request({Option.MESSAGE_TYPE: b"\1", Option.PARAMETER_LIST: bytes([1, 3, 6, 12, 15, 17, 26, 40])}),
    request({Option.MESSAGE_TYPE: b"\1", Option.VENDOR_CLASS: b"Linux ipconfig"}),
    request({Option.MESSAGE_TYPE: b"\1", 12: b"name" * 100, Option.VENDOR_CLASS: PXE_CLIENT}),
]
GIVEN: dict[int, bytes] = {
    Option.SERVER_IDENTIFIER: ROUTER.packed,
    Option.SUBNET_MASK: b"\xff\xff\xff\0",
    Option.ROUTER: ROUTER.packed,
}
BOOT: dict[int, bytes] = {
    Option.SERVER_IDENTIFIER: SERVER.packed,
    Option.VENDOR_CLASS: PXE_CLIENT,
    Option.TFTP_SERVER: str(SERVER).encode(),
    Option.VENDOR_SPECIFIC: encode_pxe_menu("Raspberry Pi Boot   "),
}


def relayed(datagram: bytes) -> bytes:
    """Write a request as a relay sends it on."""
    message = packet.parse(datagram)
    options = message.options | {int(Option.RELAY_AGENT): b"\1\4eth0"}
    return packet.encode(replace(message, giaddr=IPv4Address("10.2.0.1"), hops=1, options=options))


RELAYED = [relayed(datagram) for datagram in REQUESTS]
REPLIES = [
    reply({Option.MESSAGE_TYPE: b"\2", **BOOT}, IPv4Address(0)),
    reply({Option.MESSAGE_TYPE: b"\2", **GIVEN}),
    reply({Option.MESSAGE_TYPE: b"\2", **GIVEN, **BOOT}),
    reply({Option.MESSAGE_TYPE: b"\5", **GIVEN, Option.LEASE_TIME: bytes(4)}),
    reply({Option.MESSAGE_TYPE: b"\6", **GIVEN}, IPv4Address(0)),
]

BYTES = (0, 1, 2, 3, 17, 43, 53, 60, 82, 97, 0x7F, 0x80, 0xFE, 0xFF)


class Messages(Mutants):
    """Broken DHCP messages; half of the faults go where the options are, the rest anywhere."""

    values = BYTES
    repeats = (1, 2, 20)
    longest = 24

    def place(self, made: bytearray) -> int:
        return self.pick(range(min(_FIXED, len(made)) if self.pick(range(2)) else 0, len(made) + 1))

    def ways(self) -> Sequence[Fault]:
        return (self.bend, self.bend, self.cut, self.mix, self.misstate_a_length)

    def misstate_a_length(self, made: bytearray, _at: int, _to: int) -> None:
        lengths = []
        at = _FIXED
        while at + 1 < len(made) and made[at] != Option.END:
            lengths.append(at + 1)
            at += 2 + made[at + 1]
        if lengths:
            at = self.pick(lengths)
            rest = len(made) - at - 1
            made[at] = self.pick((0, 1, made[at] ^ 1, rest & 0xFF, (rest + 1) & 0xFF, (rest - 1) & 0xFF, 255))


def mutants(seed: int, corpus: list[bytes], count: int) -> Iterator[bytes]:
    return islice(Messages(seed, corpus), count)


def test_no_broken_message_surprises_the_server() -> None:
    kinds: Counter[str] = Counter()

    def take(datagram: bytes) -> None:
        try:
            message = packet.parse(datagram)
        except MalformedMessage:
            kinds["malformed"] += 1
            return
        answer = offer.decide(message, PROXY)
        kinds[type(answer).__name__] += 1
        if isinstance(answer, Ignored):
            assert answer.why
            return
        assert message.options[Option.VENDOR_CLASS].startswith(PXE_CLIENT)
        assert answer.pi == offer.recognise(message)
        assert answer.delays_s in {PROXY.rom_offers_s, (0.0,)}
        assert packet.parse(packet.encode(answer.message)) == answer.message
        assert answer.message.giaddr == message.giaddr
        agent = message.options.get(Option.RELAY_AGENT)
        if agent:
            assert list(answer.message.options.items())[-1] == (Option.RELAY_AGENT, agent)
            kinds["relayed"] += 1

    assert each(mutants(1, REQUESTS[:4] + RELAYED[:4] + REQUESTS + RELAYED + REPLIES[:1], MUTANTS), take) == MUTANTS
    # The messages are broken enough to be refused, and whole enough to get further.
    assert min(kinds[kind] for kind in ("malformed", "Ignored", "Offer", "relayed")) > MUTANTS // 20


def test_no_broken_message_surprises_a_server_that_leases_addresses() -> None:
    network = IPv4Network("192.168.1.0/24")
    leases = Leases(Range(network, network[50], network[99], frozenset({ROUTER, SERVER})))
    ground = Ground(network, SERVER, frozenset({SERVER}), 3600, ROUTER, (ROUTER,), PROXY)
    kinds: Counter[str] = Counter()
    now = 1_800_000_000.0

    def take(datagram: bytes) -> None:
        nonlocal now
        now += 0.5
        try:
            message = packet.parse(datagram)
        except MalformedMessage:
            kinds["malformed"] += 1
            return
        answer = serving.decide(message, leases, ground, lambda _mac, serial: Known(serial), now)
        if isinstance(answer, Ignored):
            assert answer.why
            kinds["ignored"] += 1
        elif isinstance(answer, Answer):
            assert packet.parse(packet.encode(answer.message)) == answer.message
            assert answer.lease is None or answer.message.yiaddr in network
            kinds[answer.message.options[Option.MESSAGE_TYPE].hex()] += 1
        for lease in leases.take_changed().values():
            assert from_kept(json.loads(to_kept(lease))) is not None

    asks = [*REQUESTS, request({Option.MESSAGE_TYPE: b"\3", Option.REQUESTED_ADDRESS: network[60].packed})]
    assert each(mutants(5, asks * 3 + REPLIES[:1], MUTANTS), take) == MUTANTS
    assert min(kinds[kind] for kind in ("malformed", "ignored", "02", "05", "06")) > MUTANTS // 200, kinds


@dataclass
class Pi:
    """A virtual Pi that is sent broken answers; it begins anew whenever its DHCP is over."""

    now: float = 0.0
    dialogue: DhcpDialogue | None = None
    leases: int = 0
    causes: Counter[str] = field(default_factory=Counter)

    def take(self, datagram: bytes) -> None:
        self.now += 0.5
        if self.dialogue is None or self.dialogue.lease or self.dialogue.cause:
            self.dialogue = DhcpDialogue(PI4, "5b154510", MAC, XID, 45.0)
            self.dialogue.start(self.now)
        dialogue = self.dialogue
        for out in dialogue.receive(datagram, "192.168.1.9", self.now) + dialogue.tick(self.now):
            assert packet.parse(out).type in {MessageType.DISCOVER, MessageType.REQUEST}
        if dialogue.lease:
            self.leases += 1
            assert 0 <= dialogue.lease.prefix <= 32
            assert packet.parse(release(dialogue.lease, MAC, XID)).type is MessageType.RELEASE
        if dialogue.cause:
            self.causes[dialogue.cause.rule] += 1


def test_no_broken_answer_surprises_a_virtual_pi() -> None:
    pi = Pi()
    assert each(mutants(2, REPLIES, MUTANTS), pi.take) == MUTANTS
    assert pi.leases > MUTANTS // 100
    assert pi.causes


def test_no_broken_frame_surprises_a_virtual_pi() -> None:
    def frame(payload: bytes) -> bytes:
        udp = struct.pack("!HHHH", 67, 68, 8 + len(payload), 0) + payload
        return b"\x45\0" + struct.pack("!HIBBH", 20 + len(udp), 0, 64, 17, 0) + ROUTER.packed + b"\xff" * 4 + udp

    found = 0

    def take(ip: bytes) -> None:
        nonlocal found
        heard = link.dhcp_in(ip)
        if heard is not None:
            payload, source = heard
            found += 1
            assert payload in ip
            IPv4Address(source)

    # Short payloads, so that the faults fall into the headers.
    short = [frame(payload[:size]) for payload in REPLIES for size in (0, 8, 40)]
    assert link.dhcp_in(short[-1]) == (REPLIES[-1][:40], str(ROUTER))
    assert each(mutants(3, [*short, *map(frame, REPLIES)], MUTANTS), take) == MUTANTS
    assert found > MUTANTS // 20


def free_pair() -> int:
    """Find a port that is free together with the next one."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
            first.bind(("", 0))
            port: int = first.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
                try:
                    second.bind(("", port + 1))
                except (OSError, OverflowError):
                    continue
                return port


@dataclass
class Asking:
    """A client beside the daemon: DISCOVERs to its port, and the OFFERs that come to the next one."""

    port: int
    sock: socket.socket
    xid: int = 0

    def offer(self) -> Message | None:
        """Send a good DISCOVER and wait for its OFFER, again where the broken ones' answers pushed it out."""
        self.xid += 1
        for _ in range(25):
            self.sock.sendto(discover(PI4, "5b154510", MAC, self.xid), ("127.0.0.1", self.port))
            try:
                while True:
                    answer = packet.parse(self.sock.recv(2048))
                    if answer.xid == self.xid:
                        return answer
            except TimeoutError:
                continue
        return None


def descriptors(daemon: Daemon) -> int:
    assert daemon.process is not None
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


def test_a_daemon_outlives_twenty_thousand_broken_messages(tmp_path: Path, daemons: list[Daemon]) -> None:
    port = free_pair()
    config = f"""
[server]
interfaces = ["lo"]
[dhcp]
mode = "proxy"
port = {port}
rom_offers_s = [0.05, 0.1]
[tftp]
enabled = false
[http]
enabled = false
"""
    daemon = Daemon(tmp_path / "daemon", config)
    daemons.append(daemon)
    daemon.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", port + 1))
        sock.settimeout(0.2)
        asking = Asking(port, sock)
        assert asking.offer() is not None
        before = descriptors(daemon)
        for number, datagram in enumerate(mutants(4, REQUESTS[:4] * 2 + REQUESTS + REPLIES, MUTANTS_LIVE)):
            # A relay's address would have the answer sent to it, whoever that is.
            tame = datagram[: _GIADDR.start] + bytes(4) + datagram[_GIADDR.stop :]
            sock.sendto(tame if len(datagram) >= _FIXED else datagram, ("127.0.0.1", port))
            if number % 50 == 49:
                assert asking.offer() is not None

        answer = asking.offer()
        assert answer is not None
        assert answer.type is MessageType.OFFER
        assert answer.mac == MAC
        assert answer.siaddr == IPv4Address("127.0.0.1")
        assert answer.options[Option.TFTP_SERVER] == b"127.0.0.1"
        assert answer.options[Option.VENDOR_SPECIFIC] == encode_pxe_menu("Raspberry Pi Boot   ")
    assert wait_until(lambda: descriptors(daemon) <= before + 2, within_s=15)
    assert not daemon.process_ended
    assert daemon.stop() == 0
    for sign in ("Traceback", "Exception", "was never"):
        assert sign not in daemon.text
    assert daemon.said("boot offered")
    assert daemon.said("dhcp packet dropped")
