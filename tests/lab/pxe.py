"""PXE machines for the lab: Debian's boot loaders, firmware and netboot installers, and QEMU machines that start them.

Everything is unpacked from Debian's packages into the test cache; nothing of it is installed.
"""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import debian
from lab.lan import Lan
from lab.machines import GuestFault, Machine
from lab.test_beside_dhcp import SERVER
from support import Daemon, wait_until

from pinetboot.image.watch import Unwatched
from pinetboot.installer import adding
from pinetboot.installer.adding import Wanted

MAC = "52:54:00:12:34:56"
LOADERS = ["pxelinux", "syslinux-common", "shim-signed", "grub-efi-amd64-signed", "ipxe"]
# A PC is slow where it is emulated, on a machine that does other things as well.
STEP_S = 120.0
_INSTALLER_S = 300.0
_MONITOR_S = 20.0
_LARGE_S = 300.0
# Dialogues of Debian's installer are grey on blue, and what is chosen in them is red; so many pixels at least.
_DIALOGUE = ((b"\xaa\xaa\xaa", 300_000), (b"\0\0\xaa", 20_000), (b"\xaa\0\0", 1_000))
_VGA_TEXT, _VGA_TEXT_BYTES = 0xB8000, 4000


def loaders(architecture: str = "amd64") -> Path:
    """Where the files of an architecture's boot loaders are; for "" there are none, and those of the image count."""
    if not architecture:
        return Path("/nonexistent")
    if architecture == "amd64":
        return debian.packages("pxe-loaders", LOADERS, within_s=_LARGE_S)
    names = ["shim-signed", f"grub-efi-{architecture}-signed"]
    return debian.packages(f"pxe-loaders-{architecture}", names, architecture=architecture, within_s=_LARGE_S)


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


def serving(lan: Lan, source: Path, config: str = "", fleet: str = "", architecture: str = "amd64") -> Daemon:
    """Have a daemon with an installer, brought in as `pinetboot installer add` does it on that host."""
    daemon = lan.serve(config)
    boot = daemon.data / "boot"
    told = (IPv4Address(SERVER),)
    wanted = Wanted(daemon.data, boot, str(source), system=loaders(architecture), addresses=told)
    adding.add(wanted, Unwatched())
    if fleet:
        (daemon.data / "fleet.toml").write_text(fleet)
        assert wait_until((boot / f"grub/machines/{MAC}.cfg").exists)
    return daemon


def asked(daemon: Daemon) -> list[str]:
    """List what was sent whole, by TFTP or over HTTP, in its order."""
    lines = (line for line in daemon.lines if line.get("event") in {"file sent", "http boot"})
    return [str(line["path"]) for line in lines if line.get("status", 200) == 200]


def until(daemon: Daemon, path: str, press: Callable[[], None] = lambda: None) -> None:
    """Wait until a path was sent, pressing keys meanwhile."""

    def came() -> bool:
        if path in asked(daemon):
            return True
        press()
        time.sleep(0.5)
        return False

    assert wait_until(came, STEP_S), (path, asked(daemon))


def whole(daemon: Daemon, *names: str) -> None:
    """See to it that each was sent to its last byte."""
    boot = daemon.data / "boot"
    sent = {str(line["path"]).removeprefix("/boot/"): line["bytes"] for line in daemon.lines if line.get("bytes")}
    for name in names:
        assert sent[name] == (boot / name).stat().st_size, name


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

    def start_uefi(self, mac: str, *, memory: str = "1G", http: bool = False, secure: bool = False) -> PxeMachine:
        """Start a PC with OVMF, whose own network stack boots by PXE, or by HTTP alone; Microsoft's keys or none."""
        keys = ".ms" if secure else ""
        code = firmware() / f"OVMF/OVMF_CODE_4M{keys}.fd"
        variables = self.folder / f"{self.name}.vars"
        variables.write_bytes((firmware() / f"OVMF/OVMF_VARS_4M{keys}.fd").read_bytes())
        command = ["qemu-system-x86_64", "-M", "q35,smm=on" if secure else "q35", "-vga", "std"]
        command += ["-global", "driver=cfi.pflash01,property=secure,value=on"] if secure else []
        command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}"]
        command += ["-drive", f"if=pflash,format=raw,unit=1,file={variables}"]
        for family in ("IPv4", "IPv6") if http else ("IPv6",):
            command += ["-fw_cfg", f"name=opt/org.tianocore/{family}PXESupport,string=n"]
        return self._power(command, f"virtio-net-pci,netdev=lan,mac={mac},romfile=,bootindex=0", memory)

    def start_arm64_uefi(self, mac: str, *, memory: str = "1G", http: bool = False) -> PxeMachine:
        """Start an arm64 machine with AAVMF, which boots by PXE, or by HTTP alone."""
        code, variables = self.folder / f"{self.name}.code", self.folder / f"{self.name}.vars"
        code.write_bytes((firmware() / "AAVMF/AAVMF_CODE.fd").read_bytes())
        variables.write_bytes((firmware() / "AAVMF/AAVMF_VARS.fd").read_bytes())
        command = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"]
        command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}"]
        command += ["-drive", f"if=pflash,format=raw,unit=1,file={variables}"]
        for family in ("IPv4", "IPv6") if http else ("IPv6",):
            command += ["-fw_cfg", f"name=opt/org.tianocore/{family}PXESupport,string=n"]
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

    def words(self) -> str:
        """Read the text that a BIOS PC shows, from the memory of its card."""
        path = self.folder / f"{self.name}.text"
        self._ask("pmemsave", val=_VGA_TEXT, size=_VGA_TEXT_BYTES, filename=str(path))
        return path.read_bytes()[::2].decode("cp437")

    def until_installer(self) -> None:
        """Wait until Debian's installer asks its first question on the screen."""

        def asks() -> bool:
            self.drain()
            time.sleep(2)
            colours = self.colours()
            return all(colours[colour] > least for colour, least in _DIALOGUE)

        assert wait_until(asks, _INSTALLER_S), self.colours().most_common(5)

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
