"""A boot that stands still, as every rule looks at it.

Belongs here: questions to what was seen that more than one rule asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from pinetboot.causes import Cause, Finding
from pinetboot.observe.evidence import Evidence
from pinetboot.observe.outlook import Outlook

_KERNELS: Final = ("kernel", "vmlinuz", "Image")


@dataclass(frozen=True, slots=True)
class Halt:
    """A boot that stands still in `stage`, in its attempt number `attempts`."""

    serial: str
    stage: int
    evidence: Evidence
    known: Outlook
    attempts: int = 1

    @property
    def absent(self) -> set[str]:
        """Names that were asked for and found nowhere."""
        return self.evidence.absent

    @property
    def family(self) -> int:
        """3 for a Pi 3 and older, 4, 5; 0 where neither DHCP nor its files tell (reference 3.6)."""
        for number in (5, 4, 3):
            if self.known.model.startswith(f"Pi {number}"):
                return number
        asked = self.evidence.asked
        if "kernel_2712.img" in asked or any(name.startswith("bcm2712") for name in asked):
            return 5
        if "start4.elf" in asked:
            return 4
        return 3 if asked & {"start.elf", "bootcode.bin"} else 0

    @property
    def kernel_sent(self) -> bool:
        """Whether it was given a kernel."""
        return "boot.img" in self.evidence.sent or any(name.startswith(_KERNELS) for name in self.evidence.sent)

    def board(self, chip: str) -> list[str]:
        """Name the device trees of that chip that were asked for in vain; none where one of them came."""
        if any(name.startswith(chip) and name.endswith(".dtb") for name in self.evidence.sent):
            return []
        return sorted(name for name in self.absent if name.startswith(chip) and name.endswith(".dtb"))

    def kernels(self) -> list[str]:
        """Name the kernels that were asked for in vain; none where one of them came."""
        return [] if self.kernel_sent else sorted(name for name in self.absent if name.startswith(_KERNELS))

    def found(self, rules: Collection[str], *, fatal: bool) -> Cause | None:
        """Give the first finding by one of these rules as a cause; `fatal`: only one that keeps a Pi from booting."""
        for finding in self.known.findings:
            if finding.rule in rules and (finding.severity == "fatal" or not fatal):
                return as_cause(finding)
        return None


Rule = Callable[[Halt], Cause | None]


def as_cause(finding: Finding) -> Cause:
    """Tell a finding of the doctor as the cause of a boot that stands still."""
    return Cause(finding.rule, finding.what, finding.why, finding.do)
