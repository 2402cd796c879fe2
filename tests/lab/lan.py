"""A LAN made of network namespaces: hosts with one interface each, on one bridge, gone again at the end."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import Daemon, require, wait_until

SWITCH = "switch"
NETWORK = "10.55.0.0/24"
# The Pi has no address before it boots, nor has a client that is to ask for one.
HOSTS: Mapping[str, tuple[str, ...]] = {
    "server": ("10.55.0.2/24", "fd00:55::2/64"),
    "router": ("10.55.0.1/24",),
    "pi": (),
    "client": (),
}
INTERFACE = "eth0"
_COMMAND_S = 20.0
_CLONE_NEWNET = 0x40000000


@dataclass
class Lan:
    """The hosts of one test. `token` keeps their namespaces apart from those of tests that run beside it."""

    folder: Path
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: HOSTS)
    token: str = field(default_factory=lambda: f"lab-{os.getpid()}-{secrets.token_hex(3)}")
    daemons: list[Daemon] = field(default_factory=list)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    taps: int = 0

    def namespace(self, host: str) -> str:
        return f"{self.token}-{host}"

    def build(self) -> None:
        self._add(SWITCH)
        self.ip(SWITCH, "link", "add", "bridge", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        self.ip(SWITCH, "link", "set", "bridge", "up")
        for host, addresses in self.hosts.items():
            self._add(host)
            other = ("peer", "name", INTERFACE, "netns", self.namespace(host))
            self.ip(SWITCH, "link", "add", host, "type", "veth", *other)
            self.ip(SWITCH, "link", "set", host, "master", "bridge", "up")
            self.ip(host, "link", "set", "lo", "up")
            self.ip(host, "link", "set", INTERFACE, "up")
            for address in addresses:
                self.address(host, address)

    def _add(self, host: str) -> None:
        _ip("netns", "add", self.namespace(host))
        self.made.append(host)

    def bridge(self, name: str) -> None:
        """Add another bridge to the switch: a LAN of its own."""
        self.ip(SWITCH, "link", "add", name, "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        self.ip(SWITCH, "link", "set", name, "up")

    def plug(self, host: str, bridge: str) -> None:
        """Put a host's cable into another bridge."""
        self.ip(SWITCH, "link", "set", host, "master", bridge)

    def wire(self, host: str, interface: str, bridge: str, *addresses: str) -> None:
        """Give a host one more interface, with a cable to a bridge."""
        other = ("peer", "name", interface, "netns", self.namespace(host))
        port = f"{host[:9]}-{interface}"
        self.ip(SWITCH, "link", "add", port, "type", "veth", *other)
        self.ip(SWITCH, "link", "set", port, "master", bridge, "up")
        self.ip(host, "link", "set", interface, "up")
        for address in addresses:
            self.ip(host, "address", "add", address, "dev", interface)

    def tap(self) -> str:
        """Give the bridge one more port, for a virtual machine that runs in the switch's namespace; its name."""
        name = f"tap{self.taps}"
        self.taps += 1
        self.ip(SWITCH, "tuntap", "add", name, "mode", "tap")
        self.ip(SWITCH, "link", "set", name, "master", "bridge", "up")
        return name

    def close(self) -> None:
        """End every process that this LAN started and take its namespaces away; a fault is told when all is done."""
        faults: list[Exception] = []
        for daemon in self.daemons:
            try:
                if not daemon.process_ended:
                    daemon.stop()
            except subprocess.TimeoutExpired as fault:
                faults.append(fault)
        _end(self.running)
        for host in reversed(self.made):
            try:
                _ip("netns", "delete", self.namespace(host))
            except AssertionError as fault:
                faults.append(fault)
        for one in (self.daemons, self.running, self.made):
            one.clear()
        if faults:
            raise faults[0]

    def ip(self, host: str, *words: str) -> str:
        """Run `ip` about a host; its output."""
        return _ip("-netns", self.namespace(host), *words)

    def address(self, host: str, address: str) -> None:
        """Give a host one more address, usable at once: nobody else can hold it here."""
        at_once = ("nodad",) if ":" in address else ()
        self.ip(host, "address", "add", address, "dev", INTERFACE, *at_once)

    def addresses(self, host: str) -> list[str]:
        """The IPv4 addresses that a host's interface has now."""
        shown: list[dict[str, Any]] = json.loads(self.ip(host, "-json", "-4", "address", "show", "dev", INTERFACE))
        return [info["local"] for link in shown for info in link.get("addr_info", ())]

    def mac(self, host: str) -> bytes:
        shown: list[dict[str, Any]] = json.loads(self.ip(host, "-json", "link", "show", "dev", INTERFACE))
        return bytes.fromhex(shown[0]["address"].replace(":", ""))

    def command(self, host: str) -> tuple[str, ...]:
        """What to write before a command that is to run on a host."""
        return ("ip", "netns", "exec", self.namespace(host))

    def run(self, host: str, *command: str, within_s: float = _COMMAND_S) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end."""
        whole = [*self.command(host), *command]
        return subprocess.run(whole, capture_output=True, text=True, timeout=within_s, check=False)

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """Have this thread on a host; a socket that is opened here stays there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(f"/run/netns/{self.namespace(host)}", os.O_RDONLY)
            try:
                _enter(there)
                yield
            finally:
                _enter(home)
                os.close(there)
        finally:
            os.close(home)

    def serve(self, config: str = "", host: str = "server", shared: Path | None = None) -> Daemon:
        """Start `pinetboot serve` on a host, with the ports that Pis know; its data directory may be `shared`."""
        folder = self.folder / f"daemon-{len(self.daemons)}"
        daemon = Daemon(folder, f"[server]\nstop_s = 1\n{config}", inside=self.command(host), shared=shared)
        self.daemons.append(daemon)
        return daemon.start()

    def router(self, reserved: Mapping[str, str] | None = None) -> Path:
        """Start a plain DHCP server on the host `router`, one that knows nothing of booting; its log.

        `reserved` has addresses by MAC.
        """
        require("dnsmasq")
        log = self.folder / "dnsmasq.log"
        command = [*self.command("router"), "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="]
        command += ["--user=root", "--group=root", f"--dhcp-leasefile={self.folder / 'leases'}"]
        command += ["--port=0", f"--interface={INTERFACE}", "--dhcp-authoritative", "--no-ping"]
        command += ["--dhcp-range=10.55.0.100,10.55.0.199,255.255.255.0,10m", "--log-dhcp", "--log-facility=-"]
        command += [f"--dhcp-host={mac},{address}" for mac, address in (reserved or {}).items()]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        self.running.append(process)
        listening = ("ss", "-Huln", "sport", "=", ":67")
        if not wait_until(lambda: process.poll() is not None or self.run("router", *listening).stdout):
            raise AssertionError(f"dnsmasq does not listen: {log.read_text()}")
        if process.poll() is not None:
            raise AssertionError(f"dnsmasq ended: {log.read_text()}")
        return log

    def rehearse(self, model: str, serial: str, *flags: str) -> tuple[int, dict[str, Any]]:
        """Boot a virtual Pi on the host `pi`: exit code and report."""
        command = [sys.executable, "-m", "pinetboot", "rehearse", "--model", model, "--serial", serial]
        done = self.run("pi", *command, "--interface", INTERFACE, "--json", *flags, within_s=40.0)
        assert done.returncode in {0, 1}, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, report


def _end(running: list[subprocess.Popen[bytes]]) -> None:
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def _enter(namespace: int) -> None:
    # os.setns() came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
