"""What the outlet does where the kernel or a device refuses: real sockets, with the refusal put in their way."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import cast

import pytest

from pinetboot.net import udp
from pinetboot.net.addresses import Endpoint
from pinetboot.tftp.content import Chunk
from pinetboot.tftp.outlet import Fate, Outlet, fate_of

BLKSIZE = 1468
STRIDE = BLKSIZE + 4


def chunk(blocks: int) -> Chunk:
    image = b"".join(b"\0\3" + number.to_bytes(2, "big") + bytes(BLKSIZE) for number in range(1, blocks + 1))
    return Chunk(1, blocks, memoryview(image), STRIDE, lock_step=False)


class Refusing:
    """A connected socket whose send() fails as told: `refuse` is asked for each with what is to be sent."""

    def __init__(self, sock: udp.Socket) -> None:
        self._sock = sock
        self.family = sock.family
        self.sends: list[int] = []
        self.whole_runs_fail_with = 0
        self.nth_fails: dict[int, int] = {}

    def send(self, data: bytes) -> int:
        self.sends.append(len(data))
        if len(data) > STRIDE and self.whole_runs_fail_with:
            raise OSError(self.whole_runs_fail_with, "as told")
        if number := self.nth_fails.get(len(self.sends)):
            raise OSError(number, "as told")
        return self._sock.send(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


@pytest.fixture
def ends() -> Iterator[tuple[Refusing, socket.socket]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        client.settimeout(2)
        host, port = client.getsockname()
        with udp.connected(Endpoint(host, port), local="127.0.0.1", port=0) as sock:
            yield Refusing(sock), client


def outlet(sock: Refusing) -> Outlet:
    return Outlet(cast("udp.Socket", sock), STRIDE, cut=True)


def heard(client: socket.socket, count: int) -> list[int]:
    return [int.from_bytes(client.recv(65536)[2:4], "big") for _ in range(count)]


def test_a_run_goes_out_in_one_send_and_arrives_as_packets(ends: tuple[Refusing, socket.socket]) -> None:
    sock, client = ends
    assert outlet(sock).run(chunk(32), 1, 32) == (32, None)
    assert sock.sends == [32 * STRIDE]
    assert heard(client, 32) == list(range(1, 33))


def test_a_run_beyond_what_one_send_takes_goes_out_in_several(ends: tuple[Refusing, socket.socket]) -> None:
    sock, client = ends
    assert outlet(sock).run(chunk(64), 1, 64) == (64, None)
    assert [size // STRIDE for size in sock.sends] == [44, 20]
    assert heard(client, 64) == list(range(1, 65))


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.EMSGSIZE])
def test_a_device_that_cannot_cut_gets_packet_by_packet_from_then_on(
    ends: tuple[Refusing, socket.socket], number: int
) -> None:
    sock, client = ends
    sock.whole_runs_fail_with = number
    out = outlet(sock)
    assert out.run(chunk(8), 1, 8) == (8, None)
    assert sock.sends == [8 * STRIDE, *[STRIDE] * 8]
    assert out.run(chunk(8), 5, 8) == (8, None)
    assert sock.sends[9:] == [STRIDE] * 4
    assert heard(client, 12) == [1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8]


def test_a_kernel_without_udp_segment_gets_packet_by_packet(
    ends: tuple[Refusing, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, client = ends
    monkeypatch.setattr(udp, "segment", lambda sock, size: False)
    assert outlet(sock).run(chunk(8), 1, 8) == (8, None)
    assert sock.sends == [STRIDE] * 8
    assert heard(client, 8) == list(range(1, 9))


def test_blocks_above_the_mtu_are_not_cut(
    ends: tuple[Refusing, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, _ = ends
    monkeypatch.setattr(udp, "mtu", lambda sock: 1400)
    assert outlet(sock).run(chunk(4), 1, 4) == (4, None)
    assert sock.sends == [STRIDE] * 4


@pytest.mark.parametrize(
    ("number", "fate"),
    [
        (errno.EAGAIN, Fate.SOCKET_FULL),
        (errno.ENOBUFS, Fate.DEVICE_FULL),
        (errno.ECONNREFUSED, Fate.REFUSED),
        (errno.EADDRNOTAVAIL, Fate.HOMELESS),
    ],
)
def test_what_stops_a_run_is_told_with_the_last_block_that_went_out(
    ends: tuple[Refusing, socket.socket], number: int, fate: Fate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, client = ends
    monkeypatch.setattr(udp, "segment", lambda sock, size: False)
    sock.nth_fails[4] = number
    assert outlet(sock).run(chunk(8), 1, 8) == (3, fate)
    assert heard(client, 3) == [1, 2, 3]


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPERM, errno.ENETDOWN])
def test_a_packet_that_is_lost_on_the_way_out_is_as_lost_as_any(
    ends: tuple[Refusing, socket.socket], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, client = ends
    monkeypatch.setattr(udp, "segment", lambda sock, size: False)
    sock.nth_fails[2] = number
    assert outlet(sock).run(chunk(3), 1, 3) == (3, None)
    assert heard(client, 2) == [1, 3]
    assert fate_of(OSError(number, "")) is Fate.LOST


def test_an_error_packet_longer_than_a_block_is_sent_whole(ends: tuple[Refusing, socket.socket]) -> None:
    sock, client = ends
    small = Outlet(cast("udp.Socket", sock), 12, cut=True)
    image = b"".join(b"\0\3" + number.to_bytes(2, "big") + bytes(8) for number in (1, 2))
    assert small.run(Chunk(1, 2, memoryview(image), 12, lock_step=False), 1, 2) == (2, None)
    message = b"\0\5\0\0the file changed while it was being sent\0"
    small.error(message)
    assert [client.recv(2048) for _ in range(3)][2] == message
