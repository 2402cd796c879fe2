"""A host with systemd in a virtual machine, with pinetboot installed from a wheel, as on a NAS or NUC.

The wheel is built from this tree, and installed by pip in a chroot of the host's disk, natively: under emulation that
would take minutes. What pinetboot needs is copied from the environment that the tests run in.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import imagetrees
import pytest
from lab import guestroot
from lab.estate import timed
from lab.lan import Lan
from lab.machines import Machine
from support import require, require_root

TREE: Final = Path(__file__).parents[2]
HOME: Final = "/opt/pinetboot"
IMAGE: Final = "/opt/image"
SERIAL: Final = imagetrees.SERIAL
ADDRESS: Final = "10.55.0.101"
WHEELS: Final = "/opt/wheels"
NEXT: Final = "99.0.1"
_MAC: Final = "52:54:00:00:00:02"
# On a busy machine the kernel would find the timer that QEMU has at fault.
_CMDLINE: Final = "console=ttyS0 quiet net.ifnames=0 panic=-1 no_timer_check mitigations=off systemd.getty_auto=no"
_COMMAND_S: Final = 200.0
_UP_S: Final = 300.0
_ROOM: Final = 400 << 20
_ALONE: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
# What is found in real roots and in few places else: owner and special bit, capabilities, devices of both kinds.
ABLE: Final = "0100000200200000" + "00" * 12
_ODD: Final = f"""
cd {IMAGE}/root && mkdir -p dev usr/bin && cp /bin/true usr/bin/sudo && cp /bin/true usr/bin/ping
chown 1000:50 usr/bin/sudo && chmod 4755 usr/bin/sudo && mknod dev/null c 1 3 && mknod dev/sda b 8 0
python3 -c 'import os; os.setxattr("usr/bin/ping", "security.capability", bytes.fromhex("{ABLE}"))'
"""


@dataclass
class ServiceHost:
    """The host, from its power button on. `next_wheel` is where it has a wheel of a higher version."""

    lan: Lan
    machine: Machine
    next_wheel: str

    @classmethod
    def start(cls, lan: Lan, folder: Path) -> ServiceHost:
        """Make its disk, and start it; what is missing here skips the test."""
        require_root()
        require("chroot", "cpio", "ip", "mke2fs", "mmdebstrap", "qemu-system-x86_64")
        if not Path("/dev/net/tun").exists():
            pytest.skip("guests need /dev/net/tun")
        if sys.version_info[:2] != guestroot.PYTHON:
            pytest.skip(f"the guest's Python is {guestroot.PYTHON}, these tests run in {sys.version_info[:2]}")
        whole = timed("a whole Debian", guestroot.whole)
        root, disk, initrd = folder / "root", folder / "host.ext4", folder / "initrd"
        timed("the host's root", lambda: guestroot.host(root, guestroot.GUESTS / "host"))
        wheels = timed("two wheels", lambda: _wheels(root / WHEELS.strip("/"), folder))
        timed("pinetboot installed", lambda: _install(root, wheels[0]))
        timed("an image and a Pi", lambda: _fleet(root, folder))
        timed("the host's disk", lambda: guestroot.ext4(root, disk, _ROOM))
        shutil.rmtree(root)
        modules = ("virtio_pci", "virtio_blk", "virtio_net")
        guestroot.small_initrd(initrd, whole, whole / "bin/busybox", modules, "disk-init")
        machine = Machine(lan, folder, "host")
        machine.start(
            guestroot.kernel(whole),
            initrd,
            _CMDLINE,
            mac=_MAC,
            memory="1G",
            processors=2,
            disks=[disk],
            reboots=True,
        )
        return cls(lan, machine, f"{WHEELS}/{wheels[1].name}")

    def up(self) -> ServiceHost:
        """Wait until it answers."""
        self.machine.ready(_UP_S)
        return self

    def do(self, command: str, within_s: float = _COMMAND_S) -> str:
        """Run a command as its administrator does; what it said."""
        return self.machine.do(command, within_s)

    def pinetboot(self, *words: str) -> str:
        """Run pinetboot as its administrator does."""
        return self.do(" ".join([f"{HOME}/bin/pinetboot", *words]))

    def property(self, name: str) -> str:
        """Ask systemd about the service."""
        return self.do(f"systemctl show --property {name} --value pinetboot").strip()

    def until_active(self, other_than: str = "0", within_s: float = _COMMAND_S) -> str:
        """Wait until the service runs, in another process than one; its process."""
        command = (
            f'p=$(systemctl show -P MainPID pinetboot); systemctl is-active -q pinetboot && [ "$p" != {other_than} ]'
        )
        self.machine.keeps_trying(f"{command} && echo $p", within_s)
        return self.property("MainPID")

    def exports(self) -> str:
        """What nfsd exports, and what it is to export after a restart."""
        text = self.do("exportfs -s; echo; cat /etc/exports.d/pinetboot.exports")
        return re.sub(r"\n\s+", " ", text)


def _wheels(target: Path, folder: Path) -> list[Path]:
    """Build pinetboot's wheel as it is, and one of a higher version."""
    later = folder / "later"
    shutil.copytree(TREE / "pinetboot", later / "pinetboot", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(TREE / name, later / name)
    package = later / "pinetboot/__init__.py"
    package.write_text(re.sub(r'(?m)^__version__ = ".*"$', f'__version__ = "{NEXT}"', package.read_text()))
    found = []
    for tree, name in ((TREE, "now"), (later, "later")):
        out = folder / f"wheel-{name}"
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir"]
        done = subprocess.run(
            [*command, str(out), str(tree)], capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
        assert done.returncode == 0, done.stderr
        (wheel,) = out.iterdir()
        target.mkdir(parents=True, exist_ok=True)
        found.append(Path(shutil.copy2(wheel, target)))
    return found


def _install(root: Path, wheel: Path) -> None:
    """Do what `python3 -m venv` and `pip install` do on the host, with nothing from outside."""
    _inside(root, "python3", "-m", "venv", "--without-pip", HOME)
    major, minor = guestroot.PYTHON
    guestroot.dependencies(root / HOME.strip("/") / f"lib/python{major}.{minor}/site-packages", "pip")
    pip = (f"{HOME}/bin/python3", "-m", "pip", "--disable-pip-version-check")
    _inside(root, *pip, "install", "--no-index", "--no-deps", f"{WHEELS}/{wheel.name}")
    # All that the wheel says it needs is there.
    _inside(root, *pip, "check")


def _fleet(root: Path, folder: Path) -> None:
    """Bring an image in, and add a Pi, by the commands of the host."""
    made = imagetrees.raspios(folder / "data")
    shutil.copytree(made, root / IMAGE.strip("/"), symlinks=True, ignore=shutil.ignore_patterns("image.toml"))
    _inside(root, "sh", "-ec", _ODD)
    # As a user who wrote it all down before the service is there; in the guest it would take a minute.
    trees = ("--boot", f"{IMAGE}/boot", "--root", f"{IMAGE}/root")
    with _proc(root):
        _inside(root, f"{HOME}/bin/pinetboot", "image", "add", "--name", "raspios", *trees)
        own = ("--address", ADDRESS, "--disk", "/var/lib/rancher:64M")
        _inside(root, f"{HOME}/bin/pinetboot", "pi", "add", SERIAL, "--image", "raspios", *own)


@contextmanager
def _proc(root: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", "/proc", root / "proc"], check=True, timeout=_COMMAND_S)
    try:
        yield
    finally:
        subprocess.run(["umount", root / "proc"], check=True, timeout=_COMMAND_S)


def _inside(root: Path, *command: str) -> None:
    done = subprocess.run(
        ["chroot", root, *command], capture_output=True, text=True, timeout=_COMMAND_S, check=False, env=_ALONE
    )
    assert done.returncode == 0, done.stdout + done.stderr
