"""HTTP as machines and people use it: seeds, the boot tree, health, and what is not given out."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from email.utils import formatdate
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest
from rawtftp import ERROR, Client, fetch
from support import Daemon, free_port, loopback_config, require, wait_until

Serve = Callable[..., Daemon]

SEEDS = ("user-data", "meta-data", "vendor-data", "network-config")
SERIAL = "5b154510"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests; each uses files and addresses of its own."""
    tftp_port, http_port = free_port(), free_port(socket.SOCK_STREAM)
    daemon = Daemon(tmp_path_factory.mktemp("house"), loopback_config(tftp_port, http_port))
    daemon.tftp_port, daemon.http_port = tftp_port, http_port
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(
    daemon: Daemon,
    path: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    *,
    server: str = "127.0.0.1",
    local: str = "",
) -> Answer:
    source = (local, 0) if local else None
    with closing(HTTPConnection(server, daemon.http_port, timeout=5, source_address=source)) as connection:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, named, answer.read())


def raw(daemon: Daemon, request: bytes) -> bytes:
    """Send bytes as they are, where a client library would mend them; everything that is answered."""
    with socket.create_connection(("127.0.0.1", daemon.http_port), timeout=5) as sock:
        sock.sendall(request)
        answer = b""
        try:
            while piece := sock.recv(1 << 16):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


def raw_status(daemon: Daemon, target: bytes, method: bytes = b"GET") -> tuple[int, bytes]:
    answer = raw(daemon, method + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


def put(daemon: Daemon, name: str, content: bytes) -> bytes:
    path = daemon.data / "boot" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return content


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - content, no secret


# Seeds


@pytest.fixture
def seeds(house: Daemon) -> Iterator[Path]:
    folder = house.data / "cloud-init" / "default"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    for name in SEEDS:
        path = folder / name
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)


def test_every_seed_file_is_there_though_none_was_written(house: Daemon) -> None:
    # A 404 costs a Pi ten seconds a file.
    answers = {name: ask(house, f"/{name}") for name in SEEDS}
    assert {answer.status for answer in answers.values()} == {200}
    assert answers["user-data"].body == b"#cloud-config\n"
    assert answers["vendor-data"].body == b""
    assert answers["network-config"].body == b""
    assert answers["meta-data"].body == b"instance-id: pinetboot-127-0-0-1\nlocal-hostname: pi-127-0-0-1\n"
    assert {answer.headers["content-type"] for answer in answers.values()} == {"text/plain; charset=utf-8"}


@pytest.mark.parametrize("name", SEEDS)
def test_the_operators_own_seed_file_is_given_as_it_is(house: Daemon, seeds: Path, name: str) -> None:
    content = b"#cloud-config\nhostname: \xc3\xa4\r\n\xff\0" + name.encode()
    (seeds / name).write_bytes(content)
    assert ask(house, f"/{name}").body == content
    (seeds / name).write_bytes(b"changed")
    assert ask(house, f"/{name}").body == b"changed"
    (seeds / name).write_bytes(b"")
    assert ask(house, f"/{name}").body == b""


def test_a_seed_file_that_cannot_be_read_is_told_and_not_made_up(house: Daemon, seeds: Path) -> None:
    (seeds / "user-data").mkdir()
    answer = ask(house, "/user-data")
    assert answer.status == 503
    assert b"user-data cannot be read: Is a directory" in answer.body


