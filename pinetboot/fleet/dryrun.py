"""A Pi's boot tried out on disk: the firmware's own questions, answered by a look at the tree that is served.

Belongs here: the answers. Which questions a model asks, and where it stops, is `pi.firmware`'s, as in a rehearsal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pinetboot.boot.names import BadName, normalise
from pinetboot.boot.reading import ContentChanged, read_exactly
from pinetboot.boot.resolver import BootTree, Missing, NotServed
from pinetboot.causes import Cause
from pinetboot.pi import firmware
from pinetboot.pi.asking import Ask, Booted, Stopped
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.profiles import PROFILES, Profile

# By the name of a family; the network does not tell a 3B from a 3B+ (reference 2.3), and one device tree is enough.
_MODELS: Final = {"pi3": ("pi3bp", "pi3b-rom"), "pi4": ("pi4",), "pi5": ("pi5",)}
_KEPT: Final = 64 << 10  # config.txt and cmdline.txt are read; of larger files the size is enough


@dataclass(frozen=True, slots=True)
class Tried:
    """How far a model comes: `cause` where it stops, else its command line, None where boot.img holds that."""

    cause: Cause | None = None
    cmdline: bytes | None = None


def boots(tree: BootTree, family: str, serial: str) -> Tried | None:
    """Try a boot from a tree as a Pi of that family (pi3, pi4, pi5) does; None for any other."""
    tried = None
    for model in _MODELS.get(family, ()):
        tried = _boot(tree, PROFILES[model], serial)
        if tried.cause is None:
            break
    return tried


def _boot(tree: BootTree, profile: Profile, serial: str) -> Tried:
    # Without an EEPROM: whether one takes an update that lies there is told by itself.
    boot = firmware.boot(profile, serial, "this host")
    try:
        ask = next(boot)
        while True:
            ask = boot.send(_answer(tree, ask))
    except StopIteration as end:
        booted: Booted = end.value
        return Tried(cmdline=None if booted.ramdisk else booted.cmdline)
    except Stopped as stop:
        return Tried(stop.cause)


def _answer(tree: BootTree, ask: Ask) -> Fetched:
    try:
        file = tree.open(normalise(ask.name))
        content = b"" if ask.probe or file.size > _KEPT else read_exactly(file, 0, file.size)
    except (BadName, Missing):
        return Fetched(ask.name, Result.MISSING)
    except NotServed as error:
        return Fetched(ask.name, Result.ERROR, message=str(error))
    except (OSError, ContentChanged):
        return Fetched(ask.name, Result.ERROR, message="the storage failed")
    return Fetched(ask.name, Result.OK, file.size, content)
