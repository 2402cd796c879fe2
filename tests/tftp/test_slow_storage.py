"""Storage that stops answering below one part of the tree: everything else goes on as if nothing were wrong."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from rawtftp import DATA, ERROR, Client, fetch
from stallfs import Op, StallFs, content
from support import Daemon, free_port, loopback_config, wait_until

Serve = Callable[..., Daemon]
Mount = Callable[..., StallFs]

QUICK_S = 1.0
TIMEOUT_S = 0.3
EMPTY_BLOCK_ALONE = 254 * 512  # the last block is empty and in a chunk of its own
FAST = b"fast" * 5000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon; boot/fast and boot/other/fast never stall."""
    tftp_port, http_port = free_port(), free_port(socket.SOCK_STREAM)
    config = loopback_config(tftp_port, http_port, tftp=f"timeout_s = {TIMEOUT_S}")
    daemon = Daemon(tmp_path_factory.mktemp("house"), config)
    daemon.tftp_port, daemon.http_port = tftp_port, http_port
    daemon.start()
    (daemon.data / "boot" / "other").mkdir()
    for name in ("fast", "other/fast"):
        (daemon.data / "boot" / name).write_bytes(FAST)
    try:
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def mount(house: Daemon, daemons: list[Daemon]) -> Iterator[Mount]:
    """Mount file systems that can stall. They go before the daemon does, which could not end while it hangs in one."""
    with ExitStack() as stack:

        def at(point: Path, *, names_are_cached: bool = False) -> StallFs:
            made = StallFs(point, names_are_cached=names_are_cached)
            stack.callback(made.close)
            return made

        yield at


@pytest.fixture
def slow(house: Daemon, mount: Mount) -> tuple[Daemon, StallFs]:
    """A daemon whose boot/slow/ can stall."""
    return house, mount(house.data / "boot" / "slow")


def get(daemon: Daemon, path: str, within_s: float = QUICK_S) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=within_s)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def all_else_is_quick(daemon: Daemon) -> None:
    for name in ("fast", "other/fast"):
        started = time.monotonic()
        assert fetch(daemon.tftp_port, name, timeout_s=QUICK_S) == FAST
        assert get(daemon, f"/boot/{name}") == (200, FAST)
        assert time.monotonic() - started < QUICK_S
    assert get(daemon, "/readyz")[0] == 200
    assert get(daemon, "/meta-data")[0] == 200


def test_requests_for_stalled_storage_wait_and_are_told_while_all_else_goes_on(slow: tuple[Daemon, StallFs]) -> None:
    daemon, storage = slow
    assert fetch(daemon.tftp_port, "slow/before-3000") == content(3000)
    storage.stall(Op.LOOKUP)
    answers: list[tuple[int, float]] = []

    def ask_over_http() -> None:
        started = time.monotonic()
        answers.append((get(daemon, "/boot/slow/http-10", 15)[0], time.monotonic() - started))

    asking = threading.Thread(target=ask_over_http, daemon=True)
    asking.start()
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(daemon.tftp_port)) for _ in range(40)]
        started = time.monotonic()
        for number, client in enumerate(clients):
            client.ask(f"slow/file{number}-3000")
        assert wait_until(lambda: storage.held(Op.LOOKUP), 2)
        all_else_is_quick(daemon)
        # Where nothing was answered for a second and some wait already, there is no point in more.
        time.sleep(max(0, started + 1.3 - time.monotonic()))
        for number in range(300):
            late = stack.enter_context(Client(daemon.tftp_port))
            told = late.answer(f"slow/late{number}-3000")
            assert (told.opcode, told.number, told.message) == (ERROR, 0, "the storage does not answer")
        assert time.monotonic() - started < 5
        assert get(daemon, "/boot/slow/late-10")[0] == 503
        assert clients[0].hear_or_nothing(0.01) is None
        all_else_is_quick(daemon)
        for client in clients:
            told = client.hear(12)
            assert (told.opcode, told.number, told.message) == (ERROR, 0, "the storage does not answer")
            assert 9.5 < told.at - started < 11.5
        asking.join(5)
        assert [status for status, _ in answers] == [503]
        assert 9.5 < answers[0][1] < 11.5
        all_else_is_quick(daemon)
        storage.go()
        assert wait_until(lambda: served(daemon, "slow/again-3000"), 5)
        assert fetch(daemon.tftp_port, "slow/again-3000") == content(3000)
        assert get(daemon, "/boot/slow/again-3000") == (200, content(3000))


def served(daemon: Daemon, name: str) -> bool:
    with Client(daemon.tftp_port) as client:
        granted = client.answer(name).opcode == DATA
        client.error()
        return granted


def test_requests_that_wait_are_served_once_the_storage_answers(slow: tuple[Daemon, StallFs]) -> None:
    daemon, storage = slow
    storage.stall(Op.LOOKUP)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(daemon.tftp_port)) for _ in range(40)]
        for number, client in enumerate(clients):
            client.ask(f"slow/file{number}-{number * 100}")
        # A client that hears nothing asks again; it is still one request.
        clients[0].ask("slow/file0-0")
        # One that lost patience and asks for another file is not to be sent the first.
        clients[1].ask("fast")
        assert clients[1].take(clients[1].hear(QUICK_S)) == FAST
        storage.go()
        for number, client in enumerate(clients):
            if number != 1:
                assert client.take(client.hear(QUICK_S)) == content(number * 100)
        assert clients[1].hear_or_nothing(0.1) is None


