"""Asking RPC services over real sockets, those of a peer that misbehaves included."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from support import free_port

from pinetboot.nfs import onc, rpc


@pytest.fixture
def peer() -> Iterator[Callable[[bytes], int]]:
    """A TCP server that gives one answer to whatever is asked, then closes; `XIDX` stands for the id of the call."""
    servers = []

    def start(answer: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                asked = connection.recv(4096)
                connection.sendall(answer.replace(b"XIDX", asked[4:8]))

        threading.Thread(target=serve, daemon=True).start()
        port: int = server.getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()


def record(body: bytes, *, last: bool = True) -> bytes:
    return struct.pack(">I", len(body) | (1 << 31 if last else 0)) + body


GOOD = b"XIDX" + struct.pack(">5I", 1, 0, 0, 0, 0)


def test_an_answer_in_one_piece_and_in_several(peer: Callable[[bytes], int]) -> None:
    assert rpc.ask("127.0.0.1", peer(record(GOOD + b"1234")), onc.NFS, 3) == b"1234"
    pieces = record(GOOD[:7], last=False) + record(GOOD[7:], last=False) + record(b"1234")
    assert rpc.ask("127.0.0.1", peer(pieces), onc.NFS, 3) == b"1234"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed"),
        (b"\x80", "closed"),
        (record(GOOD)[:-3], "closed"),
        (record(b"none" + GOOD[4:]), "no answer to what was asked"),
        (record(b"XIDX" + struct.pack(">5I", 1, 0, 0, 0, 1)), "the program is not there"),
        (struct.pack(">I", 0xFFFFFFFF), "too long"),
    ],
)
def test_any_other_answer_is_none(peer: Callable[[bytes], int], answer: bytes, why: str) -> None:
    with pytest.raises(rpc.Unanswered, match=why):
        rpc.ask("127.0.0.1", peer(answer), onc.NFS, 3)


def test_nobody_there_is_no_answer() -> None:
    assert not rpc.answers("127.0.0.1", free_port(socket.SOCK_STREAM), onc.NFS, 3)


def test_a_peer_that_says_nothing_is_not_waited_for_long() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server, pytest.raises(rpc.Unanswered, match="within"):
        rpc.ask("127.0.0.1", server.getsockname()[1], onc.NFS, 3)
