"""`/api/events`: the whole state first, then each Pi that changes, to everyone who listens and at nobody's cost."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import ClientResponse, ClientSession
from rawtftp import TransferFailed, fetch
from stories import House, Someone, Story
from stories import house as made
from support import Daemon, free_port, wait_until

from pinetboot.fleet.pi import Pi
from pinetboot.web import feed as feeds
from pinetboot.web import live
from pinetboot.web.feed import MOST_LISTENERS, Feed

ONE, TWO, NEW = "5b154510", "da591740", "00112233"
SECRETS = ("hunter2", "secret-word", "$6$salted")
FLEET = f"""
[[pi]]
serial = "{ONE}"
hostname = "node-1"
cmdline = "secret-word"
ssh = true
userconf = "pi:$6$salted"
[pi.data]
token = "hunter2"

[[pi]]
serial = "{TWO}"
"""
CONFIG = """
[server]
stop_s = 60
[tftp]
port = {tftp}
[http]
port = {http}
[dhcp]
mode = "off"
[nfs]
mode = "off"
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


@contextmanager
def running(folder: Path) -> Iterator[Daemon]:
    tftp_port, http_port = free_port(), free_port(socket.SOCK_STREAM)
    daemon = Daemon(folder, CONFIG.format(tftp=tftp_port, http=http_port))
    daemon.tftp_port, daemon.http_port = tftp_port, http_port
    daemon.data.mkdir(parents=True)
    (daemon.data / "fleet.toml").write_text(FLEET)
    daemon.start()
    assert wait_until(lambda: daemon.said("fleet read"))
    try:
        yield daemon
    finally:
        if not daemon.process_ended:
            daemon.stop()


class Stream:
    """A listener as a browser is one."""

    def __init__(self, daemon: Daemon, headers: dict[str, str] | None = None, timeout: float = 20) -> None:
        self.connection = HTTPConnection("127.0.0.1", daemon.http_port, timeout=timeout)
        self.connection.request("GET", "/api/events", headers=headers or {})
        self.answer: HTTPResponse = self.connection.getresponse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def next(self) -> tuple[str, Any]:
        """Read one event, its name and its data."""
        name, data = "", ""
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if name and not line:
                return name, json.loads(data)
            field, _, value = line.partition(": ")
            name = value if field == "event" else name
            data = value if field == "data" else data

    def until(self, true: Callable[[str, Any], bool]) -> list[tuple[str, Any]]:
        """Read events up to the one that is waited for."""
        found = [self.next()]
        while not true(*found[-1]):
            found.append(self.next())
        return found


def asks(daemon: Daemon, name: str) -> None:
    with suppress(TransferFailed):
        fetch(daemon.tftp_port, name.encode())


def test_the_whole_state_comes_first_and_then_each_pi_that_changes(daemon: Daemon) -> None:
    with Stream(daemon) as stream:
        assert stream.answer.status == 200
        assert stream.answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert stream.answer.headers["Cache-Control"] == "no-store"
        name, data = stream.next()
        assert name == "pis"
        assert {pi["serial"] for pi in data["pis"]} >= {ONE, TWO}
        with closing(HTTPConnection("127.0.0.1", daemon.http_port)) as connection:
            connection.request("GET", "/api/pis")
            whole = json.loads(connection.getresponse().read())["pis"]
        assert data["pis"] == whole
        asks(daemon, f"{TWO}/config.txt")
        ((name, pi),) = stream.until(lambda *_: True)
        assert (name, pi["serial"], pi["state"], pi["stage"]) == ("pi", TWO, "booting", "firmware")
        asks(daemon, f"{NEW}/start4.elf")
        (*_, (_, pi)) = stream.until(lambda _, pi: pi.get("serial") == NEW)
        assert (pi["known"], pi["state"]) == (False, "booting")


def test_a_pi_that_changes_all_the_time_is_told_four_times_a_second_at_most(daemon: Daemon) -> None:
    with Stream(daemon) as stream:
        stream.next()
        began = time.monotonic()
        for number in range(400):
            asks(daemon, f"{TWO}/name-{number}")
            time.sleep(0.003)
        asks(daemon, f"{TWO}/kernel8.img")
        seen = stream.until(lambda _, pi: pi.get("serial") == TWO and pi["stage"] == "kernel")
        assert len([1 for _, pi in seen if pi.get("serial") == TWO]) <= (time.monotonic() - began) * 4 + 2


def test_a_pi_that_leaves_the_fleet_is_gone(tmp_path: Path) -> None:
    with running(tmp_path / "daemon") as daemon, Stream(daemon) as stream:
        stream.next()
        (daemon.data / "fleet.toml").write_text(FLEET.replace(TWO, "0badcafe"))
        seen = stream.until(lambda name, _: name == "gone")
        assert seen[-1] == ("gone", {"serial": TWO})


