"""What a Pi lacks: from what fleet.toml wants and what is on disk to the next step.

Belongs here: the decision alone. A Pi moves to another image when fleet.toml names another, and to a newer one of the
same name only when somebody asked for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pinetboot.fleet.pi import Pi


@dataclass(frozen=True, slots=True)
class Held:
    """One generation on disk, or one image: its number (0 for an image), and what it is of."""

    number: int
    image: str
    identity: str
    root: str = ""
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class Make:
    """A generation is to be made from an image, and then booted."""

    image: str


@dataclass(frozen=True, slots=True)
class Boot:
    """A finished generation is to be booted; where it is booted already, its managed files are brought up to date."""

    number: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing can be done, and why; what to do about it."""

    why: str
    do: str


Step = Make | Boot | Nothing


def image_for(pi: Pi, images: Sequence[str], default: str) -> str:
    """Name the image of a Pi: its own, else the default, else the only one there is, else none (empty)."""
    return pi.image or default or (images[0] if len(images) == 1 else "")


def next_step(
    pi: Pi,
    name: str,
    images: Sequence[Held],
    generations: Sequence[Held],
    current: int | None,
    *,
    upgrade: bool,
) -> Step:
    """Decide for one Pi. `name` is image_for() it; `upgrade` says that the newest of that name was asked for."""
    image = next((one for one in images if one.image == name), None)
    fitting = [one for one in generations if one.image == name and one.root == pi.root and not one.rejected]
    newest = max(fitting, key=lambda one: one.number, default=None)
    if upgrade and image is not None and not (newest and newest.identity == image.identity):
        return Make(name)
    booted = next((one for one in fitting if one.number == current), None)
    if booted is not None and not upgrade:
        # A newer one that was finished and never booted is the upgrade that a restart came in the way of.
        return Boot(max(booted.number, newest.number if newest else 0))
    if newest is not None:
        return Boot(newest.number)
    if not name:
        known = f"there are {', '.join(one.image for one in images)}" if images else "there are no images"
        return Nothing(
            f"no image is named for it, and {known}",
            f"Run `pinetboot pi set {pi.serial} --image NAME`, or name one as fleet.default_image."
            if images
            else "Run `pinetboot image add SOURCE`.",
        )
    if image is None:
        return Nothing(f"there is no image {name}", f"Run `pinetboot image add SOURCE --name {name}`.")
    return Make(name)


def superseded(
    numbers: Sequence[int], current: int, booted: int | None, keep: int, mounted: Collection[int] = ()
) -> list[int]:
    """Say which generations may be removed: beyond the newest `keep`, and left behind by the Pi for good.

    `booted` is the one that the Pi booted last. Until it is known, or while it is older, its root may be mounted still.
    `mounted` are those that somebody is known to have mounted, or may have.
    """
    kept = {*sorted(numbers)[-keep:], current, *mounted}
    return [number for number in sorted(numbers) if number not in kept and booted is not None and number < booted]
