"""What the handlers ask: files, threads to read them in, who an address is, how the daemon is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from pinetboot.boot.resolver import BootTree
from pinetboot.events import Sink
from pinetboot.fleet.pi import Pi
from pinetboot.threads import Pool


@dataclass(frozen=True, slots=True)
class Seeded:
    """A Pi of the fleet, and the addresses that it is known by now; none: not known yet."""

    pi: Pi
    addresses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Seeds:
    """Where seeds come from. All but `folder_of` and `generation_of` answer from memory.

    `folder_of` gives the folder of a seed by its name, `generation_of` a Pi's current one ("" for none) by its serial;
    it may wait for the storage and is called in a thread. `serial_of` says whose an address is, `seed_of` finds a Pi of
    the fleet by its serial. `known` is false until the fleet was read. `told` is the setting server.address.
    """

    folder_of: Callable[[str], Path]
    serial_of: Callable[[str], str | None]
    seed_of: Callable[[str], Seeded | None]
    generation_of: Callable[[str], str]
    known: Callable[[], bool]
    told: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Pis:
    """What is told of Pis to everyone, in the shape of design 2.7. Both answer from memory.

    `all` gives every Pi, `one` a Pi by its serial with its past boots, None for one that nobody knows.
    """

    all: Callable[[], list[dict[str, Any]]]
    one: Callable[[str], dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Sources:
    """Handed to every handler in the application. `readiness` gives each service's state by name."""

    tree: BootTree
    seeds: Seeds
    pis: Pis
    pool: Pool
    readiness: Callable[[], dict[str, str]]
    sink: Sink


SOURCES = web.AppKey("SOURCES", Sources)
