"""HTTP boot as a user has it: a key, a line in fleet.toml, `serve`, and a virtual Pi that boots from it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import bootkeys
import pytest
from imagetrees import raspios
from support import Daemon, free_port, loopback_config, require, require_root, wait_until

from pinetboot import rehearse as rehearsal
from pinetboot import signing
from pinetboot.cli import rehearse as cli
from pinetboot.errors import OperatorError
from pinetboot.pi import http_client
from pinetboot.pi.http_boot import HttpBoot
from pinetboot.pi.profiles import PROFILES
from pinetboot.rehearse import plan

SERIAL, PI4 = "da591740", "5b154510"
AGENT = "rpiboot/1.0 (d04170; version:00000000 timestamp:0)"
FLEET = "".join(f'[[pi]]\nserial = "{serial}"\nboot = "img"\n' for serial in (SERIAL, PI4))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with two Pis that have a boot.img; tests leave both as they found them."""
    require_root()  # trees have owners
    require("mcopy", "mformat", "openssl")
    tftp_port, http_port = free_port(), free_port(socket.SOCK_STREAM)
    more = f'[nfs]\nmode = "off"\n[boot_img]\nkey_file = "{bootkeys.pair().private}"'
    daemon = Daemon(tmp_path_factory.mktemp("house"), loopback_config(tftp_port, http_port, more=more))
    daemon.tftp_port, daemon.http_port = tftp_port, http_port
    raspios(daemon.data)
    (daemon.data / "fleet.toml").write_text(FLEET)
    daemon.start()
    try:
        assert wait_until(lambda: len(daemon.said("Pi made ready")) == 2, 40), daemon.text
        assert len(daemon.said("boot.img made")) == 2, daemon.text
        yield daemon
    finally:
        daemon.stop()


async def rehearse(
    port: int, *, model: str = "pi5", serial: str = SERIAL, key: str = "own", path: str = ""
) -> dict[str, Any]:
    public = signing.public(bootkeys.pair(key).public) if key else b""
    http = HttpBoot(port, path, public)
    planned = plan(PROFILES[model], serial, link=None, server="127.0.0.1", http=http)
    return (await rehearsal.rehearse(planned, lambda _: None)).to_json()


def boot(daemon: Daemon, serial: str = SERIAL) -> Path:
    return daemon.data / "boot" / serial


