"""Why a boot goes no further: the D-rules of the reference's section 7 that this server can tell, in their order.

Belongs here: which of several rules counts. Each rule is a small function in `before_files`, `among_files` or
`in_linux`; their sentences are in `pinetboot.causes`.

A rule of three sorts: CERTAIN goes by something that a Pi cannot boot with (a file that is not there), LIKELY by
something that seldom comes without harm (a transfer that broke), LEFT by what did not happen. The first that fits
counts, and within a sort the one whose evidence is narrower stands before.
"""

from __future__ import annotations

from typing import Final

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.observe import among_files, before_files, in_linux
from pinetboot.observe.halt import Halt, Rule


def by_its_log(halt: Halt) -> Cause | None:
    """What its bootloader says itself, over netconsole."""
    return halt.known.log


RULES: Final[tuple[Rule, ...]] = (
    *before_files.CERTAIN,
    *among_files.CERTAIN,
    *in_linux.CERTAIN,
    by_its_log,
    *before_files.LIKELY,
    *among_files.LIKELY,
    *in_linux.LIKELY,
    *before_files.LEFT,
    *among_files.LEFT,
    *in_linux.LEFT,
)


def packets_twice(halt: Halt) -> Cause | None:
    """D22: what it sends comes twice."""
    return causes.copies(halt.evidence.copied) if halt.evidence.copied else None


def config_too_long(halt: Halt) -> Cause | None:
    """D21: some stages read the beginning of config.txt alone."""
    size = halt.evidence.sizes.get("config.txt", 0)
    return causes.config_too_long(size) if size > among_files.CONFIG_READ else None


def stranger_mounts(halt: Halt) -> Cause | None:
    """Its root is mounted from an address that is neither its firmware's nor its Linux's."""
    evidence = halt.evidence
    own = evidence.linux_at
    strange = own and evidence.root_at and evidence.root_at not in {own, evidence.address, evidence.moved_to}
    return causes.stranger_mounts(evidence.root_at, own) if strange else None


_BESIDE: Final[tuple[Rule, ...]] = (among_files.little_memory, packets_twice, config_too_long, stranger_mounts)


def of(halt: Halt) -> Cause | None:
    """Give the most likely cause, None where no rule fits."""
    for rule in RULES:
        found = rule(halt)
        if found is not None:
            return found
    return None


def warnings(halt: Halt) -> tuple[Cause, ...]:
    """What is worth knowing of a boot though it goes on."""
    found = (rule(halt) for rule in _BESIDE)
    return tuple(cause for cause in found if cause is not None)
