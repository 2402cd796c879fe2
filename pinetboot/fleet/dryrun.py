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
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.firmware import Ask, Stopped
from pinetboot.pi.profiles import PROFILES

_KEPT: Final = 64 << 10  # config.txt and cmdline.txt are read; of larger files the size is enough


@dataclass(frozen=True, slots=True)
class Tried:
    """How far a model comes: `cause` where it stops, else its command line, None where boot.img holds that."""

    cause: Cause | None = None
    cmdline: bytes | None = None


def boots(tree: BootTree, model: str, serial: str) -> Tried | None:
    """Try a boot from a tree; None for a model whose firmware is not known step by step."""
    profile = PROFILES.get(model)
    if profile is None:
        return None
    boot = firmware.boot(profile, serial, "this host")
    try:
        ask = next(boot)
        while True:
            ask = boot.send(_answer(tree, ask))
    except StopIteration as end:
        booted: firmware.Booted = end.value
        return Tried(cmdline=None if booted.notes and not booted.cmdline else booted.cmdline)
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
