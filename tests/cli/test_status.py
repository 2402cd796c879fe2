"""`pinetboot status` asks the daemon, and `pi list` reads what it kept."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from pcs import LOADER, MAC, daemon_with_dhcp, discover
from rawtftp import TransferFailed, fetch
from support import Daemon, free_port, wait_until
from webfiles import serving

Serve = Callable[..., Daemon]
SERIAL = "5b154510"


def pinetboot(*arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "pinetboot", *arguments]
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def settings(daemon: Daemon) -> list[str]:
    return ["--config", str(daemon.settings)]


@pytest.fixture
def daemon(serve: Serve) -> Daemon:
    """A daemon that saw a Pi look for its loader in vain."""
    found = serve()
    for name in ("start4.elf", "start.elf", "config.txt"):
        with pytest.raises(TransferFailed):
            fetch(found.tftp_port, f"{SERIAL}/{name}")
    return found


def asked(daemon: Daemon) -> Any:
    with urlopen(f"http://127.0.0.1:{daemon.http_port}/api/pis", timeout=5) as answer:
        return json.load(answer)


def test_it_says_what_the_daemon_says(daemon: Daemon) -> None:
    assert json.loads(pinetboot("status", "--json", *settings(daemon))) == asked(daemon)
    shown = pinetboot("status", *settings(daemon)).splitlines()
    (line,) = [line for line in shown if line.startswith(SERIAL)]
    assert line.split()[-2:] == ["firmware", "booting"]
    one = pinetboot("status", SERIAL.upper(), *settings(daemon))
    assert "booting" in one
    assert "firmware" in one
    assert json.loads(pinetboot("status", SERIAL, "--json", *settings(daemon)))["boots"]


def test_it_says_that_nothing_was_seen_yet(serve: Serve) -> None:
    daemon = serve()
    assert "none was seen" in pinetboot("status", *settings(daemon))
    assert f"{SERIAL} is not in fleet.toml" in pinetboot("status", SERIAL, *settings(daemon), code=1)


def test_a_cause_is_told(daemon: Daemon) -> None:
    # Its time is up after 45 seconds of silence; what was kept of a boot that stalled is shown as it is.
    kept = daemon.data / "state" / "boots" / f"{SERIAL}.json"
    assert wait_until(kept.exists, 15)
    daemon.stop()
    cause = {"rule": "D13", "what": "none of [start4.elf] is served", "why": "the tree is empty", "do": "Fill it."}
    boots = [boot | {"stalled": True, "cause": cause} for boot in json.loads(kept.read_text())]
    kept.write_text(json.dumps(boots))
    daemon.start()
    assert wait_until(lambda: daemon.said("fleet read"))
    for arguments in ((), (SERIAL,)):
        shown = pinetboot("status", *arguments, *settings(daemon))
        assert "stalled" in shown
        assert "none of [start4.elf] is served (D13)" in shown
        assert "Fill it." in shown
    listed = pinetboot("pi", "list", "--data", str(daemon.data), *settings(daemon))
    assert "stalled at firmware" in listed


def test_no_daemon_is_said_clearly(daemon: Daemon) -> None:
    daemon.stop()
    told = pinetboot("status", *settings(daemon), code=1)
    assert f"no daemon answers at http://127.0.0.1:{daemon.http_port}" in told
    assert "pinetboot pi list" in told


def test_a_sign_of_life_is_asked_for_without_a_word(daemon: Daemon) -> None:
    assert pinetboot("status", "--alive", *settings(daemon)) == ""
    daemon.stop()
    assert "no daemon answers" in pinetboot("status", "--alive", *settings(daemon), code=1)


def test_pi_list_needs_no_daemon(daemon: Daemon) -> None:
    flags = ["--data", str(daemon.data), *settings(daemon)]
    assert wait_until((daemon.data / "state" / "boots" / f"{SERIAL}.json").exists, 15)
    wanted = {key: value for key, value in asked(daemon)["pis"][0].items() if key != "boot"}
    daemon.stop()
    (pi,) = json.loads(pinetboot("pi", "list", "--json", *flags))["pis"]
    assert {key: pi[key] for key in wanted} == wanted
    assert "boot" not in pi
    assert pi["last_seen"]
    assert "just now, firmware" in pinetboot("pi", "list", *flags)


def test_another_daemon_may_be_asked(daemon: Daemon) -> None:
    url = f"http://127.0.0.1:{daemon.http_port}/"
    assert json.loads(pinetboot("status", "--json", "--url", url)) == asked(daemon)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[http]\nenabled = false\n", "http.enabled is false"),
        ('[server]\ninterfaces = ["eth0"]\n', "server.interfaces leaves out lo"),
        ("[http]\nenabled = 3\n", "http.enabled"),
    ],
)
def test_settings_by_which_nobody_can_be_asked_are_said(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "pinetboot.toml"
    path.write_text(text)
    assert told in pinetboot("status", "--config", str(path), code=2)


def test_a_serial_or_a_mac_that_is_none_is_said() -> None:
    for name in ("node-1", "52:54:00:12:34"):
        said = pinetboot("status", name, code=2)
        assert "is no serial" in said
        assert "named by its MAC" in said


def test_what_is_no_pinetboot_is_said() -> None:
    with serving() as web:
        for body in (b"<html>", b"[]", b'{"pis": 1}', b'{"pis": [1]}', b'{"pis": [{"boot": {"started": 1}}]}'):
            web.files["api/pis"] = body
            assert "is no pinetboot of this version" in pinetboot("status", "--url", web.url(""), code=1)
        for name in (SERIAL, MAC):
            assert "is no pinetboot of this version" in pinetboot("status", name, "--url", web.url(""), code=1)
        web.files[f"api/machines/{MAC}"] = b'{"mac": "x", "boot": {"started": 1}}'
        assert "is no pinetboot of this version" in pinetboot("status", MAC, "--url", web.url(""), code=1)


def test_what_is_worth_knowing_and_what_a_bootloader_says_is_shown(serve: Serve) -> None:
    port = free_port()
    daemon = serve(more=f"[netconsole]\nenabled = true\nport = {port}\n")
    (daemon.data / "fleet.toml").write_text(f'[[pi]]\nserial = "{SERIAL}"\nimage = "none"\n')
    assert wait_until(lambda: SERIAL in pinetboot("status", *settings(daemon)))
    shown = pinetboot("status", SERIAL, *settings(daemon))
    assert "nothing was heard of it yet (D01)" in shown
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bootloader:
        bootloader.sendto(f"boot serial {SERIAL} [red]\nNETBOOT init failed\n".encode(), ("127.0.0.1", port))
    assert wait_until(lambda: "NETBOOT init failed" in pinetboot("status", SERIAL, *settings(daemon)))
    assert f"boot serial {SERIAL} [red]" in pinetboot("status", SERIAL, *settings(daemon))


def test_machines_that_are_no_pi_are_shown_below_the_pis_and_one_by_its_mac(tmp_path: Path) -> None:
    daemon, dhcp_port = daemon_with_dhcp(tmp_path / "daemon")
    daemon.start()
    try:
        assert "mac" not in pinetboot("status", *settings(daemon))
        assert f"{MAC} is no machine of fleet.toml" in pinetboot("status", MAC, *settings(daemon), code=1)
        (daemon.data / "fleet.toml").write_text('[[machine]]\nmac = "52:54:00:aa:aa:aa"\nboot = "local"\n')
        discover(daemon, dhcp_port)
        fetch(daemon.tftp_port, LOADER)
        assert wait_until(lambda: len(asked(daemon)["machines"]) == 2)
        shown = pinetboot("status", *settings(daemon)).splitlines()
        assert shown[0].startswith("No Pi is in fleet.toml")
        (head, *lines) = shown[2:]
        assert head.split()[:3] == ["mac", "hostname", "machine"]
        assert [line.split()[0] for line in lines] == ["52:54:00:aa:aa:aa", MAC]
        assert lines[0].split()[-3:] == ["0", "-", "unseen"]
        assert lines[1].split()[1:] == (
            ["-", "UEFI", "x64", "PC", "-", "127.0.0.1", "just", "now", "1", "5,000", "firmware", "booting"]
        )
        assert json.loads(pinetboot("status", "--json", *settings(daemon))) == asked(daemon)
        one = pinetboot("status", MAC.replace(":", "-").upper(), *settings(daemon))
        assert re.search(r"^machine +UEFI x64 PC$", one, re.MULTILINE)
        assert re.search(r"^  firmware +\d+\.\d to +\d+\.\d s  5,000 bytes$", one, re.MULTILINE)
        assert re.search(rf"^ +\d+\.\d s  tftp  ok        {LOADER}  5,000 bytes$", one, re.MULTILINE)
        assert json.loads(pinetboot("status", MAC, "--json", *settings(daemon)))["boot"]["files"]
    finally:
        daemon.stop()


def test_why_a_machine_came_no_further_is_told() -> None:
    cause = {"rule": "", "what": "it fetched [a] alone", "why": "Secure Boot", "do": "Switch it off."}
    at = "2026-01-01T00:00:00+00:00"
    stage = {"name": "seen", "first": at, "last": at, "bytes": 0}
    boot = {"started": at, "bytes": 0, "stages": [stage], "cause": cause, "files": []}
    machine = {"mac": MAC, "state": "stalled", "stage": "seen", "files": 0, "bytes": 0, "last": at}
    machine["boot"] = boot | {"more_files": {"files": 9, "bytes": 7}}
    with serving() as web:
        web.files["api/pis"] = json.dumps({"pis": [], "machines": [machine]}).encode()
        web.files[f"api/machines/{MAC}"] = json.dumps(machine).encode()
        for arguments in ((), (MAC,)):
            shown = pinetboot("status", *arguments, "--url", web.url(""))
            assert "it fetched [a] alone\n" in shown
            assert "Switch it off." in shown
        assert "and 9 more" in shown
        assert f"{MAC} stands at seen" in pinetboot("status", "--url", web.url(""))
        web.files["api/pis"] = json.dumps({"pis": [], "machines": [machine | {"state": "quiet"}]}).encode()
        assert f"{MAC} came no further than seen" in pinetboot("status", "--url", web.url(""))
