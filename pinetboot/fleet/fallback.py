"""Sending a Pi back to the last generation that it came online with, where a new one does not (`rollback_after_s`).

Belongs here: hearing, looking and writing down. When it is time is decided in `fleet.trial`; the move itself is the
fleet's next step (`fleet.surroundings`), which waits for a boot that is under way.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from pinetboot.events import (
    Event,
    FleetFault,
    HttpServed,
    Outcome,
    RolledBack,
    RootMounted,
    Sink,
    TransferEnded,
    TransferStarted,
)
from pinetboot.fleet import state, trees
from pinetboot.fleet.fence import Fence
from pinetboot.fleet.known import Known
from pinetboot.fleet.trial import Back, Fallback, Stuck, Trials, wish
from pinetboot.observe.stages import ONLINE
from pinetboot.threads import Threads


class Fallbacks:
    """Watches new generations of the Pis of a fleet. Every method is called on the loop's thread."""

    def __init__(self, data: Path, known: Known, in_thread: Threads, sink: Sink) -> None:
        self.trials = Trials()
        self._data = data
        self._known = known
        self._in_thread = in_thread
        self._sink = sink
        self._fence: Fence | None = None
        self._unsaved = False

    def take(self, event: Event, serial: str) -> None:
        """Take what was seen of a Pi."""
        if isinstance(event, TransferEnded):
            if event.outcome is Outcome.MISSING:
                self._asked(event, serial)
        elif isinstance(event, TransferStarted | HttpServed):
            self._asked(event, serial)
        elif isinstance(event, RootMounted):
            self.trials.mounted(serial, event.generation)

    def _asked(self, event: TransferStarted | TransferEnded | HttpServed, serial: str) -> None:
        """A file was asked for, by a Pi unless it comes from where that cannot be: a rehearsal asks as well."""
        generation = self._known.generations.get(serial)
        if generation is None or (generation == self.trials.good.get(serial) and serial not in self.trials.fallen):
            return  # nothing is on trial: a rack of Pis asks ten thousand times a second
        pi = self._known.inventory.by_serial.get(serial)
        if pi is None or event.client == event.server or event.client.startswith("127."):
            return
        if pi.address in {"", event.client}:
            self.trials.asked(serial, generation, time.monotonic())

    def online(self, serial: str) -> None:
        """A Pi came online."""
        self._unsaved |= self.trials.online(serial)

    def good(self, serial: str) -> set[int]:
        """The generation to keep whatever happens to the newer ones."""
        return {self.trials.good[serial]} if serial in self.trials.good else set()

    async def look(self, fence: Fence, after_s: float) -> bool:
        """See who is late, and send back whom it is time for; says whether anybody is to boot something else now.

        Raises Lost, Busy and OSError.
        """
        if fence is not self._fence:
            good, fallen = await self._in_thread("state", partial(_read, self._data))
            self.trials.forget(good, fallen)
            self._fence = fence
        if self._unsaved:
            self._unsaved = False
            with suppress(OSError):
                await self._in_thread("state", partial(_keep_good, self._data, dict(self.trials.good), fence))
        anybody = bool(self.trials.fallen) and await self._follow(fence)
        for serial in self.trials.late(time.monotonic(), after_s):
            anybody |= await self._judge(serial, fence, after_s)
        return anybody

    async def _follow(self, fence: Fence) -> bool:
        """Let go of what somebody took back, by a command or by changing fleet.toml; says whether anybody did."""
        there = await self._in_thread("state", partial(state.fallbacks, self._data))
        before = len(self.trials.fallen)
        for serial in list(self.trials.fallen):
            pi = self._known.inventory.by_serial.get(serial)
            kept = there.get(serial)
            if kept is not None and pi is not None and kept.wanted == wish(pi, self._known.image_of(pi)):
                continue
            del self.trials.fallen[serial]
            if kept is not None:
                await self._in_thread("state", partial(_drop, self._data, serial, fence))
        return len(self.trials.fallen) < before

    async def _judge(self, serial: str, fence: Fence, after_s: float) -> bool:
        pi = self._known.inventory.by_serial.get(serial)
        if pi is None:
            return False
        current, held = await self._in_thread(serial, partial(_look, self._data, serial))
        match self.trials.judged(serial, current, held):
            case Back(fled, to):
                one = Fallback(fled, to, time.time(), after_s, wish(pi, self._known.image_of(pi)))
                await self._in_thread(serial, partial(_keep, self._data, serial, one, fence))
                self.trials.fallen[serial] = one
                self._sink(RolledBack(serial, pi.name, fled, to, after_s))
                return True
            case Stuck(generation):
                why = f"generation {generation}, to which it was sent back, was not online within {after_s:g} s either"
                self._sink(FleetFault(serial, f"{why}; nothing more is changed by itself"))
        return False


def _read(data: Path) -> tuple[dict[str, int], dict[str, Fallback]]:
    """Read what was learned; a good one that nobody wrote down is told by the boots that were kept."""
    good = state.good(data)
    for serial, boots in state.boots(data)[0].items():
        came = [boot.generation for boot in boots if boot.stage == ONLINE and boot.generation is not None]
        if came:
            good.setdefault(serial, came[-1])
    return good, state.fallbacks(data)


def _look(data: Path, serial: str) -> tuple[int | None, set[int]]:
    held = {one.number for one in trees.generations(data, serial) if not one.rejected}
    return trees.current(data, serial), held


def _keep(data: Path, serial: str, fallback: Fallback, fence: Fence) -> None:
    with fence.held():
        state.keep_fallback(data, serial, fallback)


def _drop(data: Path, serial: str, fence: Fence) -> None:
    with fence.held():
        state.drop_fallback(data, serial)


def _keep_good(data: Path, good: dict[str, int], fence: Fence) -> None:
    with fence.held():
        state.keep_good(data, good)
