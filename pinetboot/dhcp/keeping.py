"""Leases on their way to the disk: in groups, off the loop, and word back once a group is safe.

Belongs here: when to write. While one group is being written the next one gathers, so that however many clients ask at
once, each waits for two writes at most. What cannot be written is tried again, and word of it comes late or never.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from pinetboot.dhcp.events import DhcpTold
from pinetboot.dhcp.lease import Lease, from_kept, to_kept
from pinetboot.dhcp.lease_file import LeaseFile
from pinetboot.errors import OperatorError
from pinetboot.events import FileIgnored, Sink
from pinetboot.threads import Busy, Pool

_PLACE: Final = "state/leases"
_READ_LIMIT_S: Final = 30.0
_AGAIN_S: Final = 0.25
# A client that got no answer in this time asks anew (RFC 2131 section 4.1).
_WORTH_S: Final = 3.0
_TOLD_AFTER_S: Final = 1.0

Then = Callable[[], None]


class Keeping:
    """Every method is called on the loop's thread.

    `may_write` is called in a thread before each write, and raises OSError where the file is another host's to write.
    """

    def __init__(self, file: LeaseFile, pool: Pool, sink: Sink, may_write: Callable[[], None]) -> None:
        self._file = file
        self._pool = pool
        self._sink = sink
        self._may_write = may_write
        self._lines: dict[str, bytes] = {}
        self._waiting: list[tuple[float, Then]] = []
        self._writing = False
        self._stopped = False
        self._fault = ""
        self._failing_since = 0.0
        self._again: asyncio.TimerHandle | None = None

    async def read(self) -> list[Lease]:
        """Read every lease that was kept, and begin to keep. Raises OperatorError."""
        try:
            kept, spoilt = await asyncio.wait_for(self._pool.submit(_PLACE, self._file.read), _READ_LIMIT_S)
        except (OSError, Busy, TimeoutError) as error:
            why = getattr(error, "strerror", None) or f"the disk does not answer within {_READ_LIMIT_S:g} seconds"
            raise OperatorError(
                f"leases cannot be kept in {self._file.path}: {why}",
                "Make it writable for this user: an address counts as leased only once that is on disk.",
            ) from None
        found = [from_kept(item) for item in kept]
        self._lines.clear()
        leases = [lease for lease in found if lease is not None]
        spoilt += len(found) - len(leases)
        if spoilt:
            self._sink(FileIgnored(str(self._file.path), f"{spoilt} of its lines are no leases; the others count"))
        return leases

    def keep(self, leases: Iterable[Lease], then: Then | None = None) -> None:
        """Write leases as they are now; `then` is called once they are on disk, and never where they cannot be."""
        for lease in leases:
            self._lines[str(lease.address)] = to_kept(lease)
        if then is not None:
            self._waiting.append((asyncio.get_running_loop().time() + _WORTH_S, then))
        if self._again is None:
            self._write()

    def stop(self) -> None:
        """Write no more; nobody is called back."""
        self._stopped = True
        self._waiting.clear()
        if self._again is not None:
            self._again.cancel()
        if not self._writing:
            self._file.close()

    def _write(self) -> None:
        self._again = None
        if not self._lines or self._writing or self._stopped:
            return
        lines, waiting = self._lines, self._waiting
        self._lines, self._waiting = {}, []
        try:
            written = self._pool.submit(_PLACE, partial(self._append, lines))
        except Busy as error:
            self._failed(lines, waiting, str(error))
            return
        self._writing = True
        written.add_done_callback(partial(self._written, lines, waiting))

    def _append(self, lines: dict[str, bytes]) -> None:
        self._may_write()
        self._file.append(lines)

    def _written(
        self, lines: dict[str, bytes], waiting: list[tuple[float, Then]], written: asyncio.Future[None]
    ) -> None:
        self._writing = False
        if self._stopped:
            self._file.close()
            return
        if written.cancelled():
            return
        error = written.exception()
        if error is not None:
            self._failed(lines, waiting, getattr(error, "strerror", None) or str(error))
            return
        if self._fault:
            self._fault = ""
            self._sink(DhcpTold(well=True, what="leases are kept on disk again"))
        self._failing_since = 0.0
        for _, then in waiting:
            then()
        self._write()

    def _failed(self, lines: dict[str, bytes], waiting: list[tuple[float, Then]], why: str) -> None:
        """Try again soon, the later line of an address counting; who has waited too long is not told any more."""
        self._lines = lines | self._lines
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._waiting = [one for one in [*waiting, *self._waiting] if one[0] > now]
        self._again = loop.call_later(_AGAIN_S, self._write)
        self._failing_since = self._failing_since or now
        # Right after a start it may take a moment until it is known whose the data directory is.
        if why != self._fault and now - self._failing_since > _TOLD_AFTER_S:
            self._fault = why
            self._sink(DhcpTold(well=False, what=f"no address is leased: {self._file.path} cannot be written: {why}"))
