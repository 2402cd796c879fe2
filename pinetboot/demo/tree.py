"""A small boot tree for the demonstration, laid out as the firmware of a Pi 3, a Pi 4 and a Pi 5 expects it.

The files have the names and about a third of the size of real ones; what is in them is noise.
"""

from __future__ import annotations

import random
from pathlib import Path

PI3 = "7285c0f2"
PI4 = "5b154510"
PI5 = "da591740"

_MIB = 1 << 20
_CONFIG = "# made by pinetboot demo\narm_64bit=1\nauto_initramfs=1\ndtoverlay=vc4-kms-v3d\n"
_FIRST_LOADER = ("bootcode.bin", 52_000)  # a Pi 3's ROM asks for it in the root
_FILES = {
    PI3: {
        "start.elf": 980_000,
        "fixup.dat": 7_270,
        "bcm2710-rpi-3-b.dtb": 33_000,
        "bcm2710-rpi-3-b-plus.dtb": 33_600,
        "overlays/overlay_map.dtb": 5_255,
        "overlays/vc4-kms-v3d.dtbo": 2_760,
        "initramfs8": 1 * _MIB,
        "kernel8.img": 2 * _MIB,
    },
    PI4: {
        "start4.elf": 2_253_000,
        "fixup4.dat": 5_430,
        "bcm2711-rpi-4-b.dtb": 56_000,
        "overlays/overlay_map.dtb": 5_255,
        "overlays/vc4-kms-v3d.dtbo": 2_760,
        "initramfs8": 3 * _MIB,
        "kernel8.img": 4 * _MIB,
    },
    PI5: {
        "bcm2712-rpi-5-b.dtb": 78_000,
        "overlays/overlay_map.dtb": 5_255,
        "overlays/bcm2712d0.dtbo": 1_300,
        "overlays/vc4-kms-v3d.dtbo": 2_760,
        "initramfs_2712": 3 * _MIB,
        "kernel_2712.img": 3 * _MIB,
    },
}
_USER_DATA = "#cloud-config\n# Every Pi that asks gets this.\npackage_update: false\n"


def make(data: Path, seed_url: str) -> None:
    """Fill `data` with a tree for all three Pis, whose command line names `seed_url`."""
    for serial, files in _FILES.items():
        folder = data / "boot" / serial
        noise = random.Random(serial)  # noqa: S311 - file contents, no secret
        for name, size in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(noise.randbytes(size))
        (folder / "config.txt").write_text(_CONFIG)
        (folder / "cmdline.txt").write_text(f"console=tty1 root=/dev/ram0 ip=dhcp ds=nocloud;s={seed_url}\n")
    name, size = _FIRST_LOADER
    (data / "boot" / name).write_bytes(random.Random(name).randbytes(size))  # noqa: S311 - likewise
    seed = data / "cloud-init" / "default"
    seed.mkdir(parents=True, exist_ok=True)
    (seed / "user-data").write_text(_USER_DATA)
