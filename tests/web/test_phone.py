"""A Pi tells that it is up, scripts ask how far it is, and what was seen outlives the daemon."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest
from rawtftp import TransferFailed, fetch
from support import Daemon, free_port, loopback_config, require, wait_until

from pinetboot.demo import tree

Serve = Callable[..., Daemon]

FIXED, LEARNED, ABSENT, STRANGER = "5b154510", "da591740", "00000001", "00112233"
FLEET = f"""
[[pi]]
serial = "{FIXED}"
hostname = "node-1"
address = "127.0.0.2"
cmdline = "secret-word"
[pi.data]
token = "hunter2"

[[pi]]
serial = "{LEARNED}"

[[pi]]
serial = "{ABSENT}"
"""
FORM = b"hostname=node-1&boot_id=0c9b33c5-0000-4000-8000-000000000000"
PHONE_HOME = (
    b"pub_key_rsa=ssh-rsa+AAAA%0A&pub_key_ecdsa=N%2FA&pub_key_ed25519=ssh-ed25519+AAAA%0A"
    b"&instance_id=pinetboot-da591740-1&hostname=Stranger-9&fqdn=stranger-9.lan"
)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(daemon: Daemon, method: str, path: str, body: bytes | None = None, local: str = "127.0.0.1") -> Answer:
    with closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=15, source_address=(local, 0))) as connection:
        connection.request(method, path, body)
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, named, answer.read().decode())


def phone(daemon: Daemon, serial: str, local: str, body: bytes = FORM) -> Answer:
    return ask(daemon, "POST", f"/phone/{serial}", body, local)


def shown(daemon: Daemon, serial: str) -> dict[str, Any]:
    answer = ask(daemon, "GET", f"/api/pis/{serial}")
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def asks(daemon: Daemon, name: str, local: str) -> None:
    """Ask for a file that is not there, as a Pi at that address."""
    with suppress(TransferFailed):
        fetch(daemon.tftp_port, name.encode(), local=local)


def rehearse(daemon: Daemon, model: str, serial: str) -> None:
    command = [sys.executable, "-m", "pinetboot", "rehearse", "--no-dhcp", "--server", "127.0.0.1", "--model", model]
    command += ["--serial", serial, "--tftp-port", str(daemon.tftp_port)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests; each uses Pis and addresses of its own."""
    tftp_port, http_port = free_port(), free_port(socket.SOCK_STREAM)
    daemon = Daemon(tmp_path_factory.mktemp("house"), loopback_config(tftp_port, http_port))
    daemon.tftp_port, daemon.http_port = tftp_port, http_port
    daemon.data.mkdir(parents=True)
    (daemon.data / "fleet.toml").write_text(FLEET)
    daemon.start()
    assert wait_until(lambda: daemon.said("fleet read"))
    try:
        yield daemon
    finally:
        daemon.stop()


def test_a_pi_of_the_fleet_is_believed_at_its_own_address_alone(house: Daemon) -> None:
    assert shown(house, FIXED)["state"] == "unseen"
    refused = phone(house, FIXED, "127.0.0.3")
    assert (refused.status, shown(house, FIXED)["state"]) == (403, "unseen")
    assert refused.text == "127.0.0.3 may not say that 5b154510 is up: that is for the Pi's own address alone\n"
    assert phone(house, FIXED, "127.0.0.2").status == 200
    told = shown(house, FIXED)
    assert (told["state"], told["stage"], told["hostname"], told["known"]) == ("online", "online", "node-1", True)
    assert phone(house, FIXED.upper(), "127.0.0.2").status == 200
    (line,) = [line for line in house.said("Pi online") if line["serial"] == FIXED]
    assert line["hostname"] == "node-1"
    assert any("may not say that 5b154510" in line["why"] for line in house.said("http packet dropped"))


def test_an_address_that_was_learned_counts_as_well(house: Daemon) -> None:
    asks(house, f"{LEARNED}/config.txt", "127.0.0.4")
    assert phone(house, LEARNED, "127.0.0.5").status == 403
    assert phone(house, LEARNED, "127.0.0.4", b"").status == 200
    told = shown(house, LEARNED)
    assert (told["state"], told["address"], told["hostname"]) == ("online", "127.0.0.4", f"pi-{LEARNED}")


def test_a_post_teaches_no_address(house: Daemon) -> None:
    assert phone(house, ABSENT, "127.0.0.6").status == 200  # as long as its address is not known
    assert shown(house, ABSENT)["address"] is None
    asks(house, f"{ABSENT}/config.txt", "127.0.0.7")
    assert phone(house, ABSENT, "127.0.0.6").status == 403


