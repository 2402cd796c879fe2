"""Which Pi is behind an address: MAC, serial and IP address joined from what the servers saw.

Belongs here: remembering, bounded in size because anyone on the network can add to it. Nothing here is a proof.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

from pinetboot.events import DhcpHeard, Event, Outcome, TransferEnded, TransferStarted

_SERIAL_FOLDER = re.compile(r"([0-9a-f]{8})/.")
_MAC_FOLDER = re.compile(r"([0-9a-f]{2}(?:-[0-9a-f]{2}){5})/.")
_MOST = 4096


@dataclass(slots=True)
class Sighting:
    """What is known of one machine; None where it is not."""

    serial: str | None = None
    mac: str | None = None
    model: str | None = None


class Identities:
    """At most 4096 machines by MAC and as many addresses; the ones seen last stay."""

    def __init__(self) -> None:
        self._by_mac: OrderedDict[str, Sighting] = OrderedDict()
        self._by_serial: OrderedDict[str, Sighting] = OrderedDict()
        self._by_address: OrderedDict[str, Sighting] = OrderedDict()

    def learn(self, event: Event) -> None:
        """Take what an event tells of who is who."""
        match event:
            case DhcpHeard(mac=mac, serial=serial, model=model) if serial or model:
                sighting = self._of(serial, mac)
                sighting.model = model or sighting.model
            case TransferStarted(client=client, path=path):
                self._path(client, path)
            case TransferEnded(client=client, path=path, outcome=Outcome.MISSING):
                self._path(client, path)

    def of_address(self, address: str) -> Sighting | None:
        """Who was last seen at an IP address."""
        return self._by_address.get(address)

    def _path(self, client: str, path: str) -> None:
        if folder := _SERIAL_FOLDER.match(path):
            self._keep(self._by_address, client, self._of(folder[1], None))
        elif folder := _MAC_FOLDER.match(path):
            self._keep(self._by_address, client, self._of(None, folder[1].replace("-", ":")))

    def _of(self, serial: str | None, mac: str | None) -> Sighting:
        sighting = (self._by_serial.get(serial) if serial else None) or (self._by_mac.get(mac) if mac else None)
        if sighting is None:
            sighting = Sighting()
        if serial:
            sighting.serial = serial
            self._keep(self._by_serial, serial, sighting)
        if mac:
            sighting.mac = mac
            self._keep(self._by_mac, mac, sighting)
        return sighting

    @staticmethod
    def _keep(kept: OrderedDict[str, Sighting], key: str, sighting: Sighting) -> None:
        kept[key] = sighting
        kept.move_to_end(key)
        if len(kept) > _MOST:
            kept.popitem(last=False)
