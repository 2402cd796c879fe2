"""Why a boot goes no further: the D-rules of the reference's section 7 that the servers can tell, one function each.

Belongs here: which rule fits what was seen. Their sentences are in `pinetboot.causes`. A rule that is not sure is
silent: no cause is better than a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.observe.boot import Evidence
from pinetboot.observe.stages import FIRMWARE, KERNEL, LINUX, SEEN

_LOADERS: Final = {"start4.elf", "start.elf"}
_KERNELS: Final = ("kernel", "vmlinuz", "Image")
# Where bootloaders before 2025-09-23 stop: 65535 blocks of each of the sizes that they ask for (reference 3.5).
_LAST_BLOCK: Final = 65535
_BLOCKS: Final = (512, 1024, 1468)


@dataclass(frozen=True, slots=True)
class Halt:
    """A boot that stands still in `stage`. `model` is as DHCP told it, `hears_dhcp`: Linux's own DHCP is heard here."""

    serial: str
    stage: int
    model: str
    evidence: Evidence
    hears_dhcp: bool = True

    @property
    def absent(self) -> set[str]:
        """Names that were asked for and found nowhere."""
        return self.evidence.absent

    @property
    def family(self) -> int:
        """3 for a Pi 3 and older, 4, 5; 0 where neither DHCP nor its files tell (reference 3.6)."""
        for number in (5, 4, 3):
            if self.model.startswith(f"Pi {number}"):
                return number
        asked = self.evidence.missing | self.evidence.sent
        if "kernel_2712.img" in asked or any(name.startswith("bcm2712") for name in asked):
            return 5
        if "start4.elf" in asked:
            return 4
        return 3 if asked & {"start.elf", "bootcode.bin"} else 0

    def board(self, chip: str) -> list[str]:
        """Name the device trees of that chip that were asked for in vain; none where one of them came."""
        if any(name.startswith(chip) and name.endswith(".dtb") for name in self.evidence.sent):
            return []
        return sorted(name for name in self.absent if name.startswith(chip) and name.endswith(".dtb"))

    def kernels(self) -> list[str]:
        """Name the kernels that were asked for in vain; none where one of them came."""
        if any(name.startswith(_KERNELS) for name in self.evidence.sent):
            return []
        return sorted(name for name in self.absent if name.startswith(_KERNELS))


def no_address(halt: Halt) -> Cause | None:
    """D03: a Pi 4 or 5 that is offered an address asks for it, with or without a boot offer."""
    if halt.stage == SEEN and halt.family >= 4 and not halt.evidence.requested:  # noqa: PLR2004 - Pi 4
        return causes.no_address(boot_offer=True)
    return None


def no_request(halt: Halt) -> Cause | None:
    """D10: it was told to boot from here, and no request came."""
    return causes.no_request(halt.evidence.server) if halt.stage == SEEN and halt.evidence.server else None


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
    if halt.family == 5 and "config.txt" in absent:  # noqa: PLR2004 - Pi 5
        return causes.no_loader(["config.txt"], folder)
    return causes.no_loader(["start.elf"], folder) if halt.family == 3 and "start.elf" in absent else None  # noqa: PLR2004 - Pi 3


def old_loader(halt: Halt) -> Cause | None:
    """D14: the loader of Pi 3 and older, for a Pi 4."""
    if halt.stage == FIRMWARE and "start4.elf" in halt.absent and "start.elf" in halt.evidence.sent:
        return causes.old_loader()
    return None


def no_fixup(halt: Halt) -> Cause | None:
    """D27: a start file without the fixup file of its version."""
    if halt.stage == FIRMWARE and halt.family == 4 and "fixup4.dat" in halt.absent:  # noqa: PLR2004 - Pi 4
        return causes.file_missing("fixup4.dat", "every start file needs the fixup file of its version")
    return None


def not_for_pi5(halt: Halt) -> Cause | None:
    """D15: no device tree or no kernel for a Pi 5."""
    if halt.stage not in {FIRMWARE, KERNEL} or halt.family != 5:  # noqa: PLR2004 - Pi 5
        return None
    names = halt.board("bcm2712") or halt.kernels()
    return causes.not_for_pi5(names) if names else None


def no_device_tree(halt: Halt) -> Cause | None:
    """D27: no device tree for the board."""
    names = halt.board("bcm27") if halt.stage == KERNEL else []
    why = "no Pi starts a kernel without the device tree of its board"
    return causes.file_missing(", ".join(names), why) if names else None


def no_kernel(halt: Halt) -> Cause | None:
    """D27: no kernel by any name."""
    names = halt.kernels() if halt.stage == KERNEL else []
    why = "a Pi needs a kernel by one of the names that it asks for, or kernel= in config.txt"
    return causes.file_missing(", ".join(names), why) if names else None


def refused(halt: Halt) -> Cause | None:
    """D45: a file that is there, and may not be had."""
    found = halt.evidence.refused
    return causes.refused(*found) if found and halt.stage in {FIRMWARE, KERNEL} else None


def no_rollover(halt: Halt) -> Cause | None:
    """D17: the client went silent at block 65535."""
    found = halt.evidence.broken
    if found and any(0 <= found[2] - _LAST_BLOCK * size <= size for size in _BLOCKS):
        return causes.no_rollover(found[0], found[1])
    return None


def no_linux(halt: Halt) -> Cause | None:
    """D27: everything was sent, and no kernel asked for an address."""
    sent_all = halt.stage == KERNEL and any(name.startswith(_KERNELS) for name in halt.evidence.sent)
    return causes.no_linux() if sent_all and halt.hears_dhcp else None


def no_seed(halt: Halt) -> Cause | None:
    """D34: the seed was asked for, and not given."""
    found = halt.evidence.seed
    return causes.no_seed(found[0], f"HTTP {found[1]}") if found and halt.stage >= LINUX else None


def no_mount(halt: Halt) -> Cause | None:
    """D29: Linux runs, and its root was not mounted."""
    return causes.no_mount() if halt.stage == LINUX else None


# The first that fits counts: what is certain before what is likely.
RULES: Final[tuple[Callable[[Halt], Cause | None], ...]] = (
    no_address,
    no_request,
    no_first_loader,
    no_loader,
    old_loader,
    no_fixup,
    not_for_pi5,
    no_device_tree,
    no_kernel,
    refused,
    no_rollover,
    no_linux,
    no_seed,
    no_mount,
)


def of(halt: Halt) -> Cause | None:
    """Give the most likely cause, None where no rule fits."""
    for rule in RULES:
        found = rule(halt)
        if found is not None:
            return found
    return None
