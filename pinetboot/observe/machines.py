"""Machines that are no Pi, and how far each came: from what the servers saw, by MAC.

Belongs here: remembering, bounded in size because anyone on the network can add to it. A machine has no serial and says
nothing when it is up, so that its boot has no end and no verdict, as a Pi's has. Time is an argument, seconds since
1970.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pinetboot.dhcp.events import LeaseGranted
from pinetboot.events import DhcpHeard, Event, HttpServed, Outcome, TransferEnded
from pinetboot.fleet.pi import Machine
from pinetboot.observe.stages import FIRMWARE, KERNEL, LINUX, SEED, SEEN, STAGES
from pinetboot.observe.view import rfc3339

MOST: Final = 256
# After so much silence the next sign is another boot.
_SILENCE_S: Final = 600.0
_SENT: Final = frozenset({Outcome.SENT, Outcome.UNCONFIRMED})
_WELL: Final = frozenset({200, 206})
_INSTALLERS: Final = "installers/"


@dataclass(slots=True)
class Seen:
    """A machine that asked to boot. `kind` is what it said that it is; `files` and `size` (bytes) are of its boot."""

    mac: str
    kind: str
    started: float
    last: float
    address: str = ""
    stage: int = SEEN
    files: int = 0
    size: int = 0


class Machines:
    """At most 256 machines; those seen last stay."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._at: dict[str, str] = {}

    def __bool__(self) -> bool:
        """Whether any was seen."""
        return bool(self._seen)

    def take(self, event: Event, now: float) -> None:
        """Take what was seen of anybody."""
        match event:
            case DhcpHeard():
                self._dhcp(event, now)
            case LeaseGranted():
                self._is_at(event.mac, event.address)
            case TransferEnded() if event.outcome in _SENT:
                self._file(event.client, event.path, event.size, now)
            case HttpServed(kind="boot") if event.status in _WELL:
                self._file(event.client, event.path.removeprefix("/").removeprefix("boot/"), event.sent_bytes, now)
            case HttpServed(kind="seed") if event.status in _WELL:
                self._reaches(event.client, SEED, now)

    def shown(self, machines: Mapping[str, Machine], now: float) -> list[dict[str, Any]]:
        """Show those of fleet.toml in its order, `machines` by MAC, then those that were only seen."""
        rest = (mac for mac in self._seen if mac not in machines)
        return [self._one(mac, machines.get(mac), now) for mac in (*machines, *rest)]

    def _one(self, mac: str, machine: Machine | None, now: float) -> dict[str, Any]:
        seen = self._seen.get(mac)
        return {
            "mac": mac,
            "machine": seen.kind if seen else None,
            "address": seen.address or None if seen else None,
            "known": machine is not None,
            "boots": machine.boot if machine else None,
            "state": "unseen" if seen is None else "booting" if now - seen.last < _SILENCE_S else "quiet",
            "stage": STAGES[seen.stage] if seen else None,
            "started": rfc3339(seen.started) if seen else None,
            "last": rfc3339(seen.last) if seen else None,
            "files": seen.files if seen else 0,
            "bytes": seen.size if seen else 0,
        }

    def _dhcp(self, event: DhcpHeard, now: float) -> None:
        seen = self._seen.get(event.mac)
        if event.machine and (event.answered is not None or seen is not None):
            if seen is None or now - seen.last > _SILENCE_S or (event.kind == "DISCOVER" and seen.stage >= KERNEL):
                address = seen.address if seen else ""
                self._seen[event.mac] = seen = Seen(event.mac, event.machine, now, now, address)
                self._bound()
            seen.last = now
            self._seen.move_to_end(event.mac)
        elif seen is not None and event.kind == "DISCOVER" and seen.stage >= KERNEL:
            seen.stage, seen.last = max(seen.stage, LINUX), now
        self._is_at(event.mac, event.requested or event.source)

    def _is_at(self, mac: str, address: str) -> None:
        seen = self._seen.get(mac)
        if seen is not None and address and address != "0.0.0.0":  # noqa: S104 - what a client without one sends from
            self._at.pop(seen.address, None)
            seen.address = address
            self._at[address] = mac

    def _file(self, client: str, path: str, size: int, now: float) -> None:
        seen = self._reaches(client, KERNEL if path.startswith(_INSTALLERS) else FIRMWARE, now)
        if seen is not None:
            seen.files += 1
            seen.size += size

    def _reaches(self, client: str, stage: int, now: float) -> Seen | None:
        seen = self._seen.get(self._at.get(client, ""))
        if seen is not None:
            seen.stage, seen.last = max(seen.stage, stage), now
        return seen

    def _bound(self) -> None:
        while len(self._seen) > MOST:
            _, gone = self._seen.popitem(last=False)
            if self._at.get(gone.address) == gone.mac:
                del self._at[gone.address]