def test_seeds_answer_head_requests(house: Daemon, seeds: Path) -> None:
    (seeds / "user-data").write_bytes(b"x" * 100)
    answer = ask(house, "/user-data", "HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "100", b"")


@pytest.mark.parametrize(
    ("local", "asked"),
    [
        ("127.0.0.31", f"{SERIAL}/missing"),
        ("127.0.0.32", f"/{SERIAL}/missing"),
        ("127.0.0.33", f"{SERIAL}//missing"),
        ("127.0.0.34", f"{SERIAL}\\missing"),
        ("127.0.0.35", f"{SERIAL}/config.txt"),
        ("127.0.0.36", f"/{SERIAL}/config.txt"),
    ],
)
def test_a_pi_that_asked_tftp_for_its_folder_gets_its_serial_in_meta_data(
    house: Daemon, local: str, asked: str
) -> None:
    put(house, f"{SERIAL}/config.txt", b"arm_64bit=1\n")
    unknown = local.replace(".", "-")
    told = f"instance-id: pinetboot-{unknown}\nlocal-hostname: pi-{unknown}\n"
    assert ask(house, "/meta-data", local=local).body.decode() == told
    with Client(house.tftp_port, local=local) as client:
        if client.answer(asked).opcode != ERROR:
            client.error()
    told = f"instance-id: pinetboot-{SERIAL}\nlocal-hostname: pi-{SERIAL}\n"
    assert ask(house, "/meta-data", local=local).body.decode() == told
    assert ask(house, "/meta-data", local="127.0.0.39").body.decode() != told


# The boot tree


def test_a_file_is_given_whole(house: Daemon) -> None:
    content = put(house, "kernel8.img", noise(3_000_000))
    answer = ask(house, "/boot/kernel8.img")
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["content-length"] == "3000000"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert fetch(house.tftp_port, "kernel8.img", blksize=1468, windowsize=16) == content


@pytest.mark.parametrize("path", ["/boot/again", "/boot/nowhere", "/meta-data", "/healthz"])
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=1-"}, {"Range": "bytes=99-"}, {"If-None-Match": "*"}])
def test_a_connection_is_kept_for_the_next_request(house: Daemon, path: str, headers: dict[str, str]) -> None:
    put(house, "again", b"content")
    with closing(HTTPConnection("127.0.0.1", house.http_port, timeout=5)) as connection:
        for _ in range(3):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            # Else the next request would quietly go over a new connection.
            assert connection.sock is not None
            assert not answer.will_close


def test_an_empty_file_is_given(house: Daemon) -> None:
    put(house, "empty", b"")
    answer = ask(house, "/boot/empty")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "0", b"")


def test_head_tells_all_but_the_content(house: Daemon) -> None:
    put(house, "headed", noise(5000))
    got, told = ask(house, "/boot/headed"), ask(house, "/boot/headed", "HEAD")
    assert (told.status, told.body) == (200, b"")
    for name in ("content-length", "content-type", "etag", "last-modified", "accept-ranges"):
        assert told.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=0-0", 0, 0),
        ("bytes=1000-1999", 1000, 1999),
        ("bytes=4000-", 4000, 4999),
        ("bytes=4999-", 4999, 4999),
        ("bytes=-100", 4900, 4999),
        ("bytes=-9000", 0, 4999),
        ("bytes=4000-9000", 4000, 4999),
    ],
)
def test_a_part_of_a_file_is_given(house: Daemon, asked: str, first: int, last: int) -> None:
    content = put(house, "ranged", noise(5000))
    answer = ask(house, "/boot/ranged", headers={"Range": asked})
    assert answer.status == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/5000"
    assert answer.body == content[first : last + 1]
    told = ask(house, "/boot/ranged", "HEAD", {"Range": asked})
    assert (told.status, told.headers["content-length"]) == (206, str(last + 1 - first))


@pytest.mark.parametrize("asked", ["bytes=5000-", "bytes=5000-6000", "bytes=99999-"])
def test_a_part_beyond_the_end_is_refused(house: Daemon, asked: str) -> None:
    put(house, "ranged", noise(5000))
    answer = ask(house, "/boot/ranged", headers={"Range": asked})
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */5000"


def test_what_the_client_has_already_is_not_sent_again(house: Daemon) -> None:
    put(house, "fresh", noise(5000))
    first = ask(house, "/boot/fresh")
    for headers in (
        {"If-None-Match": first.headers["etag"]},
        {"If-None-Match": f'"other", {first.headers["etag"]}'},
        {"If-Modified-Since": first.headers["last-modified"]},
    ):
        answer = ask(house, "/boot/fresh", headers=headers)
        assert (answer.status, answer.body) == (304, b"")
    for headers in (
        {"If-None-Match": '"other"'},
        {"If-Modified-Since": formatdate(time.time() - 86400, usegmt=True)},
    ):
        assert ask(house, "/boot/fresh", headers=headers).status == 200
    os.utime(house.data / "boot" / "fresh", (1, 1))
    assert ask(house, "/boot/fresh", headers={"If-None-Match": first.headers["etag"]}).status == 200


