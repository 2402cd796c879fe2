"""What the daemon learned and was asked: the folder `state/`, which may be deleted without harm.

Belongs here: sightings, past boots, requests for an upgrade, and which generation each Pi booted last.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pinetboot.errors import OperatorError
from pinetboot.files import write
from pinetboot.fleet import trial
from pinetboot.fleet.trial import Fallback
from pinetboot.observe.boot import Boot, from_kept
from pinetboot.observe.seen import Seen, from_json

_MAX_BYTES = 16 << 20
_SERIAL = re.compile(r"[0-9a-f]{8}")


def seen(data: Path) -> list[Seen]:
    """Read what was seen; nothing where nothing was kept, or it cannot be read."""
    kept = _load(data / "state" / "seen.json")
    found = (from_json(item) for item in kept) if isinstance(kept, list) else ()
    return [one for one in found if one is not None]


def keep_seen(data: Path, sightings: list[dict[str, Any]]) -> None:
    """Keep what was seen. Raises OSError."""
    write(data / "state" / "seen.json", json.dumps(sightings, indent=1).encode(), mode=0o600)


def booted(data: Path) -> dict[str, int]:
    """Read which generation each Pi booted last."""
    return _numbers(_load(data / "state" / "booted.json"))


def keep_booted(data: Path, numbers: dict[str, int]) -> None:
    """Keep which generation each Pi booted last. Raises OSError."""
    write(data / "state" / "booted.json", json.dumps(numbers, indent=1).encode(), mode=0o600)


def stamp(data: Path) -> tuple[int, ...]:
    """What changes when anything is kept of what was seen, and the last figure when a Pi is sent elsewhere to boot."""
    found = []
    for path in (data / "state" / "seen.json", data / "state" / "booted.json", data / "boot"):
        try:
            found.append(path.stat().st_mtime_ns)
        except OSError:
            found.append(0)
    return tuple(found)


def boots(data: Path, offset: float = 0.0) -> tuple[dict[str, list[Boot]], list[Path]]:
    """Read the boots of every Pi, at least one each, by serial, the latest last; and which files hold none.

    `offset` is taken off their times, which are seconds since 1970.
    """
    found: dict[str, list[Boot]] = {}
    spoilt: list[Path] = []
    try:
        paths = sorted((data / "state" / "boots").glob("*.json"))
    except OSError:
        return found, spoilt
    for path in paths:
        kept = _load(path)
        read = [from_kept(item, offset) for item in kept] if isinstance(kept, list) else []
        whole = [boot for boot in read if boot is not None]
        if whole and len(whole) == len(read) and _SERIAL.fullmatch(path.stem):
            found[path.stem] = whole
        else:
            spoilt.append(path)
    return found, spoilt


def keep_boots(data: Path, serial: str, kept: list[dict[str, Any]]) -> None:
    """Keep the boots of a Pi; without any, its file goes. Raises OSError."""
    folder = data / "state" / "boots"
    if not kept:
        (folder / f"{serial}.json").unlink(missing_ok=True)
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    # Not waited for to be on disk: it is written while Pis boot, and may be lost.
    write(folder / f"{serial}.json", json.dumps(kept).encode(), mode=0o600, durable=False)


def good(data: Path) -> dict[str, int]:
    """Read with which generation each Pi was online last."""
    return _numbers(_load(data / "state" / "good.json"))


def keep_good(data: Path, numbers: dict[str, int]) -> None:
    """Keep with which generation each Pi was online last. Raises OSError."""
    write(data / "state" / "good.json", json.dumps(numbers, indent=1).encode(), mode=0o600)


def fallback(data: Path, serial: str) -> Fallback | None:
    """Read whether and why a Pi was sent back to an earlier generation."""
    return trial.from_json(_load(data / "state" / "fallback" / f"{serial}.json"))


def fallbacks(data: Path) -> dict[str, Fallback]:
    """Read which Pis were sent back to an earlier generation, by serial."""
    try:
        names = [path.stem for path in (data / "state" / "fallback").glob("*.json")]
    except OSError:
        return {}
    found = {name: fallback(data, name) for name in names if _SERIAL.fullmatch(name)}
    return {serial: one for serial, one in found.items() if one is not None}


def keep_fallback(data: Path, serial: str, one: Fallback) -> None:
    """Keep that a Pi was sent back. Raises OSError."""
    folder = data / "state" / "fallback"
    folder.mkdir(mode=0o700, exist_ok=True)
    write(folder / f"{serial}.json", json.dumps(one.to_json()).encode(), mode=0o600)


def drop_fallback(data: Path, serial: str) -> None:
    """Have a Pi boot what fleet.toml says again. Raises OSError."""
    (data / "state" / "fallback" / f"{serial}.json").unlink(missing_ok=True)


def upgrades(data: Path) -> tuple[str, ...]:
    """List the Pis for which the newest of their image was asked."""
    try:
        return tuple(sorted(asked.name for asked in (data / "state" / "upgrade").iterdir()))
    except OSError:
        return ()


def want_upgrade(data: Path, serial: str) -> None:
    """Ask for the newest of a Pi's image. Raises OperatorError."""
    folder = data / "state" / "upgrade"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / serial).touch(mode=0o600)
    except OSError as error:
        raise OperatorError(
            f"{folder} cannot be written: {error.strerror}", "Run it as the user that the daemon runs as."
        ) from None


def upgraded(data: Path, serial: str) -> None:
    """Take such a request as done."""
    (data / "state" / "upgrade" / serial).unlink(missing_ok=True)


def asked(data: Path) -> int:
    """When somebody last asked the daemon to look, nanoseconds; 0 for never."""
    try:
        return (data / "state" / "asked").stat().st_mtime_ns
    except OSError:
        return 0


def ask(data: Path) -> None:
    """Have a running daemon look at every Pi again. Raises OSError."""
    write(data / "state" / "asked", b"", mode=0o600)


def _numbers(kept: Any) -> dict[str, int]:
    if not isinstance(kept, dict):
        return {}
    return {serial: number for serial, number in kept.items() if isinstance(number, int)}


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