def test_a_pi_that_is_in_no_fleet_is_believed_where_it_was_seen(house: Daemon) -> None:
    assert phone(house, STRANGER, "127.0.0.8").status == 404
    asks(house, f"{STRANGER}/start4.elf", "127.0.0.8")
    assert phone(house, STRANGER, "127.0.0.9").status == 403
    assert phone(house, STRANGER, "127.0.0.8", PHONE_HOME).status == 200
    told = shown(house, STRANGER)
    assert (told["state"], told["known"], told["hostname"]) == ("online", False, "stranger-9")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/phone/{FIXED}", 405),
        ("PUT", f"/phone/{FIXED}", 405),
        ("POST", "/phone/", 404),
        ("POST", "/phone/node-1", 404),
        ("POST", f"/phone/{FIXED}/x", 404),
        ("POST", "/phone/..%2f..%2fetc", 404),
        ("POST", "/phone/0badcafe", 404),
        ("POST", "/api/pis", 405),
        ("DELETE", f"/api/pis/{FIXED}", 405),
        ("GET", "/api/pis/0badcafe", 404),
        ("GET", "/api/pis/node-1", 404),
    ],
)
def test_all_else_is_refused(house: Daemon, method: str, path: str, status: int) -> None:
    answer = ask(house, method, path, local="127.0.0.2")
    assert answer.status == status
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "body", [b"", b"hostname=", b"hostname=%00%ff", b"=&&=;hostname", os.urandom(9000), b"a=b&" * 200]
)
def test_whatever_is_said_that_it_is_said_counts(house: Daemon, body: bytes) -> None:
    assert phone(house, FIXED, "127.0.0.2", body).status == 200
    assert shown(house, FIXED)["hostname"] == "node-1"


