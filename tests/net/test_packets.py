"""Raw sockets and headers of our own making: what the kernel sends is understood, and what is sent it understands."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutation import Mutants, each
from support import free_port, require_root

from pinetboot.net import packets, udp
from pinetboot.net.addresses import Endpoint

HERE = "127.0.0.1"
MUTANTS = 20_000

addresses = st.integers(0, 0xFFFFFFFF).map(lambda number: socket.inet_ntoa(number.to_bytes(4, "big")))
endpoints = st.builds(Endpoint, addresses, st.integers(0, 0xFFFF), st.just(0))


@contextmanager
def raw(port: int) -> Iterator[udp.Socket]:
    require_root()
    with packets.listen(port) as sock:
        yield sock


def received(sock: udp.Socket, port: int) -> udp.Datagram | None:
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        found = packets.receive(sock, port)
        if found is not None:
            return found
        time.sleep(0.005)
    return None


@given(st.binary(max_size=1500), endpoints, endpoints)
def test_what_is_wrapped_comes_out_again(payload: bytes, source: Endpoint, destination: Endpoint) -> None:
    packet = packets.wrap(payload, source, destination)
    assert packets.unwrap(packet) == (source, destination, payload)
    # A frame may be longer than its packet: Ethernet has a shortest one.
    assert packets.unwrap(packet + bytes(18)) == (source, destination, payload)


@given(st.binary(min_size=1, max_size=400), st.data())
def test_a_damaged_payload_is_told_by_its_checksum(payload: bytes, data: st.DataObject) -> None:
    packet = bytearray(packets.wrap(payload, Endpoint("10.0.0.1", 68), Endpoint("10.0.0.2", 67)))
    packet[data.draw(st.integers(28, len(packet) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert packets.unwrap(bytes(packet)) is None
    packet[26:28] = bytes(2)  # no checksum
    assert packets.unwrap(bytes(packet)) is not None


def test_no_broken_packet_surprises() -> None:
    whole = [
        packets.wrap(bytes(size), Endpoint("0.0.0.0", 68), Endpoint("255.255.255.255", 67)) for size in (0, 8, 300)
    ]
    whole.append(b"\x46" + whole[2][1:20] + b"\x01\1\1\1" + whole[2][20:])
    found = 0

    def take(packet: bytes) -> None:
        nonlocal found
        carried = packets.unwrap(packet)
        if carried is not None:
            found += 1
            assert carried.payload in packet

    mutants = iter(Mutants(5, whole))
    assert each((next(mutants) for _ in range(MUTANTS)), take) == MUTANTS
    assert MUTANTS // 50 < found < MUTANTS


@pytest.mark.parametrize("holder", ["held by another socket", "held by nobody"])
def test_a_port_is_heard_whoever_holds_it_with_its_addresses(holder: str) -> None:
    port = free_port()
    with raw(port) as ear, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        if holder == "held by another socket":
            other.bind(("0.0.0.0", port))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.2", 0))
            client.sendto(b"elsewhere", ("127.0.0.3", port + 1 if port < 65535 else port - 1))
            client.sendto(b"hello", ("127.0.0.3", port))
            heard = received(ear, port)
            assert heard is not None
            sender = Endpoint(*client.getsockname())
        assert (heard.payload, heard.peer, heard.destination, heard.local) == (
            b"hello",
            sender,
            "127.0.0.3",
            "127.0.0.3",
        )
        assert heard.interface == socket.if_nametoindex("lo")
        assert packets.receive(ear, port) is None


def test_fragments_are_heard_as_one() -> None:
    port = free_port()
    with raw(port) as ear, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: IP_PMTUDISC_DONT
        payload = bytes(range(256)) * 250
        client.sendto(payload, (HERE, port))
        heard = received(ear, port)
        assert heard is not None
        assert heard.payload == payload


@pytest.mark.parametrize("payload", [b"", b"odd", b"even", bytes(1400)])
def test_what_is_sent_raw_is_good_enough_for_the_kernel(payload: bytes) -> None:
    port = free_port()
    with raw(port) as ear, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.2", 0))
        client.settimeout(2)
        there = Endpoint(*client.getsockname())
        packets.send(ear, payload, there, port=port, local="127.0.0.5", interface=0)
        assert client.recvfrom(2048) == (payload, ("127.0.0.5", port))


def test_a_raw_answer_from_an_address_of_others_is_refused() -> None:
    port = free_port()
    with raw(port) as ear, pytest.raises(OSError, match="unreachable"):
        packets.send(ear, b"hello", Endpoint(HERE, 9), port=port, local="192.0.2.1", interface=0)
