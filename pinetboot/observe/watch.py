"""The timeline of all boots, with a clock: what the servers see goes in, and it is kept across restarts.

Belongs here: when to look and when to write. What an event means is decided in `timeline`, how a file looks in `boot`.
Times are the monotonic clock's, so that a clock that is set while a rack of Pis boots makes no boot look stalled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from pinetboot.events import BootStalled, Event, FileIgnored, HttpServed, PiOnline, Sink
from pinetboot.fleet import state
from pinetboot.observe.boot import Boot
from pinetboot.observe.silence import Outlook
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
    `sink` hears who is online, and what stalled.
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
    ) -> None:
        self.timeline = Timeline(members)
        self._data = data
        self._pool = pool
        self._whose = whose
        self._outlook = outlook
        self._sink = sink
        self._task: asyncio.Task[None] | None = None

    @property
    def offset(self) -> float:
        """What makes seconds since 1970 of the timeline's times, by the clock as it is set now."""
        return time.time() - time.monotonic()

    async def start(self) -> None:
        """Take back what was kept, unless the disk does not answer, and begin to look."""
        with suppress(Busy, TimeoutError):
            work = partial(state.boots, self._data, self.offset)
            kept, spoilt = await asyncio.wait_for(self._pool.submit(_PLACE, work), _RESTORE_LIMIT_S)
            now = time.monotonic()
            for serial, boots in sorted(kept.items(), key=lambda item: item[1][-1].started):
                self.timeline.restore(serial, boots, now)
            if spoilt:
                more = f", and {len(spoilt) - 1} more like it" if len(spoilt) > 1 else ""
                self._sink(FileIgnored(str(spoilt[0]), f"it holds no boots of a Pi{more}"))
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop looking, and keep all boots as far as they are."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        self.timeline.changed.update(self.timeline.running())
        await self._save(len(self.timeline.changed))

    def take(self, event: Event, serial: str | None) -> None:
        """Take what was seen, of the Pi with that serial; None where the event tells no one."""
        if serial is None and isinstance(event, HttpServed) and event.kind == "seed":
            serial = self._whose(event.client)
        if serial is not None:
            told = self.timeline.take(event, serial, time.monotonic())
            if told is not None:
                self._tell(told)

    async def _run(self) -> None:
        saved = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            for event in self.timeline.tick(now, self._outlook):
                self._tell(event)
            if self.timeline.changed and now - saved >= _SAVE_S:
                saved = now
                await self._save(_SAVED_AT_ONCE)

    def _tell(self, event: PiOnline | BootStalled) -> None:
        self._sink(replace(event, hostname=self._outlook(event.serial).hostname))

    async def _save(self, most: int) -> None:
        changed = self.timeline.take_changed(most)
        # The boots before the last one are done with, and may be read in a thread as they are.
        copies = {serial: [*boots[:-1], *(boot.copy() for boot in boots[-1:])] for serial, boots in changed.items()}
        with suppress(OSError, Busy):  # what is learned may be lost
            await self._pool.submit(_PLACE, partial(_write, self._data, copies, self.offset))


def _write(data: Path, boots: Mapping[str, Sequence[Boot]], offset: float) -> None:
    for serial, ones in boots.items():
        state.keep_boots(data, serial, [boot.to_kept(offset) for boot in ones])
