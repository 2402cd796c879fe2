"""A Pi as scripts read it (design 2.7): who it is, and how far its boot is.

Belongs here: the shape, so that the daemon's answers and the command line's are the same. Nothing secret is in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pinetboot.observe.boot import Boot
from pinetboot.observe.stages import STAGES


@dataclass(frozen=True, slots=True)
class Who:
    """One Pi; empty or None where something is not known. `known`: it is in fleet.toml."""

    serial: str
    known: bool
    mac: str = ""
    model: str = ""
    hostname: str = ""
    image: str = ""
    generation: int | None = None
    address: str = ""


def pi_json(who: Who, boot: Boot | None, offset: float = 0.0) -> dict[str, Any]:
    """Show a Pi with its latest boot. `offset` makes seconds since 1970 of the boot's times."""
    shown = {key: None if value == "" else value for key, value in asdict(who).items() if key != "known"}
    return shown | {
        "known": who.known,
        "state": boot.state if boot else "unseen",
        "stage": STAGES[boot.stage] if boot else None,
        "boot": boot_json(boot, offset) if boot else None,
    }


def boot_json(boot: Boot, offset: float = 0.0) -> dict[str, Any]:
    """Show a boot; `seconds` is how long it took to be online, None where that is not known."""
    boot.settle()
    return {
        "started": _rfc3339(boot.started + offset),
        "ended": None if boot.ended is None else _rfc3339(boot.ended + offset),
        "seconds": None if boot.seconds is None else round(boot.seconds, 3),
        "state": boot.state,
        "bytes": boot.size,
        "retransmissions": boot.retransmissions,
        "attempts": boot.attempts,
        "generation": boot.generation,
        "stages": [
            {
                "name": STAGES[stage],
                "first": _rfc3339(span.first + offset),
                "last": _rfc3339(span.last + offset),
                "bytes": span.size,
            }
            for stage, span in sorted(boot.spans.items())
        ],
        "cause": boot.cause.to_json() if boot.cause else None,
    }


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
