"""Frames are read as they are, and what the kernel left to the card is done: cutting and checksums."""

from __future__ import annotations

import socket
import struct

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.net import packets
from pinetboot.net.addresses import Endpoint
from pinetboot.trace import frames
from pinetboot.trace.frames import TCP, UDP, Frame

SERVER, PI = Endpoint("10.55.0.2", 5000), Endpoint("10.55.0.101", 49152)
MACS = bytes.fromhex("dca6322ef8ed 020000000001")
BLKSIZE = 1468
STRIDE = BLKSIZE + 4


def ipv4(payload: bytes) -> bytes:
    return MACS + b"\x08\x00" + packets.wrap(payload, SERVER, PI)


def ipv6(payload: bytes) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, "fd00::2") + socket.inet_pton(socket.AF_INET6, "fd00::101")
    datagram = struct.pack("!HHHH", 5000, 49152, len(payload) + 8, 0) + payload
    return MACS + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(datagram), UDP, 64) + ends + datagram


def window(first: int, sizes: list[int]) -> bytes:
    blocks = ((first + at, size) for at, size in enumerate(sizes))
    return b"".join(struct.pack("!HH", 3, number & 0xFFFF) + bytes([number & 255]) * size for number, size in blocks)


def whole(octets: bytes) -> Frame:
    frame = frames.parse(octets)
    assert frame is not None
    return frame


def is_right(octets: bytes) -> bool:
    """Whether dpkt, which knows nothing of ours, finds every checksum and size as it should be."""
    ip = dpkt.ethernet.Ethernet(octets).data
    sums = ip.data.sum
    ip.data.sum = 0
    if isinstance(ip, dpkt.ip.IP):
        header = ip.sum
        ip.sum = 0
        again = dpkt.ip.IP(bytes(ip))
        return (again.data.sum, again.sum, ip.len) == (sums, header, len(octets) - 14)
    pseudo = ip.src + ip.dst + struct.pack("!II", len(bytes(ip.data)), UDP)
    return bool(dpkt.in_cksum(pseudo + bytes(ip.data)) == sums and ip.plen == len(octets) - 54)


def test_a_frame_tells_its_ends_and_what_it_carries() -> None:
    frame = whole(ipv4(b"hello"))
    assert (frame.source, frame.source_port) == SERVER[:2]
    assert (frame.destination, frame.destination_port) == PI[:2]
    assert (frame.protocol, frame.payload, frame.begins, frame.ends) == (UDP, b"hello", True, True)
    assert (frame.source_mac.hex(":"), frame.destination_mac.hex(":")) == ("02:00:00:00:00:01", "dc:a6:32:2e:f8:ed")
    padded = whole(ipv4(b"hello") + bytes(13))
    assert padded.payload == b"hello"
    frame = whole(ipv6(b"hello"))
    assert (frame.source, frame.destination, frame.payload) == ("fd00::2", "fd00::101", b"hello")


@pytest.mark.parametrize("wrap", [ipv4, ipv6])
@pytest.mark.parametrize("first", [1, 65534])
def test_a_window_that_was_sent_as_one_becomes_the_packets_that_went_out(wrap: object, first: int) -> None:
    assert callable(wrap)
    sizes = [BLKSIZE] * 5 + [17]
    payload = window(first, sizes)
    sent = frames.as_sent(whole(wrap(payload)), STRIDE, unfinished=True)
    assert len(sent) == 6
    assert b"".join(whole(one).payload for one in sent) == payload
    assert [len(whole(one).payload) for one in sent] == [size + 4 for size in sizes]
    assert [int.from_bytes(whole(one).payload[2:4], "big") for one in sent] == [
        (first + at) & 0xFFFF for at in range(6)
    ]
    assert all(is_right(one) for one in sent)
    if wrap is ipv4:
        idents = [int.from_bytes(one[18:20], "big") for one in sent]
        assert idents == list(range(idents[0], idents[0] + 6))


def test_what_is_one_packet_stays_one() -> None:
    for payload in (window(1, [BLKSIZE]), b"\0\6blksize\0" + b"9" * 3000 + b"\0", b"\0\5" + bytes(4000)):
        octets = ipv4(payload)
        assert frames.as_sent(whole(octets), STRIDE, unfinished=False) == [octets]
    octets = ipv4(window(1, [BLKSIZE, 10]))
    assert frames.as_sent(whole(octets), 0, unfinished=False) == [octets]


@pytest.mark.parametrize("wrap", [ipv4, ipv6])
def test_a_checksum_that_was_left_to_the_card_is_filled_in(wrap: object) -> None:
    assert callable(wrap)
    octets = bytearray(wrap(b"\0\4\0\7"))
    at = len(octets) - 4 - 2
    octets[at : at + 2] = b"\x12\x34"
    assert not is_right(bytes(octets))
    (sent,) = frames.as_sent(whole(bytes(octets)), STRIDE, unfinished=True)
    assert is_right(sent)
    (as_it_is,) = frames.as_sent(whole(bytes(octets)), STRIDE, unfinished=False)
    assert as_it_is == octets


def test_the_checksum_of_tcp_is_filled_in() -> None:
    segment = dpkt.tcp.TCP(sport=80, dport=40000, seq=7, ack=9, flags=dpkt.tcp.TH_ACK, data=b"odd", sum=1)
    ip = dpkt.ip.IP(src=socket.inet_aton("10.0.0.1"), dst=socket.inet_aton("10.0.0.2"), p=TCP, data=segment)
    right = bytes(ip)
    segment.sum = 0
    expected = dpkt.ip.IP(bytes(dpkt.ip.IP(src=ip.src, dst=ip.dst, p=TCP, data=segment))).data.sum
    (sent,) = frames.as_sent(whole(MACS + b"\x08\x00" + right), 0, unfinished=True)
    assert dpkt.ethernet.Ethernet(sent).data.data.sum == expected


def test_fragments_are_known_by_their_packet() -> None:
    plain = bytearray(ipv4(b"x" * 40))
    plain[18:22] = b"\x01\x02\x20\x00"  # identification, more fragments
    first = whole(bytes(plain))
    plain[20:22] = b"\x00\x05"
    last = whole(bytes(plain))
    assert (first.begins, first.ends, last.begins, last.ends) == (True, False, False, True)
    assert first.packet == last.packet
    assert (last.source_port, last.destination_port) == (0, 0)
    assert frames.as_sent(last, STRIDE, unfinished=True) == [bytes(plain)]


@given(
    st.binary(max_size=200), st.sampled_from([b"", ipv4(b"abc"), ipv6(b"abc"), ipv4(window(1, [8, 8, 3]))]), st.data()
)
def test_any_octets_are_read_or_left(noise: bytes, begin: bytes, data: st.DataObject) -> None:
    mixed = bytearray(begin + noise)
    for at in data.draw(st.lists(st.integers(12, max(12, len(mixed) - 1)), max_size=6)):
        if at < len(mixed):
            mixed[at] = data.draw(st.integers(0, 255))
    frame = frames.parse(bytes(mixed))
    if frame is not None:
        assert frame.above <= frame.end <= len(mixed)
        for sent in frames.as_sent(frame, 12, unfinished=True):
            assert 14 <= len(sent) <= len(mixed)