def test_a_part_of_another_version_is_not_given(house: Daemon) -> None:
    put(house, "versions", b"old" * 1000)
    old = ask(house, "/boot/versions").headers
    content = put(house, "versions", b"new" * 1000)
    os.utime(house.data / "boot" / "versions", (4e9, 4e9))
    for version in (old["etag"], old["last-modified"]):
        answer = ask(house, "/boot/versions", headers={"Range": "bytes=1500-", "If-Range": version})
        assert (answer.status, answer.body) == (200, content)
    new = ask(house, "/boot/versions").headers
    for version in (new["etag"], new["last-modified"]):
        answer = ask(house, "/boot/versions", headers={"Range": "bytes=1500-", "If-Range": version})
        assert (answer.status, answer.body) == (206, content[1500:])


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/boot/d/plain", "d/plain"),
        (b"/boot//d//plain", "d/plain"),
        (b"/boot/d/x/../plain", "d/plain"),
        (b"/boot/d%2fplain", "d/plain"),
        (b"/boot/d%5Cplain", "d/plain"),
        (b"/boot/with%20space", "with space"),
        (b"/boot/%C3%BC", "ü"),
        (b"/boot/50%25", "50%"),
        (b"/boot/a+b", "a+b"),
        (b"/boot/d/plain?query=1", "d/plain"),
    ],
)
def test_a_name_may_be_written_in_many_ways(house: Daemon, target: bytes, name: str) -> None:
    content = put(house, name, name.encode())
    assert raw_status(house, target) == (200, content)


@pytest.mark.parametrize(
    "target",
    [
        b"/boot/../secret",
        b"/boot/../../../../../../etc/passwd",
        b"/boot/%2e%2e/secret",
        b"/boot/.%2E/secret",
        b"/boot/%2e%2e%2fsecret",
        b"/boot/..%2fsecret",
        b"/boot/..%5csecret",
        b"/boot/..\\secret",
        b"/boot/a/../../secret",
        b"/boot/a/%2e%2e/%2e%2e/secret",
        b"/boot/%2e%2e/boot/inside",
        b"/boot/inside%00",
        b"/boot/%00",
        b"/boot/inside%00.txt",
        b"/boot/%252e%252e/secret",
        b"/boot//etc/passwd",
        b"/boot/%2fetc/passwd",
        b"/boot/%2Fproc/self/environ",
        b"/boot/file:///etc/passwd",
        b"/boot/" + b"n" * 300,
        b"/boot/" + b"d/" * 600 + b"f",
        b"/boot/%ff%fe",
        b"http://elsewhere/boot/../secret",
        b"//boot/../secret",
        b"/secret",
        b"/boot",
        b"/boot/",
    ],
)
def test_nothing_outside_the_tree_is_given(house: Daemon, target: bytes) -> None:
    (house.data / "secret").write_bytes(b"secret")
    put(house, "inside", b"inside")
    status, body = raw_status(house, target)
    assert status in {400, 403, 404}
    assert b"secret" not in body
    assert b"root:" not in body
    assert raw_status(house, target, b"HEAD")[0] in {400, 403, 404}


@pytest.mark.parametrize("target", [b"/boot/../secret", b"/boot/%2e%2e/secret", b"/boot/..%2fsecret"])
def test_a_name_that_leads_out_is_never_taken_for_another_page(house: Daemon, target: bytes) -> None:
    assert raw_status(house, target)[0] in {403, 404}


