"""`pinetboot watch` follows a running daemon: as JSON, as lines, on a terminal, and over a restart of the daemon."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pcs import LOADER, MAC, daemon_with_dhcp, discover
from rawtftp import TransferFailed, fetch
from support import Daemon, wait_until
from webfiles import serving

Serve = Callable[..., Daemon]
SERIAL, OTHER = "5b154510", "da591740"


def ask(daemon: Daemon, serial: str) -> None:
    """Be a Pi that looks for its loader in vain."""
    with pytest.raises(TransferFailed):
        fetch(daemon.tftp_port, f"{serial}/start4.elf")


@contextmanager
def watching(out: Path, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run it with its output in a file; at the end it is to go quietly at Ctrl-C."""
    with out.open("wb") as output:
        command = [sys.executable, "-m", "pinetboot", "watch", *flags]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE)
    try:
        yield process
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, b"")
    finally:
        process.kill()
        process.communicate()


def pis(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines() if line.endswith("}")]


def test_json_tells_every_pi_and_then_each_that_changes_also_after_a_restart(serve: Serve, tmp_path: Path) -> None:
    daemon, out = serve(), tmp_path / "out"
    ask(daemon, SERIAL)
    with watching(out, "--json", "--config", str(daemon.settings)):
        assert wait_until(lambda: [pi["serial"] for pi in pis(out)] == [SERIAL])
        ask(daemon, OTHER)
        assert wait_until(lambda: OTHER in {pi["serial"] for pi in pis(out)})
        pi = pis(out)[-1]
        assert (pi["serial"], pi["state"], pi["stage"], pi["known"]) == (OTHER, "booting", "firmware", False)
        daemon.stop()
        told = len(pis(out))
        daemon.start()
        ask(daemon, "7285c0f2")
        assert wait_until(lambda: "7285c0f2" in {pi["serial"] for pi in pis(out)[told:]}, 20)


def test_lines_where_nobody_sees_a_table(serve: Serve, tmp_path: Path) -> None:
    daemon, out = serve(), tmp_path / "out"
    with watching(out, "--config", str(daemon.settings)):
        ask(daemon, SERIAL)
        assert wait_until(lambda: re.search(rf"^\d\d:\d\d:\d\d {SERIAL} booting at firmware, 0 bytes", out.read_text()))


def test_machines_that_are_no_pi_are_followed_as_well(tmp_path: Path) -> None:
    daemon, dhcp_port = daemon_with_dhcp(tmp_path / "daemon")
    daemon.start()
    lines, out = tmp_path / "lines", tmp_path / "out"
    other = "52:54:00:aa:aa:aa"
    try:
        with (
            watching(out, "--json", "--config", str(daemon.settings)),
            watching(lines, "--config", str(daemon.settings)),
        ):
            discover(daemon, dhcp_port)
            fetch(daemon.tftp_port, LOADER)
            assert wait_until(lambda: [pi["stage"] for pi in pis(out) if pi.get("mac") == MAC][-1:] == ["firmware"])
            assert wait_until(lambda: f"{MAC} booting at firmware, 5,000 bytes" in lines.read_text())
            (daemon.data / "fleet.toml").write_text(f'[[machine]]\nmac = "{other}"\n')
            assert wait_until(lambda: other in out.read_text())
            (daemon.data / "fleet.toml").write_text("")
            assert wait_until(lambda: {"mac": other, "gone": True} in pis(out))
            assert wait_until(lambda: f"{other} is known no more" in lines.read_text())
    finally:
        daemon.stop()


def test_a_table_on_a_terminal(serve: Serve) -> None:
    daemon = serve()
    ask(daemon, SERIAL)
    (daemon.data / "fleet.toml").write_text(f'[[machine]]\nmac = "{MAC}"\nhostname = "nuc"\n')
    ours, its = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "160", "LINES": "20"}
    command = [sys.executable, "-m", "pinetboot", "watch", "--config", str(daemon.settings)]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    os.set_blocking(ours, False)
    shown = bytearray()

    def has(text: bytes) -> bool:
        with suppress(BlockingIOError):
            shown.extend(os.read(ours, 1 << 16))
        return text in shown

    try:
        assert wait_until(lambda: has(b"booting") and has(SERIAL.encode()))
        assert b"1 Pi at http://127.0.0.1" in shown
        assert wait_until(lambda: has(b"1 machine beside the Pis: 1 unseen") and has(b"nuc"))
        ask(daemon, OTHER)
        assert wait_until(lambda: has(b"2 Pis at ") and has(OTHER.encode()))
        daemon.stop()
        assert wait_until(lambda: has(b"no answer now"))
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        wait_until(lambda: has(b"\x1b[?1049l"), 2)
        assert b"Traceback" not in shown
        assert b"\x1b[?1049l" in shown  # the screen is as it was
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_what_does_not_answer_or_is_no_pinetboot_is_said(serve: Serve) -> None:
    daemon = serve()
    daemon.stop()

    def said(*flags: str) -> str:
        command = [sys.executable, "-m", "pinetboot", "watch", "--json", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return done.stderr

    assert f"no daemon answers at http://127.0.0.1:{daemon.http_port}" in said("--config", str(daemon.settings))
    with serving() as web:
        assert "is no pinetboot of this version" in said("--url", web.url(""))
        web.files["api/events"] = b"event: pis\ndata: {}\n\n"
        assert "is no pinetboot of this version" in said("--url", web.url(""))
