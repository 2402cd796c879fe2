"""The dashboard's files as a browser gets them, and what the API tells it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from rawtftp import TransferFailed, fetch
from support import Daemon, free_port, loopback_config, wait_until

from pinetboot.demo import tree
from pinetboot.observe.files import MOST_FILES

Serve = Callable[..., Daemon]

TOP = Path(__file__).parent.parent.parent
STATIC = TOP / "pinetboot" / "web" / "static"
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(daemon: Daemon, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    with closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=10)) as connection:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def told(daemon: Daemon, path: str) -> Any:
    answer = ask(daemon, path)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    tftp_port, http_port = free_port(), free_port(socket.SOCK_STREAM)
    daemon = Daemon(tmp_path_factory.mktemp("house"), loopback_config(tftp_port, http_port))
    daemon.tftp_port, daemon.http_port = tftp_port, http_port
    tree.make(daemon.data, "http://127.0.0.1/")
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


def named(page: bytes) -> list[str]:
    """Every file of ours that the page names."""
    return re.findall(r'(?:href|src)="(static/[^"]+)"', page.decode())


# The page and its files


def test_the_page_may_do_nothing_but_show_what_comes_from_here(house: Daemon) -> None:
    answer = ask(house, "/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    rules = dict(rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";"))
    assert rules == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    text = answer.body.decode()
    assert not re.findall(r"\sstyle=|\son\w+=|<style|javascript:", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


def test_everything_that_the_page_names_is_there_and_kept_for_good(house: Daemon) -> None:
    page = ask(house, "/")
    paths = named(page.body)
    assert len(paths) > 5
    for path in paths:
        answer = ask(house, f"/{path}")
        assert answer.status == 200, path
        assert answer.body == (STATIC / Path(path).name).read_bytes()
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        kind = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}[Path(path).suffix]
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert ask(house, f"/{path}", "HEAD").headers["content-length"] == str(len(answer.body))


def test_the_page_is_looked_for_anew_and_sent_once(house: Daemon) -> None:
    page = ask(house, "/")
    assert page.headers["cache-control"] == "no-cache"
    again = ask(house, "/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["content-security-policy"] == page.headers["content-security-policy"]
    assert ask(house, "/", headers={"If-None-Match": '"another"'}).status == 200


@pytest.mark.parametrize("path", ["old/app.js", "HERE/index.html", "HERE/nothing.js", "HERE/..%2Fserver.py", "HERE/"])
def test_what_is_no_file_of_this_version_is_not_given(house: Daemon, path: str) -> None:
    version = named(ask(house, "/").body)[0].split("/")[1]
    assert ask(house, f"/static/{path.replace('HERE', version)}").status == 404


def test_modules_load_one_another_and_nothing_from_elsewhere() -> None:
    names = {path.name for path in STATIC.iterdir()}
    for path in STATIC.iterdir():
        text = path.read_text()
        assert {name.removeprefix("./") for name in re.findall(r'from "([^"]+)"', text)} <= names
        elsewhere = set(re.findall(r"https?://[^\s\"')]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not elsewhere, path
        assert "innerHTML" not in text
        assert "eval(" not in text


def test_a_built_wheel_has_all_of_it(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=TOP, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path / "installed")
    # The package that was built, and not the one that this test runs from, with what it needs from where that is.
    look = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pinetboot.web import dashboard; pages = dashboard.load(); "
    )
    look += "print(dashboard.__file__); print(*sorted(pages.files))"
    command = [sys.executable, "-c", look, str(tmp_path / "installed")]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60)
    where, files = done.stdout.splitlines()
    assert where.startswith(str(tmp_path / "installed"))
    assert files.split() == sorted(path.name for path in STATIC.iterdir())


# What the API tells it


def rehearse(daemon: Daemon, model: str, serial: str) -> None:
    command = [sys.executable, "-m", "pinetboot", "rehearse", "--no-dhcp", "--server", "127.0.0.1", "--model", model]
    command += ["--serial", serial, "--tftp-port", str(daemon.tftp_port), "--json"]
    subprocess.run(command, capture_output=True, timeout=60, check=False)


def files_of(boot: dict[str, Any]) -> list[tuple[str, int, str]]:
    return sorted((file["name"], file["bytes"], file["result"]) for file in boot["files"] if file["result"] == "ok")


def test_a_pi_shows_the_files_of_its_boot_in_time_and_past_ones_one_by_one(house: Daemon) -> None:
    rehearse(house, "pi4", tree.PI4)
    boot = told(house, f"/api/pis/{tree.PI4}")["boot"]
    names = {file["name"]: file for file in boot["files"]}
    assert {"config.txt", "start4.elf", "overlays/vc4-kms-v3d.dtbo", "kernel8.img"} <= set(names)
    kernel = names["kernel8.img"]
    assert (kernel["stage"], kernel["bytes"], kernel["sent_bytes"], kernel["result"]) == (
        "kernel", 4 << 20, 4 << 20, "ok",
    )  # fmt: skip
    assert kernel["at"] >= 0
    assert kernel["seconds"] > 0
    assert names["pieeprom.sig"]["result"] == "missing"
    assert "pieeprom.sig" in boot["evidence"]["missing"]
    assert boot["more_files"] == {"files": 0, "bytes": 0}
    assert boot["number"] == 1
    rehearse(house, "pi4", tree.PI4)
    later = told(house, f"/api/pis/{tree.PI4}")
    assert [one["number"] for one in later["boots"]] == sorted({one["number"] for one in later["boots"]})
    assert all("files" not in one for one in later["boots"])
    assert ask(house, f"/api/pis/{tree.PI4}/boots/99").status == 404
    assert ask(house, f"/api/pis/{tree.PI4}/boots/x").status == 404
    assert ask(house, "/api/pis/00000009/boots/1").status == 404
    assert ask(house, "/api/pis/x/boots/1").status == 404


def test_a_boot_with_many_files_names_the_first_and_counts_the_rest(house: Daemon) -> None:
    serial = "00112233"
    for number in range(MOST_FILES + 7):
        with pytest.raises(TransferFailed):
            fetch(house.tftp_port, f"{serial}/name-{number}.txt".encode())
    boot = told(house, f"/api/pis/{serial}")["boot"]
    assert len(boot["files"]) == MOST_FILES
    assert boot["more_files"]["files"] == 7


def test_the_files_of_a_boot_outlive_the_daemon_and_the_next_boot(serve: Serve) -> None:
    daemon = serve()
    tree.make(daemon.data, "http://127.0.0.1/")
    rehearse(daemon, "pi4", tree.PI4)
    before = told(daemon, f"/api/pis/{tree.PI4}")["boot"]
    daemon.stop()
    daemon.start()
    assert wait_until(lambda: ask(daemon, f"/api/pis/{tree.PI4}").status == 200)
    after = told(daemon, f"/api/pis/{tree.PI4}/boots/{before['number']}")
    assert files_of(after) == files_of(before) != []
    with closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=10)) as connection:
        connection.request("POST", f"/phone/{tree.PI4}", b"")
        assert connection.getresponse().status == 200
    with pytest.raises(TransferFailed):
        fetch(daemon.tftp_port, f"{tree.PI4}/pieeprom.sig".encode())
    shown = told(daemon, f"/api/pis/{tree.PI4}")
    assert [boot["state"] for boot in shown["boots"]] == ["online", "booting"]
    assert [boot["number"] for boot in shown["boots"]] == [before["number"], before["number"] + 1]
    assert files_of(told(daemon, f"/api/pis/{tree.PI4}/boots/{before['number']}")) == files_of(before)