@pytest.mark.parametrize("windowsize", [1, 4])
def test_a_read_that_stalls_in_the_middle_holds_up_its_own_transfer_alone(
    slow: tuple[Daemon, StallFs], windowsize: int
) -> None:
    daemon, storage = slow
    size = 600_000
    storage.stall(Op.READ, reads_from=300_000)
    got: list[bytes] = []

    def fetch_slowly() -> None:
        got.append(fetch(daemon.tftp_port, f"slow/middle-{size}", timeout_s=10, windowsize=windowsize))

    fetching = [threading.Thread(target=fetch_slowly, daemon=True) for _ in range(3)]
    for thread in fetching:
        thread.start()
    assert wait_until(lambda: storage.held(Op.READ), 3)
    all_else_is_quick(daemon)
    # A client that waits for our storage is not one that went silent.
    time.sleep(3 * TIMEOUT_S)
    assert not got
    all_else_is_quick(daemon)
    storage.go()
    for thread in fetching:
        thread.join(5)
    assert got == [content(size)] * 3


def test_a_client_that_gives_up_on_a_stalled_read_holds_up_nobody(slow: tuple[Daemon, StallFs]) -> None:
    daemon, storage = slow
    storage.stall(Op.READ)
    with Client(daemon.tftp_port) as client:
        client.answer("slow/given-up-100000", tsize=0)
        client.ack(0)
        assert wait_until(lambda: storage.held(Op.READ), 2)
        client.error()
    all_else_is_quick(daemon)
    storage.go()
    all_else_is_quick(daemon)


def test_closing_a_file_on_stalled_storage_holds_up_nobody(slow: tuple[Daemon, StallFs]) -> None:
    daemon, storage = slow
    with Client(daemon.tftp_port) as client:
        client.take(client.answer("slow/closed-100000"), until=3)
        storage.stall(Op.FLUSH)
        client.error()
        assert wait_until(lambda: storage.held(Op.FLUSH), 2)
        all_else_is_quick(daemon)


def test_looking_at_a_file_on_stalled_storage_holds_up_nobody(slow: tuple[Daemon, StallFs]) -> None:
    daemon, storage = slow
    with Client(daemon.tftp_port) as client:
        client.answer(f"slow/looked-{EMPTY_BLOCK_ALONE}", tsize=0)
        assert wait_until(lambda: storage.seen(Op.READ), 2)
        time.sleep(0.1)
        storage.stall(Op.GETATTR)
        client.ack(0)
        first = client.hear_or_nothing(QUICK_S)
        assert first is not None
        assert (first.opcode, first.number) == (DATA, 1)
        all_else_is_quick(daemon)
        client.error()


def test_http_downloads_whose_reads_stall_hold_up_no_others(slow: tuple[Daemon, StallFs]) -> None:
    daemon, storage = slow
    storage.stall(Op.READ)
    with ExitStack() as stack:
        for number in range(20):
            connection = stack.enter_context(closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=5)))
            connection.request("GET", f"/boot/slow/read{number}-100000")
        assert wait_until(lambda: storage.held(Op.READ), 2)
        all_else_is_quick(daemon)


def test_the_last_look_at_an_http_download_holds_up_nobody(slow: tuple[Daemon, StallFs]) -> None:
    daemon, storage = slow
    storage.stall(Op.READ)
    with closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=QUICK_S)) as connection:
        connection.request("GET", "/boot/slow/last-100000")
        assert wait_until(lambda: storage.held(Op.READ), 2)
        storage.stall(Op.READ, Op.GETATTR, Op.FLUSH)
        storage.go(Op.READ)
        assert wait_until(lambda: storage.held(Op.GETATTR) or storage.held(Op.FLUSH), 2)
        all_else_is_quick(daemon)
        storage.go()
        assert connection.getresponse().read() == content(100_000)


def test_a_boot_root_that_stalls_as_a_whole_leaves_health_and_seeds_alone(serve: Serve, mount: Mount) -> None:
    daemon = serve()
    storage = mount(daemon.data / "boot")
    daemon.stop()
    daemon.start()
    assert fetch(daemon.tftp_port, "file-3000") == content(3000)
    assert get(daemon, "/boot/file-3000") == (200, content(3000))
    storage.stall(Op.LOOKUP, Op.GETATTR)
    with (
        Client(daemon.tftp_port) as client,
        closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=5)) as connection,
    ):
        client.ask("file-3000")
        connection.request("GET", "/boot/file-3000")
        assert wait_until(lambda: storage.held(Op.LOOKUP) or storage.held(Op.GETATTR), 2)
        for path in ("/readyz", "/healthz", "/meta-data"):
            assert get(daemon, path)[0] == 200
        storage.go()
        assert client.take(client.hear()) == content(3000)
        assert connection.getresponse().read() == content(3000)


@pytest.mark.parametrize("op", [Op.OPEN, Op.LOOKUP, Op.GETATTR])
def test_a_generation_on_stalled_storage_holds_up_nobody(house: Daemon, mount: Mount, op: Op) -> None:
    serial = f"5b1545{op:02x}"
    # Where an open is to stall, the kernel knows the names already and asks the storage only after that.
    storage = mount(house.data / "pis" / serial / "g1" / "boot", names_are_cached=op is Op.OPEN)
    (house.data / "boot" / serial).symlink_to(f"../pis/{serial}/g1/boot")
    assert fetch(house.tftp_port, f"{serial}/file-3000") == content(3000)
    storage.stall(op)
    with Client(house.tftp_port) as client:
        client.ask(f"{serial}/file-3000")
        assert wait_until(lambda: storage.held(op), 2)
        all_else_is_quick(house)
        storage.go()
        assert client.take(client.hear()) == content(3000)
