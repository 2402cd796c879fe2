"""PXE machines for the lab: Debian's boot loaders, firmware and netboot installers, and QEMU machines that start them.

Everything is unpacked from Debian's packages into the test cache; nothing of it is installed.
"""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import debian
from lab.lan import Lan
from lab.machines import GuestFault, Machine

from pinetboot.image.watch import Unwatched
from pinetboot.installer import adding
from pinetboot.installer.adding import Wanted

LOADERS = ["pxelinux", "syslinux-common", "shim-signed", "grub-efi-amd64-signed", "ipxe"]
_MONITOR_S = 20.0
_LARGE_S = 300.0


def loaders() -> Path:
    """Where the files of this architecture's boot loaders are."""
    return debian.packages("pxe-loaders", LOADERS, within_s=_LARGE_S)


def bios() -> Path:
    """Where the loaders of BIOS PCs alone are, and iPXE's ROMs for QEMU, which is little to download."""
    return debian.packages("pxe-bios", ["pxelinux", "syslinux-common", "ipxe-qemu"])


def firmware() -> Path:
    """Where UEFI for QEMU is: OVMF and AAVMF."""
    return debian.packages("pxe-firmware", ["ovmf", "qemu-efi-aarch64"], within_s=_LARGE_S) / "usr/share"


def image(architecture: str) -> Path:
    """Where Debian's netboot installer is."""
    name = f"debian-installer-12-netboot-{architecture}"
    home = debian.packages(f"installer-{architecture}", [name], within_s=_LARGE_S)
    return home / "usr/lib/debian-installer/images/12" / architecture


def add(data: Path, source: Path) -> None:
    """Do `pinetboot installer add` with the loaders of loaders()."""
    adding.add(Wanted(data, data / "boot", str(source), system=loaders()), Unwatched())


@dataclass
class PxeMachine(Machine):
    """A machine that has firmware alone. `keys` go in by its monitor, and screenshots come out of it."""

    monitor: socket.socket | None = None
    answers: bytearray = field(default_factory=bytearray)

    def start_bios(self, mac: str, *, memory: str = "1G") -> PxeMachine:
        """Start a PC with SeaBIOS and iPXE's ROM."""
        # A ROM that is named by its file is not given the card's identity, without which SeaBIOS passes it over.
        command = ["qemu-system-x86_64", "-M", "pc", "-vga", "std", "-L", str(bios() / "usr/lib/ipxe/qemu")]
        return self._power(command, f"virtio-net-pci,netdev=lan,mac={mac},bootindex=0", memory)

    def start_uefi(self, mac: str, *, memory: str = "1G", http: bool = False) -> PxeMachine:
        """Start a PC with OVMF, whose own network stack boots by PXE, or by HTTP alone."""
        code = firmware() / "OVMF/OVMF_CODE_4M.fd"
        variables = self.folder / f"{self.name}.vars"
        variables.write_bytes((firmware() / "OVMF/OVMF_VARS_4M.fd").read_bytes())
        command = ["qemu-system-x86_64", "-M", "q35", "-vga", "std"]
        command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}"]
        command += ["-drive", f"if=pflash,format=raw,unit=1,file={variables}"]
        for family in ("IPv4", "IPv6") if http else ("IPv6",):
            command += ["-fw_cfg", f"name=opt/org.tianocore/{family}PXESupport,string=n"]
        return self._power(command, f"virtio-net-pci,netdev=lan,mac={mac},romfile=,bootindex=0", memory)

    def start_arm64_uefi(self, mac: str, *, memory: str = "1G") -> PxeMachine:
        """Start an arm64 machine with AAVMF."""
        code, variables = self.folder / f"{self.name}.code", self.folder / f"{self.name}.vars"
        code.write_bytes((firmware() / "AAVMF/AAVMF_CODE.fd").read_bytes())
        variables.write_bytes((firmware() / "AAVMF/AAVMF_VARS.fd").read_bytes())
        command = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"]
        command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}"]
        command += ["-drive", f"if=pflash,format=raw,unit=1,file={variables}"]
        command += ["-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"]
        return self._power(command, f"virtio-net-pci,netdev=lan,mac={mac},romfile=,bootindex=0", memory)

    def _power(self, command: list[str], device: str, memory: str) -> PxeMachine:
        ours, theirs = socket.socketpair()
        self.monitor, monitored = socket.socketpair()
        command += ["-accel", "tcg,tb-size=256", "-m", memory, "-nodefaults", "-no-user-config", "-display", "none"]
        command += ["-no-reboot", "-chardev", f"socket,id=console,fd={theirs.fileno()},logfile={self.log}"]
        command += ["-serial", "chardev:console"]
        command += ["-chardev", f"socket,id=monitor,fd={monitored.fileno()}", "-mon", "chardev=monitor,mode=control"]
        command += ["-netdev", f"tap,id=lan,ifname={self.lan.tap()},script=no,downscript=no", "-device", device]
        with monitored:
            self._start(command, ours, theirs, monitored)
        self._ask("qmp_capabilities")
        return self

    def _ask(self, name: str, **arguments: Any) -> Any:
        """Tell the monitor something; what it returns."""
        assert self.monitor is not None
        self.monitor.settimeout(_MONITOR_S)
        self.monitor.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        while True:
            while b"\n" not in self.answers:
                content = self.monitor.recv(1 << 16)
                if not content:
                    raise GuestFault(f"{self.name} has no monitor any more")
                self.answers += content
            line, _, rest = bytes(self.answers).partition(b"\n")
            self.answers = bytearray(rest)
            said = json.loads(line)
            if "error" in said:
                raise GuestFault(f"{self.name}: {said['error']}")
            if "return" in said:
                return said["return"]

    def drain(self) -> None:
        """Take what its serial port says, so that its firmware does not wait for us."""
        self._drain()

    def keys(self, *names: str) -> None:
        """Press keys, one after the other."""
        for name in names:
            self._ask("send-key", keys=[{"type": "qcode", "data": name}])
            time.sleep(0.1)

    def screen(self, path: Path) -> Path:
        """Take a screenshot as a PNG."""
        self._ask("screendump", filename=str(path), format="png")
        return path

    def colours(self) -> Counter[bytes]:
        """Count the pixels of each colour on the screen."""
        path = self.folder / f"{self.name}.ppm"
        self._ask("screendump", filename=str(path), format="ppm")
        pixels = path.read_bytes().split(b"\n", 3)[3]
        return Counter(pixels[at : at + 3] for at in range(0, len(pixels), 3))

    def end(self) -> None:
        super().end()
        if self.monitor is not None:
            self.monitor.close()
            self.monitor = None


def machine(lan: Lan, folder: Path, name: str) -> PxeMachine:
    """Have a machine on the LAN."""
    return PxeMachine(lan, folder, name)
