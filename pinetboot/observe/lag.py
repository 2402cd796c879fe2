"""How late the event loop is: what a Pi waits for its packet when something holds the loop up.

Belongs here: a clock that is looked at ten times a second, which costs nothing that could be measured.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from pinetboot.observe.tally import Distribution

_EVERY_S: Final = 0.1


class LagWatch:
    """Counts in `lag` how many seconds later than due the loop came back. start() and stop() belong to one loop."""

    def __init__(self, lag: Distribution) -> None:
        self._lag = lag
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._wait()

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        # The loop's own time is that of its last turn: it would hide what is measured here.
        self._due = time.monotonic() + _EVERY_S
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._look)

    def _look(self) -> None:
        self._lag.add(max(0.0, time.monotonic() - self._due))
        self._wait()
