"""Which Pi is which: serial, MAC, model, address and host name, joined from what the servers saw, and when it was.

Belongs here: remembering, bounded in size because anyone on the network can add to it. Nothing here is a proof. Time is
an argument: seconds since 1970, for it is shown to people and kept across restarts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, TypeVar

from pinetboot.events import DhcpHeard, Event, Outcome, PhonedHome, RootMounted, TransferEnded, TransferStarted
from pinetboot.observe.bounds import spare_members

_MOST: Final = 1024
_MOST_ADDRESSES: Final = 4096
_MOST_NAMELESS: Final = 256
_TRANSFER: Final = (TransferEnded, TransferStarted)
_HEX: Final = "0123456789abcdef"
_SERIAL_SIZE: Final = 8
_MAC_SIZE: Final = len("dc-a6-32-2e-f8-ed")
# How old `last` may grow before it is set anew: a rack of Pis asks for ten thousand files a second.
_FRESH_S: Final = 1.0
# For so long a request in the root of the tree, which names nobody, is one of the Pi that asked from there before.
_SAME_BOOT_S: Final = 300.0
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
class _Pi:
    """What Seen shows, as it grows."""

    serial: str
    mac: str = ""
    model: str = ""
    address: str = ""
    first: float = 0.0
    last: float = 0.0
    hostname: str = ""

    def shown(self) -> Seen:
        return Seen(self.serial, self.mac, self.model, self.address, self.first, self.last, self.hostname)


@dataclass(slots=True)
class _Place:
    """What was asked for last at an address: the folder, its slash included, and whose it is by serial or by MAC."""

    folder: str
    pi: _Pi | None = None
    mac: str = ""


class Sightings:
    """At most 1024 Pis beside those of the fleet, and 4096 addresses; those seen last stay, by the second.

    `members` are the serials of the fleet, which no flood of made-up ones drives out, `written` serials by MAC as
    fleet.toml says them; both are set anew as it changes. `changed` counts up with every change worth keeping.
    """

    def __init__(self) -> None:
        self.members: Collection[str] = ()
        self.written: Mapping[str, str] = {}
        self.changed = 0
        self._pis: OrderedDict[str, _Pi] = OrderedDict()
        self._serial_of: OrderedDict[str, str] = OrderedDict()  # by MAC
        self._at: OrderedDict[str, _Place] = OrderedDict()  # by address
        # Pis that said what they are and no serial, as a Pi 3B's ROM does: (MAC, model) by the MAC's last six digits.
        self._nameless: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def learn(self, event: Event, now: float) -> str | None:
        """Take what an event tells. Returns the serial of the Pi that it is about, None when it is about none."""
        if isinstance(event, _TRANSFER):
            place = self._at.get(event.client)
            if place is not None and event.path.startswith(place.folder):
                pi = place.pi
                if pi is not None and 0 <= now - pi.last < _FRESH_S and pi.address == event.client:
                    return pi.serial
            if isinstance(event, TransferStarted) or event.outcome is Outcome.MISSING:
                return self._asked(event.client, event.path, place, now)
            return _whose(event.path, place, now)
        if isinstance(event, DhcpHeard):
            return self._dhcp(event, now)
        if isinstance(event, PhonedHome):
            return self._keep(event.serial, now, hostname=event.hostname)
        return event.serial if isinstance(event, RootMounted) else None

    def of(self, serial: str) -> Seen | None:
        """What is known of the Pi with a serial."""
        pi = self._pis.get(serial)
        return pi.shown() if pi else None

    def of_address(self, address: str) -> Seen | None:
        """Who was last seen at an IP address; its serial or its MAC is known."""
        place = self._at.get(address)
        if place is None:
            return None
        if place.pi is not None:
            return place.pi.shown()
        serial = self.serial_of(place.mac) or ""
        pi = self._pis.get(serial)
        mac, model = self._nameless.get(_tail(place.mac), ("", ""))
        return pi.shown() if pi else Seen(serial, place.mac, model if mac == place.mac else "", address)

    def serial_of(self, mac: str) -> str | None:
        """Whose MAC it is (`dc:a6:32:…`)."""
        return self.written.get(mac) or self._serial_of.get(mac)

    def mac_of(self, serial: str) -> str | None:
        """The MAC of the Pi with a serial."""
        pi = self._pis.get(serial)
        return pi.mac or None if pi else None

    def all(self) -> list[Seen]:
        """Everything that was seen, what was seen last at the end."""
        return [pi.shown() for pi in self._pis.values()]

    def _asked(self, client: str, path: str, place: _Place | None, now: float) -> str | None:
        """Take a request for a file: its folder says whose it is, by serial or by MAC (reference 3.4)."""
        serial, slash, name = path.partition("/")
        if slash and name and len(serial) == _SERIAL_SIZE and not serial.lower().strip(_HEX):
            return self._keep(serial.lower(), now, address=client, folder=f"{serial}/")
        mac = _mac(serial) if slash and name else ""
        if not mac:
            return _whose(path, place, now)
        known = self.serial_of(mac)
        if known:
            return self._keep(known, now, mac=mac, address=client, folder=f"{serial}/")
        _put(self._at, client, _Place(f"{serial}/", mac=mac), _MOST_ADDRESSES)
        return None

    def _dhcp(self, event: DhcpHeard, now: float) -> str | None:
        mac, model = event.mac, event.model or ""
        if event.serial:
            return self._keep(event.serial, now, mac=mac, model=model)
        serial = self.serial_of(mac)
        if serial is None:
            if model:
                _put(self._nameless, _tail(mac), (mac, model), _MOST_NAMELESS)
            return None
        if model:
            # Without option 97 a model is told from the MAC alone, and says less than what is known.
            pi = self._pis.get(serial)
            self._keep(serial, now, mac=mac, model="" if pi and pi.model else model)
        return serial

    def _keep(
        self,
        serial: str,
        now: float,
        *,
        mac: str = "",
        model: str = "",
        address: str = "",
        hostname: str = "",
        folder: str = "",
    ) -> str:
        pi = self._pis.get(serial)
        if pi is None:
            pi = _Pi(serial, first=now)
            self.changed += 1
            # The MAC of a Pi 3B ends as its serial does (reference 2.3).
            nameless = self._nameless.pop(serial[-6:], None)
            if nameless is not None and not mac:
                mac, model = nameless
        self._pis[serial] = pi
        self._pis.move_to_end(serial)
        spare_members(self._pis, self.members, _MOST)
        pi.last = now
        told = {"mac": mac, "model": model, "address": address, "hostname": hostname}
        for name, value in told.items():
            if value and getattr(pi, name) != value:
                setattr(pi, name, value)
                self.changed += 1
        if mac:
            self._belongs(mac, pi)
        if address:
            _put(self._at, address, _Place(folder, pi), _MOST_ADDRESSES)
        return serial

    def _belongs(self, mac: str, pi: _Pi) -> None:
        """Join a MAC to a Pi; a network adapter that was another's is that one's no more."""
        before = self._pis.get(self._serial_of.get(mac, ""))
        if before is not None and before is not pi and before.mac == mac:
            before.mac = ""
        _put(self._serial_of, mac, pi.serial, _MOST)

    def to_json(self) -> list[dict[str, Any]]:
        """The shape that is kept in state/seen.json."""
        return [asdict(seen) for seen in self.all()]

    def restore(self, kept: Iterable[Seen]) -> None:
        """Take what an earlier run kept; what was seen since stays."""
        addresses, macs = set(self._at), set(self._serial_of)
        for seen in kept:
            if seen.serial in self._pis:
                continue
            pi = _Pi(seen.serial, seen.mac, seen.model, seen.address, seen.first, seen.last, seen.hostname)
            self._pis[seen.serial] = pi
            if seen.mac and seen.mac not in macs:
                _put(self._serial_of, seen.mac, seen.serial, _MOST)
            if seen.address and seen.address not in addresses:
                _put(self._at, seen.address, _Place(f"{seen.serial}/", pi), _MOST_ADDRESSES)


def from_json(item: object) -> Seen | None:
    """Read one sighting back; None for what is none."""
    if not isinstance(item, Mapping):
        return None
    known = {field.name: item[field.name] for field in fields(Seen) if field.name in item}
    texts = all(isinstance(known.get(name, ""), str) for name in ("serial", "mac", "model", "address", "hostname"))
    times = all(_is_time(known.get(name, 0.0)) for name in ("first", "last"))
    serial = known.get("serial")
    if not texts or not times or not serial or len(serial) != _SERIAL_SIZE or serial.strip(_HEX):
        return None
    return Seen(**known)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < _LATEST


def _whose(path: str, place: _Place | None, now: float) -> str | None:
    """Say whose request a path is that names nobody by itself, or nobody new."""
    if place is None or place.pi is None:
        return None
    if path.startswith(place.folder) or now - place.pi.last < _SAME_BOOT_S:
        return place.pi.serial
    return None


def _mac(folder: str) -> str:
    """Read the MAC that a folder is named by, `dc-a6-32-2e-f8-ed`; empty where it is none."""
    if len(folder) != _MAC_SIZE or folder[2::3] != "-----":
        return ""
    mac = folder.lower().replace("-", ":")
    octets = mac.replace(":", "")
    return mac if len(octets) == 12 and not octets.strip(_HEX) else ""  # noqa: PLR2004 - six octets


def _tail(mac: str) -> str:
    return mac.replace(":", "")[-6:]


_T = TypeVar("_T")


def _put(kept: OrderedDict[str, _T], key: str, value: _T, most: int) -> None:
    """Keep as the latest, and let the oldest go."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