@pytest.mark.parametrize(("model", "serial"), [("pi5", SERIAL), ("pi4", PI4)])
def test_a_pi_with_the_key_boots_from_serve(house: Daemon, model: str, serial: str) -> None:
    command = [sys.executable, "-m", "pinetboot", "rehearse", "--no-dhcp", "--server", "127.0.0.1", "--json", "--http"]
    command += ["--model", model, "--serial", serial, "--http-port", str(house.http_port)]
    command += ["--key", str(bootkeys.pair().public)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert [(file["name"].rpartition("/")[2], file["probe"]) for file in told["files"]] == [
        ("boot.sig", False),
        ("boot.img", True),
        ("boot.img", False),
    ]
    image = boot(house, serial) / "boot.img"
    assert told["files"][2]["bytes"] == image.stat().st_size
    assert bootkeys.pair().verifies((boot(house, serial) / "boot.sig").read_bytes(), image)
    assert not any("signature" in note for note in told["notes"])


def test_pi_show_tells_of_it(house: Daemon) -> None:
    command = [sys.executable, "-m", "pinetboot", "pi", "show", SERIAL, "--data", str(house.data)]
    done = subprocess.run(
        [*command, "--config", str(house.settings)], capture_output=True, text=True, timeout=60, check=False
    )
    assert f"boot.img     {(boot(house) / 'boot.img').stat().st_size / 10**6:.1f} MB, signed\n" in done.stdout, done


async def test_the_timeline_shows_it(house: Daemon) -> None:
    assert (await rehearse(house.http_port))["ok"]
    with urlopen(f"http://127.0.0.1:{house.http_port}/api/pis/{SERIAL}", timeout=10) as answer:  # noqa: ASYNC210
        shown = json.load(answer)
    stages = {stage["name"]: stage["bytes"] for stage in shown["boot"]["stages"]}
    sizes = [(boot(house) / name).stat().st_size for name in ("boot.sig", "boot.img")]
    assert stages == dict(zip(("firmware", "kernel"), sizes, strict=True))
    files = [(file["name"], file["result"], file["bytes"]) for file in shown["boot"]["files"]]
    assert files == [("boot.sig", "ok", sizes[0]), ("boot.img", "probed", 0), ("boot.img", "ok", sizes[1])]
    assert shown["address"] == "127.0.0.1"


async def test_a_bootloader_that_knows_no_path_is_told_by_its_address(house: Daemon) -> None:
    for serial, model in ((PI4, "pi4"), (SERIAL, "pi5")):
        assert (await rehearse(house.http_port, serial=serial, model=model))["ok"]
        # From now on that address is this Pi's.
        told = await rehearse(house.http_port, serial=serial, model=model, path="net_install")
        assert told["ok"], told
        assert told["bytes"] == sum((boot(house, serial) / name).stat().st_size for name in ("boot.sig", "boot.img"))
        assert house.said("http boot")[-1]["serial"] == serial


async def test_a_tampered_image_is_refused(house: Daemon) -> None:
    path = boot(house) / "boot.img"
    before = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(len(before) - 100)
        file.write(b"tampered")
    told = await rehearse(house.http_port)
    assert (told["ok"], told["stopped_at"], told["cause"]["rule"]) == (False, "kernel", "D41")
    assert "boot.sig was made for" in told["cause"]["what"]
    path.write_bytes(before)
    assert (await rehearse(house.http_port))["ok"]


async def test_another_key_is_refused(house: Daemon) -> None:
    told = await rehearse(house.http_port, key="other")
    assert (told["ok"], told["cause"]["rule"]) == (False, "D41")
    assert "another key" in told["cause"]["what"]


@contextmanager
def breaking(port: int, after: int) -> Iterator[tuple[int, list[bytes]]]:
    """A way to a port on which each connection breaks after so many bytes; yields its port, and all requests."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def carry(client: socket.socket) -> None:
            with client, suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as server:
                asked = client.recv(1 << 16)
                requests.append(asked)
                server.sendall(asked)
                left = after
                while left > 0 and (piece := server.recv(min(left, 1 << 16))):
                    client.sendall(piece)
                    left -= len(piece)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    carry(listener.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1], requests
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


async def test_it_goes_on_where_a_connection_broke(house: Daemon) -> None:
    size = (boot(house) / "boot.img").stat().st_size
    with breaking(house.http_port, size // 3 + 1000) as (port, requests):
        told = await rehearse(port)
    assert (told["ok"], told["cause"]) == (True, None)
    parts = [line for asked in requests for line in asked.split(b"\r\n") if line.lower().startswith(b"range:")]
    assert len(parts) == 2
    assert all(asked.lower().count(b"connection: close") == 1 for asked in requests)
    assert all(AGENT[:20].encode() in asked for asked in requests)


async def test_it_gives_up_where_nothing_comes(house: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "_PAUSE_S", 0.01)
    with breaking(house.http_port, 0) as (port, requests):
        told = await rehearse(port)
    assert (told["stopped_at"], told["cause"]["rule"]) == ("firmware", "D41")
    assert len(requests) >= 5
    told = await rehearse(house.http_port, serial="00000000")
    assert (told["stopped_at"], told["cause"]["rule"]) == ("firmware", "D41")
    assert "not served" in told["cause"]["what"]


def ask(daemon: Daemon, method: str, name: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    with closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=10)) as connection:
        connection.request(method, f"/boot/{SERIAL}/{name}", headers={"User-Agent": AGENT, **headers})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()


def test_what_a_bootloader_reads_in_the_answers(house: Daemon) -> None:
    whole = (boot(house) / "boot.img").read_bytes()
    status, headers, body = ask(house, "HEAD", "boot.img", Connection="close")
    assert (status, headers["content-length"], body) == (200, str(len(whole)), b"")
    status, headers, body = ask(house, "GET", "boot.img", Connection="close")
    assert (status, headers["content-length"], headers["connection"], body) == (200, str(len(whole)), "close", whole)
    assert "transfer-encoding" not in headers
    status, headers, body = ask(house, "GET", "boot.img", Range="bytes=1000-", Connection="close")
    assert (status, headers["content-length"], body) == (206, str(len(whole) - 1000), whole[1000:])
    assert headers["content-range"] == f"bytes 1000-{len(whole) - 1}/{len(whole)}"


def test_bytes_that_were_not_taken_are_not_counted(house: Daemon) -> None:
    ask(house, "HEAD", "boot.img")
    (line,) = [line for line in house.said("http boot") if line["method"] == "HEAD"][-1:]
    assert (line["status"], line["bytes"]) == (200, 0)
    with socket.create_connection(("127.0.0.1", house.http_port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(f"GET /boot/{SERIAL}/boot.img HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        sock.recv(1000)
    gone = wait_until(lambda: [line for line in house.said("http boot") if line["status"] == 499])
    assert gone
    assert gone[0]["bytes"] < (boot(house) / "boot.img").stat().st_size


async def test_a_new_command_line_gives_no_new_image_in_the_middle_of_a_boot(house: Daemon) -> None:
    assert (await rehearse(house.http_port, model="pi4", serial=PI4))["ok"]
    image = (boot(house, PI4) / "boot.img").read_bytes()
    new = house.data / "new.toml"
    new.write_text(FLEET + 'cmdline = "added=word"\n')
    new.replace(house.data / "fleet.toml")
    assert await asyncio.to_thread(
        wait_until, lambda: "added=word" in (boot(house, PI4) / "cmdline.txt").read_text(), 20
    )
    # A Pi that has its signature may ask for the image any moment: the pair is not to change now.
    await asyncio.sleep(1.5)
    assert (boot(house, PI4) / "boot.img").read_bytes() == image
    assert (await rehearse(house.http_port, model="pi4", serial=PI4))["ok"]


async def test_a_generation_has_its_image_from_the_first_moment_and_a_changed_one_a_new_one(
    serve: Callable[..., Daemon],
) -> None:
    require_root()
    require("mcopy", "mformat")
    daemon = serve(more='[nfs]\nmode = "off"')
    raspios(daemon.data)
    fleet = f'[[pi]]\nserial = "{SERIAL}"\nboot = "img"\n'
    (daemon.data / "fleet.toml").write_text(fleet)
    assert await asyncio.to_thread(wait_until, lambda: boot(daemon).is_symlink(), 20), daemon.text
    assert (boot(daemon) / "boot.img").is_file()
    (daemon.data / "fleet.toml").write_text(f'{fleet}cmdline = "added=word"\n')
    made = await asyncio.to_thread(wait_until, lambda: daemon.said("boot.img made")[1:], 20)
    assert [line["signed"] for line in made] == [False], daemon.text
    assert b"added=word" in (boot(daemon) / "boot.img").read_bytes()
    told = await rehearse(daemon.http_port, key="")
    assert (told["stopped_at"], told["cause"]["rule"]) == ("firmware", "D41")
    assert "no RSA signature" in told["cause"]["what"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"model": "pi3bp"}, "has no HTTP boot"),
        ({"model": "pi4-2020"}, "has no HTTP boot"),
        ({"key": Path("/nowhere")}, "cannot be read"),
        ({"key": Path("/etc/hostname")}, "no key in PEM"),
        ({"server": "", "dhcp": True}, "leaves open where to boot from"),
    ],
)
def test_wrong_usage_is_one_sentence(more: dict[str, Any], why: str) -> None:
    given: dict[str, Any] = {
        "model": "pi5",
        "serial": SERIAL,
        "server": "127.0.0.1",
        "dhcp": False,
        "interface": "lo",
        "http": True,
    }
    given |= more
    with pytest.raises(OperatorError, match=why):
        cli.rehearse(**given)
