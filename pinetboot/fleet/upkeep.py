"""Bringing one Pi up to what fleet.toml says: its next step, under the claim of the one who keeps the fleet.

Belongs here: the order in which one Pi's trees are made, switched to, and thinned out. When to look at which is
`fleet.reconcile`'s. Every step can be cut off anywhere, by the loss of the claim as well: the next one finishes it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from pinetboot.boot.generated import Served
from pinetboot.causes import Finding
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.events import FleetFault, PiMaking, PiReady, Sink
from pinetboot.fleet import generation, plan, state, trees
from pinetboot.fleet.boots import Boots
from pinetboot.fleet.fence import Fence, Lost
from pinetboot.fleet.known import Known
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.progress import Progress
from pinetboot.fleet.ramdisks import Ramdisks
from pinetboot.fleet.roots import Roots, Unexported
from pinetboot.fleet.surroundings import Surroundings, next_step
from pinetboot.fleet.updates import Updates
from pinetboot.image import library
from pinetboot.run import Cancelled
from pinetboot.threads import Threads

_AT_ONCE: Final = max(2, os.cpu_count() or 1)
_WAIT_S: Final = 1.0


class Upkeep:
    """Looks after Pis one by one. `served` says what a Pi is told of this host, by its last known address.

    `needed` names generations of a Pi that are kept however old they are.
    """

    def __init__(
        self,
        config: Config,
        known: Known,
        in_thread: Threads,
        served: Callable[[Pi, str], Served | None],
        sink: Sink,
        *,
        needed: Callable[[str], set[int]],
    ) -> None:
        self.config = config
        self.roots: Roots = Unexported()
        self.boots = Boots()
        self.progress = Progress(config.data)
        self.updates = Updates(config.data, known, in_thread, sink)
        self.stopping = False
        self._data = config.data
        self._known = known
        self._in_thread = in_thread
        self._served = served
        self._sink = sink
        self._needed = needed
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._ramdisks = Ramdisks(
            lambda: self.config, in_thread, self._unheld, sink, slots=self._slots, stopping=lambda: self.stopping
        )
        self._told: dict[str, str] = {}

    async def look_after(self, pi: Pi, found: Surroundings, fence: Fence) -> None:
        """Do what a Pi lacks. A fault is told; the loss of the claim is not, for then it is another's."""
        try:
            await self._bring_up_to_date(pi, found, fence)
        except OperatorError as error:
            self.fault(pi.serial, str(error))
        except (Cancelled, Lost):
            return
        except OSError as error:
            self.fault(pi.serial, f"its trees cannot be made: {error.strerror or error}")

    def fault(self, serial: str, why: str) -> None:
        """Tell a fault once, until it is another. Without a serial it is the fleet's."""
        if self._told.get(serial) != why:
            self._told[serial] = why
            self._sink(FleetFault(serial, why))

    def well(self, serial: str) -> None:
        """Forget the fault that was told."""
        self._told.pop(serial, None)

    def is_faulty(self, serial: str) -> bool:
        """Whether a fault was told."""
        return serial in self._told

    async def _bring_up_to_date(self, pi: Pi, found: Surroundings, fence: Fence) -> None:
        data, serial = self._data, pi.serial
        seen = self._known.sightings.of(serial)
        served = self._served(pi, seen.address if seen else "")
        if served is None:
            self.fault(serial, "no address of this host can be told to it; set server.address")
            return
        looking = partial(next_step, data, pi, found, self.config.fleet.default_image)
        step, current, upgrade = await self._in_thread(serial, looking)
        match step:
            case plan.Nothing(why, do):
                self.fault(serial, f"{why}. {do}")
            case plan.Make(image):
                began = time.monotonic()
                number = await self._in_thread(serial, partial(trees.next_number, data, serial))
                findings = await self._made(pi, image, number, served, fence)
                await self._ramdisks.look_after(pi, number, found, fence, booted=False)
                await self._boot(pi, number, current, fence)
                await self._settled(pi, upgrade=upgrade, fence=fence)
                self._sink(PiReady(serial, pi.name, image, number, time.monotonic() - began))
                for finding in findings:
                    self._sink(FleetFault(serial, f"{finding.what}: {finding.why}. {finding.do}"))
                await self.updates.offer(pi, number, fence)
                await self._thin_out(pi, number, fence)
            case plan.Boot(number):
                await self._in_thread(serial, partial(generation.refresh, data, pi, number, served, fence))
                if number != current:
                    await self._ramdisks.look_after(pi, number, found, fence, booted=False)
                    await self._boot(pi, number, current, fence)
                await self._settled(pi, upgrade=upgrade, fence=fence)
                self._known.generations[serial] = number
                await self.updates.offer(pi, number, fence)
                await self._thin_out(pi, number, fence)
                if number == current:
                    await self._ramdisks.look_after(pi, number, found, fence, booted=True)

    async def _settled(self, pi: Pi, *, upgrade: bool, fence: Fence) -> None:
        if upgrade:

            def done() -> None:
                with fence.held():
                    state.upgraded(self._data, pi.serial)

            await self._in_thread(pi.serial, done)
        self.well(pi.serial)

    async def _made(self, pi: Pi, image: str, number: int, served: Served, fence: Fence) -> list[Finding]:
        """Make a generation as soon as fewer than so many others are being made."""
        self.progress.wait(pi.serial, image, number)
        try:
            async with self._slots:
                self.progress.begin(pi.serial)
                if not self.is_faulty(pi.serial):  # else it is tried again, and was told before
                    self._sink(PiMaking(pi.serial, pi.name, image, number))
                return await self._in_thread(pi.serial, partial(self._make, pi, image, number, served, fence))
        finally:
            self.progress.end(pi.serial)

    def _make(self, pi: Pi, image: str, number: int, served: Served, fence: Fence) -> list[Finding]:
        """Make a generation from an image that stays what it is meanwhile, whatever becomes of its name."""
        try:
            with library.held(self._data, image) as folder:
                return generation.make(
                    self._data,
                    pi,
                    folder,
                    number,
                    served,
                    partial(self.progress.at, pi.serial),
                    lambda: self.stopping or fence.lost,
                    name=image,
                    fence=fence,
                )
        except FileNotFoundError as error:
            raise OperatorError(f"the image {image} went while it was copied: {error.strerror}") from None

    async def _boot(self, pi: Pi, number: int, current: int | None, fence: Fence) -> None:
        """Switch once no boot from the tree so far is under way."""
        if current is not None:
            await self._unheld(pi.serial)
        await self.roots.before_boot(pi.serial, number)
        await self._in_thread(pi.serial, partial(trees.switch, self._data, pi.serial, number, fence))
        self._known.generations[pi.serial] = number

    async def _unheld(self, serial: str) -> None:
        """Return once a Pi is in the middle of no boot."""
        while (wait_s := self.boots.held_s(serial, time.monotonic())) > 0:  # noqa: ASYNC110 - time itself is what is waited for
            await asyncio.sleep(min(wait_s, _WAIT_S))

    async def _thin_out(self, pi: Pi, number: int, fence: Fence) -> None:
        """Remove generations beyond those kept, but none that a client may still have mounted."""
        mounted = self.roots.mounted(pi.serial)
        if mounted is None:
            return  # it is known at the next look
        keep, needed = self.config.fleet.keep_generations, self._needed(pi.serial)
        found = await self._in_thread(pi.serial, partial(trees.generations, self._data, pi.serial))
        held = [one.number for one in found]
        for old in plan.superseded(held, number, self._known.booted.get(pi.serial), keep, mounted | needed):
            await self._in_thread(pi.serial, partial(generation.remove, self._data, pi.serial, old, fence))