def test_more_than_16_kib_is_not_taken(house: Daemon) -> None:
    assert phone(house, FIXED, "127.0.0.2", b"x" * (16 << 10)).status == 200
    answer = phone(house, FIXED, "127.0.0.2", b"x" * ((16 << 10) + 1))
    assert (answer.status, answer.text) == (413, "at most 16384 bytes are taken\n")
    head = f"POST /phone/{FIXED} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert raw(house, head + b"4000\r\n" + b"x" * 0x4000 + b"\r\n" + b"1\r\nx\r\n0\r\n\r\n").startswith(b"HTTP/1.1 413")
    assert raw(house, head + b"4\r\nhost\r\n0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_body_that_breaks_the_protocol_is_the_clients_mistake(house: Daemon) -> None:
    head = f"POST /phone/{FIXED} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert raw(house, head + b"no-number\r\n\r\n").split()[1] == b"400"
    assert not house.said("unexpected fault, please report it")


def raw(daemon: Daemon, request: bytes) -> bytes:
    """Send bytes as they are; what is answered, its head at least."""
    with socket.create_connection(("127.0.0.1", daemon.http_port), 5, ("127.0.0.2", 0)) as sock:
        sock.sendall(request)
        sock.settimeout(5)
        answer = b""
        with suppress(TimeoutError, ConnectionResetError):
            while b"\r\n\r\n" not in answer and (piece := sock.recv(4096)):
                answer += piece
        return answer


def test_the_script_of_every_root_is_understood(house: Daemon) -> None:
    require("curl")
    url = f"http://127.0.0.1:{house.http_port}/phone/{FIXED}"
    command = ["curl", "--silent", "--fail", "--interface", "127.0.0.2", "--data", FORM.decode(), url]
    assert subprocess.run(command, check=True, capture_output=True, timeout=20).stdout == b"ok\n"


def test_every_pi_is_shown_and_nothing_secret(house: Daemon) -> None:
    asks(house, "0badf00d/start4.elf", "127.0.0.10")
    answer = ask(house, "GET", "/api/pis")
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["cache-control"] == "no-store"
    pis = answer.json["pis"]
    assert [pi["serial"] for pi in pis[:3]] == [FIXED, LEARNED, ABSENT]
    assert "0badf00d" in [pi["serial"] for pi in pis[3:]]
    keys = {"serial", "mac", "model", "hostname", "image", "generation", "address", "known", "state", "stage", "boot"}
    assert all(keys <= set(pi) for pi in pis)
    assert "hunter2" not in answer.text
    assert "secret-word" not in answer.text
    assert "hunter2" not in ask(house, "GET", f"/api/pis/{FIXED}").text


# The timeline of a whole boot


def test_a_boot_is_seen_stage_by_stage(serve: Serve) -> None:
    daemon = serve()
    tree.make(daemon.data, f"http://127.0.0.1:{daemon.http_port}/")
    rehearse(daemon, "pi4", tree.PI4)
    (pi,) = ask(daemon, "GET", "/api/pis").json["pis"]
    assert (pi["serial"], pi["state"], pi["stage"], pi["known"]) == (tree.PI4, "booting", "seed", False)
    stages = {stage["name"]: stage for stage in pi["boot"]["stages"]}
    assert list(stages) == ["firmware", "kernel", "seed"]
    folder = daemon.data / "boot" / tree.PI4
    sizes = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert stages["firmware"]["bytes"] >= sizes["start4.elf"] + sizes["fixup4.dat"]
    assert stages["kernel"]["bytes"] >= sizes["kernel8.img"] + sizes["initramfs8"]
    assert pi["boot"]["bytes"] == sum(stage["bytes"] for stage in stages.values())
    assert phone(daemon, tree.PI4, "127.0.0.1").status == 200
    (pi,) = ask(daemon, "GET", "/api/pis").json["pis"]
    assert (pi["state"], pi["boot"]["attempts"], pi["boot"]["cause"]) == ("online", 1, None)
    assert pi["boot"]["ended"] > pi["boot"]["started"]
    (line,) = daemon.said("Pi online")
    assert (line["serial"], line.get("hostname", "")) == (tree.PI4, "")
    assert line["seconds"] == pytest.approx(pi["boot"]["seconds"], abs=0.1)


def test_both_models_side_by_side_are_two_boots(serve: Serve) -> None:
    daemon = serve()
    tree.make(daemon.data, f"http://127.0.0.1:{daemon.http_port}/seed/{tree.PI5}/")
    rehearse(daemon, "pi5", tree.PI5)
    rehearse(daemon, "pi4", tree.PI4)
    pis = {pi["serial"]: pi for pi in ask(daemon, "GET", "/api/pis").json["pis"]}
    assert set(pis) == {tree.PI4, tree.PI5}
    assert pis[tree.PI5]["stage"] == "seed"


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_boots_outlive_the_daemon(serve: Serve, ending: signal.Signals) -> None:
    daemon = serve()
    tree.make(daemon.data, f"http://127.0.0.1:{daemon.http_port}/")
    rehearse(daemon, "pi4", tree.PI4)
    assert phone(daemon, tree.PI4, "127.0.0.1").status == 200
    rehearse(daemon, "pi5", tree.PI5)
    both = (tree.PI4, tree.PI5)
    before = {serial: shown(daemon, serial) for serial in both}
    assert wait_until(lambda: all(kept(daemon, serial) == far(before[serial]["boots"][-1]) for serial in both), 15)
    seen = daemon.data / "state" / "seen.json"
    assert wait_until(lambda: seen.exists() and all(serial in seen.read_text() for serial in both), 15)
    daemon.signal(ending)
    assert daemon.process is not None
    daemon.process.wait(15)
    daemon.start()
    assert wait_until(lambda: daemon.said("fleet read"))
    for serial in both:
        after = shown(daemon, serial)
        for key in ("state", "stage", "address"):
            assert after[key] == before[serial][key]
        assert [far(boot) for boot in after["boots"]] == [far(boot) for boot in before[serial]["boots"]]
    assert phone(daemon, tree.PI5, "127.0.0.1").status == 200
    assert [boot["state"] for boot in shown(daemon, tree.PI5)["boots"]] == ["online"]
    rehearse(daemon, "pi4", tree.PI4)
    assert [boot["state"] for boot in shown(daemon, tree.PI4)["boots"]] == ["online", "booting"]
    assert (daemon.data / "state" / "boots").stat().st_mode & 0o777 == 0o700


def far(boot: dict[str, Any]) -> list[tuple[str, int]]:
    """How far a boot came: its stages, and the bytes sent in each."""
    return [(stage["name"], stage["bytes"]) for stage in boot["stages"]]


def kept(daemon: Daemon, serial: str) -> list[tuple[str, int]]:
    """The same of the last boot on disk."""
    path = daemon.data / "state" / "boots" / f"{serial}.json"
    boots = json.loads(path.read_text()) if path.exists() else [{"stages": []}]
    return [(name, size) for name, _, _, size in boots[-1]["stages"]]


def test_files_that_are_spoilt_are_left_out_in_one_line(serve: Serve) -> None:
    daemon = serve()
    assert wait_until(lambda: daemon.said("fleet read"))
    asks(daemon, f"{STRANGER}/start4.elf", "127.0.0.1")
    assert phone(daemon, STRANGER, "127.0.0.1").status == 200
    folder = daemon.data / "state" / "boots"
    assert wait_until((folder / f"{STRANGER}.json").exists, 15)
    daemon.stop()
    for number, text in enumerate(("", "{", "[]", '[{"stages": 1}]', "[" * 10_000, '{"a": NaN}')):
        (folder / f"0000000{number}.json").write_text(text)
    (folder / "x.json").write_text((folder / f"{STRANGER}.json").read_text())
    daemon.start()
    assert wait_until(lambda: daemon.said("fleet read"))
    assert shown(daemon, STRANGER)["state"] == "online"
    (line,) = daemon.said("kept file ignored")
    assert line["path"].endswith("/state/boots/00000000.json")
    assert "6 more" in line["why"]
