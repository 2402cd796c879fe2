"""Every Pi that was seen to ask for something: serial, MAC, model, address, and when. Adoption goes by it.

Belongs here: joining what the servers saw, bounded in size because anyone on the network can add to it. Time is an
argument: seconds since 1970, for it is shown to people and kept across restarts.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pinetboot.events import DhcpHeard, Event, Outcome, TransferEnded, TransferStarted

_MOST = 1024
_SERIAL_FOLDER = re.compile(r"([0-9a-f]{8})/.", re.IGNORECASE)
_MAC_FOLDER = re.compile(r"([0-9a-f]{2}(?:-[0-9a-f]{2}){5})/.", re.IGNORECASE)
_SERIAL = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Seen:
    """One Pi as the network shows it; empty where something is not known. Times are seconds since 1970."""

    serial: str
    mac: str = ""
    model: str = ""
    address: str = ""
    first: float = 0.0
    last: float = 0.0


class Sightings:
    """At most 1024 Pis by serial; those seen last stay. `changed` counts up with every change worth keeping."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._serial_of: OrderedDict[str, str] = OrderedDict()  # by MAC
        self.changed = 0

    def learn(self, event: Event, now: float) -> str | None:
        """Take what an event tells. Returns the serial of the Pi that it is about, None when it is about none."""
        match event:
            case DhcpHeard(mac=mac, serial=serial, model=model) if serial:
                return self._keep(serial, now, mac=mac, model=model or "")
            case TransferStarted(client=client, path=path):
                return self._path(client, path, now)
            case TransferEnded(client=client, path=path, outcome=Outcome.MISSING):
                return self._path(client, path, now)
        return None

    def of(self, serial: str) -> Seen | None:
        """What is known of the Pi with a serial."""
        return self._seen.get(serial)

    def serial_of(self, mac: str) -> str | None:
        """Whose MAC it is (`dc:a6:32:…`)."""
        return self._serial_of.get(mac)

    def mac_of(self, serial: str) -> str | None:
        """The MAC of the Pi with a serial."""
        seen = self._seen.get(serial)
        return seen.mac or None if seen else None

    def all(self) -> list[Seen]:
        """Everything that was seen, what was seen last at the end."""
        return list(self._seen.values())

    def _path(self, client: str, path: str, now: float) -> str | None:
        if folder := _SERIAL_FOLDER.match(path):
            return self._keep(folder[1].lower(), now, address=client)
        if folder := _MAC_FOLDER.match(path):
            mac = folder[1].lower().replace("-", ":")
            serial = self._serial_of.get(mac)
            return self._keep(serial, now, mac=mac, address=client) if serial else None
        return None

    def _keep(self, serial: str, now: float, *, mac: str = "", model: str = "", address: str = "") -> str:
        known = self._seen.pop(serial, None) or Seen(serial, first=now)
        seen = replace(
            known, mac=mac or known.mac, model=model or known.model, address=address or known.address, last=now
        )
        self._seen[serial] = seen
        if seen.mac:
            self._serial_of.pop(seen.mac, None)
            self._serial_of[seen.mac] = serial
        if replace(seen, last=known.last) != known or known.first == now:
            self.changed += 1
        for kept in (self._seen, self._serial_of):
            if len(kept) > _MOST:
                kept.popitem(last=False)
        return serial

    def to_json(self) -> list[dict[str, Any]]:
        """The shape that is kept in state/seen.json."""
        return [asdict(seen) for seen in self._seen.values()]

    def restore(self, kept: Iterable[Seen]) -> None:
        """Take what an earlier run kept."""
        for seen in kept:
            self._seen[seen.serial] = seen
            if seen.mac:
                self._serial_of[seen.mac] = seen.serial


def from_json(item: object) -> Seen | None:
    """Read one sighting back; None for what is none."""
    if not isinstance(item, Mapping) or not _SERIAL.fullmatch(str(item.get("serial"))):
        return None
    known = {field.name: item[field.name] for field in fields(Seen) if field.name in item}
    texts = all(isinstance(known.get(name, ""), str) for name in ("mac", "model", "address"))
    times = all(isinstance(known.get(name, 0.0), int | float) for name in ("first", "last"))
    return Seen(**known) if texts and times else None
