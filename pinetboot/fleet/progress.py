"""How far the generations are that a daemon makes now, for other processes to show: `state/making.json`.

Belongs here: telling it and reading it. The daemon that makes them holds a lock, which the kernel takes from it however
it ends: what a dead one told last is never taken for the truth. Of several daemons over one directory the first tells.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from pinetboot import files

_LOCK: Final = "making.lock"
_FILE: Final = "making.json"
_MAX_BYTES: Final = 1 << 20
_MOST: Final = 1000
_WHOLE: Final = 100


@dataclass(frozen=True, slots=True)
class Making:
    """One generation that is being made. `percent` is None while it waits for its turn, or cannot be told."""

    serial: str
    image: str
    generation: int
    began: bool = False
    percent: int | None = None

    def __str__(self) -> str:
        """In a word or two, for people."""
        if not self.began:
            return "waiting"
        return "copying" if self.percent is None else f"copying {self.percent} %"


class Progress:
    """Tells what is being made. What is told comes from any thread; tell() and close() are called one at a time."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "state"
        self._making: dict[str, Making] = {}
        self._changes = 0
        self._told = -1
        self._lock: int | None = None

    def wait(self, serial: str, image: str, generation: int) -> None:
        """Take down a generation that is to be made as soon as others are."""
        self._making[serial] = Making(serial, image, generation)
        self._changes += 1

    def begin(self, serial: str) -> None:
        """Its turn has come."""
        self._change(serial, began=True)

    def at(self, serial: str, percent: int) -> None:
        """It is so far."""
        self._change(serial, percent=percent)

    def end(self, serial: str) -> None:
        """It stands, or will not be."""
        self._making.pop(serial, None)
        self._changes += 1

    @property
    def stale(self) -> bool:
        """Whether there is anything to tell: a change, or that somebody is there to tell it at all."""
        return self._lock is None or self._told != self._changes

    def tell(self) -> None:
        """Write it down, whole; it waits for no disk. Nothing is told where the state cannot be written."""
        if self._lock is None:
            self._lock = _hold(self._folder / _LOCK)
        if self._lock is None:
            return
        changes = self._changes
        content = json.dumps([asdict(one) for one in list(self._making.values())[:_MOST]]).encode()
        with suppress(OSError):
            files.write(self._folder / _FILE, content, mode=0o600, durable=False)
            self._told = changes

    def close(self) -> None:
        """Tell nothing any more."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _change(self, serial: str, **values: Any) -> None:
        one = self._making.get(serial)
        if one is not None:
            self._making[serial] = replace(one, **values)
            self._changes += 1


def is_running(data: Path) -> bool:
    """Whether a daemon keeps the fleet of a data directory now; what cannot be looked at is taken for no."""
    try:
        fd = os.open(data / "state" / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared: two who look at once do not take each other for a daemon.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def read(data: Path) -> dict[str, Making]:
    """Read what is being made now, by serial; nothing where no daemon is at it."""
    if not is_running(data):
        return {}
    try:
        with (data / "state" / _FILE).open("rb") as file:
            kept = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    found = (_making(item) for item in kept) if isinstance(kept, list) else ()
    return {one.serial: one for one in found if one is not None}


def _making(item: object) -> Making | None:
    match item:
        case {"serial": str(serial), "image": str(image), "generation": int(number), "began": bool(began), **rest}:
            percent = rest.get("percent")
            percent = percent if isinstance(percent, int) and 0 <= percent <= _WHOLE else None
            return Making(serial, image, number, began, percent)
    return None


def _hold(path: Path) -> int | None:
    """Take the lock, to be held until the descriptor is closed; None where another has it or there can be none."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd
