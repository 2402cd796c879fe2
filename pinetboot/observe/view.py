"""A Pi as scripts read it (design 2.7): who it is, and how far its boot is.

Belongs here: the shape, so that the daemon's answers and the command line's are the same. Nothing secret is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pinetboot.boot.names import printable
from pinetboot.observe.boot import Boot, Span
from pinetboot.observe.evidence import Evidence
from pinetboot.observe.files import File, own_name
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
        "started": rfc3339(boot.started + offset),
        "ended": None if boot.ended is None else rfc3339(boot.ended + offset),
        "seconds": None if boot.seconds is None else round(boot.seconds, 3),
        "state": boot.state,
        "bytes": boot.size,
        "retransmissions": boot.retransmissions,
        "attempts": boot.attempts,
        "number": boot.number,
        "generation": boot.generation,
        "rolled_back_to": boot.back_to,
        "stages": stages_json(boot.spans, offset),
        "cause": boot.cause.to_json() if boot.cause else None,
        "warnings": [cause.to_json() for cause in boot.warnings],
    }


def stages_json(spans: Mapping[int, Span], offset: float = 0.0) -> list[dict[str, Any]]:
    """Show the stages that were reached, in their order."""
    return [
        {
            "name": STAGES[stage],
            "first": rfc3339(span.first + offset),
            "last": rfc3339(span.last + offset),
            "bytes": span.size,
        }
        for stage, span in sorted(spans.items())
    ]


def details_json(boot: Boot, serial: str) -> dict[str, Any]:
    """Show a boot's files, the first 200 one by one, and what tells why it stands; `at` is seconds since it began."""
    files = [file_json(file) for file in boot.files.all()]
    files += [
        file_json(File(own_name(path, serial), boot.stage, max(0.0, began - boot.started), 0.0, size, 0, "running"))
        for path, size, began in boot.evidence.running.values()
    ]
    looping = boot.stalled and boot.before is not None and boot.tried >= boot.stage
    evidence = boot.before if looping and boot.before else boot.evidence
    return {
        "files": files,
        "more_files": {"files": boot.files.more, "bytes": boot.files.more_size},
        "files_lost": boot.files.lost,
        "evidence": _evidence_json(evidence, serial),
    }


def file_json(file: File) -> dict[str, Any]:
    """Show one file; `at` is seconds since its boot began."""
    return {
        "name": printable(file.name),
        "stage": STAGES[file.stage],
        "at": round(file.first, 3),
        "seconds": None if file.result == "running" else round(file.seconds, 4),
        "bytes": file.size,
        "sent_bytes": file.sent,
        "result": file.result,
        "retransmissions": file.resent,
    }


def _evidence_json(evidence: Evidence, serial: str) -> dict[str, Any]:
    """Show what is there of it; a kind that was not seen has no key."""
    shown = _texts_json(evidence)
    if evidence.absent:
        shown["missing"] = [printable(name) for name in sorted(evidence.absent)]
    if evidence.refused:
        path, why = evidence.refused
        shown["refused"] = {"name": printable(own_name(path, serial)), "why": why}
    if evidence.broken:
        path, size, sent = evidence.broken
        shown["broken"] = {"name": printable(own_name(path, serial)), "bytes": size, "sent_bytes": sent}
    if evidence.seed:
        path, status = evidence.seed
        shown["seed"] = {"path": printable(path), "status": status, "times": evidence.seed_tries}
    return shown | _of_waiting_json(evidence, serial)


def _texts_json(evidence: Evidence) -> dict[str, Any]:
    names = ("server", "asked_at", "giver", "copied", "empty", "dropped", "latest", "unaddressed", "moved_to")
    return {name: printable(value) for name in names if (value := getattr(evidence, name))}


def _of_waiting_json(evidence: Evidence, serial: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if evidence.unheard:
        path, times = evidence.unheard
        shown["unheard"] = {"name": printable(own_name(path, serial)), "times": times}
    if evidence.late:
        name, seconds = evidence.late
        shown["late"] = {"name": printable(name), "seconds": round(seconds, 1)}
    if evidence.mounts:
        shown["mounts"] = dict(zip(("serial", "address"), evidence.mounts, strict=True))
    return shown


def rfc3339(seconds: float) -> str:
    """Write seconds since 1970 as text, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
