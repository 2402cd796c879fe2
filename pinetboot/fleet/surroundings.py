"""A quick look at everything that the fleet is made from, to see whether anything changed.

Belongs here: a few stats and small files, cheap enough for every second. It follows links, so that a mounted ConfigMap
that swaps one is noticed, and needs no notification, which neither NFS nor a container's mounts give reliably.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pinetboot import files
from pinetboot.config import Config
from pinetboot.fleet import plan, state, trees
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.names import LOADER
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.trial import wish
from pinetboot.image import library


@dataclass(frozen=True, slots=True)
class Image:
    """One image that stands. `added` is RFC 3339 text, which sorts; `has_loader`: it has a bootcode.bin.

    `boot_img`: Pis made from it have a boot.img where fleet.toml says nothing else.
    """

    name: str
    identity: str
    added: str
    has_loader: bool
    boot_img: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Equal to another as long as nothing changed."""

    fleet: tuple[int, ...] | None
    images: tuple[Image, ...]
    upgrades: tuple[str, ...]
    asked: int


def look(config: Config) -> Surroundings:
    """Look at a data directory, and at the fleet that is to be in it."""
    data = config.data
    images = tuple(
        Image(
            record.name,
            record.identity,
            record.added,
            (data / "images" / record.name / "boot" / LOADER).is_file(),
            record.boot_img,
        )
        for record in library.images(data)
    )
    return Surroundings(files.stamp(config.fleet_file), images, state.upgrades(data), state.asked(data))


def generations_of(data: Path, fleet: Inventory) -> dict[str, int]:
    """Say which generation each Pi boots, by serial, as far as it is one of ours."""
    found = {pi.serial: trees.current(data, pi.serial) for pi in fleet.pis}
    return {serial: number for serial, number in found.items() if number is not None}


def next_step(data: Path, pi: Pi, found: Surroundings, default_image: str) -> tuple[plan.Step, int | None, bool]:
    """Decide what a Pi lacks: the next step, which generation it boots now, and whether an upgrade was asked for."""
    images = [plan.Held(0, image.name, image.identity) for image in found.images]
    held = [
        plan.Held(one.number, one.image, one.identity, one.root, one.rejected)
        for one in trees.generations(data, pi.serial)
    ]
    name = plan.image_for(pi, [image.image for image in images], default_image)
    current = trees.current(data, pi.serial)
    upgrade = pi.serial in found.upgrades
    back = state.fallback(data, pi.serial)
    if (
        back is not None
        and not upgrade
        and back.wanted == wish(pi, name)
        and any(one.number == back.to for one in held)
    ):
        return plan.Boot(back.to), current, upgrade
    return plan.next_step(pi, name, images, held, current, upgrade=upgrade), current, upgrade


def loader(data: Path, images: Iterable[Image], default_image: str) -> Path | None:
    """Find a bootcode.bin for Pi 3s: the default image's, else the only one, else of the newest that has one."""
    found = [
        (image.name == default_image, image.added, data / "images" / image.name / "boot")
        for image in images
        if image.has_loader
    ]
    return max(found)[2] / LOADER if found else None
