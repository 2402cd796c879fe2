"""Virtual machines under QEMU on a LAN's bridge: watched on one serial port, told what to do on another.

Always emulated: a /dev/kvm that is there may still run no kernel. Each ends by process id, at the latest
by itself after LIFE_S.
"""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.lan import SWITCH, Lan

LIFE_S = 1500
_GONE_S = 15.0
_PROMPT_S = 60.0


class GuestFault(AssertionError):
    """A guest did not do what it was to; its last words are in the message."""


@dataclass
class Machine:
    """One machine. start() gives it power, end() takes it away, as pulling the plug does."""

    lan: Lan
    folder: Path
    name: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    line: socket.socket | None = None
    agent: bool = False
    heard: bytearray = field(default_factory=bytearray)

    @property
    def log(self) -> Path:
        """What its first serial port said."""
        return self.folder / f"{self.name}.log"

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(
        self,
        kernel: Path,
        initrd: Path | None,
        cmdline: str,
        *,
        mac: str,
        memory: str = "1G",
        processors: int = 1,
        disks: Sequence[Path] = (),
        reboots: bool = False,
    ) -> Machine:
        """Start a PC with the agent on its second serial port. Its disks stay what they are, whatever it writes.

        With `reboots` it goes on after a reboot, and finds on its disks what it wrote; else that is its end.
        """
        ours, theirs = socket.socketpair()
        command = ["qemu-system-x86_64", "-accel", "tcg,tb-size=256", "-cpu", "max", "-m", memory]
        command += ["-smp", str(processors), "-nodefaults", "-no-user-config", "-display", "none"]
        command += [] if reboots else ["-no-reboot"]
        command += ["-chardev", f"file,id=log,path={self.log}", "-serial", "chardev:log"]
        command += ["-chardev", f"socket,id=agent,fd={theirs.fileno()}", "-serial", "chardev:agent"]
        command += ["-netdev", f"tap,id=lan,ifname={self.lan.tap()},script=no,downscript=no"]
        command += ["-device", f"virtio-net-pci,netdev=lan,mac={mac},romfile="]
        for disk in disks:
            command += ["-drive", f"file={disk},format=raw,if=virtio,snapshot=on,cache=unsafe"]
        command += ["-kernel", str(kernel), "-append", cmdline]
        command += ["-initrd", str(initrd)] if initrd is not None else []
        return self._start(command, ours, theirs)

    def start_arm64(self, firmware: Path, *, mac: str, memory: str = "1G") -> Machine:
        """Start an arm64 board with its boot firmware alone, and its one serial port on the line."""
        ours, theirs = socket.socketpair()
        command = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-accel", "tcg,tb-size=256"]
        command += ["-m", memory, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        command += ["-chardev", f"socket,id=console,fd={theirs.fileno()},logfile={self.log}"]
        command += ["-serial", "chardev:console", "-bios", str(firmware)]
        command += ["-netdev", f"tap,id=lan,ifname={self.lan.tap()},script=no,downscript=no"]
        # Debian 12's U-Boot reads a wrong MAC from a card that speaks the old protocol as well.
        command += ["-device", f"virtio-net-pci,netdev=lan,mac={mac},romfile=,disable-legacy=on"]
        return self._start(command, ours, theirs)

    def _start(self, command: list[str], ours: socket.socket, theirs: socket.socket, *more: socket.socket) -> Machine:
        self.log.unlink(missing_ok=True)
        self.heard.clear()
        self.agent = False
        whole = [*self.lan.command(SWITCH), "timeout", "--kill-after=5", str(LIFE_S), *command]
        passed = [one.fileno() for one in (theirs, *more)]
        with theirs, (self.folder / f"{self.name}.qemu").open("wb") as output:
            self.process = subprocess.Popen(
                whole, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=passed
            )
        self.line = ours
        self.started = time.monotonic()
        return self

    def end(self) -> None:
        """Take its power away."""
        if self.line is not None:
            self.line.close()
            self.line = None
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(_GONE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def until(self, marker: str, within_s: float, since: int = 0) -> float:
        """Wait until its serial port says so, after `since` characters; seconds since its start. Raises GuestFault."""
        end = time.monotonic() + within_s
        while marker not in self.text[since:]:
            if not self.running or time.monotonic() > end:
                raise self._fault(f"does not say {marker!r}")
            self._drain()
            time.sleep(0.1)
        return time.monotonic() - self.started

    def _drain(self) -> None:
        """Take what has come over the line, so that nothing waits for us."""
        if self.line is None:
            return
        self.line.setblocking(False)
        with suppress(BlockingIOError):
            while content := self.line.recv(1 << 16):
                self.heard += content

    def ready(self, within_s: float = _PROMPT_S) -> Machine:
        """Wait for the agent, once. What the port said before it was made raw may stand in front."""
        if not self.agent:
            heard = self._hear(within_s)
            if not heard.endswith(b"agent"):
                raise self._fault(f"has no agent: {heard[-200:]!r}")
            self.agent = True
        return self

    def tries(self, command: str, within_s: float = 30.0) -> tuple[int, str]:
        """Have the agent run a shell command: its exit code, and all that it said. Raises GuestFault."""
        assert self.line is not None
        self.line.settimeout(within_s)
        self.line.sendall(base64.b64encode(command.encode()) + b"\n")
        code, _, output = self._hear(within_s, command).partition(b" ")
        return int(code), base64.b64decode(output).decode(errors="replace")

    def reboot(self, within_s: float) -> Machine:
        """Have systemd restart the machine, and wait for its agent."""
        assert self.line is not None
        self.line.sendall(base64.b64encode(b"systemctl --no-block reboot") + b"\n")
        self.agent = False
        # It may come to answer before it ends, or not.
        while not self.agent:
            self.agent = self._hear(within_s, "reboot").endswith(b"agent")
        return self

    def do(self, command: str, within_s: float = 30.0) -> str:
        """Have the agent run a shell command that has to go well; what it said. Raises GuestFault."""
        code, output = self.tries(command, within_s)
        if code:
            raise self._fault(f"gave {code} for {command!r}: {output[-3000:]}")
        return output

    def keeps_trying(self, command: str, within_s: float = 30.0) -> str:
        """Have the agent run a shell command again and again until it goes well; what it said. Raises GuestFault."""
        end = time.monotonic() + within_s
        while True:
            code, output = self.tries(command, within_s)
            if not code:
                return output
            if time.monotonic() > end:
                raise self._fault(f"gave {code} for {command!r} for {within_s:g} s: {output[-3000:]}")
            time.sleep(0.2)

    def _hear(self, within_s: float, about: str = "") -> bytes:
        assert self.line is not None
        end = time.monotonic() + within_s
        while b"\n" not in self.heard:
            self.line.settimeout(max(0.01, end - time.monotonic()))
            try:
                content = self.line.recv(1 << 16)
            except TimeoutError:
                raise self._fault(f"does not answer within {within_s:g} s: {about!r}") from None
            if not content:
                raise self._fault(f"is gone: {about!r}")
            self.heard += content
        found, _, rest = bytes(self.heard).partition(b"\n")
        self.heard = bytearray(rest)
        return found.strip(b"\r")

    def types(self, text: str) -> None:
        """Write to its console, where that is the line."""
        assert self.line is not None
        self.line.settimeout(_PROMPT_S)
        self.line.sendall(text.encode())

    def _fault(self, what: str) -> GuestFault:
        said = (self.folder / f"{self.name}.qemu").read_text(errors="replace")
        return GuestFault(f"{self.name} {what}\n{said}\n{self.text[-3000:]}")
