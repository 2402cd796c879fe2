"""The pool of threads for work that may stall: nothing but the place it stalls at may notice."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable

import pytest

from pinetboot import threads
from pinetboot.threads import STALLED_QUEUE, THREADS_PER_PLACE, Busy, Pool

WITHIN_S = 5.0


class Gate:
    """Work that waits until it is let through, and tells how much of it runs at once."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def work(self) -> str:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.open.wait(WITHIN_S)
        with self._lock:
            self.running -= 1
        return "through"


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool(threads=12, per_place=3, queue_per_place=5)
    yield made
    made.close()


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not true():  # noqa: ASYNC110 - what is waited for happens in threads
            await asyncio.sleep(0.005)


async def test_work_gives_its_result_on_the_loop(pool: Pool) -> None:
    assert await pool.submit("a", lambda: 6 * 7) == 42
    assert await pool.submit("a", threading.get_ident) != threading.get_ident()


async def test_a_fault_of_the_work_is_handed_to_the_one_who_waits(pool: Pool) -> None:
    def fail() -> None:
        raise FileNotFoundError(2, "gone")

    for _ in range(20):
        with pytest.raises(FileNotFoundError, match="gone"):
            await pool.submit("a", fail)
    assert await pool.submit("a", lambda: "alive") == "alive"


async def test_even_the_worst_fault_ends_no_thread(pool: Pool) -> None:
    def leave() -> None:
        raise KeyboardInterrupt

    future = pool.submit("a", leave)
    await until(future.done)
    assert isinstance(future.exception(), KeyboardInterrupt)
    assert await asyncio.gather(*(pool.submit("a", lambda: 1) for _ in range(5))) == [1] * 5


async def test_a_place_gets_a_few_threads_at_a_time(pool: Pool, gate: Gate) -> None:
    futures = [pool.submit("a", gate.work) for _ in range(8)]
    await until(lambda: gate.running == 3)
    await asyncio.sleep(0.05)
    assert gate.most == 3
    gate.open.set()
    assert await asyncio.gather(*futures) == ["through"] * 8
    assert gate.most == 3


async def test_a_place_that_stalls_leaves_the_others_alone(pool: Pool, gate: Gate) -> None:
    stalled = [pool.submit("a", gate.work) for _ in range(8)]
    started = time.monotonic()
    for place in ("b", "", "c"):
        assert await pool.submit(place, lambda: "quick") == "quick"
    assert time.monotonic() - started < 0.5
    assert not any(future.done() for future in stalled)


async def test_beyond_its_queue_a_place_is_busy(pool: Pool, gate: Gate) -> None:
    futures = [pool.submit("a", gate.work) for _ in range(3 + 5)]
    for _ in range(3):
        with pytest.raises(Busy):
            pool.submit("a", gate.work)
    assert await pool.submit("b", lambda: "free") == "free"
    gate.open.set()
    await asyncio.gather(*futures)
    assert await pool.submit("a", lambda: "free again") == "free again"


async def test_a_place_that_has_done_nothing_for_a_while_takes_few_more(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "STALLED_S", 0.1)
    pool = Pool()
    futures = [pool.submit("a", gate.work) for _ in range(THREADS_PER_PLACE + 300)]
    await asyncio.sleep(0.15)
    with pytest.raises(Busy):
        pool.submit("a", gate.work)
    others = [pool.submit("b", gate.work) for _ in range(THREADS_PER_PLACE)]
    await asyncio.sleep(0.15)
    others += [pool.submit("b", gate.work) for _ in range(STALLED_QUEUE)]
    with pytest.raises(Busy):
        pool.submit("b", gate.work)
    gate.open.set()
    assert await asyncio.gather(*futures, *others) == ["through"] * len(futures + others)
    gate.open.clear()
    # It moved, so that what it was told before counts no more.
    futures = [pool.submit("a", gate.work) for _ in range(THREADS_PER_PLACE + 300)]
    gate.open.set()
    await asyncio.gather(*futures)
    pool.close()