def test_a_link_is_followed_within_its_tree_alone(house: Daemon) -> None:
    (house.data / "secret").write_bytes(b"secret")
    content = put(house, "links/target", b"target")
    folder = house.data / "boot" / "links"
    for name, target in {
        "within": "target",
        "out": "../../secret",
        "absolute": "/etc/passwd",
        "circle": "circle",
        "magic": "/proc/self/environ",
    }.items():
        (folder / name).symlink_to(target)
    assert ask(house, "/boot/links/within").body == content
    for name in ("out", "absolute", "circle", "magic"):
        answer = ask(house, f"/boot/links/{name}")
        assert answer.status == 403
        assert b"secret" not in answer.body


def test_a_pis_own_generation_is_served_and_nothing_beside_it(house: Daemon) -> None:
    generation = house.data / "pis" / "c0ffee00" / "g1"
    for name in ("boot/config.txt", "root/shadow", "../identity/key"):
        path = generation / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (house.data / "boot" / "c0ffee00").symlink_to("../pis/c0ffee00/g1/boot")
    (generation / "boot" / "planted").symlink_to("../root/shadow")
    (generation / "boot" / "key").symlink_to("../../identity/key")
    assert ask(house, "/boot/c0ffee00/config.txt").body == b"boot/config.txt"
    for name in ("planted", "key"):
        assert ask(house, f"/boot/c0ffee00/{name}").status == 403


def test_what_is_not_there_is_404_and_what_is_no_file_is_403(house: Daemon) -> None:
    put(house, "folder/file", b"content")
    os.mkfifo(house.data / "boot" / "fifo")
    started = time.monotonic()
    assert ask(house, "/boot/missing").status == 404
    assert ask(house, "/boot/folder/missing").status == 404
    assert ask(house, "/boot/folder/file/below").status == 404
    assert ask(house, "/boot/folder").status == 403
    assert ask(house, "/boot/folder/").status == 403
    assert ask(house, "/boot/fifo").status == 403
    assert ask(house, "/elsewhere").status == 404
    assert time.monotonic() - started < 2


def test_a_neighbour_that_is_packed_is_not_sent_instead(house: Daemon) -> None:
    content = put(house, "packed.img", b"not packed")
    put(house, "packed.img.gz", b"packed")
    answer = ask(house, "/boot/packed.img", headers={"Accept-Encoding": "gzip, br"})
    assert answer.body == content
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("size", [100, 50 << 20])
def test_a_file_that_is_cut_short_during_a_download_never_looks_whole(house: Daemon, size: int) -> None:
    put(house, "cut", b"x" * (80 << 20))
    with closing(HTTPConnection("127.0.0.1", house.http_port, timeout=5)) as connection:
        connection.request("GET", "/boot/cut")
        answer = connection.getresponse()
        assert answer.getheader("Content-Length") == str(80 << 20)
        answer.read(1000)
        os.truncate(house.data / "boot" / "cut", size)
        with pytest.raises((IncompleteRead, ConnectionError)):
            answer.read()


def test_a_file_that_is_renamed_over_during_a_download_is_given_as_it_was(house: Daemon) -> None:
    content = put(house, "swapped", noise(30 << 20))
    with closing(HTTPConnection("127.0.0.1", house.http_port, timeout=5)) as connection:
        connection.request("GET", "/boot/swapped")
        answer = connection.getresponse()
        got = answer.read(1000)
        put(house, "swapped.new", b"new")
        (house.data / "boot" / "swapped.new").rename(house.data / "boot" / "swapped")
        assert got + answer.read() == content


def test_a_client_that_goes_away_leaves_no_descriptor_behind(house: Daemon) -> None:
    put(house, "left", b"x" * (30 << 20))
    assert house.process is not None
    folder = Path(f"/proc/{house.process.pid}/fd")
    ask(house, "/boot/left")

    def descriptors() -> int:
        return len(list(folder.iterdir()))

    time.sleep(0.2)
    before = descriptors()
    for _ in range(10):
        with closing(HTTPConnection("127.0.0.1", house.http_port, timeout=5)) as connection:
            connection.request("GET", "/boot/left")
            connection.getresponse().read(1000)
    assert wait_until(lambda: descriptors() <= before, 5), (before, descriptors())


