"""What of each Pi stands on disk to be exported, and what was exported last.

Belongs here: a few stats for each Pi, cheap enough for every second. Every function waits and belongs in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from pinetboot import files
from pinetboot.fleet import trees
from pinetboot.fleet.pi import Pi
from pinetboot.nfs import exports, kernel
from pinetboot.nfs.clients import Snapshot
from pinetboot.nfs.exports import Export
from pinetboot.nfs.wanted import Standing

# A container begins with an empty /etc/exports.d: what it exported before is kept with the data.
_KEPT: Final = "exports"
_REFUSED: Final = "exports-refused"
_MOST_BYTES: Final = 16 << 20


def look(data: Path, pis: Iterable[Pi], more: Sequence[Mapping[str, int]] = ()) -> dict[str, Standing]:
    """See which generations each Pi boots, and which of `more` (by serial) it has, as far as they have a root."""
    found = {}
    for pi in pis:
        own = data / "pis" / pi.serial
        numbers = {trees.current(data, pi.serial), *(numbers.get(pi.serial) for numbers in more)}
        found[pi.serial] = Standing(
            frozenset(number for number in numbers if number and (own / str(number) / "root").is_dir()),
            disks=bool(pi.disks) and (own / "disks").is_dir(),
        )
    return found


def lines(data: Path) -> list[Export]:
    """List what we exported last: our own file says it, and where that is not there, what was kept with the data."""
    return kernel.ours() or exports.parse(_text(data / "state" / _KEPT))


def keep(data: Path, standing: Iterable[Export], refused: Sequence[str]) -> None:
    """Keep what is exported now, and what exportfs said against it; both may be lost."""
    for name, text in ((_KEPT, exports.render(standing)), (_REFUSED, "".join(f"{line}\n" for line in refused))):
        path = data / "state" / name
        with suppress(OSError):
            if _text(path) != text:
                files.write(path, os.fsencode(text), mode=0o600, durable=False)


def refused(data: Path) -> list[str]:
    """List what exportfs said against our exports when they were last made."""
    return _text(data / "state" / _REFUSED).splitlines()


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return os.fsdecode(file.read(_MOST_BYTES))
    except OSError:
        return ""


def in_use(serial: str) -> str:
    """Say who uses a Pi's trees, or did within the half hour that nfsd remembers; empty where nobody is known to."""
    own = [export for export in kernel.ours() if (tree := exports.tree_of(export.path)) and tree.serial == serial]
    for client in kernel.alive():
        if any(export.client == f"{client}/32" for export in own):
            return f"{client} has it mounted"
    paths = {export.path for export in own}
    domains = {used.domain for used in kernel.snapshot(Snapshot()).used if used.path in paths}
    return f"{', '.join(sorted(domains))} used it within the last half hour" if domains else ""
