"""What the server guests start from: kernel, initramfs, and a disk with a data directory that pinetboot made itself.

The images and the first generations are made here, on this machine, with the real commands and the real daemon, which
finds the data directory where the guest will have it; under emulation that would take minutes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from imagetrees import PI_FILES
from lab import guestroot
from support import Daemon, require, require_root, wait_until

T = TypeVar("T")

SERVER = "10.55.0.2"
DATA = "/srv/pinetboot"
SEED = "lab"
PHRASE = "mark of the lab's seed"
DISK = "/var/lib/rancher"

# What a Pi's image says before pinetboot, and the console that QEMU has.
STOCK = (
    "root=PARTUUID=8a676486-02 rootfstype=ext4 fsck.repair=yes rootwait init=/usr/lib/raspberrypi-sys-mods/firstboot"
)
WITH_INITRAMFS = "arm_64bit=1\nkernel=kernel8.img\ninitramfs initramfs8 followkernel\n"
WITHOUT_INITRAMFS = "arm_64bit=1\nkernel=kernel8.img\nauto_initramfs=0\n"


@dataclass(frozen=True)
class Board:
    """One of the lab's Pis: what fleet.toml says of it, and what the DHCP server gives it.

    `initrd` is the file of its boot tree that it boots with; empty for none. `told`: fleet.toml has its address.
    """

    serial: str
    mac: str
    address: str
    image: str
    initrd: str = "initramfs8"
    told: bool = True
    more: str = ""

    def entry(self) -> str:
        lines = ["[[pi]]", f'serial = "{self.serial}"', f'mac = "{self.mac}"', f'image = "{self.image}"']
        lines += [f'address = "{self.address}"'] if self.told else []
        return "\n".join([*lines, self.more, ""])


# With Debian's own initrd, which mounts version 3; its address is learned from its first request.
DEBIAN = Board(
    "5b154510",
    "dc:a6:32:2e:f8:01",
    "10.55.0.101",
    "debian",
    told=False,
    more=f'disks = [{{ mount = "{DISK}", size = "256M" }}]',
)
# With what stands for a kernel with CONFIG_ROOT_NFS: config.txt says of no initramfs.
BARE = Board("6c265621", "dc:a6:32:2e:f8:02", "10.55.0.102", "tiny", "lab-initrd")
CLOUD = Board(
    "7d376732",
    "dc:a6:32:2e:f8:03",
    "10.55.0.103",
    "cloud",
    more=f'hostname = "cloudy"\nseed = "{SEED}"\ndisks = [{{ mount = "{DISK}", size = "256M" }}]\n'
    "[pi.data]\nphrase = " + f'"{PHRASE}"',
)
ARM = Board("8e487843", "dc:a6:32:2e:f8:04", "10.55.0.104", "arm")
STRANGER_MAC = "52:54:00:12:34:56"
BOARDS = (DEBIAN, BARE, CLOUD, ARM)
NEXT_IMAGE = "debian-next"

USER_DATA = """\
#cloud-config
write_files:
  - path: /var/lib/lab-mark
    content: {{ data.phrase | tojson }}
runcmd:
  - [sh, -c, "findmnt --noheadings --output FSTYPE,SOURCE /var/lib/rancher > /var/lib/lab-disk"]
  - [sh, -c, "findmnt --noheadings --output FSTYPE,SOURCE /boot/firmware > /var/lib/lab-boot"]
phone_home:
  url: http://{{ server.address }}/phone/{{ pi.serial }}
  post: [hostname, instance_id]
  tries: 5
