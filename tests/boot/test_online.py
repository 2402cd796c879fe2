"""The Pi's call that it is up: with whatever program there is, to wherever the server is now."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from imagetrees import SERIAL, SERVED
from support import require

from pinetboot.boot import online
from pinetboot.fleet.pi import Pi

PI = Pi(serial=SERIAL)


class Phone(HTTPServer):
    """Takes calls; the first `refuse` of them get 503."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[tuple[str, dict[str, list[str]]]] = []
        self.refuse = 0


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        phone = self.server
        assert isinstance(phone, Phone)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        phone.calls.append((self.path, parse_qs(body.decode())))
        self.send_response(503 if len(phone.calls) <= phone.refuse else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        pass


@pytest.fixture
def phone() -> Iterator[Phone]:
    server = Phone()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def call(folder: Path, text: str, cmdline: str, *, programs: tuple[str, ...], shell: str = "sh") -> int:
    """Run the script as a Pi with that command line and no programs but those."""
    path = folder / "bin"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    for program in (*programs, "cat"):
        found = sys.executable if program == "python3" else shutil.which(program)
        assert found
        (path / program).symlink_to(found)
    # Pauses are the Pi's; here they are none.
    (path / "sleep").write_text("#!/bin/sh\n")
    (path / "sleep").chmod(0o755)
    (folder / "cmdline").write_text(cmdline)
    (folder / "online").write_text(text.replace("/proc/cmdline", str(folder / "cmdline")))
    started = shutil.which(shell)
    assert started
    return subprocess.run([started, folder / "online"], env={"PATH": str(path)}, check=False, timeout=60).returncode


@pytest.mark.parametrize("programs", [("curl",), ("wget",), ("python3",), ("bash",)], ids=lambda one: one[0])
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_whatever_there_is_to_call_with(tmp_path: Path, phone: Phone, programs: tuple[str, ...], shell: str) -> None:
    require(*programs, shell)
    phone.refuse = 2
    served = replace(SERVED, server="127.0.0.1", nfs_server="127.0.0.1", http_port=phone.server_port)
    assert call(tmp_path, online.script(PI, served), "quiet", programs=programs, shell=shell) == 0
    assert len(phone.calls) == 3
    path, body = phone.calls[-1]
    assert path == f"/phone/{SERIAL}"
    assert body["hostname"] == [os.uname().nodename]
    assert len(body["boot_id"][0]) == 36


def test_the_command_line_knows_the_server_s_new_address(tmp_path: Path, phone: Phone) -> None:
    require("curl")
    served = replace(SERVED, server="127.9.9.9", nfs_server="127.9.9.9", http_port=phone.server_port)
    nfsroot = f"root=/dev/nfs nfsroot=127.0.0.1:/srv/pis/{SERIAL}/1/root,vers=3 rw *"
    assert call(tmp_path, online.script(PI, served), nfsroot, programs=("curl",)) == 0
    assert len(phone.calls) == 1
    seed = f"nfsroot=127.9.9.9:/x,vers=3 ds=nocloud-net;s=http://127.0.0.1:{phone.server_port}/seed/{SERIAL}/ quiet"
    assert call(tmp_path, online.script(PI, replace(served, http_port=81)), seed, programs=("curl",)) == 0
    assert len(phone.calls) == 2


def test_an_external_nfs_server_is_not_called() -> None:
    text = online.script(PI, replace(SERVED, nfs_server="10.0.0.9"))
    assert "nfsroot" not in text
    assert "@" not in text.replace("@W", "")


def test_it_gives_up_and_never_fails(tmp_path: Path) -> None:
    require("curl")
    served = replace(SERVED, server="127.0.0.1", nfs_server="127.0.0.1", http_port=1)
    assert call(tmp_path, online.script(PI, served), "", programs=("curl",)) == 0
    assert call(tmp_path, online.script(PI, served), "", programs=()) == 0


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    require("systemd-analyze")
    (tmp_path / online.UNIT).write_text(online.unit().replace(online.SCRIPT, "/bin/true"))
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / online.UNIT], capture_output=True, text=True, check=False
    )
    assert online.UNIT not in told.stderr
