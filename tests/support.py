"""What many tests use: a daemon in a process of its own, free ports, programs and privileges that may be absent."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

START_S = 20.0


def require(*programs: str) -> None:
    """Skip the test, with the reason, unless all programs are installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def require_root() -> None:
    """Skip the test unless it may make network namespaces."""
    if os.geteuid() != 0:
        pytest.skip("making network namespaces needs root")


def without_privileges() -> list[str]:
    """Give a command prefix that drops every capability, which leaves root no more than any user has but its files."""
    if os.geteuid() != 0:
        return []
    require("setpriv")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]


# Below the ports that the kernel gives to clients, and apart for each process that runs tests beside this one.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_PORTS = itertools.cycle(range(20000 + 1500 * _WORKER, 21500 + 1500 * _WORKER))


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """Find a port on loopback that nobody uses, and that is not given again soon."""
    for port in _PORTS:
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("a cycle has no end")


def wait_until(true: Any, within_s: float = 10.0) -> Any:
    """Call `true` until it gives something; its last answer."""
    end = time.monotonic() + within_s
    while not (answer := true()) and time.monotonic() < end:
        time.sleep(0.02)
    return answer


@dataclass
class Daemon:
    """`pinetboot serve` as a user starts it. `config` is the text of its settings file."""

    folder: Path
    config: str
    flags: Sequence[str] = ()
    inside: Sequence[str] = ()  # a command to run it in, `ip netns exec NAME`
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    tftp_port: int = 69
    http_port: int = 80
    shared: Path | None = None  # a data directory that is not its own alone

    @property
    def data(self) -> Path:
        return self.shared or self.folder / "data"

    @property
    def settings(self) -> Path:
        return self.folder / "pinetboot.toml"

    def command(self) -> list[str]:
        command = [*self.inside, sys.executable, "-m", "pinetboot", "serve"]
        return [*command, "--config", str(self.settings), "--data", str(self.data), "--log-format", "json", *self.flags]

    def start(self, *, ready: bool = True) -> Daemon:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.data / "boot").mkdir(parents=True, exist_ok=True)
        self.settings.write_text(self.config)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(self.command(), stderr=log, stdout=log, env=os.environ | self.environment)
        if ready and not wait_until(lambda: self.said("ready") or self.process_ended, START_S):
            raise AssertionError(f"the daemon is not ready: {self.text}")
        if ready and self.process_ended:
            raise AssertionError(f"the daemon ended: {self.text}")
        return self

    @property
    def process_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    @property
    def text(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log so far, an object a line; what is no JSON is left out."""
        found = []
        for line in self.text.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event") == event]

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, within_s: float = 15.0) -> int:
        """Send SIGTERM and return the exit code; a daemon that does not end is killed, and that is a fault."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def loopback_config(tftp_port: int, http_port: int, *, tftp: str = "", more: str = "") -> str:
    """Settings for a daemon on loopback that does no DHCP."""
    return f"""
[server]
stop_s = 2
[tftp]
port = {tftp_port}
{tftp}
[http]
port = {http_port}
[dhcp]
mode = "off"
{more}
"""
