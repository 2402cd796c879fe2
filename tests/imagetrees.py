"""Images as `pinetboot image add` leaves them, small: boot and root trees with what the real ones are known by."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from pathlib import Path

from pinetboot.boot.generated import Served
from pinetboot.image.record import ImageRecord, to_text

SERIAL = "5b154510"
SERVED = Served("192.168.1.10", 80, "192.168.1.10", "/srv/pinetboot")
RELEASE = "6.12.47+rpt-rpi-v8"

BOOKWORM_CMDLINE = (
    "console=serial0,115200 console=tty1 root=PARTUUID=8a676486-02 rootfstype=ext4 fsck.repair=yes rootwait "
    "quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n"
)
TRIXIE_CMDLINE = (
    "console=serial0,115200 console=tty1 root=PARTUUID=b74aeea0-02 rootfstype=ext4 fsck.repair=yes rootwait "
    "resize quiet ds=nocloud;i=rpi-imager-1762180200 cfg80211.ieee80211_regdom=DE\n"
)
UBUNTU_CMDLINE = (
    "console=serial0,115200 multipath=off dwc_otg.lpm_enable=0 console=tty1 root=LABEL=writable rootfstype=ext4 "
    "panic=10 rootwait fixrtc\n"
)
BOOKWORM_FSTAB = """\
proc            /proc           proc    defaults          0       0
PARTUUID=8a676486-01  /boot/firmware  vfat    defaults          0       2
PARTUUID=8a676486-02  /               ext4    defaults,noatime  0       1
# a swapfile is not a swap partition, no line here
#   use  dphys-swapfile swap[on|off]  for that
"""
BULLSEYE_FSTAB = """\
proc            /proc           proc    defaults          0       0
PARTUUID=b44d1e3f-01  /boot           vfat    defaults          0       2
PARTUUID=b44d1e3f-02  /               ext4    defaults,noatime  0       1
"""
UBUNTU_FSTAB = """\
LABEL=writable\t/\text4\tdefaults\t0\t1
LABEL=system-boot\t/boot/firmware\tvfat\tdefaults\t0\t1
/swapfile none swap sw 0 0
"""
PI_FILES = (
    "bootcode.bin",
    "start.elf",
    "fixup.dat",
    "start4.elf",
    "fixup4.dat",
    "bcm2710-rpi-3-b.dtb",
    "bcm2711-rpi-4-b.dtb",
    "bcm2712-rpi-5-b.dtb",
    "initramfs8",
    "overlays/vc4-kms-v3d.dtbo",
)


def kernel(release: str = RELEASE, *, packed: bool = True, before: int = 3 << 20) -> bytes:
    """Make what a kernel image looks like to us: its banner somewhere within."""
    image = os.urandom(1 << 12) * (before >> 12) + f"Linux version {release} (serge@x) (gcc) #1 SMP\n".encode()
    return gzip.compress(image, 1) if packed else image


def fill(tree: Path, content: Mapping[str, str | bytes]) -> None:
    """Write files, folders made where they are missing; a name that ends in a slash is a folder."""
    for name, text in content.items():
        path = tree / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def raspios(data: Path, name: str = "raspios", *, identity: str = "one", cloud_init: str = "") -> Path:
    """Make an image like Raspberry Pi OS; returns its folder."""
    image = data / "images" / name
    fill(
        image / "boot",
        {
            "config.txt": "auto_initramfs=1\narm_64bit=1\n[pi5]\nkernel=kernel8.img\n",
            "cmdline.txt": TRIXIE_CMDLINE if cloud_init else BOOKWORM_CMDLINE,
            "kernel8.img": kernel(),
            **dict.fromkeys(PI_FILES, "x"),
        },
    )
    root = image / "root"
    fill(
        root,
        {
            "etc/fstab": BOOKWORM_FSTAB,
            "etc/hostname": "raspberrypi\n",
            "etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\t\traspberrypi\n",
            "etc/machine-id": "",
            "etc/ssh/ssh_host_rsa_key": "of the image",
            "etc/ssh/ssh_host_dsa_key.pub": "of the image",
            "etc/ssh/sshd_config": "Port 22\n",
            "etc/systemd/system/multi-user.target.wants/": "",
            "etc/init.d/resize2fs_once": "#!/bin/sh\n",
            "etc/rc3.d/": "",
            "boot/firmware/": "",
            "usr/lib/systemd/systemd": "elf",
            "usr/lib/systemd/system/ssh.service": "[Unit]\n",
            "usr/lib/systemd/system/dphys-swapfile.service": "[Unit]\n",
            "usr/lib/systemd/system/regenerate_ssh_host_keys.service": "[Unit]\n",
            "usr/sbin/mount.nfs": "elf",
            f"usr/lib/modules/{RELEASE}/modules.dep": "",
            "usr/bin/sh": "elf",
        },
    )
    for link, target in {
        "lib": "usr/lib",
        "sbin": "usr/sbin",
        "bin": "usr/bin",
        "etc/systemd/system/multi-user.target.wants/regenerate_ssh_host_keys.service": (
            "/lib/systemd/system/regenerate_ssh_host_keys.service"
        ),
        "etc/systemd/system/multi-user.target.wants/dphys-swapfile.service": (
            "/lib/systemd/system/dphys-swapfile.service"
        ),
        "etc/rc3.d/S01resize2fs_once": "../init.d/resize2fs_once",
    }.items():
        (root / link).symlink_to(target)
    if cloud_init:
        fill(
            root,
            {
                "usr/lib/python3/dist-packages/cloudinit/version.py": f'__VERSION__ = "{cloud_init}"\n',
                "etc/cloud/cloud.cfg": "",
            },
        )
    files = sum(1 + len(names) for _, _, names in os.walk(image))
    size = sum(path.stat().st_size for path in image.rglob("*") if path.is_file() and not path.is_symlink())
    record = ImageRecord(
        name=name,
        source="test",
        sha256="0" * 64,
        identity=identity,
        added="2026-01-01T00:00:00Z",
        has_root=True,
        files=files,
        bytes=size,
    )
    (image / "image.toml").write_text(to_text(record))
    return image


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """What a tree holds: mode and content, or target, by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[name] = (status.st_mode, os.fsencode(path.readlink()) if path.is_symlink() else content)
    return found
