"""Real DHCP clients on hosts of a Lan, each in its own way: busybox udhcpc, dhclient, dhcpcd, klibc's ipconfig.

They keep their files in a folder of their own; what they would do to this machine's /run, /var and /etc they do not.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import debian
from support import require, wait_until

if TYPE_CHECKING:
    from lab.lan import Lan

NAMES = ("udhcpc", "dhclient", "dhcpcd")
_SCRIPT = """#!/bin/sh
# Takes what udhcpc and dhclient were given, and takes it away again.
case ${reason:-$1} in
    bound | renew | BOUND | RENEW | REBIND | REBOOT)
        address=${new_ip_address:-$ip} mask=${new_subnet_mask:-$subnet} router=${new_routers:-$router}
        ip address replace "$address/$mask" dev eth0
        [ -z "$router" ] || ip route replace default via "${router%% *}"
        ;;
    deconfig | RELEASE | STOP | EXPIRE | FAIL)
        ip address flush dev eth0
        ;;
esac
exit 0
"""
_PRIVATE = (
    'mount -t tmpfs tmp /run && mkdir -p /run/dhcpcd /var/lib/dhcpcd && mount -t tmpfs tmp /var/lib/dhcpcd && exec "$@"'
)


@dataclass
class Client:
    """A client that runs on a host, which is named like it unless `kind` says which client it is."""

    lan: Lan
    name: str
    folder: Path
    kind: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> Client:
        """Have it ask for an address, and keep it."""
        self.folder.mkdir(exist_ok=True)
        script = self.folder / "script"
        script.write_text(_SCRIPT)
        script.chmod(0o755)
        with (self.folder / "log").open("ab") as log:
            whole = [*self.lan.command(self.name), *self._command(script)]
            self.process = subprocess.Popen(whole, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.lan.running.append(self.process)
        return self

    def _command(self, script: Path) -> list[str]:
        files = ["-lf", str(self.folder / "leases"), "-pf", str(self.folder / "pid")]
        match self.kind or self.name:
            case "udhcpc":
                require("busybox")
                return ["busybox", "udhcpc", "-f", "-R", "-i", "eth0", "-s", str(script), "-t", "20", "-T", "1"]
            case "dhclient":
                require("dhclient")
                return ["dhclient", "-4", "-d", "-sf", str(script), "-cf", "/dev/null", *files, "eth0"]
            case _:
                require("dhcpcd", "unshare")
                quiet = [
                    "--noarp",
                    "--noipv4ll",
                    "--ipv4only",
                    "--script",
                    "/bin/true",
                    "--config",
                    "/dev/null",
                    "--debug",
                ]
                return ["unshare", "-m", "sh", "-c", _PRIVATE, "sh", "dhcpcd", "--nobackground", *quiet, "eth0"]

    def address(self, within_s: float = 15.0) -> str:
        """Wait for its address."""
        found = wait_until(lambda: self.lan.addresses(self.name), within_s)
        assert found, f"{self.name} has no address: {self.log}"
        (address,) = found
        return str(address)

    def renew(self) -> None:
        """Have it renew its lease; dhclient and dhcpcd do so by themselves, at half of its time."""
        if (self.kind or self.name) == "udhcpc":
            assert self.process is not None
            self.process.send_signal(signal.SIGUSR1)

    def release(self) -> None:
        """Have it give its address back and end."""
        assert self.process is not None
        if (self.kind or self.name) == "dhclient":
            command = self._command(self.folder / "script")
            done = self.lan.run(self.name, command[0], "-r", *command[1:])
            assert done.returncode == 0, done.stderr
        elif (self.kind or self.name) == "dhcpcd":
            # SIGALRM is how dhcpcd --release tells the one that runs, through its pid file.
            self.process.send_signal(signal.SIGALRM)
        else:
            self.process.terminate()
        self.process.wait(10)


def ipconfig(lan: Lan, host: str, folder: Path) -> str:
    """Have klibc's ipconfig, which is `ip=dhcp` in an initramfs of Debian or Raspberry Pi OS, get an address; its word.

    It asks once, sets the interface up, and is gone.
    """
    require("chroot")
    kept = debian.packages("lab-klibc", ["klibc-utils", "libklibc"], within_s=60)
    root = folder / "klibc"
    shutil.copytree(kept, root, symlinks=True)
    for name in ("lib", "run"):
        (root / name).mkdir(exist_ok=True)
    for library in root.rglob("klibc-*.so"):
        if library.parent != root / "lib":
            shutil.copy2(library, root / "lib")
    command = ["chroot", str(root), "/usr/lib/klibc/bin/ipconfig", "-t", "10", "-c", "dhcp", "-d", "eth0"]
    done = lan.run(host, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