def test_one_that_comes_back_gets_the_whole_state_anew(daemon: Daemon) -> None:
    for _ in range(3):
        with Stream(daemon, {"Last-Event-ID": "7"}) as stream:
            name, data = stream.next()
            assert (name, len(data["pis"]) >= 2) == ("pis", True)


def test_nothing_secret_is_told(daemon: Daemon) -> None:
    with Stream(daemon) as stream:
        text = json.dumps(stream.next())
        asks(daemon, f"{ONE}/config.txt")
        text += json.dumps(stream.until(lambda _, pi: pi.get("serial") == ONE))
    assert "node-1" in text
    assert not [secret for secret in SECRETS if secret in text]


def test_it_is_there_to_be_listened_to_and_for_nothing_else(daemon: Daemon) -> None:
    for method in ("HEAD", "POST", "PUT", "DELETE"):
        with closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=5)) as connection:
            connection.request(method, "/api/events")
            assert connection.getresponse().status == 405


def test_no_more_listen_than_may_and_one_that_leaves_makes_room(tmp_path: Path) -> None:
    with running(tmp_path / "daemon") as daemon, ExitStack() as stack:
        streams = [stack.enter_context(Stream(daemon)) for _ in range(MOST_LISTENERS)]
        assert {stream.answer.status for stream in streams} == {200}
        with Stream(daemon) as refused:
            assert (refused.answer.status, refused.answer.headers["Retry-After"]) == (503, "10")
        with closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=5)) as connection:
            connection.request("GET", "/api/pis")
            assert connection.getresponse().status == 200
        streams[0].connection.close()

        def room() -> bool:
            with Stream(daemon) as stream:
                return stream.answer.status == 200

        assert wait_until(room)


@pytest.mark.parametrize("reads", [True, False])
def test_the_daemon_stops_at_once_whoever_listens(tmp_path: Path, reads: bool) -> None:
    with running(tmp_path / "daemon") as daemon, ExitStack() as stack:
        streams = [stack.enter_context(Stream(daemon)) for _ in range(3)]
        if reads:
            assert {stream.next()[0] for stream in streams} == {"pis"}
        # Running answers may take 60 s to finish: a stream is none of those.
        assert daemon.stop(within_s=10) == 0
        if reads:
            assert streams[0].answer.read().decode().count("event: pi\n") == 0


# With a clock of our own


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    async with made(tmp_path) as house:
        house.has([Pi(serial=f"{number:08x}", image="raspios-lite") for number in range(1, 101)])
        yield house


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as opened:
        yield opened


def feed_of(place: House) -> Feed:
    server = place.services._http
    assert server is not None
    return server._feed


async def read_until(answer: ClientResponse, text: bytes) -> bytes:
    found = b""
    async with asyncio.timeout(10):
        while text not in found:
            piece = await answer.content.readany()
            assert piece, "the stream ended"
            found += piece
    return found


async def test_nothing_is_done_while_nobody_listens(place: House, session: ClientSession) -> None:
    feed = feed_of(place)
    assert feed._task is None
    async with session.get(f"{place.url}api/events") as answer:
        await read_until(answer, b"event: pis")
        assert feed._task is not None
        assert not feed._task.done()
    await asyncio.sleep(1.5)
    assert feed._task is None
    place.tell(Story(Someone("00000001", "192.168.1.1")).told("kernel"), 60)
    await asyncio.sleep(0.5)
    assert '"state":"unseen"' in (feed.text("00000001") or "")


async def test_a_quiet_stream_says_that_it_lives(
    place: House, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_BEAT_S", 0.1)
    monkeypatch.setattr(live, "_LOOK_S", 0.1)
    async with session.get(f"{place.url}api/events") as answer:
        found = await read_until(answer, b'event: beat\ndata: {"now":"')
    assert b": keep-alive\n" in found


async def test_a_slow_listener_holds_up_nobody_and_costs_no_room(
    place: House, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "LOOK_S", 0.02)
    place.has([Pi(serial=f"{number:08x}", image="raspios-lite") for number in range(1, 401)])
    server = place.services._http
    assert server is not None
    for listening in server._sites:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)  # else the kernel takes megabytes
    feed = server._feed
    with closing(socket.socket()) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", int(place.url.rpartition(":")[2].strip("/"))))
        slow.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
        async with session.get(f"{place.url}api/events") as answer:
            await read_until(answer, b"event: pis")
            behind = 0
            for boot in range(20):
                for number in range(1, 401):
                    story = Story(Someone(f"{number:08x}", f"192.168.1.{number % 250}"), seed=boot)
                    place.tell(story.told("seen"), 10)
                await read_until(answer, b"event: pi\n")
                stuck = [listener for listener in feed._listeners if listener.sending and listener._untold]
                behind = behind + 1 if stuck else 0
                if behind > 3:
                    break
            assert behind, "the slow one never was behind"
            assert all(len(listener._untold) <= 400 for listener in feed._listeners)
        async with asyncio.timeout(live._SLOW_S / 3):
            await place.services.stop(0)
