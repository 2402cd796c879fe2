"""Machines that are no Pi, and how far each came: from what the servers saw, by MAC.

Belongs here: who is who, what begins a boot, and remembering, bounded in size because anyone on the network can add to
it. A machine has no serial and says nothing when it is up, so that its boot has no end, as a Pi's has. Time is an
argument, seconds since 1970.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pinetboot.dhcp.events import LeaseGranted
from pinetboot.events import DhcpHeard, Event, HttpServed, TransferEnded, TransferStarted
from pinetboot.fleet.pi import Machine
from pinetboot.observe import machine_causes
from pinetboot.observe.machine_boot import MachineBoot, begun
from pinetboot.observe.machine_view import details_json, machine_json
from pinetboot.observe.stages import FIRMWARE, KERNEL, LINUX, SEEN

MOST: Final = 256
# After so much silence the next sign is another boot.
_SILENCE_S: Final = 600.0
_IPXE: Final = ", iPXE"
_OVER_HTTP: Final = frozenset({"boot", "seed"})
_FETCHES: Final = (TransferEnded, TransferStarted, HttpServed)


@dataclass(slots=True)
class Seen:
    """A machine that asked to boot: where it is, as far as that is known, and its present boot."""

    address: str
    boot: MachineBoot


class Machines:
    """At most 256 machines; those seen last stay. `beside`: another server gives addresses.

    Whoever asks brings those of fleet.toml by MAC, `fleet`.
    """

    def __init__(self, *, beside: bool = True) -> None:
        self._beside = beside
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._at: dict[str, str] = {}

    def __bool__(self) -> bool:
        """Whether any was seen."""
        return bool(self._seen)

    def take(self, event: Event, now: float) -> None:
        """Take what was seen of anybody. A rack of Pis fetches ten thousand files a second: they leave first."""
        if isinstance(event, _FETCHES):
            mac = self._at.get(event.client)
            if mac is not None:
                _fetches(self._seen[mac].boot, event, now)
        elif isinstance(event, DhcpHeard):
            self._dhcp(event, now)
        elif isinstance(event, LeaseGranted):
            self._is_at(event.mac, event.address)

    def starts_http(self, client: str, path: str, now: float) -> None:
        """Note that a request of HTTP boot begins; its end is an event."""
        mac = self._at.get(client)
        if mac is not None:
            self._seen[mac].boot.starts_http(path, now)

    def macs(self, fleet: Mapping[str, Machine]) -> list[str]:
        """All of them by MAC: those of fleet.toml in its order, then those that were only seen."""
        return [*fleet, *(mac for mac in self._seen if mac not in fleet)]

    def shown(self, mac: str, fleet: Mapping[str, Machine], now: float) -> dict[str, Any]:
        """Show one and how far its present boot is; one that nobody knows is one that was never seen."""
        seen = self._seen.get(mac)
        boot, address = (seen.boot, seen.address) if seen else (None, "")
        state = self._state(boot, now)
        return machine_json(mac, fleet.get(mac), boot, address, state)

    def mark(self, mac: str, fleet: Mapping[str, Machine], now: float) -> Hashable:
        """Give what is another value as soon as shown() would show something else; it costs less."""
        machine, seen = fleet.get(mac), self._seen.get(mac)
        written = (machine.boot, machine.hostname) if machine else None
        if seen is None:
            return written
        boot = seen.boot
        return written, seen.address, boot.started, boot.signs, boot.last, self._state(boot, now)

    def one(self, mac: str, fleet: Mapping[str, Machine], now: float) -> dict[str, Any] | None:
        """Show one with the files of its present boot; None for one that nobody knows."""
        seen = self._seen.get(mac)
        if seen is None and mac not in fleet:
            return None
        shown = self.shown(mac, fleet, now)
        if seen is not None:
            shown["boot"] |= details_json(seen.boot)
        return shown

    def _state(self, boot: MachineBoot | None, now: float) -> str:
        """Say in a word how it is. It is said to stand still only where it can be told why."""
        if boot is None:
            return "unseen"
        cause = machine_causes.why(boot, now, beside=self._beside)
        if boot.left or now - boot.last >= _SILENCE_S:
            return "quiet"
        return "stalled" if cause is not None else "booting"

    def _dhcp(self, event: DhcpHeard, now: float) -> None:
        seen = self._seen.get(event.mac)
        if event.machine and (event.answered is not None or seen is not None):
            if seen is None or _anew(seen.boot, event, now):
                seen = Seen(seen.address if seen else "", begun(event.machine, now))
                self._seen[event.mac] = seen
                self._bound()
            seen.boot.ipxe = seen.boot.ipxe or event.machine.endswith(_IPXE)
            seen.boot.enter(SEEN, now)
            self._seen.move_to_end(event.mac)
        elif seen is not None and event.kind == "DISCOVER":
            # Its installer asks for an address, or what is on its own disk.
            if seen.boot.stage >= KERNEL:
                seen.boot.enter(LINUX, now)
            elif seen.boot.stage >= FIRMWARE:
                seen.boot.left, seen.boot.last = True, now
        if seen is not None and event.kind == "REQUEST" and event.answered is None:
            seen.boot.giver = event.server
        self._is_at(event.mac, event.requested or event.source)

    def _is_at(self, mac: str, address: str) -> None:
        seen = self._seen.get(mac)
        if seen is None or not address or address == "0.0.0.0":  # noqa: S104 - what a client without one sends from
            return
        before = self._at.get(address)
        if before == mac:
            return
        if before is not None:
            self._seen[before].boot.running.clear()  # their ends will be told of this one
        if self._at.get(seen.address) == mac:
            del self._at[seen.address]
        seen.address = address
        self._at[address] = mac

    def _bound(self) -> None:
        while len(self._seen) > MOST:
            mac, gone = self._seen.popitem(last=False)
            if self._at.get(gone.address) == mac:
                del self._at[gone.address]


def _fetches(boot: MachineBoot, event: TransferEnded | TransferStarted | HttpServed, now: float) -> None:
    if isinstance(event, TransferEnded):
        boot.ends(event, now)
    elif isinstance(event, TransferStarted):
        boot.starts(event, now)
    elif event.kind in _OVER_HTTP:
        boot.ends_http(event, now)


def _anew(boot: MachineBoot, event: DhcpHeard, now: float) -> bool:
    """Whether a machine boots anew: after a long silence, after its kernel, or as its firmware begins again.

    What asks as another machine than at first, iPXE behind the firmware's own PXE, goes on with the same boot.
    """
    if now - boot.last > _SILENCE_S:
        return True
    later = boot.stage >= KERNEL or boot.left or (boot.stage >= FIRMWARE and event.machine == boot.kind)
    return event.kind == "DISCOVER" and later
