"""One Pi as the network shows it, and keeping that as JSON.

Belongs here: the values. What is learned from which event is decided in `sightings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

_HEX: Final = "0123456789abcdef"
_SERIAL_SIZE: Final = 8
_LATEST: Final = 1e11  # what is beyond is no time


@dataclass(frozen=True, slots=True)
class Seen:
    """One Pi as the network shows it; empty where something is not known. Times are seconds since 1970.

    `hostname` is what it said of itself. The serial is empty where a Pi asked by its MAC and told no serial yet.
    """

    serial: str
    mac: str = ""
    model: str = ""
    address: str = ""
    first: float = 0.0
    last: float = 0.0
    hostname: str = ""


@dataclass(slots=True)
class Spotted:
    """What Seen shows, as it grows."""

    serial: str
    mac: str = ""
    model: str = ""
    address: str = ""
    first: float = 0.0
    last: float = 0.0
    hostname: str = ""

    def shown(self) -> Seen:
        """Give what is known by now."""
        return Seen(self.serial, self.mac, self.model, self.address, self.first, self.last, self.hostname)


def is_serial(text: str) -> bool:
    """Whether a text is a serial as it is written in paths."""
    return len(text) == _SERIAL_SIZE and not text.strip(_HEX)


def from_json(item: object) -> Seen | None:
    """Read one sighting back; None for what is none."""
    if not isinstance(item, Mapping):
        return None
    known = {field.name: item[field.name] for field in fields(Seen) if field.name in item}
    texts = all(isinstance(known.get(name, ""), str) for name in ("serial", "mac", "model", "address", "hostname"))
    times = all(_is_time(known.get(name, 0.0)) for name in ("first", "last"))
    serial = known.get("serial")
    if not texts or not times or not serial or not is_serial(serial):
        return None
    return Seen(**known)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < _LATEST
