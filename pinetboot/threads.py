"""A pool of threads for file work that may stall: a dead disk or NFS mount must hold up nothing but itself.

Belongs here: running a plain function elsewhere and calling back on the loop. The loop's own default pool is not used
for it, because a handful of stalled opens would fill that. Work is grouped by `place` (a directory at the top of the
boot tree): a place gets a few threads at a time and a queue, which is long while work gets done (a rack of Pis asks
after a power cut) and short once nothing has been done for a second.
Threads are daemons: one that hangs in the kernel does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", str]

THREADS = 128
THREADS_PER_PLACE = 4
QUEUE_PER_PLACE = 4096
STALLED_QUEUE = 16
STALLED_S = 1.0


class Busy(Exception):
    """A place has as much work waiting as it may have: its storage does not answer."""


class Threads(Protocol):
    """Runs work in a thread; work of one `place` queues."""

    async def __call__(self, place: str, work: Callable[[], T], /) -> T:
        """Give what the work gives, or raise what it raises."""


class Pool:
    """Runs functions in threads of its own; every method is called on the loop's thread."""

    def __init__(
        self, threads: int = THREADS, per_place: int = THREADS_PER_PLACE, queue_per_place: int = QUEUE_PER_PLACE
    ) -> None:
        self._max_threads = threads
        self._per_place = per_place
        self._queue_per_place = queue_per_place
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = 0
        self._running: dict[str, int] = {}
        self._waiting: dict[str, deque[_Job]] = {}
        self._in_flight = 0
        self._moved_at: dict[str, float] = {}

    def submit(self, place: str, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run `work` in a thread. Raises Busy when the place has no room for it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job: _Job = (work, future, place)
        if self._running.get(place, 0) < self._per_place:
            self._moved_at.setdefault(place, loop.time())
            self._start(job)
            return future
        queue = self._waiting.setdefault(place, deque())
        stalled = loop.time() - self._moved_at[place] > STALLED_S
        if len(queue) >= (min(STALLED_QUEUE, self._queue_per_place) if stalled else self._queue_per_place):
            raise Busy(f"{len(queue)} pieces of work wait for {place or 'the boot root'}")
        queue.append(job)
        return future

    def close(self) -> None:
        """End the idle threads and drop what waits; a thread that hangs stays behind."""
        for queue in self._waiting.values():
            for _, future, _ in queue:
                future.cancel()
        self._waiting.clear()
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _start(self, job: _Job) -> None:
        place = job[2]
        self._running[place] = self._running.get(place, 0) + 1
        self._in_flight += 1
        if self._in_flight > self._threads and self._threads < self._max_threads:
            self._threads += 1
            loop = asyncio.get_running_loop()
            name = f"pinetboot-files-{self._threads}"
            threading.Thread(target=self._work, args=(loop,), name=name, daemon=True).start()
        self._jobs.put(job)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        # Nothing of a job may live on in an idle thread: a file is closed when the last one who holds it lets go.
        while self._do(loop, self._jobs.get()):
            pass

    def _do(self, loop: asyncio.AbstractEventLoop, job: _Job | None) -> bool:
        if job is None:
            return False
        result: Any = None
        fault: BaseException | None = None
        try:
            result = job[0]()
        except BaseException as error:  # noqa: BLE001 - it is handed to the one who waits
            fault = error
        try:
            loop.call_soon_threadsafe(self._finished, job, result, fault)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return False
        finally:
            # An exception's traceback holds this frame, and the frame the exception.
            del job, result, fault
        return True

    def _finished(self, job: _Job, result: Any, fault: BaseException | None) -> None:
        _, future, place = job
        self._in_flight -= 1
        left = self._running[place] - 1
        queue = self._waiting.get(place)
        self._moved_at[place] = asyncio.get_running_loop().time()
        if left:
            self._running[place] = left
        else:
            del self._running[place]
            if not queue:
                del self._moved_at[place]
        if queue:
            self._start(queue.popleft())
            if not queue:
                del self._waiting[place]
        if future.cancelled():
            return
        if fault is None:
            future.set_result(result)
        else:
            future.set_exception(fault)
