"""The stages of a boot (design 2.6), and which of them a file that the firmware asks for belongs to.

Belongs here: names and their order (reference 3.6, 3.7). A stage is its place in STAGES, which only rises in a boot.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

STAGES: Final = ("seen", "firmware", "kernel", "linux", "root", "seed", "online")
SEEN, FIRMWARE, KERNEL, LINUX, ROOT, SEED, ONLINE = range(len(STAGES))

# What the very first stage of a Pi 3 fetches; it then says DISCOVER a second time (reference 3.6).
ROM_FILES: Final = frozenset({"bootcode.bin", "bootsig.bin"})

# Files at the begin of a boot, which nothing asks for once the kernel's turn has come (reference 3.6).
OPENING: Final = ROM_FILES | {"autoboot.txt", "pieeprom.sig", "recover4.elf", "start.elf", "start4.elf"}

# HTTP statuses of a file that was sent, to its end or not (499: the client went).
_BEGUN: Final = frozenset({200, 206, 304, 499})
_ENDINGS: Final = (".elf", ".txt", ".dat", ".sig", ".bin", ".upd")
# It holds a kernel; the bootloader looks for it long before, and goes on where it is not there.
RAMDISK: Final = frozenset({"boot.img", "boot.sig"})


@lru_cache(maxsize=512)
def of_file(name: str, there: bool) -> int:
    """Say to which stage a file belongs, by its name without folders; `there` where it is served."""
    if name in RAMDISK:
        return KERNEL if there else FIRMWARE
    if name.endswith(_ENDINGS) and name != "cmdline.txt" and not name.startswith("armstub"):
        return FIRMWARE
    return KERNEL


def over_http(name: str, status: int) -> int | None:
    """Say to which stage a file of HTTP boot belongs, whose signature comes first; None for any other (4.4)."""
    if name not in RAMDISK:
        return None
    return KERNEL if name != "boot.sig" and status in _BEGUN else FIRMWARE
