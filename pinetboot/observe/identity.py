"""Which Pi is behind an address: MAC, serial and IP address joined from what the servers saw.

Belongs here: remembering, bounded in size because anyone on the network can add to it. Nothing here is a proof.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from pinetboot.events import DhcpHeard, Event, Outcome, TransferEnded, TransferStarted

_SERIAL_FOLDER = re.compile(r"([0-9a-f]{8})/.")
_MAC_FOLDER = re.compile(r"([0-9a-f]{2}(?:-[0-9a-f]{2}){5})/.")
_MOST = 4096


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of one machine; None where it is not."""

    serial: str | None = None
    mac: str | None = None
    model: str | None = None


class Identities:
    """At most 4096 machines and as many addresses; the ones seen last stay."""

    def __init__(self) -> None:
        self._serial_of: OrderedDict[str, str] = OrderedDict()  # by MAC
        self._mac_of: OrderedDict[str, str] = OrderedDict()  # by serial
        self._model_of: OrderedDict[str, str] = OrderedDict()  # by MAC
        self._folder_of: OrderedDict[str, Sighting] = OrderedDict()  # by address: the serial or MAC in a path

    def learn(self, event: Event) -> None:
        """Take what an event tells of who is who."""
        match event:
            case DhcpHeard(mac=mac, serial=serial, model=model):
                if serial:
                    _keep(self._serial_of, mac, serial)
                    _keep(self._mac_of, serial, mac)
                if model:
                    _keep(self._model_of, mac, model)
            case TransferStarted(client=client, path=path):
                self._path(client, path)
            case TransferEnded(client=client, path=path, outcome=Outcome.MISSING):
                self._path(client, path)

    def of_address(self, address: str) -> Sighting | None:
        """Who was last seen at an IP address."""
        folder = self._folder_of.get(address)
        if folder is None:
            return None
        serial = folder.serial or self._serial_of.get(folder.mac or "")
        mac = folder.mac or self._mac_of.get(folder.serial or "")
        return Sighting(serial, mac, self._model_of.get(mac or ""))

    def _path(self, client: str, path: str) -> None:
        if folder := _SERIAL_FOLDER.match(path):
            _keep(self._folder_of, client, Sighting(serial=folder[1]))
        elif folder := _MAC_FOLDER.match(path):
            _keep(self._folder_of, client, Sighting(mac=folder[1].replace("-", ":")))


_T = TypeVar("_T")


def _keep(kept: OrderedDict[str, _T], key: str, value: _T) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MOST:
        kept.popitem(last=False)
