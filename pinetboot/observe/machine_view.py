"""A machine that is no Pi as scripts read it: in the shape of a Pi as far as both have the same to tell.

Belongs here: the shape alone. Nothing secret is in it.
"""

from __future__ import annotations

from typing import Any

from pinetboot.fleet.pi import Machine
from pinetboot.observe.files import File
from pinetboot.observe.machine_boot import Fetch, MachineBoot
from pinetboot.observe.stages import STAGES
from pinetboot.observe.view import file_json, rfc3339, stages_json


def machine_json(
    mac: str, machine: Machine | None, boot: MachineBoot | None, address: str, state: str
) -> dict[str, Any]:
    """Show a machine of fleet.toml, or None, with its present boot, None where it was never seen. `files` is a count.

    `machine` says what it is, `boots` what fleet.toml has it boot, `installer` whose files it asked for.
    """
    return {
        "mac": mac,
        "hostname": (machine.hostname or None) if machine else None,
        "machine": boot.kind if boot else None,
        "address": address or None,
        "known": machine is not None,
        "boots": machine.boot if machine else None,
        "installer": (boot.installer or None) if boot else None,
        "state": state,
        "stage": STAGES[boot.stage] if boot else None,
        "started": rfc3339(boot.started) if boot else None,
        "last": rfc3339(boot.last) if boot else None,
        "files": boot.sent if boot else 0,
        "bytes": boot.size if boot else 0,
        "boot": _boot_json(boot, state) if boot else None,
    }


def _boot_json(boot: MachineBoot, state: str) -> dict[str, Any]:
    cause = boot.cause if boot.judged == boot.signs else None
    return {
        "started": rfc3339(boot.started),
        "ended": None,  # a machine says nothing when it is up
        "state": state,
        "bytes": boot.size,
        "retransmissions": sum(fetch.file.resent for fetch in boot.files),
        "stages": stages_json(boot.spans),
        "cause": cause.to_json() if cause else None,
    }


def details_json(boot: MachineBoot) -> dict[str, Any]:
    """Show the files of a boot, those under way last; `by` is how each was asked for, `more_files` the rest."""
    files = [file_json(fetch.file) | {"by": fetch.by} for fetch in boot.files]
    files += [file_json(one.file) | {"by": one.by} for one in _under_way(boot)]
    return {"files": files, "more_files": {"files": boot.more, "bytes": boot.more_size}, "files_lost": False}


def _under_way(boot: MachineBoot) -> list[Fetch]:
    return [
        Fetch(one.by, File(one.name, boot.stage, max(0.0, one.began - boot.started), 0.0, one.size, 0, "running"))
        for one in boot.running.values()
    ]
