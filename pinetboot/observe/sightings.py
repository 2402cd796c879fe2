"""Which Pi is which: serial, MAC, model, address and host name, joined from what the servers saw, and when it was.

Belongs here: remembering, bounded in size because anyone on the network can add to it. Nothing here is a proof. Time is
an argument: seconds since 1970, for it is shown to people and kept across restarts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from pinetboot.dhcp.events import LeaseGranted
from pinetboot.events import (
    DhcpHeard,
    Event,
    HttpServed,
    Outcome,
    PhonedHome,
    RootMounted,
    TransferEnded,
    TransferStarted,
)
from pinetboot.observe.bounds import spare_members
from pinetboot.observe.places import Place, mac_in, put, serial_in, tail, whose
from pinetboot.observe.seen import Seen, Spotted
from pinetboot.observe.swaps import Swaps

_MOST: Final = 1024
_MOST_ADDRESSES: Final = 4096
_MOST_NAMELESS: Final = 256
_TRANSFER: Final = (TransferEnded, TransferStarted)
# How the bootloader calls itself where it boots over HTTP (rpi-eeprom#433), and below what the boot tree lies there.
_BOOTLOADER: Final = "rpiboot/"
_SERVED_BELOW: Final = "/boot/"
# Two that take turns at one address, or with one serial, do so within these seconds.
_TURNS_S: Final = 600.0
# For so long a DHCP server that a client took an address from is taken to be there.
_GIVES_S: Final = 900.0
# Told from the MAC or the older form of option 97, these say less than a boot ROM does.
_VAGUE: Final = frozenset({"Raspberry Pi", "Pi 3B+ or earlier"})
# How old `last` may grow before it is set anew: a rack of Pis asks for ten thousand files a second.
_FRESH_S: Final = 1.0


class Sightings:
    """At most 1024 Pis beside those of the fleet, and 4096 addresses; those seen last stay, by the second.

    `members` are the serials of the fleet, which no flood of made-up ones drives out, `written` serials by MAC as
    fleet.toml says them; both are set anew as it changes. `changed` counts up with every change worth keeping.
    `addresses` and `macs` remember who took whose address, and which board told whose serial.
    """

    def __init__(self) -> None:
        self.members: Collection[str] = ()
        self.written: Mapping[str, str] = {}
        self.changed = 0
        self.addresses = Swaps(_TURNS_S)
        self.macs = Swaps(_TURNS_S)
        self._giver = ("", 0.0)
        self._neighbours: Mapping[str, str] = {}  # addresses by MAC
        self._pis: OrderedDict[str, Spotted] = OrderedDict()
        self._serial_of: OrderedDict[str, str] = OrderedDict()  # by MAC
        self._at: OrderedDict[str, Place] = OrderedDict()  # by address
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
            return whose(event.path, place, now)
        if isinstance(event, DhcpHeard):
            return self._dhcp(event, now)
        if isinstance(event, LeaseGranted):
            return self._leased(event, now)
        return self._boots_by_http(event, now) if isinstance(event, HttpServed) else self._up(event, now)

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
        mac, model = self._nameless.get(tail(place.mac), ("", ""))
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

    def _asked(self, client: str, path: str, place: Place | None, now: float) -> str | None:
        """Take a request for a file: its folder says whose it is, by serial or by MAC (reference 3.4)."""
        folder, slash, name = path.partition("/")
        serial = serial_in(folder) if slash and name else ""
        if serial:
            return self._keep(serial, now, address=client, folder=f"{folder}/")
        mac = mac_in(folder) if slash and name else ""
        if not mac:
            return whose(path, place, now)
        known = self.serial_of(mac)
        if known:
            return self._keep(known, now, mac=mac, address=client, folder=f"{folder}/")
        put(self._at, client, Place(f"{folder}/", mac=mac), _MOST_ADDRESSES)
        return None

    def _boots_by_http(self, event: HttpServed, now: float) -> str | None:
        """Take a request of a bootloader's; what else asks for these files are people (reference 4.4)."""
        if event.kind != "boot" or not event.user_agent.startswith(_BOOTLOADER):
            return None
        return self._asked(event.client, event.path.removeprefix(_SERVED_BELOW), self._at.get(event.client), now)

    def _up(self, event: Event, now: float) -> str | None:
        """Take what a running Pi tells. An address is its own by that only where it was known to be."""
        if isinstance(event, PhonedHome):
            self._keep(event.serial, now, hostname=event.hostname)
        elif not isinstance(event, RootMounted):
            return None
        place = self._at.get(event.client)
        if place is not None and place.pi is not None and place.pi.serial == event.serial:
            self._moves(place.pi, event.client)
        return event.serial

    def _leased(self, event: LeaseGranted, now: float) -> str | None:
        """Take an address that was leased; a Pi goes on to ask for files from it."""
        serial = event.serial or self.serial_of(event.mac)
        if not serial:
            return None
        return self._keep(serial, now, mac=event.mac, address=event.address, folder=f"{serial}/")

    def _dhcp(self, event: DhcpHeard, now: float) -> str | None:
        mac, model = event.mac, event.model or ""
        if event.kind == "REQUEST" and event.server and event.requested:
            self._giver = (event.server, now)
        serial = event.serial or self.serial_of(mac)
        if not serial:
            if model:
                put(self._nameless, tail(mac), (mac, model), _MOST_NAMELESS)
            return None
        pi = self._pis.get(serial)
        if event.serial or model:
            vague = pi is not None and pi.model and model in _VAGUE
            self._keep(serial, now, mac=mac, model="" if vague else model)
            pi = self._pis[serial]
        if pi is not None and event.requested:
            self._may_be_at(pi, event.requested)
        return serial

    def _may_be_at(self, pi: Spotted, address: str, *, sure: bool = False) -> None:
        """Take it that a Pi may be at an address where nothing was asked from yet; `sure`: its MAC is there now."""
        place = self._at.get(address)
        free = place is None or place.pi is None or place.pi.address != address
        if (free or sure) and (place is None or place.pi is not pi):
            self._leaves(place, pi, address)
            put(self._at, address, Place(f"{pi.serial}/", pi), _MOST_ADDRESSES)
        elif place is not None:
            place.doubtful = place.pi is not pi

    def is_clear(self, address: str) -> bool:
        """Whether it is known who is at an address, without a doubt."""
        place = self._at.get(address)
        return place is not None and not place.doubtful and bool(place.pi or self.serial_of(place.mac))

    def _leaves(self, place: Place | None, pi: Spotted, address: str) -> None:
        """Somebody else is at an address by now: it is not the one's that was there before."""
        before = place.pi if place is not None else None
        if before is not None and before is not pi and before.address == address:
            before.address = ""
            self.changed += 1

    def _moves(self, pi: Spotted, address: str) -> None:
        if pi.address != address:
            pi.address = address
            self.changed += 1

    def neighbours(self, table: Mapping[str, str]) -> None:
        """Take the kernel's neighbour table, MACs by address: who is where, though nothing was asked from there."""
        self._neighbours = {mac: address for address, mac in table.items()}
        at: dict[str, set[str]] = {}
        for address, mac in table.items():
            place = self._at.get(address)
            if place is not None and place.pi is not None:
                at.setdefault(mac, set()).add(place.pi.serial)
        for address, mac in table.items():
            place, pi = self._at.get(address), self._pis.get(self.serial_of(mac) or "")
            if pi is not None:
                self._may_be_at(pi, address, sure=True)
            elif place is not None and place.pi is not None and not place.pi.mac and len(at[mac]) == 1:
                # A MAC with several Pis behind it is a router's.
                place.pi.mac = mac
                self._belongs(mac, place.pi)
                self.changed += 1

    def neighbour(self, serial: str) -> str:
        """The address at which the neighbour table had the MAC of a Pi; empty where it had not."""
        return self._neighbours.get(self.mac_of(serial) or "", "")

    def giver(self, now: float) -> str:
        """A DHCP server that a client took an address from within the last quarter of an hour."""
        server, at = self._giver
        return server if now - at < _GIVES_S else ""

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
            pi = Spotted(serial, first=now)
            self.changed += 1
            # The MAC of a Pi 3B ends as its serial does (reference 2.3).
            nameless = self._nameless.pop(serial[-6:], None)
            if nameless is not None and not mac:
                mac, model = nameless
        self._pis[serial] = pi
        self._pis.move_to_end(serial)
        spare_members(self._pis, self.members, _MOST)
        pi.last = now
        if mac and pi.mac and pi.mac != mac:
            self.macs.take(serial, pi.mac, mac, now)
        told = {"mac": mac, "model": model, "address": address, "hostname": hostname}
        for name, value in told.items():
            if value and getattr(pi, name) != value:
                setattr(pi, name, value)
                self.changed += 1
        if mac:
            self._belongs(mac, pi)
        if address:
            place = self._at.get(address)
            if place is not None and place.pi is not None and place.pi is not pi:
                self.addresses.take(address, place.pi.serial, serial, now)
            self._leaves(place, pi, address)
            put(self._at, address, Place(folder, pi), _MOST_ADDRESSES)
        return serial

    def _belongs(self, mac: str, pi: Spotted) -> None:
        """Join a MAC to a Pi; a network adapter that was another's is that one's no more."""
        before = self._pis.get(self._serial_of.get(mac, ""))
        if before is not None and before is not pi and before.mac == mac:
            before.mac = ""
        put(self._serial_of, mac, pi.serial, _MOST)

    def to_json(self) -> list[dict[str, Any]]:
        """The shape that is kept in state/seen.json."""
        return [asdict(seen) for seen in self.all()]

    def restore(self, kept: Iterable[Seen]) -> None:
        """Take what an earlier run kept; what was seen since stays."""
        addresses, macs = set(self._at), set(self._serial_of)
        for seen in kept:
            if seen.serial in self._pis:
                continue
            pi = Spotted(seen.serial, seen.mac, seen.model, seen.address, seen.first, seen.last, seen.hostname)
            self._pis[seen.serial] = pi
            if seen.mac and seen.mac not in macs:
                put(self._serial_of, seen.mac, seen.serial, _MOST)
            if seen.address and seen.address not in addresses:
                put(self._at, seen.address, Place(f"{seen.serial}/", pi), _MOST_ADDRESSES)

    def follow(self, kept: Iterable[Seen]) -> None:
        """Take what another host keeps of the same Pis: what it saw later, and what is not known here."""
        for seen in kept:
            own = self._pis.get(seen.serial)
            if own is None:
                self.restore([seen])
                continue
            later = seen.last > own.last
            for name in ("mac", "model", "address", "hostname"):
                value = getattr(seen, name)
                if value and (later or not getattr(own, name)):
                    setattr(own, name, value)
            own.first, own.last = min(own.first, seen.first), max(own.last, seen.last)
            if seen.mac and own.mac == seen.mac:
                put(self._serial_of, seen.mac, seen.serial, _MOST)
            place = self._at.get(seen.address)
            if seen.address and own.address == seen.address and (place is None or place.pi is not own):
                put(self._at, seen.address, Place(f"{seen.serial}/", own), _MOST_ADDRESSES)
