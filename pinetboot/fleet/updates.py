"""Updates of bootloaders, from what was asked for to what the Pi made of it: put into its boot tree, and taken away.

Belongs here: hearing, looking and writing down. When an update is through is decided in `eeprom.update`, and the files
are `fleet.flashing`'s. An update is offered until the Pi was seen with it, and never longer: one that is left behind
takes newer settings back, or has the Pi start over for ever (reference D25).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pinetboot.eeprom.update import WORDS, Came, Watched
from pinetboot.events import BootloaderUpdate, Event, Outcome, Sink, TransferEnded, TransferStarted
from pinetboot.fleet import flashing
from pinetboot.fleet.fence import Fence
from pinetboot.fleet.flashing import Record
from pinetboot.fleet.known import Known
from pinetboot.fleet.pi import Pi
from pinetboot.threads import Threads

_PLACE = "eeprom"
_SENT = frozenset({Outcome.SENT, Outcome.UNCONFIRMED})


@dataclass(slots=True)
class _Offer:
    """One that lies in a boot tree; `kept` is how often it was taken as far as that is written down."""

    digest: str
    timestamp: int
    watched: Watched
    kept: int = 0


class Updates:
    """Looks after the updates of a fleet. Every method is called on the loop's thread."""

    def __init__(self, data: Path, known: Known, in_thread: Threads, sink: Sink) -> None:
        self._data = data
        self._known = known
        self._in_thread = in_thread
        self._sink = sink
        self._fence: Fence | None = None
        # What is put into a tree, and what is taken out of it, must not cross.
        self._at_it = asyncio.Lock()
        self._offers: dict[str, _Offer] = {}
        self._records: dict[str, Record] = {}

    def take(self, event: Event, serial: str) -> None:
        """Take what was seen of a Pi."""
        offer = self._offers.get(serial)
        if offer is None or not isinstance(event, TransferStarted | TransferEnded):
            return
        pi = self._known.inventory.by_serial.get(serial)
        # Somebody who fetches files here, or a rehearsal on this host, is no Pi that has the update by now.
        if pi is None or event.client == event.server or event.client.startswith("127."):
            return
        if pi.address not in {"", event.client}:
            return
        name = event.path.rpartition("/")[2]
        if isinstance(event, TransferStarted) or event.outcome is Outcome.MISSING:
            offer.watched.asked(name)
        elif event.outcome in _SENT:
            offer.watched.sent(name)

    def shown(self, serial: str) -> dict[str, Any] | None:
        """Show what becomes of a Pi's update: `state`, since when and why; None where there never was one."""
        record = self._records.get(serial)
        return None if record is None else {"state": str(record.came), "at": record.at, "why": WORDS[record.came]}

    async def offer(self, pi: Pi, number: int, fence: Fence) -> None:
        """Have what was asked for lie in the generation that a Pi boots.

        Raises OperatorError, OSError, Busy and Lost.
        """
        async with self._at_it:
            await self._remember(fence)
            await self._offer(pi.serial, number, fence)

    async def look(self, fence: Fence) -> None:
        """Take away what a Pi was seen with, and what is asked for no more. Raises OSError, Busy and Lost."""
        async with self._at_it:
            await self._remember(fence)
            for serial, offer in list(self._offers.items()):
                await self._judge(serial, offer, fence)

    async def _offer(self, serial: str, number: int, fence: Fence) -> None:
        update = await self._in_thread(_PLACE, partial(flashing.wanted, self._data, serial))
        if update is None:
            return
        named, before = (update.told.digest.hex(), update.told.timestamp), self._records.get(serial)
        known = before is not None and (before.digest, before.timestamp) == named
        if before is not None and before.came is not Came.OFFERED and known:
            await self._in_thread(_PLACE, partial(flashing.forget, self._data, serial))
            return
        if before is not None and before.came is Came.OFFERED and not known:
            self._offers.pop(serial, None)
            await self._in_thread(_PLACE, partial(flashing.clear, self._data, serial, before.digest, fence))
        known_offer = self._offers.get(serial)
        # Watched before it is there: the Pi may be in the middle of a start.
        offer = self._offers[serial] = known_offer or _Offer(*named, Watched())
        try:
            await self._in_thread(_PLACE, partial(flashing.put, self._data, serial, number, update, fence))
            if known_offer is None:
                await self._told(serial, offer, Came.OFFERED, fence)
        except BaseException:
            if known_offer is None:
                del self._offers[serial]  # until the next try
            raise

    async def _judge(self, serial: str, offer: _Offer, fence: Fence) -> None:
        watched, digest = offer.watched, offer.digest
        if watched.came is not Came.OFFERED:
            await self._end(serial, offer, watched.came, fence)
        elif not await self._in_thread(_PLACE, partial(flashing.is_wanted, self._data, serial, digest)):
            if await self._in_thread(_PLACE, partial(flashing.wanted, self._data, serial)) is None:
                await self._end(serial, offer, Came.CANCELLED, fence)
        elif watched.fetched != offer.kept:
            offer.kept = watched.fetched
            one = replace(self._records[serial], fetched=watched.fetched)
            await self._in_thread(_PLACE, partial(flashing.keep, self._data, serial, one, fence))

    async def _remember(self, fence: Fence) -> None:
        """Go on where another run, or another host, left off."""
        if fence is self._fence:
            return
        self._records = await self._in_thread(_PLACE, partial(flashing.records, self._data))
        self._offers = {
            serial: _Offer(one.digest, one.timestamp, Watched(one.fetched), one.fetched)
            for serial, one in self._records.items()
            if one.came is Came.OFFERED
        }
        self._fence = fence

    async def _end(self, serial: str, offer: _Offer, came: Came, fence: Fence) -> None:
        """Out of the trees first: cut off here, it is done again."""
        await self._in_thread(_PLACE, partial(flashing.clear, self._data, serial, offer.digest, fence))
        self._offers.pop(serial, None)
        await self._told(serial, offer, came, fence)
        if await self._in_thread(_PLACE, partial(flashing.is_wanted, self._data, serial, offer.digest)):
            await self._in_thread(_PLACE, partial(flashing.forget, self._data, serial))

    async def _told(self, serial: str, offer: _Offer, came: Came, fence: Fence) -> None:
        record = Record(offer.digest, offer.timestamp, came, time.time(), offer.watched.fetched)
        await self._in_thread(_PLACE, partial(flashing.keep, self._data, serial, record, fence))
        self._records[serial] = record
        pi = self._known.inventory.by_serial.get(serial)
        self._sink(BootloaderUpdate(serial, pi.name if pi else "", str(came), WORDS[came]))
