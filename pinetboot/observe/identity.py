"""Who asks, where what was asked does not tell: the kernel's neighbour table is read, and what was seen is told again.

Belongs here: when to read the table, and what waits for it. Who is who is joined in `sightings`. It is read only for
somebody whom nobody knows, at most once a second, and off the loop: a rack of Pis that name themselves costs nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from pinetboot.errors import OperatorError
from pinetboot.events import Event, HttpServed, Outcome, RootMounted, TransferEnded, TransferStarted
from pinetboot.observe.places import put
from pinetboot.observe.sightings import Sightings

_PAUSE_S: Final = 1.0
_LIMIT_S: Final = 2.0
_MOST_WAITING: Final = 64
# For so long a stranger is taken for one who stays it: a machine that is no Pi asks for four files of a seed.
_STRANGER_S: Final = 10.0
_MOST_STRANGERS: Final = 256
_LOOPBACK: Final = ("127.", "::1")


class Identity:
    """Joins MACs and addresses. `table` reads the neighbour table, MACs by address; raises OperatorError.

    `again` is given what was seen of somebody unknown once more, after the table was read.
    """

    def __init__(
        self, table: Callable[[], Awaitable[Mapping[str, str]]], sightings: Sightings, again: Callable[[Event], None]
    ) -> None:
        self._table = table
        self._sightings = sightings
        self._again = again
        self._waiting: deque[Event] = deque(maxlen=_MOST_WAITING)
        self._reading: asyncio.Task[None] | None = None
        self._read_at = float("-inf")
        self._strangers: OrderedDict[str, float] = OrderedDict()

    def stop(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
        self._waiting.clear()

    def strange(self, event: Event) -> None:
        """Take what was seen of somebody whom nobody knows; it is told again where the table knows better."""
        match event:
            case TransferStarted() | RootMounted() | HttpServed(kind="seed"):
                pass
            case TransferEnded(outcome=Outcome.MISSING):
                pass
            case _:
                return
        if not event.client.startswith(_LOOPBACK):
            self._waiting.append(event)
            self._begin()

    async def meet(self, address: str) -> None:
        """Find out who is at an address, if the kernel knows; not for long."""
        if address.startswith(_LOOPBACK) or self._sightings.is_clear(address):
            return
        now = asyncio.get_running_loop().time()
        if now - self._strangers.get(address, float("-inf")) < _STRANGER_S:
            return
        await self.look()
        if self._sightings.of_address(address) is None:
            put(self._strangers, address, now, _MOST_STRANGERS)

    async def look(self) -> None:
        """Have the table read, unless that was just done; not for long."""
        reading = self._begin()
        if reading is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LIMIT_S):
                    await asyncio.shield(reading)

    def _begin(self) -> asyncio.Task[None] | None:
        loop = asyncio.get_running_loop()
        if self._reading is None or self._reading.done():
            wait_s = max(0.0, self._read_at + _PAUSE_S - loop.time())
            self._reading = loop.create_task(self._read(wait_s))
        return self._reading

    async def _read(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        try:
            table = await self._table()
        except OperatorError:
            return
        finally:
            self._read_at = asyncio.get_running_loop().time()
        self._sightings.neighbours(table)
        waiting = list(self._waiting)
        self._waiting.clear()
        for event in waiting:
            self._again(event)
