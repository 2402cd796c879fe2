"""Every Pi, and every machine that is none, as JSON, encoded once for all who ask, and who is told what changed.

Belongs here: the encoded texts, when to look for changes, and what each listener was not told yet. How it goes over the
wire is `live`'s. Nothing is done while nobody listens or asks: changes are looked for, nobody announces them.

A rack of Pis boots while somebody looks: the loop is given back every few milliseconds, and the more there is to
encode, the longer the pauses.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Final

from pinetboot.web.sources import Others, Pis, Shown

MOST_LISTENERS: Final = 64
LOOK_S: Final = 0.25
# At most a twentieth of the time goes into looking.
_PAUSE: Final = 19
_TURN_S: Final = 0.002


class Listener:
    """One who is told of changes. What it was not told yet is kept by name alone, so a slow one costs no room.

    `cut` breaks off its connection: it is called when the server stops and this one takes too long.
    """

    def __init__(self, cut: Callable[[], None]) -> None:
        self.closed = False
        self.sending = False
        self._cut = cut
        self._untold: dict[str, None] = {}
        self._wake = asyncio.Event()

    def changed(self, name: str) -> None:
        """A Pi or a machine has changed; how it is then, it is told when there is time."""
        self._untold[name] = None
        self._wake.set()

    def take(self) -> list[str]:
        """Give the serials and MACs of those that changed, and count them as told."""
        untold = list(self._untold)
        self._untold.clear()
        if not self.closed:
            self._wake.clear()
        return untold

    async def wait(self, within_s: float) -> None:
        """Wait for a change, for the end, or so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._wake.wait()

    def close(self) -> None:
        """Tell it that this is the end."""
        self.closed = True
        self._wake.set()
        if self.sending:
            self._cut()


class Feed:
    """Encodes Pis, by serial, and `machines`, by MAC; knows the listeners. All of it belongs to one running loop."""

    def __init__(self, pis: Pis, machines: Others | None = None) -> None:
        self._pis = pis
        self._machines = machines
        self._listeners: set[Listener] = set()
        self._texts: dict[str, tuple[Hashable, str]] = {}
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def all(self) -> list[str]:
        """Give every Pi as it is now, as JSON, in the order to show."""
        await self._look()
        return [self._texts[serial][1] for serial in self._pis.serials() if serial in self._texts]

    def machines(self) -> list[str]:
        """Give every machine that is no Pi as it was at the last look, in the order to show."""
        macs = self._machines.macs() if self._machines else ()
        return [self._texts[mac][1] for mac in macs if mac in self._texts]

    def text(self, name: str) -> str | None:
        """Give a Pi or a machine as it was at the last look; None for one that is not known any more."""
        kept = self._texts.get(name)
        return kept[1] if kept else None

    def listen(self, cut: Callable[[], None]) -> Listener | None:
        """Take one more listener; None where there are as many as there may be, or this is the end."""
        if self._closed or len(self._listeners) >= MOST_LISTENERS:
            return None
        listener = Listener(cut)
        self._listeners.add(listener)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        return listener

    def leave(self, listener: Listener) -> None:
        """Forget a listener."""
        self._listeners.discard(listener)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """Send everyone away and look no more."""
        self._closed = True
        for listener in self._listeners:
            listener.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while not self._closed:
            spent = await self._look()
            await asyncio.sleep(max(LOOK_S, spent * _PAUSE))

    async def _look(self) -> float:
        """Encode anew what has changed; returns how long it took, in seconds, what others did meanwhile left out."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            spent = 0.0
            began = loop.time()
            every = self._every()
            for name, shown in every.items():
                self._look_at(name, shown)
                turn = loop.time() - began
                if turn > _TURN_S:
                    spent += turn
                    await asyncio.sleep(0)
                    began = loop.time()
            for name in self._texts.keys() - every.keys():
                del self._texts[name]
                self._tell(name)
            return spent + loop.time() - began

    def _every(self) -> dict[str, Shown]:
        every: dict[str, Shown] = dict.fromkeys(self._pis.serials(), self._pis)
        if self._machines is not None:
            every |= dict.fromkeys(self._machines.macs(), self._machines)
        return every

    def _look_at(self, name: str, shown: Shown) -> None:
        mark = shown.mark(name)
        kept = self._texts.get(name)
        if kept is not None and kept[0] == mark:
            return
        text = encoded(shown.shown(name))
        self._texts[name] = (mark, text)
        if kept is None or kept[1] != text:
            self._tell(name)

    def _tell(self, name: str) -> None:
        for listener in self._listeners:
            listener.changed(name)


def encoded(shown: object) -> str:
    """Make JSON of it, on one line."""
    return json.dumps(shown, separators=(",", ":"))
