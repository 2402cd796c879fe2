"""TFTP servers to measure side by side: how each is started, and what it used."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SBIN = "/usr/sbin:/sbin:/usr/local/sbin"

Command = Callable[[Path, int], list[str]]


def _found(program: str) -> str | None:
    return shutil.which(program, path=os.environ["PATH"] + ":" + _SBIN)


@dataclass(frozen=True)
class Peer:
    """A server under test. `command` is given the tree and the port; None where it is not installed."""

    name: str
    command: Command | None


def pinetboot(tree: Path, port: int, *, data_ports: str = "") -> list[str]:
    """Start this checkout's daemon with its defaults, TFTP alone."""
    settings = tree.parent / "pinetboot-bench.toml"
    settings.write_text(
        f'[server]\ndata = "{tree.parent}/data"\n[tftp]\nport = {port}\nroot = "{tree}"\ndata_ports = "{data_ports}"\n'
        '[dhcp]\nmode = "off"\n[http]\nenabled = false\n'
    )
    return [sys.executable, "-m", "pinetboot", "serve", "--config", str(settings)]


# The same daemon, with nobody who keeps timelines, counts events, or watches new generations.
_UNOBSERVED = """
from pinetboot.cli import main
from pinetboot.fleet.fallback import Fallbacks
from pinetboot.observe.tally import Tally
from pinetboot.observe.watch import BootWatch
for kind in (BootWatch, Tally, Fallbacks):
    kind.take = lambda *_: None
main()
"""


def observed() -> list[Peer]:
    """List pinetboot as it is, and with nobody who looks at what happens."""

    def unobserved(tree: Path, port: int) -> list[str]:
        return [sys.executable, "-c", _UNOBSERVED, *pinetboot(tree, port)[3:]]

    return [Peer("pinetboot", pinetboot), Peer("pinetboot, unobserved", unobserved)]


def all_peers() -> list[Peer]:
    """List pinetboot and every peer, installed or not."""
    hpa, atftpd, dnsmasq = _found("in.tftpd"), _found("atftpd"), _found("dnsmasq")
    here = os.environ.get("USER", "root")

    def run_hpa(tree: Path, port: int) -> list[str]:
        return [hpa or "", "-L", "-4", "-s", "-u", here, "-a", f"127.0.0.1:{port}", str(tree)]

    def run_atftpd(tree: Path, port: int) -> list[str]:
        command = [atftpd or "", "--daemon", "--no-fork", "--maxthread", "2000", "--user", here]
        return [*command, "--bind-address", "127.0.0.1", "--port", str(port), "--logfile", "/dev/null", str(tree)]

    def run_dnsmasq(tree: Path, port: int) -> list[str]:
        # dnsmasq has no option for its TFTP port: it is measured at port 69 of an address of its own.
        command = [
            dnsmasq or "",
            "--no-daemon",
            "--conf-file=/dev/null",
            "--port=0",
            "--enable-tftp",
            "--tftp-max=3000",
        ]
        return [*command, f"--tftp-root={tree}", "--listen-address=127.0.0.9", "--bind-interfaces", f"--user={here}"]

    def run_py3tftp(tree: Path, port: int) -> list[str]:
        program = "import os, sys; from py3tftp.cli_parser import *; from py3tftp.__main__ import main; main()"
        return ["env", "-C", str(tree), sys.executable, "-c", program, "--host", "127.0.0.1", "-p", str(port)]

    def run_nobodd(tree: Path, port: int) -> list[str]:
        program = (
            f"from nobodd.tftpd import SimpleTFTPServer as S; S(('127.0.0.1', {port}), {str(tree)!r}).serve_forever()"
        )
        return [sys.executable, "-c", program]

    return [
        Peer("pinetboot", pinetboot),
        Peer("pinetboot, 11 ports", lambda tree, port: pinetboot(tree, port, data_ports="5000-5010")),
        Peer("pinetboot, one port", lambda tree, port: pinetboot(tree, port, data_ports=str(port))),
        Peer("dnsmasq", run_dnsmasq if dnsmasq else None),
        Peer("tftpd-hpa", run_hpa if hpa else None),
        Peer("atftpd", run_atftpd if atftpd else None),
        Peer("nobodd", run_nobodd if importlib.util.find_spec("nobodd") else None),
        Peer("py3tftp", run_py3tftp if importlib.util.find_spec("py3tftp") else None),
    ]


@dataclass
class Running:
    """A peer that runs. `address` is where it listens."""

    peer: Peer
    process: subprocess.Popen[bytes]
    address: tuple[str, int]
    tree: Path

    def cpu_s(self) -> float:
        """Processor seconds so far, its ended children included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(fields[at]) for at in (11, 12, 13, 14)) / _TICKS

    def peak_mib(self) -> float:
        """Most resident memory so far, of the process itself."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(peer: Peer, tree: Path, probe: str) -> Running:
    """Start a peer over `tree` and wait until it answers a request for the file `probe`."""
    assert peer.command is not None
    port = _free_port()
    address = ("127.0.0.9", 69) if peer.name == "dnsmasq" else ("127.0.0.1", port)
    command = peer.command(tree, port)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        if process.poll() is not None:
            break
        if _answers(address, probe):
            return Running(peer, process, address, tree)
        time.sleep(0.1)
    process.kill()
    process.wait()
    raise RuntimeError(f"{peer.name} does not answer: {' '.join(command)}")


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _answers(address: tuple[str, int], name: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        try:
            sock.sendto(b"\0\1" + name.encode() + b"\0octet\0", address)
            _, sender = sock.recvfrom(2048)
            sock.sendto(b"\0\5\0\0bye\0", sender)
        except OSError:
            return False
        return True
