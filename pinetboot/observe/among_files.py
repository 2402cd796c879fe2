"""Why a boot stands among the firmware's files: which came, which did not, and how.

Belongs here: one small function a rule (reference section 7); their sentences are in `pinetboot.causes`. A rule that is
not sure is silent: no cause is better than a wrong one.
"""

from __future__ import annotations

from typing import Final

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.observe.halt import Halt, Rule
from pinetboot.observe.stages import FIRMWARE, KERNEL

_FIRMWARE: Final = frozenset({FIRMWARE, KERNEL})
_PI3, _PI4, _PI5 = 3, 4, 5
_LOADERS: Final = {"start4.elf", "start.elf"}
# Where bootloaders before 2025-09-23 stop: 65535 blocks of each of the sizes that they ask for (reference 3.5).
_LAST_BLOCK: Final = 65535
_BLOCKS: Final = (512, 1024, 1468)
CONFIG_READ: Final = 4096  # reference 3.2
_COMMAND_LINE: Final = 1023  # reference 9, point 10
_AGAIN: Final = 3  # so many requests for one file from one port are no accident
_LOOP: Final = 3
_NEEDED: Final = (".elf", ".dat", ".dtb", ".img")
# What a look at its trees may say that stops a boot among its files.
_OF_TREES: Final = frozenset({"D12", "D13", "D14", "D15", "D23", "D26", "D45"})
_OF_KERNELS: Final = frozenset({"D15", "D27", "D28"})


def address_shared(halt: Halt) -> Cause | None:
    """D40: two Pis ask from one address at one time, as those behind a NAT do as well."""
    rival = halt.known.rival
    stops = halt.stage in _FIRMWARE and not halt.kernel_sent
    return causes.address_shared(rival[1], rival[0]) if rival and stops else None


def http_boot(halt: Halt) -> Cause | None:
    """D41: HTTP boot without its image or signature."""
    lacks = sorted(halt.absent & {"boot.img", "boot.sig"})
    return causes.http_boot_lacks(lacks) if halt.evidence.by_http and lacks and halt.stage in _FIRMWARE else None


def http_boot_refused(halt: Halt) -> Cause | None:
    """D41: HTTP boot gets what it asks for, and starts over: its signature is none to that bootloader."""
    loops = halt.attempts >= _LOOP and halt.evidence.by_http and not halt.absent
    return causes.http_boot_refused() if loops and halt.stage in _FIRMWARE else None


def no_first_loader(halt: Halt) -> Cause | None:
    """D12: the ROM of a Pi 3 asks in the root alone."""
    if halt.stage == FIRMWARE and "bootcode.bin" in halt.absent and not halt.evidence.sent:
        return causes.no_first_loader()
    return None


def no_loader(halt: Halt) -> Cause | None:
    """D13: neither in the Pi's folder nor in the root."""
    if halt.stage != FIRMWARE:
        return None
    folder, absent = f"{halt.serial}/", halt.absent
    if absent >= _LOADERS:
        return causes.no_loader(["start4.elf"], folder)
    if halt.family == _PI5 and "config.txt" in absent:
        return causes.no_loader(["config.txt"], folder)
    return causes.no_loader(["start.elf"], folder) if halt.family == _PI3 and "start.elf" in absent else None


def old_loader(halt: Halt) -> Cause | None:
    """D14: the loader of Pi 3 and older, for a Pi 4."""
    if halt.stage == FIRMWARE and "start4.elf" in halt.absent and "start.elf" in halt.evidence.sent:
        return causes.old_loader()
    return None


def no_fixup(halt: Halt) -> Cause | None:
    """D23, and D27 for a Pi 4: a start file without the fixup file of its version."""
    if halt.stage == FIRMWARE and halt.family == _PI4 and "fixup4.dat" in halt.absent:
        return causes.file_missing("fixup4.dat", "every start file needs the fixup file of its version")
    return little_memory(halt) if halt.stage == FIRMWARE else None


def little_memory(halt: Halt) -> Cause | None:
    """D23: a Pi 3 that starts without its fixup file has 128 MB, and may boot all the same."""
    lost = "fixup.dat" in halt.absent or halt.evidence.dropped == "fixup.dat"
    return causes.no_fixup("fixup.dat") if halt.family == _PI3 and lost else None


def not_for_pi5(halt: Halt) -> Cause | None:
    """D15: no device tree or no kernel for a Pi 5."""
    if halt.stage not in _FIRMWARE or halt.family != _PI5:
        return None
    names = halt.board("bcm2712") or halt.kernels()
    return causes.not_for_pi5(names) if names else None


def no_device_tree(halt: Halt) -> Cause | None:
    """D27: no device tree for the board."""
    names = halt.board("bcm27") if halt.stage == KERNEL else []
    return causes.file_missing(", ".join(names), "the firmware needs the device tree of its board") if names else None


def no_kernel(halt: Halt) -> Cause | None:
    """D27: no kernel by any name."""
    names = halt.kernels() if halt.stage == KERNEL else []
    why = "a Pi needs a kernel by one of the names that it asks for, or kernel= in config.txt"
    return causes.file_missing(", ".join(names), why) if names else None


def file_empty(halt: Halt) -> Cause | None:
    """D45: a loader, kernel or device tree without a byte in it."""
    name = halt.evidence.empty
    return causes.file_empty(name) if name.endswith(_NEEDED) and halt.stage in _FIRMWARE else None