async def test_work_of_one_place_is_done_in_the_order_it_came() -> None:
    pool = Pool(threads=4, per_place=1, queue_per_place=100)
    done: list[int] = []
    await asyncio.gather(*(pool.submit("a", lambda number=number: done.append(number)) for number in range(100)))  # type: ignore[misc]
    assert done == list(range(100))
    pool.close()


async def test_more_stalled_places_than_threads_wait_and_are_served_in_the_end() -> None:
    pool = Pool(threads=4, per_place=2, queue_per_place=10)
    gate = Gate()
    futures = [pool.submit(f"place-{number % 10}", gate.work) for number in range(40)]
    await until(lambda: gate.running == 4)
    gate.open.set()
    assert await asyncio.gather(*futures) == ["through"] * 40
    assert gate.most == 4
    pool.close()


async def test_one_who_stops_waiting_frees_the_place_once_the_work_is_over(pool: Pool, gate: Gate) -> None:
    futures = [pool.submit("a", gate.work) for _ in range(3 + 5)]
    for future in futures:
        future.cancel()
    # The threads cannot be told, and the queue is not shortened behind their backs.
    gate.open.set()
    await until(lambda: gate.running == 0)
    assert await pool.submit("a", lambda: "served") == "served"
    assert all(future.cancelled() for future in futures)


async def test_a_time_limit_on_one_request_leaves_the_place_usable(pool: Pool, gate: Gate) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.submit("a", gate.work), 0.05)
    assert await pool.submit("a", lambda: "second thread") == "second thread"
    gate.open.set()
    await until(lambda: gate.running == 0)
    assert await pool.submit("a", lambda: "first thread") == "first thread"


async def test_threads_are_made_as_needed_and_used_again() -> None:
    before = set(threading.enumerate())
    pool = Pool(threads=50, per_place=4)
    for _ in range(200):
        await pool.submit("a", lambda: None)
    own = set(threading.enumerate()) - before
    assert 1 <= len(own) <= 2
    # Else one that hangs in the kernel would keep the process from ending.
    assert all(thread.daemon for thread in own)
    pool.close()
    await until(lambda: not any(thread.is_alive() for thread in own))


async def test_closing_ends_what_is_idle_and_waits_for_nothing() -> None:
    pool = Pool(threads=2, per_place=2)
    gate = Gate()
    hanging = pool.submit("a", gate.work)
    assert await pool.submit("b", lambda: "done") == "done"
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 0.1
    gate.open.set()
    assert await hanging == "through"


def test_a_thread_that_comes_back_after_the_loop_is_gone_says_nothing() -> None:
    gate = Gate()
    left: set[threading.Thread] = set()

    async def leave_it_hanging() -> None:
        before = set(threading.enumerate())
        pool = Pool()
        pool.submit("a", gate.work)
        await until(lambda: gate.running == 1)
        left.update(set(threading.enumerate()) - before)
        pool.close()

    asyncio.run(leave_it_hanging())
    gate.open.set()
    assert len(left) == 1
    for thread in left:
        thread.join(WITHIN_S)
        assert not thread.is_alive()


async def test_an_idle_thread_holds_nothing_of_its_last_work(pool: Pool) -> None:
    class Held:
        """Stands for an open file: it is closed when the last one lets go."""

    def work() -> Held:
        return Held()

    held = weakref.ref(await pool.submit("a", work))
    await asyncio.sleep(0.05)
    gc.collect()
    assert held() is None


async def test_many_pieces_of_work_from_many_places_all_come_back() -> None:
    pool = Pool(threads=8, per_place=2, queue_per_place=1000)
    futures = [pool.submit(str(number % 7), lambda number=number: number) for number in range(2000)]  # type: ignore[misc]
    assert await asyncio.gather(*futures) == list(range(2000))
    pool.close()
