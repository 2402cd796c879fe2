"""The timeline of all boots, with a clock: what the servers see goes in, and it is kept across restarts.

Belongs here: when to look and when to write. What an event means is decided in `timeline`, how a file looks in `boot`.
Times are the monotonic clock's, so that a clock that is set while a rack of Pis boots makes no boot look stalled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from pinetboot.events import BootStalled, Event, FileIgnored, HttpServed, PiOnline, RootMounted, Sink
from pinetboot.fleet import state
from pinetboot.observe.boot import Boot
from pinetboot.observe.outlook import Outlook
from pinetboot.observe.timeline import Timeline
from pinetboot.threads import Busy, Pool

_LOOK_S: Final = 1.0
_SAVE_S: Final = 5.0
_SAVED_AT_ONCE: Final = 256  # files: anyone can make up Pis
_RESTORE_LIMIT_S: Final = 5.0
_PLACE: Final = "state/boots"


class BootWatch:
    """Watches every boot. start() and stop() belong to one running loop; between them take() may be called.

    `whose` gives the serial behind an address, `outlook` what is known of a Pi, `members` the serials of the fleet.
    `sink` hears who is online, and what stalled. `writes` says whether what is kept is ours to write: of several
    daemons over one data directory one does.
    """

    def __init__(
        self,
        data: Path,
        pool: Pool,
        *,
        whose: Callable[[str], str | None],
        outlook: Callable[[str], Outlook],
        members: Callable[[], Collection[str]],
        sink: Sink,
        writes: Callable[[], bool] = lambda: True,
    ) -> None:
        self.timeline = Timeline(members)
        self._data = data
        self._pool = pool
        self._whose = whose
        self._outlook = outlook
        self._sink = sink
        self._writes = writes
        self._members = members
        self._task: asyncio.Task[None] | None = None
        self._spoilt: list[Path] = []
        # Given the Pis of which a verdict is due, it finds out what can be found out about them.
        self.examine: Callable[[Sequence[str]], Awaitable[None]] = _nothing

    @property
    def offset(self) -> float:
        """What makes seconds since 1970 of the timeline's times, by the clock as it is set now."""
        return time.time() - time.monotonic()

    async def start(self) -> None:
        """Take back what was kept, unless the disk does not answer, and begin to look."""
        await self.restore()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop looking, and keep all boots as far as they are."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        await self.save()

    async def restore(self) -> None:
        """Take back what was kept of the Pis that nothing was seen of here; by another host it may have been."""
        with suppress(Busy, TimeoutError):
            work = partial(state.boots, self._data, self.offset)
            kept, spoilt = await asyncio.wait_for(self._pool.submit(_PLACE, work), _RESTORE_LIMIT_S)
            now = time.monotonic()
            for serial, boots in sorted(kept.items(), key=lambda item: item[1][-1].started):
                if self.timeline.latest(serial) is None:
                    self.timeline.restore(serial, boots, now)
            if spoilt and spoilt != self._spoilt:
                self._spoilt = spoilt
                more = f", and {len(spoilt) - 1} more like it" if len(spoilt) > 1 else ""
                self._sink(FileIgnored(str(spoilt[0]), f"it holds no boots of a Pi{more}"))

    async def save(self) -> None:
        """Keep all boots as far as they are."""
        self.timeline.changed.update(self.timeline.running())
        await self._save(len(self.timeline.changed))

    def forget(self) -> None:
        """Begin with nothing: the Pis boot from another host now, which tells how far they come."""
        self.timeline = Timeline(self._members)

    def take(self, event: Event, serial: str | None) -> None:
        """Take what was seen, of the Pi with that serial; None where the event tells no one."""
        if serial is None and isinstance(event, HttpServed) and event.kind in {"seed", "boot"}:
            serial = self._whose(event.client)
        if isinstance(event, RootMounted):
            other = self._whose(event.client)
            if other is not None and other != serial and self.timeline.foreign_root(other, event):
                return
        if serial is not None:
            told = self.timeline.take(event, serial, time.monotonic())
            if told is not None:
                self._tell(told)

    def went_back(self, serial: str, to: int) -> None:
        """The latest boot of a Pi did not come online, and it is to boot the generation `to` from now on."""
        boot = self.timeline.latest(serial)
        if boot is not None:
            boot.back_to = to
            self.timeline.changed.add(serial)

    async def _run(self) -> None:
        saved = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_S)
            due = self.timeline.due(time.monotonic())
            if due:
                await self.examine(due)
            now = time.monotonic()
            for event in self.timeline.tick(now, self._outlook):
                self._tell(event)
            if self.timeline.changed and now - saved >= _SAVE_S:
                saved = now
                await self._save(_SAVED_AT_ONCE)

    def _tell(self, event: PiOnline | BootStalled) -> None:
        self._sink(replace(event, hostname=self._outlook(event.serial).hostname))

    async def _save(self, most: int) -> None:
        if not self._writes():
            return
        changed = self.timeline.take_changed(most)
        # The boots before the last one are done with, and may be read in a thread as they are.
        copies = {serial: [*boots[:-1], *(boot.copy() for boot in boots[-1:])] for serial, boots in changed.items()}
        with suppress(OSError, Busy):  # what is learned may be lost
            await self._pool.submit(_PLACE, partial(_write, self._data, copies, self.offset))


async def _nothing(_serials: Sequence[str]) -> None:
    """Nobody finds out anything."""


def _write(data: Path, boots: Mapping[str, Sequence[Boot]], offset: float) -> None:
    for serial, ones in boots.items():
        state.keep_boots(data, serial, [boot.to_kept(offset) for boot in ones])
