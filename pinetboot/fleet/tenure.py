"""For how long this daemon keeps the fleet: answering for its claim, and coming and going as it is won and lost.

Belongs here: the loop that does nothing else, so that no work, however long, keeps it from answering. How claims are
won is `fleet.keeper`'s, what is done under one `fleet.reconcile`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from pinetboot.events import FleetFault, FleetKept, Sink
from pinetboot.fleet.claim import Claim
from pinetboot.fleet.keeper import Keeper
from pinetboot.threads import Busy, Pool

LOOK_S: Final = 1.0
_STOP_S: Final = 5.0
_PLACE: Final = "fleet/keeper"


class Tenure:
    """start() and stop() belong to one running loop.

    `came` is called when a claim was won. `leave` is awaited before one is given up, and after one was lost; nothing is
    to be done under it any more when it returns. `other` says who else has it, and `followed` that somebody had.
    """

    def __init__(
        self, data: Path, pool: Pool, sink: Sink, *, came: Callable[[], None], leave: Callable[[], Awaitable[None]]
    ) -> None:
        self.claim: Claim | None = None
        self.followed = False
        self._keeper = Keeper(data)
        self._state = data / "state"
        self._pool = pool
        self._sink = sink
        self._came = came
        self._leave = leave
        self._wanted, self._others = True, False
        self._ending = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._told: tuple[bool, str] | None = None
        self._told_fault = ""

    def want(self, wanted: bool, *, others: bool = False) -> None:
        """Say whether the claim is to be had, if nobody else has it; one that is had is given up otherwise.

        `others` says that others who have it are no surprise.
        """
        self._wanted, self._others = wanted, others
        self._wake.set()

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Give up what is had; not for long where the storage does not answer."""
        self._ending = True
        self.want(False, others=self._others)
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._task, _STOP_S)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            if self.claim is not None and not self._wanted:
                await self._leave()
                self.claim = self._told = None
                with suppress(OSError, Busy):
                    await self._pool.submit(_PLACE, self._keeper.release)
            if self._ending:
                return
            await self._look()
            # Not wait_for(): in Python 3.11 it loses a cancel that comes together with what it waits for.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()

    async def _look(self) -> None:
        fault = ""
        try:
            claim = await self._pool.submit(_PLACE, partial(self._keeper.look, wanted=self._wanted))
        except (OSError, Busy) as error:
            claim = self._keeper.claim
            fault = f"{self._state} does not answer, or cannot be written: {error}"
        if claim is None and self._wanted and fault and fault != self._told_fault:
            self._sink(FleetFault("", f"no tree is made or kept current. {fault}"))
            self._told_fault = fault
        if claim is not self.claim:
            if self.claim is not None:
                await self._leave()
            self.claim = claim
            if claim is not None:
                self._came()
        other = self._keeper.other
        self.followed = claim is None and (self.followed or bool(other))
        told = (claim is not None, other)
        if told != self._told and (claim is not None or other):
            self._told = told
            self._sink(FleetKept(claim.epoch if claim is not None else 0, by=other, expected=self._others))
