"""Making the fleet true: every Pi in fleet.toml gets what it lacks, in the background, again and again.

Belongs here: when to look and how much at once. What a Pi lacks is decided in `fleet.plan`, and done in `fleet.upkeep`.
Of several daemons over one data directory the one that `fleet.keeper` gives the claim to makes things; all others go by
what it made, so that each of them can serve at any moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from pinetboot.boot.generated import Served
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.events import (
    DhcpHeard,
    Event,
    FleetRead,
    HttpServed,
    Outcome,
    Sink,
    TransferEnded,
    TransferStarted,
)
from pinetboot.fleet import generation, state, store
from pinetboot.fleet.claim import Claim
from pinetboot.fleet.fallback import Fallbacks
from pinetboot.fleet.fence import Lost
from pinetboot.fleet.known import Known
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.roots import Roots
from pinetboot.fleet.surroundings import Surroundings, generations_of, look
from pinetboot.fleet.tenure import Tenure
from pinetboot.fleet.upkeep import Upkeep
from pinetboot.image import library
from pinetboot.threads import Busy, Pool

T = TypeVar("T")

LOOK_S: Final = 1.0
RETRY_S: Final = 60.0
_SAVE_S: Final = 5.0


async def _nothing(_kept: bool) -> None:
    """Nobody else has anything to keep."""


class Reconciler(Known):
    """Keeps a data directory as its fleet.toml says. start() and stop() belong to one running loop.

    `turned` is told when this daemon is the one that keeps it by now, and before it no longer is.
    """

    def __init__(self, config: Config, pool: Pool, served: Callable[[Pi, str], Served | None], sink: Sink) -> None:
        super().__init__()
        self.turned: Callable[[bool], Awaitable[None]] = _nothing
        self._config = config
        self.default_image = config.fleet.default_image
        self._data = config.data
        self._pool = pool
        self._sink = sink
        self.fallbacks = Fallbacks(config.data, self, self._in_thread, sink)
        self._upkeep = Upkeep(config, self, self._in_thread, served, sink, needed=self.fallbacks.good)
        self.updates = self._upkeep.updates
        self.tenure = Tenure(config.data, pool, sink, came=self._came, leave=self._leave)
        self._taken: Claim | None = None
        self._followed = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._working: dict[str, asyncio.Task[None]] = {}
        self._next: dict[str, tuple[Pi, Surroundings, Claim]] = {}
        self._saved = (0, 0.0)
        self._progress_told = 0.0
        self._retry_at = 0.0
        self._stamp: tuple[int, ...] = ()

    @property
    def config(self) -> Config:
        """The settings; new ones are looked at soon."""
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        self._config = self._upkeep.config = config
        self.default_image = config.fleet.default_image
        self.changed()

    @property
    def roots(self) -> Roots:
        """Who exports the Pis' trees."""
        return self._upkeep.roots

    @roots.setter
    def roots(self, roots: Roots) -> None:
        self._upkeep.roots = roots

    @property
    def kept(self) -> bool:
        """Whether this daemon is the one that keeps the fleet, as far as it knows."""
        return self._taken is not None and not self._taken.lost

    def start(self) -> None:
        """Begin to look; returns at once."""
        self.tenure.start()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop making things, leaving what is half done for the next start, keep what was learned, and let go."""
        self._upkeep.stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.tenure.stop()

    def changed(self) -> None:
        """Look again soon, at all of it: settings or addresses changed, or somebody asked."""
        self._retry_at = 0.0
        self._wake.set()

    def take(self, event: Event) -> str | None:
        """Learn from what the servers saw. Returns the serial of the Pi that it is about, None when about none."""
        serial = self.sightings.learn(event, time.time())
        if serial is None:
            return None
        boots = self._upkeep.boots
        self.updates.take(event, serial)
        if isinstance(event, TransferEnded):
            if event.outcome is Outcome.MISSING:
                boots.asked(serial, time.monotonic())
        elif isinstance(event, TransferStarted | HttpServed):
            boots.asked(serial, time.monotonic())
            # A rehearsal on this host is no Pi that left its old root behind.
            if serial in self.generations and event.client != event.server and not event.client.startswith("127."):
                self.booted[serial] = self.generations[serial]
        elif isinstance(event, DhcpHeard) and not event.serial and not event.model:
            boots.in_linux(serial)
        if serial not in self.inventory.by_serial and self._config.fleet.adopt == "auto":
            self._wake.set()
        return serial

    def busy(self) -> bool:
        """Whether something is being made now."""
        return bool(self._working)

    # Who keeps the fleet.

    def _came(self) -> None:
        self._followed = self.tenure.followed
        self._wake.set()

    async def _leave(self) -> None:
        """Be the keeper no more, everything that was learned being written by then.

        What is half done comes to nothing: whoever does it asks for the claim.
        """
        self._next.clear()
        working = list(self._working.values())
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        if self._taken is not None:
            await self.turned(False)
            await self._save()
        self._taken = None
        self._upkeep.progress.close()

    async def _take_office(self, claim: Claim, *, followed: bool) -> None:
        """Begin where the last keeper left off; `followed` says that there was one just now."""
        await self._follow()
        if followed:
            # What boots by now began on another host: nothing changes under it.
            self._upkeep.boots.blind(time.monotonic())
        await self.turned(True)
        self._taken = claim
        self.changed()
        await self._in_thread("sweep", partial(_sweep, self._data, claim))

    # Looking.

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            claim = self.tenure.claim
            try:
                if claim is not None and claim is not self._taken:
                    await self._take_office(claim, followed=self._followed)
                await self._send_back()
                await self._look()
                await self._tell_progress()
            except (Lost, Busy, OSError):
                pass  # the tenure finds out, or the storage comes back
            # Not wait_for(): in Python 3.11 it loses a cancel that comes together with what it waits for.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()

    async def _send_back(self) -> None:
        claim, after_s = self._taken, self._config.fleet.rollback_after_s
        if claim is None or not self.kept:
            return
        await self.updates.look(claim)
        if await self.fallbacks.look(claim, after_s):
            self._retry_at = 0.0

    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        claim = self._taken if self.kept else None
        if claim is None:
            await self._follow()
        elif self._config.fleet.adopt == "auto":
            await self._adopt(claim)
        found = await self._in_thread("look", partial(look, self._config))
        if found == self.found and now < self._retry_at:
            if self.sightings.changed != self._saved[0] and now - self._saved[1] > _SAVE_S:
                await self._save()
            return
        self._retry_at = now + RETRY_S
        try:
            fleet = await self._in_thread("read", partial(store.read, self._config))
        except OperatorError as error:
            self.found = found
            self._upkeep.fault("", str(error))
            return
        self._upkeep.well("")
        if fleet != self.inventory or not self.read:
            self._sink(FleetRead(len(fleet.pis), len(found.images)))
        self.take_over(self._data, fleet, found)
        if claim is None:
            self.generations = await self._in_thread("look", partial(generations_of, self._data, fleet))
            return
        self._next.clear()
        for pi in fleet.pis:
            if pi.serial in self._working:
                self._next[pi.serial] = (pi, found, claim)
            else:
                self._work(pi, found, claim)

    def _work(self, pi: Pi, found: Surroundings, claim: Claim) -> None:
        def done(_: object) -> None:
            self._working.pop(pi.serial, None)
            # What it was done for may be something else by now.
            then = self._next.pop(pi.serial, None)
            if then is not None and self.kept and self._taken is then[2]:
                self._work(*then)

        task = asyncio.get_running_loop().create_task(self._upkeep.look_after(pi, found, claim))
        self._working[pi.serial] = task
        task.add_done_callback(done)

    async def _follow(self) -> None:
        """Take what the keeper wrote down of the Pis that it saw."""
        stamp = await self._in_thread("state", partial(state.stamp, self._data))
        if stamp == self._stamp:
            return
        if stamp[-1:] != self._stamp[-1:]:
            self._retry_at = 0.0  # a Pi was sent to another generation
        self._stamp = stamp
        self.sightings.follow(await self._in_thread("state", partial(state.seen, self._data)))
        booted = await self._in_thread("state", partial(state.booted, self._data))
        self.booted = {**self.booted, **booted}

    async def _adopt(self, claim: Claim) -> None:
        """Give every Pi that asked, and is in no fleet, the default image."""
        for seen in self.sightings.all():
            if seen.serial in self.inventory.by_serial or self._upkeep.is_faulty(seen.serial):
                continue
            entry = {"serial": seen.serial, **({"mac": seen.mac} if seen.mac else {})}
            if self.default_image:
                entry["image"] = self.default_image

            def add(entry: dict[str, str] = entry) -> None:
                claim.check()
                store.add(self._config, entry)

            try:
                await self._in_thread("adopt", add)
            except OperatorError as error:
                self._upkeep.fault(seen.serial, f"it cannot be adopted: {error}")

    async def _tell_progress(self) -> None:
        now = asyncio.get_running_loop().time()
        progress = self._upkeep.progress
        if self.kept and progress.stale and now - self._progress_told >= LOOK_S:
            self._progress_told = now
            await self._in_thread("state", progress.tell)

    async def _save(self) -> None:
        """Write down what was learned, if it is ours to write."""
        claim, changed = self._taken, self.sightings.changed
        if claim is None:
            return
        with suppress(OSError, Busy, Lost):  # it may be learned again
            if changed != self._saved[0]:
                work = partial(_keep, self._data, self.sightings.to_json(), dict(self.booted), claim)
                self._stamp = await self._in_thread("state", work)
        self._saved = (changed, asyncio.get_running_loop().time())

    async def _in_thread(self, place: str, work: Callable[[], T]) -> T:
        return await self._pool.submit(f"fleet/{place}", work)


def _keep(data: Path, seen: list[dict[str, object]], booted: dict[str, int], claim: Claim) -> tuple[int, ...]:
    with claim.held():
        state.keep_seen(data, seen)
        state.keep_booted(data, booted)
    return state.stamp(data)


def _sweep(data: Path, claim: Claim) -> None:
    generation.sweep(data, claim)
    library.sweep(data)
