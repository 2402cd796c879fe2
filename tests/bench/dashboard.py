"""What 500 Pis that boot cost while somebody looks on: `PYTHONPATH=tests python tests/bench/dashboard.py`.

PIS in the environment changes the number, LISTENERS how many look on beside the browser, BOOT_S how long a boot takes,
all of which begin within the first third of it. Events are told to real servers at the pace of real Pis; a process of
its own looks with Debian's Chromium. Printed: first paint, when every row was there, how late the loop came round while
nobody looked and while they did, and what looking on cost in processor time.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from aiohttp import ClientSession
from stories import House, Someone, Story, Told, house

from pinetboot.fleet.pi import Pi

PIS = int(os.environ.get("PIS", "500"))
LISTENERS = int(os.environ.get("LISTENERS", "2"))
BOOT_S = float(os.environ.get("BOOT_S", "60"))
_LOOK_S = 0.005
_LOOKS_ON = """
(wanted) => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  if (!paint || document.querySelectorAll(".pi").length < wanted) return "";
  return JSON.stringify({ paint: paint.startTime, rows: performance.now() });
}
"""


class Lag:
    """How late the loop comes round, and how much of the time between two looks was work of its own thread.

    The one is what Pis feel; the other is the same on a machine that has more to do.
    """

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self.work_ms: list[float] = []

    async def run(self) -> None:
        """Look every 5 ms."""
        loop = asyncio.get_running_loop()
        while True:
            began, work = loop.time(), time.thread_time()
            await asyncio.sleep(_LOOK_S)
            self.late_ms.append((loop.time() - began - _LOOK_S) * 1000)
            self.work_ms.append((time.thread_time() - work) * 1000)


def figures(measured: list[float]) -> str:
    """Say it in figures."""
    found = sorted(measured)
    at = {share: found[int(len(found) * share)] for share in (0.5, 0.99, 0.999)}
    return f"p50 {at[0.5]:.1f} ms, p99 {at[0.99]:.1f} ms, p99.9 {at[0.999]:.1f} ms, most {found[-1]:.1f} ms"


@asynccontextmanager
async def lag() -> AsyncIterator[Lag]:
    """Measure within."""
    measured = Lag()
    task = asyncio.create_task(measured.run())
    try:
        yield measured
    finally:
        task.cancel()


def storm(seed: int) -> list[Told]:
    """Have all of them boot once, told in the order of time."""
    told = []
    for number in range(PIS):
        someone = Someone(f"{0x10000000 + number:08x}", f"10.0.{number // 250}.{number % 250 + 1}")
        story = Story(someone, seed=seed).told()
        stretch, start = BOOT_S * 2 / 3 / story[-1][0], number / PIS * BOOT_S / 3
        told.append([(start + at * stretch, event) for at, event in story])
    return list(heapq.merge(*told, key=lambda one: one[0]))


async def boot_all(place: House, seed: int) -> int:
    """Tell a storm as it comes; returns the number of events."""
    began = time.monotonic()
    told = storm(seed)
    for at, event in told:
        wait = began + at - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        place.services._take(event)
    return len(told)


async def looks_on(url: str) -> None:
    """Be a listener that reads all it is told."""
    async with ClientSession() as session, session.get(f"{url}api/events", timeout=None) as answer:
        async for _ in answer.content.iter_any():
            pass


async def browse(url: str, seconds: float) -> None:
    """Look with a browser, twice, and say how long it took to see everything."""
    from browsers import chromium, opened  # noqa: PLC0415 - in a process of its own

    async with chromium() as browser:
        for kind in ("first look", "with its files kept"):
            async with opened(browser) as page:
                await page.goto(url)
                found = await page.wait_for_function(_LOOKS_ON, arg=PIS)
                seen = json.loads(await found.json_value())
                print(f"  browser, {kind}: first paint {seen['paint']:.0f} ms, all rows {seen['rows']:.0f} ms")
                if kind != "first look":
                    await asyncio.sleep(max(0.0, seconds))


async def child(url: str, seconds: float) -> None:
    """Browse in another process, so that its work is not ours."""
    command = [sys.executable, __file__, "--browse", url, str(seconds)]
    process = await asyncio.create_subprocess_exec(*command)
    await process.wait()


async def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as data:
        async with house(Path(data)) as place:
            overview = place.services.overview
            place.has(Pi(serial=f"{0x10000000 + number:08x}", image="raspios-lite") for number in range(PIS))
            for looked_on in (False, True):
                listeners = [asyncio.create_task(looks_on(place.url)) for _ in range(LISTENERS * looked_on)]
                browsing = asyncio.create_task(child(place.url, BOOT_S - 12)) if looked_on else None
                cpu = time.process_time()
                async with lag() as measured:
                    number = await boot_all(place, int(looked_on))
                who = f"{LISTENERS} listeners and a browser" if looked_on else "nobody looks on"
                online = sum(overview.shown(serial)["state"] == "online" for serial in overview.serials())
                cpu = time.process_time() - cpu
                print(f"{PIS} Pis, {number} events in {BOOT_S:g} s, {who}: {online} online; CPU {cpu:.1f} s")
                print(f"  loop late {figures(measured.late_ms)}")
                print(f"  own work  {figures(measured.work_ms)}")
                for task in listeners:
                    task.cancel()
                if browsing:
                    await browsing


if __name__ == "__main__":
    if sys.argv[1:2] == ["--browse"]:
        asyncio.run(browse(sys.argv[2], float(sys.argv[3])))
    else:
        uvloop.run(main())