"""

FLEET_SETTINGS = f"""
[server]
address = "{SERVER}"
stop_s = 1
[tftp]
enabled = false
[dhcp]
mode = "off"
[nfs]
mode = "off"
"""


@dataclass(frozen=True)
class Estate:
    """`disk` holds the data directory; no guest changes it."""

    kernel: Path
    archive: Path
    small_initrd: Path
    disk: Path

    @classmethod
    def make(cls, folder: Path) -> Estate:
        require_root()
        require("cpio", "dnsmasq", "ip", "mke2fs", "mmdebstrap", "qemu-system-x86_64", "ss", "unshare")
        if not Path("/dev/net/tun").exists():
            pytest.skip("guests need /dev/net/tun")
        root = timed("a whole Debian", guestroot.whole)
        small_initrd = folder / "small-initrd"
        guestroot.small_initrd(small_initrd, root, _busybox(root))
        archive = folder / "server.cpio"
        timed("the server's initramfs", lambda: guestroot.server(archive))
        data = folder / "data"
        for name in ("boot", "cloud-init"):
            (data / name).mkdir(parents=True)
        timed("the images", lambda: _images(data, folder, root, small_initrd))
        timed("the first generations", lambda: _generations(data, folder))
        # Its generation is what matters; a copy less makes the disk faster to make.
        shutil.rmtree(data / "images" / CLOUD.image / "root")
        disk = folder / "data.ext4"
        timed("the data disk", lambda: guestroot.ext4(data, disk, 1 << 30))
        shutil.rmtree(data)
        return cls(guestroot.kernel(root), archive, small_initrd, disk)


def timed(what: str, work: Callable[[], T]) -> T:
    """Do a piece of work, and keep how long it took."""
    began = time.monotonic()
    result = work()
    report(f"{what}: {time.monotonic() - began:.1f} s")
    return result


TIMES: list[str] = []


def report(text: str) -> None:
    """Keep how long something took, for the end of the test run."""
    TIMES.append(text)


def _busybox(root: Path) -> Path:
    return root / "bin/busybox"


def boot_tree(folder: Path, kernel: Path, config: str, console: str, initrds: dict[str, Path]) -> Path:
    """Make a boot tree as an image has it: firmware (of which nothing runs here), kernel, initrds, texts."""
    folder.mkdir(parents=True)
    for name in PI_FILES:
        if "/" not in name and name != "initramfs8":
            (folder / name).write_text("of a Pi\n")
    shutil.copyfile(kernel, folder / "kernel8.img")
    for name, source in initrds.items():
        shutil.copyfile(source, folder / name)
    (folder / "config.txt").write_text(config)
    (folder / "cmdline.txt").write_text(f"console={console} {STOCK} net.ifnames=0 panic=10\n")
    return folder


def _images(data: Path, folder: Path, root: Path, small_initrd: Path) -> None:
    kernel, debian_initrd = guestroot.kernel(root), {"initramfs8": guestroot.initrd(root)}
    trees = folder / "trees"
    boot_tree(trees / "debian-boot", kernel, WITH_INITRAMFS, "ttyS0", debian_initrd)
    guestroot.small(trees / "debian-root", "debian")
    add_image(data, "debian", trees / "debian-boot", trees / "debian-root")
    (trees / "debian-root/etc/lab-release").write_text("debian, the next one\n")
    add_image(data, NEXT_IMAGE, trees / "debian-boot", trees / "debian-root")
    guestroot.complete(trees / "cloud-root", "cloud")
    add_image(data, CLOUD.image, trees / "debian-boot", trees / "cloud-root")
    boot_tree(trees / "tiny-boot", kernel, WITHOUT_INITRAMFS, "ttyS0", {BARE.initrd: small_initrd})
    guestroot.tiny(trees / "tiny-root", _busybox(root), "tiny")
    add_image(data, BARE.image, trees / "tiny-boot", trees / "tiny-root")
    arm_boot, arm_root = guestroot.arm64(trees / "arm")
    boot = boot_tree(trees / "arm-boot", arm_boot / "vmlinuz", WITH_INITRAMFS, "ttyAMA0", {})
    shutil.copyfile(arm_boot / "initrd", boot / ARM.initrd)
    add_image(data, ARM.image, boot, arm_root)
    shutil.rmtree(trees)


def add_image(data: Path, name: str, boot: Path, root: Path) -> None:
    """Bring an image in as a user does."""
    command = [sys.executable, "-m", "pinetboot", "image", "add", "--name", name, "--data", str(data)]
    command += ["--boot", str(boot), "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


def _generations(data: Path, folder: Path) -> None:
    """Have the real daemon make every Pi's first generation, with the data directory where the guest has it."""
    (data / "fleet.toml").write_text("\n".join(board.entry() for board in BOARDS))
    seed = data / "cloud-init" / SEED
    seed.mkdir()
    (seed / "user-data").write_text(USER_DATA)
    mounted = f'mount -t tmpfs lab /srv && mkdir {DATA} && mount --bind "$0" {DATA}'
    # Whoever does not hold the address that Pis are told keeps no fleet.
    there = f'{mounted} && ip link set lo up && ip address add {SERVER}/24 dev lo && exec "$@"'
    private = ("unshare", "--mount", "--net", "sh", "-c", there, str(data))
    daemon = Daemon(folder / "maker", FLEET_SETTINGS, flags=("--data", DATA), inside=private)
    daemon.start()
    try:
        made = wait_until(lambda: all((data / "boot" / board.serial).is_symlink() for board in BOARDS), 100.0)
        assert made, daemon.text
    finally:
        daemon.stop()
