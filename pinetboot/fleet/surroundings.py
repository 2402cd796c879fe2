"""A quick look at everything that the fleet is made from, to see whether anything changed.

Belongs here: a few stats and small files, cheap enough for every second. It follows links, so that a mounted ConfigMap
that swaps one is noticed, and needs no notification, which neither NFS nor a container's mounts give reliably.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pinetboot.fleet import state, store
from pinetboot.fleet.names import LOADER
from pinetboot.image import library


@dataclass(frozen=True, slots=True)
class Image:
    """One image that stands. `added` is RFC 3339 text, which sorts; `has_loader`: it has a bootcode.bin."""

    name: str
    identity: str
    added: str
    has_loader: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Equal to another as long as nothing changed."""

    fleet: tuple[int, ...] | None
    images: tuple[Image, ...]
    upgrades: tuple[str, ...]
    asked: int


def look(data: Path) -> Surroundings:
    """Look at a data directory."""
    try:
        found = store.path_in(data).stat()
        fleet = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    except OSError:
        fleet = None
    images = tuple(
        Image(record.name, record.identity, record.added, (data / "images" / record.name / "boot" / LOADER).is_file())
        for record in library.images(data)
    )
    return Surroundings(fleet, images, state.upgrades(data), state.asked(data))
