"""What it means that nothing more is heard of a boot: it is through, it stands still, or it needs more time.

Belongs here: how long each stage may take, and the verdict. Time is an argument, seconds that only rise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pinetboot.causes import Cause
from pinetboot.observe import causes
from pinetboot.observe.boot import Boot
from pinetboot.observe.causes import Halt
from pinetboot.observe.stages import FIRMWARE, KERNEL, LINUX, ROOT, SEEN

# After a mounted root or a seed, and no DISCOVER since: it runs (design 2.6).
SETTLED_S: Final = 120.0
# An attempt that comes no further than two before it is a loop.
LOOP: Final = 3
# By stage: how long it may be silent, and how long it may take at most, in seconds. The firmware waits 30 s for a file
# and 5 s before it tries again, and says DISCOVER for 45 s (reference 2.8); the kernel waits up to 120 s for the link
# (reference 2.9). Linux whose root is not seen here has services to start before it tells that it is there.
PATIENCE: Final = {
    SEEN: (float("inf"), 60.0),
    FIRMWARE: (45.0, 180.0),
    KERNEL: (150.0, 900.0),
    LINUX: (180.0, 600.0),
}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of a Pi beside its boots. `ours`: it boots a generation with a root, which is heard of later.

    `hears_dhcp`: what Linux says over DHCP is heard here. `model` is as DHCP told it, empty where it did not.
    """

    model: str = ""
    hostname: str = ""
    ours: bool = False
    hears_dhcp: bool = True


@dataclass(frozen=True, slots=True)
class Stands:
    """A boot stands still in `stage`; `cause` is the most likely one."""

    stage: int
    cause: Cause | None


def is_due(boot: Boot, now: float) -> bool:
    """Whether a verdict can be given."""
    if boot.stage >= ROOT:
        return now - max(boot.last, boot.resumed) >= SETTLED_S
    if boot.stalled:
        return False
    too_long = now - max(boot.moved, boot.resumed) >= PATIENCE[boot.stage][1]
    return too_long or _is_silent(boot, now) or _is_looping(boot)


def verdict(serial: str, boot: Boot, known: Outlook, now: float) -> Stands | None:
    """Say where a boot stands still; None where it is online, as far as can be told from here."""
    if boot.stage >= ROOT:
        return None
    looping = _is_looping(boot)
    evidence, stage = (boot.before, boot.tried) if looping and boot.before else (boot.evidence, boot.stage)
    cause = causes.of(Halt(serial, stage, known.model, evidence, known.hears_dhcp))
    if not known.ours and not looping and _is_silent(boot, now) and _is_out_of_sight(boot, known, cause):
        return None
    return Stands(stage, cause)


def _is_silent(boot: Boot, now: float) -> bool:
    return not boot.evidence.running and now - max(boot.last, boot.resumed) >= PATIENCE[boot.stage][0]


def _is_looping(boot: Boot) -> bool:
    return boot.attempts >= LOOP and boot.stage <= boot.tried


def _is_out_of_sight(boot: Boot, known: Outlook, cause: Cause | None) -> bool:
    """Whether a boot by trees that are not ours went where nothing of it is seen here, as far as can be told."""
    if boot.stage == LINUX:
        return True
    return boot.stage == KERNEL and not known.hears_dhcp and cause is None
