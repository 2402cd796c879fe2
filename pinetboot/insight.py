"""What is found out about Pis beside what the servers see: addresses, bootloader logs, and the faults of their trees.

Belongs here: when to look. What follows is judged in `observe`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from pinetboot import causes
from pinetboot.causes import Cause, Finding
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.events import ConsoleHeard, Event, InterfaceChanged, Sink
from pinetboot.fleet import store
from pinetboot.fleet.alike import alike
from pinetboot.fleet.examine import attempt, findings, harm
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.subject import gather
from pinetboot.fleet.told import some
from pinetboot.net.links import Links, LinkWatch
from pinetboot.nfs import check as nfs
from pinetboot.observe.identity import Identity
from pinetboot.observe.netconsole import whose
from pinetboot.observe.netconsole_server import NetconsoleServer
from pinetboot.overview import Overview
from pinetboot.threads import Busy, Pool

_FRESH_S: Final = 60.0
_LIMIT_S: Final = 10.0
_MOST_AT_ONCE: Final = 16
_MOST_KEPT: Final = 256
_ALIKE_EVERY_S: Final = 600.0
_PLACE: Final = "insight"


class Insight:
    """Finds things out for `overview`. start() and stop() belong to one running loop.

    `take` is given netconsole's lines, `again` what was seen of somebody unknown, once it may be known.
    """

    def __init__(
        self, config: Config, pool: Pool, overview: Overview, watch: LinkWatch, *, take: Sink, again: Sink
    ) -> None:
        self._config = config
        self._pool = pool
        self._overview = overview
        self._watch = watch
        self._take = take
        self.identity = Identity(watch.neighbours, overview.sightings, again)
        self._console = NetconsoleServer(config, take) if config.netconsole.enabled else None
        self._looked_at: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        overview.boots.examine = self.examine
        overview.own_addresses = self._own_addresses

    @property
    def listens(self) -> bool:
        """Whether the bootloader's log is listened for."""
        return self._console is not None

    def start(self) -> None:
        """Begin. Raises OperatorError where the port of netconsole cannot be had."""
        if self._console is not None:
            self._console.start(self._watch.links)
        self._task = asyncio.get_running_loop().create_task(self._run())

    def follow(self, links: Links) -> None:
        """Listen on the interfaces that are there now."""
        if self._console is not None:
            for fault in self._console.follow(links):
                self._take(InterfaceChanged("", there=False, why=str(fault)))

    async def stop(self) -> None:
        """Look no more, and free the port."""
        self.identity.stop()
        if self._console is not None:
            self._console.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def take(self, event: Event, serial: str | None) -> None:
        """Take what was seen of the Pi with that serial; None where the event tells no one."""
        if isinstance(event, ConsoleHeard):
            overview = self._overview
            told = whose(event.text, overview.sightings.serial_of)
            known = overview.serial_of(event.client)
            overview.logs.take(event.client, event.text, told, known, time.monotonic())
        elif serial is None:
            self.identity.strange(event)

    async def examine(self, serials: Sequence[str]) -> None:
        """Look at the neighbour table, and at the trees and exports of Pis that stand still; not for long."""
        now = time.monotonic()
        stale = [one for one in serials if now - self._looked_at.get(one, float("-inf")) >= _FRESH_S][:_MOST_AT_ONCE]
        if not stale:
            return
        for serial in stale:
            self._looked_at[serial] = now
        await self.identity.look()
        with suppress(Busy, OSError, TimeoutError):
            async with asyncio.timeout(_LIMIT_S):
                found = await self._pool.submit(_PLACE, partial(_examined, self._config, stale))
            self._overview.found.update(found)
        while len(self._looked_at) > _MOST_KEPT:
            oldest = next(iter(self._looked_at))
            del self._looked_at[oldest]
            self._overview.found.pop(oldest, None)

    async def _run(self) -> None:
        """Look now and then for what must be one Pi's alone."""
        while True:
            pis = self._overview.inventory.pis
            with suppress(Busy, OSError):
                shared = await self._pool.submit(_PLACE, partial(alike, self._config.data, pis))
                self._overview.shared = _by_serial(shared)
            for _ in range(int(_ALIKE_EVERY_S)):
                await asyncio.sleep(1)
                if self._overview.inventory.pis is not pis:
                    break

    def _own_addresses(self) -> set[str]:
        return {str(own.ip) for link in self._watch.links.by_index.values() for own in link.addresses}


def _examined(config: Config, serials: Sequence[str]) -> dict[str, tuple[Finding, ...]]:
    """Look at Pis as `pinetboot check` does; what cannot be looked at tells nothing."""
    from_fleet: dict[str, Pi] = {}
    try:
        inventory = store.read(config)
        from_fleet = inventory.by_serial
        ground = gather(config, inventory)
    except OperatorError:
        return {}
    found = {}
    for serial in serials:
        pi = from_fleet.get(serial) or Pi(serial=serial)
        ones = findings(ground, pi)
        if serial in from_fleet:
            ones += attempt("NFS", partial(nfs.findings, config, config.data, serial))
        found[serial] = tuple(sorted((one for one in ones if one.rule), key=harm))
    return found


def _by_serial(shared: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[Cause, ...]]:
    found: dict[str, tuple[Cause, ...]] = {}
    for kind, serials in shared:
        for serial in serials:
            others = some([other for other in serials if other != serial])
            found[serial] = (*found.get(serial, ()), causes.shared_identity(kind, others))
    return found
