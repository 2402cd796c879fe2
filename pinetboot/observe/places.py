"""What an address, and the folder that was asked for from it, tell of whose it is (reference 3.4).

Belongs here: reading names, and keeping what was seen last. Who is who is joined in `sightings`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, TypeVar

from pinetboot.observe.seen import Spotted, is_serial

_HEX: Final = "0123456789abcdef"
_MAC_SIZE: Final = len("dc-a6-32-2e-f8-ed")
_OCTETS: Final = 12
# For so long a request in the root of the tree, which names nobody, is one of the Pi that asked from there before.
_SAME_BOOT_S: Final = 300.0

T = TypeVar("T")


@dataclass(slots=True)
class Place:
    """What was asked for last at an address: the folder, its slash included, and whose it is by serial or by MAC.

    `doubtful`: another Pi requested that address since.
    """

    folder: str
    pi: Spotted | None = None
    mac: str = ""
    doubtful: bool = False


def whose(path: str, place: Place | None, now: float) -> str | None:
    """Say whose request a path is that names nobody by itself, or nobody new."""
    if place is None or place.pi is None:
        return None
    if path.startswith(place.folder) or now - place.pi.last < _SAME_BOOT_S:
        return place.pi.serial
    return None


def serial_in(folder: str) -> str:
    """Read the serial that a folder is named by, in either case; empty where it is none."""
    serial = folder.lower()
    return serial if is_serial(serial) else ""


def mac_in(folder: str) -> str:
    """Read the MAC that a folder is named by, `dc-a6-32-2e-f8-ed`; empty where it is none."""
    if len(folder) != _MAC_SIZE or folder[2::3] != "-----":
        return ""
    mac = folder.lower().replace("-", ":")
    octets = mac.replace(":", "")
    return mac if len(octets) == _OCTETS and not octets.strip(_HEX) else ""


def tail(mac: str) -> str:
    """Give the last six digits of a MAC."""
    return mac.replace(":", "")[-6:]


def put(kept: OrderedDict[str, T], key: str, value: T, most: int) -> None:
    """Keep as the latest, and let the oldest go."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
