"""Keeping nfsd's exports as the fleet has them: when to look, what to tell, and what must wait for it.

Belongs here: the order of things. A generation is exported before its Pi is sent to it; a Pi's address is exported as
soon as it is seen; the file is written before nfsd is told, and again after what went was withdrawn, so that whatever
is cut off, a restart of the host has all that is mounted. Nothing is withdrawn at stop, nor before fleet.toml was read.
In standby (server.address on another host) the same is exported: it is the same on every node, and ready for the move.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.events import DhcpHeard, Event, ExportsChanged, HttpServed, NfsTold, Sink, TransferStarted
from pinetboot.fleet import trees
from pinetboot.fleet.inventory import Inventory
from pinetboot.nfs import exports, kernel, modes, standing, wanted
from pinetboot.nfs.clients import Snapshot
from pinetboot.nfs.daemons import Daemons
from pinetboot.nfs.exports import Changes, Export
from pinetboot.nfs.mounts import Mounts
from pinetboot.nfs.wanted import Terms, Wanted, Whereabouts
from pinetboot.observe.sightings import Sightings
from pinetboot.threads import Busy, Pool

T = TypeVar("T")

LOOK_S: Final = 1.0
AGAIN_S: Final = 10.0
BEFORE_BOOT_S: Final = 5.0


class Fleet(Protocol):
    """What is asked of the one who keeps the fleet. `read`: fleet.toml was, at least once."""

    inventory: Inventory
    sightings: Sightings
    read: bool
    booted: dict[str, int]

    @property
    def kept(self) -> bool:
        """Whether it is this daemon that keeps it, and not another one over the same data directory."""


class NfsServer:
    """Exports of one data directory. Every method is called on the loop's thread."""

    def __init__(self, config: Config, pool: Pool, fleet: Fleet, sink: Sink) -> None:
        self.config = config
        self.word = ""
        self._pool = pool
        self._fleet = fleet
        self._sink = sink
        self._data = config.data
        self._real = ""
        self._places = Whereabouts()
        self._mounts = Mounts("")
        self._snapshot = Snapshot()
        self._daemons = Daemons(config.nfs, config.data) if config.nfs.mode == "daemons" else None
        self._ready = False
        self._looked = False
        self._lines: tuple[Export, ...] = ()
        self._coming: dict[str, int] = {}
        self._applied: tuple[Wanted, float] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._told: set[str] = set()
        self._refusals: list[str] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, so that the start block can say what holds; then begin. What is missing is no fault of serving."""
        self._real = await self._in_thread(partial(_real, self._data))
        nfs = self.config.nfs
        seen = await self._in_thread(kernel.look)
        self._mounts = Mounts(nfs.path if nfs.mode == "external" and nfs.path else self._real)
        self.word = modes.word(nfs, seen)
        if nfs.mode != "off":
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop looking. What is exported stays exported, and what runs goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._answer(self._waiting)

    def configure(self, config: Config) -> None:
        """Take settings that may change while running: options and clients."""
        self.config = config
        self._applied = None
        self._wake.set()

    def take(self, event: Event, serial: str) -> None:
        """Take from an event where the Pi is that it is about."""
        address = ""
        if isinstance(event, TransferStarted | HttpServed):
            # A rehearsal on this host is no Pi.
            address = event.client if event.client != event.server else ""
        elif isinstance(event, DhcpHeard):
            address = event.requested
        if address and self._places.learn(serial, address, asyncio.get_running_loop().time()):
            self._wake.set()

    async def before_boot(self, serial: str, number: int) -> None:
        """Wait until a generation that a Pi is about to be sent to is exported; not for long."""
        if not self._ready:
            return
        self._coming[serial] = number
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._wake.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(waiting, BEFORE_BOOT_S)

    def mounted(self, serial: str) -> frozenset[int] | None:
        """List the generations of a Pi that a client may have mounted; None as long as nobody has looked."""
        if self.config.nfs.mode == "off":
            return frozenset()
        return self._mounts.generations(serial, self._lines) if self._looked else None

    async def _run(self) -> None:
        while True:
            waiting, self._waiting = self._waiting, []
            self._wake.clear()
            pause_s = LOOK_S
            try:
                pause_s = await self._look()
            except OperatorError as error:
                self._tell(str(error).replace("\n ", "."))
                pause_s = AGAIN_S
            except (OSError, Busy) as error:
                self._tell(f"exports cannot be looked at: {error}")
                pause_s = AGAIN_S
            self._answer(waiting)
            # Not wait_for(): in Python 3.11 it loses a cancel that comes together with what it waits for.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    async def _look(self) -> float:
        """Look at everything once; returns after how many seconds to look again. Raises OperatorError and OSError."""
        self._snapshot = await self._in_thread(partial(kernel.snapshot, self._snapshot))
        at = asyncio.get_running_loop().time()
        for mounted in self._mounts.take(self._snapshot, at, self._own(), self._fleet.booted, self._lines):
            self._sink(mounted)
        if self.config.nfs.mode != "external" and not self._ready:
            self._ready = await self._begin()
        self._looked = True
        if not self._ready:
            return LOOK_S if self.config.nfs.mode == "external" else AGAIN_S
        if self._fleet.read:
            await self._bring_up_to_date()
        if self._daemons is not None and (self._fleet.read or self._lines):
            for told in await self._in_thread(partial(self._daemons.look, at)):
                self._sink(NfsTold(told.well, told.what))
        return LOOK_S

    async def _begin(self) -> bool:
        """Get ready to export; says whether all is there for it. Raises OperatorError."""
        nfs = self.config.nfs
        if self._daemons is not None:
            await self._in_thread(self._daemons.prepare)
        seen = await self._in_thread(kernel.look)
        lacking = modes.lacking(nfs, seen)
        if lacking:
            self._tell(lacking)
        if not modes.may_export(nfs, seen):
            return False
        self._lines = tuple(await self._in_thread(partial(standing.lines, self._data)))
        if self._daemons is not None and self._lines:
            # Until fleet.toml was read, running Pis have what they had.
            said = await self._in_thread(partial(kernel.export, self._lines))
            self._refused(said)
        return True

    def _own(self) -> dict[str, str]:
        """Whose address is whose, as far as it is known."""
        now = asyncio.get_running_loop().time()
        found = {}
        for pi in self._fleet.inventory.pis:
            for address in (pi.address,) if pi.address else self._addresses(pi.serial, now):
                found[address] = pi.serial
        return found

    def _addresses(self, serial: str, now: float) -> tuple[str, ...]:
        """Where a Pi is: where it was seen since we started, else where it was before."""
        places = self._places.of(serial, now)
        seen = self._fleet.sightings.of(serial)
        if places or seen is None or not seen.address:
            return places
        self._places.learn(serial, seen.address, now)
        return self._places.of(serial, now)

    async def _bring_up_to_date(self) -> None:
        now = asyncio.get_running_loop().time()
        pis = self._fleet.inventory.pis
        places = {pi.serial: self._addresses(pi.serial, now) for pi in pis}
        found, reached = await self._in_thread(partial(self._wanted, places, dict(self._fleet.booted)))
        for serial in reached:
            self._coming.pop(serial, None)
        if self._applied is not None and self._applied[0] == found and now - self._applied[1] < AGAIN_S:
            return
        changes, said = await self._in_thread(partial(self._apply, found))
        # What waits for its Pi to be seen is not told: it is no fault.
        self._refused(said)
        removed = tuple(exports.argument(export) for export in changes.withdraw)
        if changes.add or removed:
            self._sink(ExportsChanged(tuple(exports.argument(export) for export in changes.add), removed))
        self._applied = found, now

    def _wanted(self, places: Mapping[str, tuple[str, ...]], booted: Mapping[str, int]) -> tuple[Wanted, list[str]]:
        """Look at what is to be exported, and which Pis boot by now what they were about to be sent to."""
        nfs = self.config.nfs
        pis = self._fleet.inventory.pis
        coming = dict(self._coming)
        stands = standing.look(self._data, pis, [booted, coming])
        needs = wanted.needs_fsid(kernel.kind_of(Path(self._real)))
        terms = Terms(nfs.options, nfs.clients, needs)
        reached = [serial for serial, number in coming.items() if trees.current(self._data, serial) == number]
        return wanted.wanted(self._real, pis, stands, places, terms), reached

    def _apply(self, found: Wanted) -> tuple[Changes, list[str]]:
        """Make it so, in the order that a crash at any point does no harm to. Raises OperatorError."""
        actual = {export.key: export for export in kernel.listed()}
        users = {export.key for export in kernel.users()}
        fit = [export for export in found.exports if not exports.unwritable(export.path)]
        unfit = {why for export in found.exports if (why := exports.unwritable(export.path))}
        changes = exports.changes(fit, self._lines, actual, self._mounts.in_use, users)
        kernel.write((*changes.standing, *changes.gone))
        said = kernel.export(changes.add) if changes.add else []
        if changes.withdraw:
            said += kernel.withdraw(changes.withdraw)
        kernel.write(changes.standing)
        self._lines = changes.standing
        said += [f"{self._real} {why}" for why in sorted(unfit)]
        left = {export.path for export in changes.standing} - {export.path for export in changes.add}
        self._refusals = [line for line in self._refusals if any(path in line for path in left)] + said
        if self._fleet.kept:
            standing.keep(self._data, changes.standing, self._refusals)
        return changes, said

    def _refused(self, said: list[str]) -> None:
        for line in said:
            self._tell(f"exportfs says: {line}")

    def _tell(self, what: str) -> None:
        """Tell what somebody should look at, once."""
        if what not in self._told:
            self._told.add(what)
            self._sink(NfsTold(well=False, what=what))

    @staticmethod
    def _answer(waiting: list[asyncio.Future[None]]) -> None:
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self._pool.submit("nfs", work)


def _real(data: Path) -> str:
    return str(data.resolve())
