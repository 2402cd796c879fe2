"""Making the fleet true: every Pi in fleet.toml gets what it lacks, in the background, again and again.

Belongs here: when to look and how much at once. What a Pi lacks is decided in `fleet.plan`, made in
`fleet.generation`, and booted in `fleet.trees`. Every step can be cut off anywhere: the next look finishes it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from pinetboot.boot.generated import Served
from pinetboot.causes import Finding
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.events import (
    DhcpHeard,
    Event,
    FleetFault,
    FleetRead,
    Outcome,
    PiMaking,
    PiReady,
    Sink,
    TransferEnded,
    TransferStarted,
)
from pinetboot.fleet import generation, plan, state, store, trees
from pinetboot.fleet.boots import Boots
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.names import FleetNames
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.progress import Progress
from pinetboot.fleet.roots import Roots, Unexported
from pinetboot.fleet.surroundings import Surroundings, loader, look, next_step
from pinetboot.image import library
from pinetboot.observe.sightings import Sightings
from pinetboot.run import Cancelled
from pinetboot.threads import Pool

T = TypeVar("T")

LOOK_S = 1.0
RETRY_S = 60.0
_AT_ONCE = max(2, os.cpu_count() or 1)
_SAVE_S = 5.0


class Reconciler:
    """Keeps a data directory as its fleet.toml says. start() and stop() belong to one running loop."""

    def __init__(
        self,
        config: Config,
        pool: Pool,
        served: Callable[[Pi, str], Served | None],
        sink: Sink,
    ) -> None:
        self.config = config
        self.inventory = Inventory()
        self.sightings = Sightings()
        self.names = FleetNames(self.sightings.mac_of, self.sightings.serial_of)
        self.generations: dict[str, int] = {}
        self.roots: Roots = Unexported()
        self.read = False
        self.booted: dict[str, int] = {}
        self._data = config.data
        self._pool = pool
        self._served = served
        self._sink = sink
        self._boots = Boots()
        self._progress = Progress(config.data)
        self._progress_told = 0.0
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._working: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, str] = {}
        self._saved = (0, 0.0)
        self._last: Surroundings | None = None
        self._retry_at = 0.0

    def start(self) -> None:
        """Begin to look; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop making things, leaving what is half done for the next start, and keep what was learned."""
        self._stopping = True
        tasks = [task for task in (self._task, *self._working.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._progress.close()
        await self._save()

    def changed(self) -> None:
        """Look again soon, at all of it: settings or addresses changed, or somebody asked."""
        self._last = None
        self._wake.set()

    def take(self, event: Event) -> str | None:
        """Learn from what the servers saw. Returns the serial of the Pi that it is about, None when about none."""
        serial = self.sightings.learn(event, time.time())
        if serial is None:
            return None
        if isinstance(event, TransferEnded):
            if event.outcome is Outcome.MISSING:
                self._boots.asked(serial, time.monotonic())
        elif isinstance(event, TransferStarted):
            self._boots.asked(serial, time.monotonic())
            # A rehearsal on this host is no Pi that left its old root behind.
            if serial in self.generations and event.client != event.server and not event.client.startswith("127."):
                self.booted[serial] = self.generations[serial]
        elif isinstance(event, DhcpHeard) and not event.serial and not event.model:
            self._boots.in_linux(serial)
        if serial not in self.inventory.by_serial and self.config.fleet.adopt == "auto":
            self._wake.set()
        return serial

    def image_of(self, pi: Pi) -> str:
        """Name the image that a Pi is to boot; empty where that is not said."""
        names = [image.name for image in self._last.images] if self._last else []
        return plan.image_for(pi, names, self.config.fleet.default_image)

    def busy(self) -> bool:
        """Whether something is being made now."""
        return bool(self._working)

    async def _run(self) -> None:
        await self._in_thread("sweep", partial(_sweep, self._data))
        self.sightings.restore(await self._in_thread("state", partial(state.seen, self._data)))
        self.booted = await self._in_thread("state", partial(state.booted, self._data))
        while True:
            await self._look()
            await self._tell_progress()
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_S)

    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        if self.config.fleet.adopt == "auto":
            await self._adopt()
        found = await self._in_thread("look", partial(look, self._data))
        if found == self._last and now < self._retry_at:
            if self.sightings.changed != self._saved[0] and now - self._saved[1] > _SAVE_S:
                await self._save()
            return
        self._retry_at = now + RETRY_S
        try:
            fleet = await self._in_thread("read", partial(store.read, self._data))
        except OperatorError as error:
            self._last = found
            self._fault("", str(error))
            return
        self._told.pop("", None)
        if fleet != self.inventory or self._last is None:
            self._sink(FleetRead(len(fleet.pis), len(found.images)))
        self._last = found
        self._take_over(fleet)
        for pi in fleet.pis:
            if pi.serial not in self._working:
                task = asyncio.get_running_loop().create_task(self._prepare(pi, found))
                self._working[pi.serial] = task
                task.add_done_callback(partial(self._done, pi.serial))

    def _done(self, serial: str, _: asyncio.Task[None]) -> None:
        self._working.pop(serial, None)

    def _take_over(self, fleet: Inventory) -> None:
        self.inventory = fleet
        self.read = True
        self.names.inventory = fleet
        self.sightings.members = fleet.by_serial
        self.sightings.written = {mac: pi.serial for mac, pi in fleet.by_mac.items()}
        images = self._last.images if self._last else ()
        self.names.loader = loader(self._data, images, self.config.fleet.default_image)

    async def _adopt(self) -> None:
        """Give every Pi that asked, and is in no fleet, the default image."""
        for seen in self.sightings.all():
            if seen.serial in self.inventory.by_serial or seen.serial in self._told:
                continue
            entry = {"serial": seen.serial, **({"mac": seen.mac} if seen.mac else {})}
            if self.config.fleet.default_image:
                entry["image"] = self.config.fleet.default_image
            try:
                await self._in_thread("adopt", partial(store.add, self._data, entry))
            except OperatorError as error:
                self._fault(seen.serial, f"it cannot be adopted: {error}")

    async def _prepare(self, pi: Pi, found: Surroundings) -> None:
        try:
            await self._bring_up_to_date(pi, found)
        except OperatorError as error:
            self._fault(pi.serial, str(error))
        except Cancelled:
            return  # we are stopping
        except OSError as error:
            self._fault(pi.serial, f"its trees cannot be made: {error.strerror or error}")

    async def _bring_up_to_date(self, pi: Pi, found: Surroundings) -> None:
        data, serial = self._data, pi.serial
        seen = self.sightings.of(serial)
        served = self._served(pi, seen.address if seen else "")
        if served is None:
            self._fault(serial, "no address of this host can be told to it; set server.address")
            return
        looking = partial(next_step, data, pi, found, self.config.fleet.default_image)
        step, current, upgrade = await self._in_thread(serial, looking)
        match step:
            case plan.Nothing(why, do):
                self._fault(serial, f"{why}. {do}")
            case plan.Make(image):
                began = time.monotonic()
                number = await self._in_thread(serial, partial(trees.next_number, data, serial))
                findings = await self._made(pi, image, number, served)
                await self._boot(pi, number, current)
                if upgrade:
                    await self._in_thread(serial, partial(state.upgraded, data, serial))
                self._told.pop(serial, None)
                self._sink(PiReady(serial, pi.name, image, number, time.monotonic() - began))
                for finding in findings:
                    self._sink(FleetFault(serial, f"{finding.what}: {finding.why}. {finding.do}"))
                await self._thin_out(pi, number)
            case plan.Boot(number):
                await self._in_thread(serial, partial(generation.refresh, data, pi, number, served))
                if number != current:
                    await self._boot(pi, number, current)
                if upgrade:
                    await self._in_thread(serial, partial(state.upgraded, data, serial))
                self._told.pop(serial, None)
                self.generations[serial] = number
                await self._thin_out(pi, number)

    async def _made(self, pi: Pi, image: str, number: int, served: Served) -> list[Finding]:
        """Make a generation as soon as fewer than so many others are being made."""
        self._progress.wait(pi.serial, image, number)
        try:
            async with self._slots:
                self._progress.begin(pi.serial)
                if pi.serial not in self._told:  # else it is tried again, and was told before
                    self._sink(PiMaking(pi.serial, pi.name, image, number))
                return await self._in_thread(pi.serial, partial(self._make, pi, image, number, served))
        finally:
            self._progress.end(pi.serial)

    def _make(self, pi: Pi, image: str, number: int, served: Served) -> list[Finding]:
        """Make a generation from an image that stays what it is meanwhile, whatever becomes of its name."""
        try:
            with library.held(self._data, image) as folder:
                return generation.make(
                    self._data,
                    pi,
                    folder,
                    number,
                    served,
                    partial(self._progress.at, pi.serial),
                    lambda: self._stopping,
                    name=image,
                )
        except FileNotFoundError as error:
            raise OperatorError(f"the image {image} went while it was copied: {error.strerror}") from None

    async def _boot(self, pi: Pi, number: int, current: int | None) -> None:
        """Switch once no boot from the tree so far is under way."""
        while current is not None and (wait_s := self._boots.held_s(pi.serial, time.monotonic())) > 0:  # noqa: ASYNC110 - time itself is what is waited for
            await asyncio.sleep(min(wait_s, LOOK_S))
        await self.roots.before_boot(pi.serial, number)
        await self._in_thread(pi.serial, partial(trees.switch, self._data, pi.serial, number))
        self.generations[pi.serial] = number

    async def _thin_out(self, pi: Pi, number: int) -> None:
        """Remove generations beyond those kept, but none that a client may still have mounted."""
        mounted = self.roots.mounted(pi.serial)
        if mounted is None:
            return  # it is known at the next look
        keep = self.config.fleet.keep_generations
        found = await self._in_thread(pi.serial, partial(trees.generations, self._data, pi.serial))
        held = [one.number for one in found]
        for old in plan.superseded(held, number, self.booted.get(pi.serial), keep, mounted):
            await self._in_thread(pi.serial, partial(generation.remove, self._data, pi.serial, old))

    def _fault(self, serial: str, why: str) -> None:
        """Tell a fault once, until it is another."""
        if self._told.get(serial) != why:
            self._told[serial] = why
            self._sink(FleetFault(serial, why))

    async def _tell_progress(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._progress.stale and now - self._progress_told >= LOOK_S:
            self._progress_told = now
            await self._in_thread("state", self._progress.tell)

    async def _save(self) -> None:
        changed = self.sightings.changed
        with suppress(OSError):  # it may be learned again
            if changed != self._saved[0]:
                await self._in_thread("state", partial(state.keep_seen, self._data, self.sightings.to_json()))
                await self._in_thread("state", partial(state.keep_booted, self._data, dict(self.booted)))
        self._saved = (changed, asyncio.get_running_loop().time())

    async def _in_thread(self, place: str, work: Callable[[], T]) -> T:
        return await self._pool.submit(f"fleet/{place}", work)


def _sweep(data: Path) -> None:
    generation.sweep(data)
    library.sweep(data)
