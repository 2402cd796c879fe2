"""`pinetboot demo`: boots both Pis, unprivileged, quickly, and leaves nothing behind."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from support import without_privileges

DEMO = [sys.executable, "-m", "pinetboot", "demo"]


def test_both_pis_boot_in_under_ten_seconds_and_nothing_is_left(tmp_path: Path) -> None:
    began = time.monotonic()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(DEMO, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < 10
    assert "pi4 5b154510 boots from 127.0.0.1" in done.stdout
    assert "pi5 da591740 boots from 127.0.0.1" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_needs_no_privilege() -> None:
    done = subprocess.run([*without_privileges(), *DEMO], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_keep_leaves_it_serving_until_ctrl_c() -> None:
    with subprocess.Popen([*DEMO, "--keep"], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if url := re.search(r"Still serving: HTTP (\S+)", line):
                break
        else:
            raise AssertionError("it did not say where it serves")
        with urlopen(f"{url[1]}boot/5b154510/config.txt", timeout=5) as answer:
            assert b"arm_64bit=1" in answer.read()
        demo.send_signal(signal.SIGINT)
        assert demo.wait(10) == 0


def test_two_demos_at_once_take_ports_of_their_own() -> None:
    demos = [subprocess.Popen(DEMO, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [demo.communicate(timeout=60)[0] for demo in demos]
    assert [demo.returncode for demo in demos] == [0, 0], outputs


def test_on_a_terminal_there_is_a_live_view() -> None:
    try:
        leader, follower = pty.openpty()
    except OSError as error:
        pytest.skip(f"no terminal can be had: {error}")
    with subprocess.Popen(DEMO, stdout=follower, stderr=follower, env=os.environ | {"TERM": "xterm"}) as demo:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        assert demo.wait(10) == 0
    os.close(leader)
    # Stage marks of the moving table, redrawn more than once.
    assert shown.count("○".encode()) > 2
    assert "●".encode() in shown
