"""Transfers from a few fixed ports, or from the listening port itself, with many clients at once."""

from __future__ import annotations

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from rawtftp import OACK, Client, Heard, TransferFailed
from support import Daemon

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(90)

SERVER = "10.55.0.2"
CLIENTS = 50
RANGE = set(range(5000, 5011))
SIZE = 300_000  # no multiple of 1468, as no content is
PORTS = itertools.count(20000)
RETRY_S = 2.0  # reference 2.8: when a Pi repeats its request


class Watching(Client):
    """A client that keeps in mind which ports it was answered from."""

    def __init__(self) -> None:
        super().__init__(69, SERVER, timeout_s=15.0)
        # Like a Pi (reference 3.1): a port of its own for each request, so that none meets an earlier one's last ACK.
        self.sock.bind(("", next(PORTS)))
        self.answered_from: set[int] = set()

    def hear_or_nothing(self, within_s: float) -> Heard | None:
        heard = super().hear_or_nothing(within_s)
        if heard is not None:
            assert heard.sender[0] == SERVER
            self.answered_from.add(heard.sender[1])
        return heard


def serve(lan: Lan, data_ports: str) -> tuple[Daemon, list[bytes]]:
    """Start the daemon over a file of its own for each client."""
    lan.address("client", "10.55.0.50/24")
    daemon = lan.serve(f'[tftp]\ndata_ports = "{data_ports}"\n')
    noise = random.Random(data_ports)  # noqa: S311 - file contents, no secret
    contents = [noise.randbytes(SIZE + number) for number in range(CLIENTS)]
    for number, content in enumerate(contents):
        (daemon.data / "boot" / f"file-{number}").write_bytes(content)
    return daemon, contents


def udp_ports(lan: Lan) -> list[int]:
    """List the local ports of the server's UDP sockets, as the kernel tells them."""
    done = lan.run("server", "ss", "-Huan")
    assert done.returncode == 0, done.stderr
    return [int(line.split()[3].rsplit(":", 1)[1]) for line in done.stdout.splitlines()]


def test_fifty_transfers_at_once_leave_from_the_range_alone(lan: Lan) -> None:
    _, contents = serve(lan, "5000-5010")
    listening = set(udp_ports(lan))
    # DHCP leaves port 67 to others.
    assert listening == {69, 4011}
    with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as pool:
        with lan.inside("client"):
            clients = [stack.enter_context(Watching()) for _ in range(CLIENTS)]
        firsts = [client.answer(f"file-{number}", blksize=1468, tsize=0) for number, client in enumerate(clients)]
        assert {first.opcode for first in firsts} == {OACK}

        transfers = [port for port in udp_ports(lan) if port not in listening]
        assert len(transfers) == CLIENTS
        assert set(transfers) <= RANGE

        come = list(pool.map(lambda client, first: client.take(first), clients, firsts))
        assert [len(content) for content in come] == [len(content) for content in contents]
        assert come == contents
        assert [len(client.answered_from) for client in clients] == [1] * CLIENTS
        assert set().union(*(client.answered_from for client in clients)) <= RANGE


def test_fifty_transfers_at_once_go_over_the_listening_port_and_no_request_is_lost(lan: Lan) -> None:
    daemon, contents = serve(lan, "69")
    smalls = [f"small file {number}".encode() * (number + 1) for number in range(CLIENTS)]
    for number, content in enumerate(smalls):
        (daemon.data / "boot" / f"small-{number}").write_bytes(content)
    together = threading.Barrier(CLIENTS, timeout=30)
    retries: list[int] = []

    def fetch(name: str, content: bytes) -> None:
        with lan.inside("client"):
            client = Watching()
        with client:
            first = answer(client, name, retries)
            assert first.options == {"blksize": "1468", "tsize": str(len(content))}
            assert client.take(first) == content
            assert client.answered_from == {69}

    def boot(number: int) -> None:
        together.wait()
        # Small files are over in a moment, so that requests keep coming between the packets of the large ones.
        for _ in range(number):
            fetch(f"small-{number}", smalls[number])
        fetch(f"file-{number}", contents[number])

    with ThreadPoolExecutor(CLIENTS) as pool:
        for running in [pool.submit(boot, number) for number in range(CLIENTS)]:
            running.result()
    assert max(retries) <= 1
    assert len(retries) == CLIENTS * (CLIENTS - 1) // 2 + CLIENTS
    assert set(udp_ports(lan)) == {69, 4011}


def answer(client: Watching, name: str, retries: list[int]) -> Heard:
    """Ask as a Pi does, again after two seconds of silence; the first packet. How often again goes to `retries`."""
    for retry in range(5):
        client.ask(name, blksize=1468, tsize=0)
        heard = client.hear_or_nothing(RETRY_S)
        if heard is not None:
            retries.append(retry)
            return heard
    raise TransferFailed(f"{name} was asked for five times")
