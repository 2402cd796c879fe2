"""Why a boot stands once Linux runs: its own DHCP, its root and its seed.

Belongs here: one small function a rule (reference section 7); their sentences are in `pinetboot.causes`. A rule that is
not sure is silent: no cause is better than a wrong one.
"""

from __future__ import annotations

from typing import Final

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.observe.halt import Halt, Rule
from pinetboot.observe.stages import LINUX, ROOT, SEED

_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_SEED_FILES: Final = ("user-data", "meta-data", "vendor-data", "network-config")
# What a look at its trees and exports may say that keeps a root from being mounted, or from being of use.
_OF_MOUNTS: Final = frozenset({"D28", "D29", "D30"})
_OF_ROOTS: Final = frozenset({"D31"})
_UP: Final = frozenset({ROOT, SEED})


def unaddressed(halt: Halt) -> Cause | None:
    """D46: Linux took a proxy's offer for an address."""
    server = halt.evidence.unaddressed
    return causes.unaddressed(server) if server and halt.stage == LINUX else None


def others_root(halt: Halt) -> Cause | None:
    """D28: it mounted the root of another Pi."""
    found = halt.evidence.mounts
    return causes.others_root(*found) if found and halt.stage == LINUX else None


def joined_seed(halt: Halt) -> Cause | None:
    """D36: `…/seedmeta-data` in place of `…/seed/meta-data`."""
    found = halt.evidence.seed
    if found is None or found[1] != _NOT_FOUND or halt.stage < LINUX:
        return None
    last = found[0].rpartition("/")[2]
    joined = last.endswith(_SEED_FILES) and last not in _SEED_FILES
    return causes.joined_seed(found[0]) if joined else None


def no_seed(halt: Halt) -> Cause | None:
    """D34: the seed was asked for, and not given."""
    found = halt.evidence.seed
    if found is None or halt.stage < LINUX:
        return None
    if found[1] == _FORBIDDEN:
        return causes.seed_of_another(halt.evidence.linux_at or halt.evidence.address)
    times = halt.evidence.seed_tries
    return causes.no_seed(found[0], f"HTTP {found[1]}" + (f", {times} times" if times > 1 else ""))


def cannot_mount(halt: Halt) -> Cause | None:
    """D28 to D30: a look at its command line and exports finds what a mount fails by."""
    return halt.found(_OF_MOUNTS, fatal=True) if halt.stage == LINUX else None


def may_not_mount(halt: Halt) -> Cause | None:
    """D28 to D30: the same, of what is less certain."""
    return halt.found(_OF_MOUNTS, fatal=False) if halt.stage == LINUX else None


def no_mount(halt: Halt) -> Cause | None:
    """D29: Linux runs, and its root was not mounted."""
    return causes.no_mount() if halt.stage == LINUX else None


def network_anew(halt: Halt) -> Cause | None:
    """D47: it asked for an address anew over a mounted root, and cloud-init may set its network up."""
    anew = halt.stage in _UP and halt.evidence.anew
    return causes.network_anew() if anew and halt.found({"D47"}, fatal=False) else None


def address_changed(halt: Halt) -> Cause | None:
    """D32: it asked for another address than the one that its root was mounted from."""
    evidence = halt.evidence
    moved = halt.stage in _UP and evidence.moved_to
    return causes.address_changed(evidence.root_at, evidence.moved_to) if moved else None


def root_stops(halt: Halt) -> Cause | None:
    """D31: what its root waits for at start is not there."""
    return halt.found(_OF_ROOTS, fatal=False) if halt.stage in _UP else None


CERTAIN: Final[tuple[Rule, ...]] = (unaddressed, others_root, joined_seed, cannot_mount)
LIKELY: Final[tuple[Rule, ...]] = (no_seed, may_not_mount, network_anew, address_changed, root_stops)
LEFT: Final[tuple[Rule, ...]] = (no_mount,)
