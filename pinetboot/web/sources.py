"""What the handlers ask: files, threads to read them in, who an address is, how the daemon is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from pinetboot.boot.resolver import BootTree
from pinetboot.events import Sink
from pinetboot.fleet.pi import Machine, Pi
from pinetboot.fleet.starting import Start
from pinetboot.installer.release import Installer
from pinetboot.threads import Pool


@dataclass(frozen=True, slots=True)
class Seeded:
    """A Pi of the fleet, and the addresses that it is known by now; none: not known yet."""

    pi: Pi
    addresses: frozenset[str] = frozenset()


async def _nobody(_address: str) -> None:
    """Nothing is found out."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """Where seeds come from. All but `folder_of` and `generation_of` answer from memory.

    `folder_of` gives the folder of a seed by its name, `generation_of` a Pi's current one ("" for none) by its serial;
    it may wait for the storage and is called in a thread. `serial_of` says whose an address is, `seed_of` finds a Pi of
    the fleet by its serial. `known` is false until the fleet was read. `told` is the setting server.address. `meet`
    finds out who is at an address, and may take a second.
    """

    folder_of: Callable[[str], Path]
    serial_of: Callable[[str], str | None]
    seed_of: Callable[[str], Seeded | None]
    generation_of: Callable[[str], str]
    known: Callable[[], bool]
    told: Callable[[], str]
    meet: Callable[[str], Awaitable[None]] = _nobody

    async def who(self, address: str) -> str | None:
        """Say whose an address is, after a look at who is there where that is not known."""
        await self.meet(address)
        return self.serial_of(address)


class Shown(Protocol):
    """What is told of each Pi, or of each machine that is none, by its serial or MAC. It answers from memory."""

    def shown(self, name: str, /) -> dict[str, Any]:
        """Show it and its latest boot."""

    def mark(self, name: str, /) -> Hashable:
        """Give what is another value as soon as shown() would show something else; it costs less."""


class Pis(Shown, Protocol):
    """What is told of Pis to everyone, in the shape of design 2.7. All of it answers from memory."""

    def serials(self) -> list[str]:
        """Every Pi, in the order to show."""

    def knows(self, serial: str, /) -> bool:
        """Whether there is anything to tell of a Pi."""

    def one(self, serial: str, /) -> dict[str, Any] | None:
        """Show a Pi with the files of its latest boot, and its past boots; None for one that nobody knows."""

    def boot(self, serial: str, number: int, /) -> dict[str, Any] | None:
        """Show one boot with its files; None where it is not known."""


class Others(Shown, Protocol):
    """What is told of machines that are no Pi to everyone. All of it answers from memory."""

    def macs(self) -> list[str]:
        """Every machine, in the order to show."""

    def one(self, mac: str, /) -> dict[str, Any] | None:
        """Show one with the files of its present boot; None for one that nobody knows."""


async def _no_mac(_address: str) -> str:
    """Nobody is known."""
    return ""


@dataclass(frozen=True, slots=True)
class Machines:
    """Machines that are no Pi. `installers` and `start` are called in threads; all else answers without the storage.

    `of` finds one of fleet.toml by its MAC, `mac_at` the MAC that the kernel has for an address, empty for none.
    `start` says of the MAC of one of fleet.toml's Pis what any firmware would start of its boot tree. `loader` names
    the boot loader of an architecture, `preseeds` is the folder of preseeds. `seen` tells how far each came, None where
    nobody looks; `starts` is given the client and the path of each request of HTTP boot as it begins.
    """

    of: Callable[[str], Machine | None] = lambda _: None
    mac_at: Callable[[str], Awaitable[str]] = _no_mac
    installers: Callable[[], list[Installer]] = list
    start: Callable[[str], tuple[Pi, Start] | None] = lambda _: None
    loader: Callable[[int], str] = lambda _: ""
    preseeds: Path = Path("/nonexistent")
    seen: Others | None = None
    starts: Callable[[str, str], None] = lambda _, __: None


@dataclass(frozen=True, slots=True)
class Sources:
    """Handed to every handler in the application. `readiness` gives each service's state by name.

    `metrics` writes down all of them, in the text format of Prometheus.
    """

    tree: BootTree
    seeds: Seeds
    pis: Pis
    pool: Pool
    readiness: Callable[[], dict[str, str]]
    sink: Sink
    metrics: Callable[[], bytes]
    machines: Machines = field(default_factory=Machines)


SOURCES = web.AppKey("SOURCES", Sources)