def test_curl_resumes_a_download(house: Daemon, tmp_path: Path) -> None:
    require("curl")
    content = put(house, "resumed.img", noise(2_000_000))
    part = tmp_path / "part"
    part.write_bytes(content[:700_000])
    url = f"http://127.0.0.1:{house.http_port}/boot/resumed.img"
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "10"]
    done = subprocess.run(
        [*command, "--continue-at", "-", "--output", str(part), "--write-out", "%{http_code} %{size_download}", url],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "206 1300000"
    assert part.read_bytes() == content


# Health


def test_a_daemon_that_runs_is_healthy_and_ready(house: Daemon) -> None:
    answer = ask(house, "/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")
    answer = ask(house, "/readyz")
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "ready": True,
        "standby": False,
        "services": {"tftp": "ready", "dhcp": "off", "http": "ready"},
    }
    for path in ("/healthz", "/readyz", "/"):
        assert ask(house, path, "HEAD").status == 200


def test_a_download_that_runs_at_sigterm_is_finished(serve: Serve) -> None:
    daemon = serve()
    content = put(daemon, "late", noise(30 << 20))
    with closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=5)) as connection:
        connection.request("GET", "/boot/late")
        answer = connection.getresponse()
        got = answer.read(1000)
        assert daemon.process is not None
        daemon.process.terminate()
        assert wait_until(lambda: daemon.said("stopping"))
        with pytest.raises(ConnectionRefusedError):
            wait_until(lambda: ask(daemon, "/healthz").status != 200, 1)
        assert got + answer.read() == content
    assert daemon.process.wait(3) == 0


# What is not welcome


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_nothing_but_reading_is_allowed(house: Daemon, method: str) -> None:
    put(house, "kept", b"content")
    for path in ("/", "/boot/kept", "/boot/new", "/healthz", "/readyz", *(f"/{name}" for name in SEEDS)):
        assert ask(house, path, method).status == 405
    assert (house.data / "boot" / "kept").read_bytes() == b"content"
    assert not (house.data / "boot" / "new").exists()


def test_garbage_disturbs_nobody(house: Daemon) -> None:
    put(house, "undisturbed", b"content")
    dice = random.Random(3)  # noqa: S311 - repeatable on purpose
    with closing(HTTPConnection("127.0.0.1", house.http_port, timeout=5)) as connection:
        for turn in range(60):
            garbage = dice.choice(
                [
                    dice.randbytes(dice.randrange(1, 2000)) + b"\r\n\r\n",
                    b"GET\r\n\r\n",
                    b"GET / HTTP/9.9\r\n\r\n",
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(500),
                    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
                    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
                    b"GET /boot/undisturbed HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                    b"GET /boot/undisturbed HTTP/1.1\r\nRange: bytes=9-1\r\n\r\n",
                    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                ]
            )
            with socket.create_connection(("127.0.0.1", house.http_port), timeout=5) as sock:
                sock.sendall(garbage)
                if turn % 2:
                    sock.shutdown(socket.SHUT_WR)
            if turn % 10 == 0:
                connection.request("GET", "/boot/undisturbed")
                assert connection.getresponse().read() == b"content"
    assert ask(house, "/readyz").status == 200
    assert "Traceback" not in house.text
    assert not house.process_ended


def test_no_answer_tells_of_the_inside(house: Daemon) -> None:
    for target in (b"/boot/%ff", b"/boot/%00", b"/nowhere", b"/boot/x?%ff"):
        body = raw_status(house, target)[1]
        assert b"Traceback" not in body
        assert b".py" not in body
        assert os.fsencode(house.data) not in body


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.5", "::1"])
def test_every_address_of_the_host_is_served(house: Daemon, server: str) -> None:
    content = put(house, "addressed", b"content")
    with closing(HTTPConnection(server, house.http_port, timeout=5)) as connection:
        connection.request("GET", "/boot/addressed")
        answer = connection.getresponse()
        assert answer.read() == content
        assert connection.sock.getpeername()[0] == server
