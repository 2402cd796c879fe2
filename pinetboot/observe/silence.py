"""What it means that nothing more is heard of a boot: it is through, it stands still, or it needs more time.

Belongs here: how long each stage may take, and the verdict. Time is an argument, seconds that only rise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pinetboot.causes import Cause
from pinetboot.observe import causes
from pinetboot.observe.boot import Boot
from pinetboot.observe.halt import Halt
from pinetboot.observe.outlook import Outlook
from pinetboot.observe.stages import FIRMWARE, KERNEL, LINUX, ROOT, SEEN

# After a mounted root or a seed, and no DISCOVER since: it runs (design 2.6).
SETTLED_S: Final = 120.0
# The same, of a Pi of which something speaks against that, and that would say itself that it is up.
HANGS_S: Final = 600.0
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
class Stands:
    """A boot stands still in `stage`; `cause` is the most likely one."""

    stage: int
    cause: Cause | None


def is_due(boot: Boot, now: float) -> bool:
    """Whether a verdict can be given."""
    if boot.stalled:
        return False
    if boot.stage >= ROOT:
        return now - max(boot.last, boot.resumed) >= SETTLED_S
    too_long = now - max(boot.moved, boot.resumed) >= PATIENCE[boot.stage][1]
    return too_long or _is_silent(boot, now) or _is_looping(boot)


def waits(serial: str, boot: Boot, known: Outlook, now: float, *, phones: bool) -> bool:
    """Whether it is too early to take a boot with a root as through: it may hang on what was seen of it.

    `phones`: earlier boots of this Pi said themselves that they were up, so that this one would.
    """
    if boot.stage < ROOT or not phones or now - max(boot.last, boot.resumed) >= HANGS_S:
        return False
    return causes.of(_halt(serial, boot, known)) is not None


def verdict(serial: str, boot: Boot, known: Outlook, now: float, *, phones: bool = False) -> Stands | None:
    """Say where a boot stands still; None where it is online, as far as can be told from here. `phones` as in waits."""
    if boot.stage >= ROOT:
        cause = causes.of(_halt(serial, boot, known)) if phones else None
        return Stands(boot.stage, cause) if cause else None
    looping = _is_looping(boot)
    halt = _halt(serial, boot, known)
    cause = causes.of(halt)
    if not known.ours and not looping and _is_silent(boot, now) and _is_out_of_sight(boot, known, cause):
        return None
    return Stands(halt.stage, cause)


def warnings(serial: str, boot: Boot, known: Outlook) -> tuple[Cause, ...]:
    """What is worth knowing of a boot though it goes on."""
    return causes.warnings(_halt(serial, boot, known))


def _halt(serial: str, boot: Boot, known: Outlook) -> Halt:
    """Take a boot as it stands, or the attempt before where it starts over and over."""
    if _is_looping(boot) and boot.before:
        return Halt(serial, boot.tried, boot.before, known, boot.attempts)
    return Halt(serial, boot.stage, boot.evidence, known, boot.attempts)


def _is_silent(boot: Boot, now: float) -> bool:
    return not boot.evidence.running and now - max(boot.last, boot.resumed) >= PATIENCE[boot.stage][0]


def _is_looping(boot: Boot) -> bool:
    return boot.attempts >= LOOP and boot.stage <= boot.tried


def _is_out_of_sight(boot: Boot, known: Outlook, cause: Cause | None) -> bool:
    """Whether a boot by trees that are not ours went where nothing of it is seen here, as far as can be told."""
    if boot.stage == LINUX:
        return True
    return boot.stage == KERNEL and not known.hears_dhcp and cause is None
