"""Why a boot stands before its first file: what was heard of its DHCP, and what was not.

Belongs here: one small function a rule (reference section 7); their sentences are in `pinetboot.causes`. A rule that is
not sure is silent: no cause is better than a wrong one.
"""

from __future__ import annotations

from typing import Final

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.observe.halt import Halt, Rule
from pinetboot.observe.stages import SEEN

_PI4: Final = 4
_ROM: Final = "Pi 3B"
_ROM_TRIES: Final = 5  # reference 2.4
_TEXT: Final = "Raspberry Pi Boot"  # reference 2.6
_OFTEN: Final = 2


def foreseen(halt: Halt) -> Cause | None:
    """D42, say: what was known against this boot when its DISCOVER was answered."""
    return halt.evidence.foreseen if halt.stage == SEEN else None


def menu_changed(halt: Halt) -> Cause | None:
    """D02: what the settings offer is none of what a Pi looks for."""
    menu = halt.known.menu
    takes_none = halt.stage == SEEN and not halt.evidence.requested and halt.evidence.server
    return causes.menu_changed(menu) if takes_none and menu and _TEXT not in menu else None


def rom_asleep(halt: Halt) -> Cause | None:
    """D04: the ROM of a Pi 3B, which makes five tries, made all of them and did not so much as look for this host."""
    rom = halt.stage == SEEN and halt.known.model == _ROM and not halt.known.reached
    return causes.rom_asleep() if rom and halt.evidence.discovers >= _ROM_TRIES else None


def port_late(halt: Halt) -> Cause | None:
    """D05: the ROM of a Pi 3B fell silent after fewer tries than it makes, and did not look for this host."""
    rom = halt.stage == SEEN and halt.known.model == _ROM and not halt.known.reached
    tries = halt.evidence.discovers
    return causes.port_late(tries) if rom and 0 < tries < _ROM_TRIES else None


def offers_ignored(halt: Halt) -> Cause | None:
    """D02: somebody gives addresses here, and a Pi 4 or 5 that asked more than once takes none."""
    known, evidence = halt.known, halt.evidence
    giver = evidence.server if known.leases else known.giver
    asks = halt.stage == SEEN and halt.family >= _PI4 and not evidence.requested and evidence.discovers >= _OFTEN
    return causes.offers_ignored(evidence.server, giver) if asks and giver else None


def no_address(halt: Halt) -> Cause | None:
    """D03: a Pi 4 or 5 that is offered an address asks for it, with or without a boot offer."""
    asks = halt.stage == SEEN and halt.family >= _PI4 and not halt.evidence.requested
    return causes.no_address(boot_offer=True) if asks else None


def no_request(halt: Halt) -> Cause | None:
    """D10: it was told to boot from here, and no request came."""
    if halt.stage != SEEN or not halt.evidence.server:
        return None
    return causes.no_request(halt.evidence.server, halt.known.reached)


# What is certain before what is likely.
CERTAIN: Final[tuple[Rule, ...]] = (foreseen, menu_changed)
LIKELY: Final[tuple[Rule, ...]] = (rom_asleep, port_late, offers_ignored)
LEFT: Final[tuple[Rule, ...]] = (no_address, no_request)