def refused(halt: Halt) -> Cause | None:
    """D45: a file that is there, and may not be had."""
    found = halt.evidence.refused
    return causes.refused(*found) if found and halt.stage in _FIRMWARE else None


def no_rollover(halt: Halt) -> Cause | None:
    """D17: the client went silent at block 65535."""
    found = halt.evidence.broken
    if found and any(0 <= found[2] - _LAST_BLOCK * size <= size for size in _BLOCKS):
        return causes.no_rollover(found[0], found[1], pi3=halt.family == _PI3)
    return None


def update_loop(halt: Halt) -> Cause | None:
    """D25: the update of the bootloader is taken again and again."""
    loops = halt.attempts >= _LOOP and "pieeprom.upd" in halt.evidence.sent
    return causes.update_loop() if loops and halt.stage in _FIRMWARE else None


def ramdisk_dropped(halt: Halt) -> Cause | None:
    """D26: boot.img was given up, and its signature never asked for."""
    evidence = halt.evidence
    dropped = evidence.dropped == "boot.img" and "boot.sig" not in evidence.asked
    return causes.ramdisk_dropped() if dropped and halt.stage in _FIRMWARE else None


def asked_elsewhere(halt: Halt) -> Cause | None:
    """D08: requests come in on another address than the one told, and nothing gets through."""
    told, asked = halt.evidence.server, halt.evidence.asked_at
    differs = told and asked and told != asked and not halt.evidence.sent
    return causes.asked_elsewhere(told, asked) if differs and halt.stage in _FIRMWARE else None


def copies(halt: Halt) -> Cause | None:
    """D22: packets come twice, and a transfer broke."""
    evidence = halt.evidence
    broke = evidence.broken or evidence.unheard or "fixup.dat" in evidence.absent
    return causes.copies(evidence.copied) if evidence.copied and broke and halt.stage in _FIRMWARE else None


def unheard(halt: Halt) -> Cause | None:
    """D18: it asks for the same file again and again, and none of it arrives."""
    found = halt.evidence.unheard
    asks = found and found[1] >= _AGAIN and halt.stage in _FIRMWARE
    return causes.unheard(*found) if found and asks else None


def client_silent(halt: Halt) -> Cause | None:
    """D19: it went silent in the middle of a file."""
    found = halt.evidence.broken
    return causes.client_silent(*found) if found and halt.stage in _FIRMWARE else None


def late(halt: Halt) -> Cause | None:
    """D19: a silence between two files as long as the firmware waits for one."""
    found = halt.evidence.late
    return causes.late(*found) if found and halt.stage in _FIRMWARE else None


def trees_lack(halt: Halt) -> Cause | None:
    """D12 to D15, say: a look at its trees finds what the firmware stops at."""
    return halt.found(_OF_TREES, fatal=True) if halt.stage in _FIRMWARE else None


def kernel_stops(halt: Halt) -> Cause | None:
    """D27, D28: a look at its trees finds what a kernel that was sent stops at."""
    if halt.stage != KERNEL or not halt.kernel_sent:
        return None
    return halt.found(_OF_KERNELS, fatal=True) or halt.found({"D27"}, fatal=False)


def config_too_long(halt: Halt) -> Cause | None:
    """D21: the end of config.txt is not read."""
    size = halt.evidence.sizes.get("config.txt", 0)
    return causes.config_too_long(size) if size > CONFIG_READ and halt.stage in _FIRMWARE else None


def command_line_too_long(halt: Halt) -> Cause | None:
    """D27: the end of cmdline.txt may be lost."""
    size = halt.evidence.sizes.get("cmdline.txt", 0)
    return causes.command_line_too_long(size) if size > _COMMAND_LINE and halt.stage == KERNEL else None


def no_linux(halt: Halt) -> Cause | None:
    """D27: everything was sent, and no kernel asked for an address."""
    return causes.no_linux() if halt.stage == KERNEL and halt.kernel_sent and halt.known.hears_dhcp else None


def unasked(halt: Halt) -> Cause | None:
    """D40: files are asked for without DHCP, and nothing else is known."""
    evidence = halt.evidence
    unheard_of = halt.known.hears_dhcp and not evidence.server and evidence.address and not evidence.requested
    return causes.unasked(evidence.address) if unheard_of and halt.stage == FIRMWARE else None


def fell_silent(halt: Halt) -> Cause | None:
    """D19: it asks for nothing more, in the middle of its files."""
    latest = halt.evidence.latest
    return causes.fell_silent(latest) if latest and halt.stage in _FIRMWARE and not halt.kernel_sent else None


# What is certain before what is likely, and at last what is left to think of.
CERTAIN: Final[tuple[Rule, ...]] = (
    *(http_boot, http_boot_refused, no_first_loader, no_loader, old_loader, no_fixup, not_for_pi5),
    *(no_device_tree, no_kernel, file_empty, refused, no_rollover, update_loop, ramdisk_dropped),
)
LIKELY: Final[tuple[Rule, ...]] = (
    *(asked_elsewhere, copies, unheard, client_silent, trees_lack, kernel_stops),
    *(late, address_shared, config_too_long, command_line_too_long),
)
LEFT: Final[tuple[Rule, ...]] = (no_linux, unasked, fell_silent)
