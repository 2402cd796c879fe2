"""Pictures of the dashboard, as docs/dashboard.png is: `PYTHONPATH=tests python tests/bench/screenshots.py [FOLDER]`.

A made-up rack of 24 Pis is told to real servers, and Debian's Chromium looks at them. Without a folder the one picture
of the README is made anew; with one, all of them are, in light and dark, wide and narrow.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from browsers import chromium, opened
from playwright.async_api import Browser, FloatRect, Page
from stories import House, Someone, Story, house

from pinetboot.fleet.pi import Pi

README = Path(__file__).parent.parent.parent / "docs" / "dashboard.png"
IMAGES = ("raspios-lite", "k3s-node", "raspios-lite", "raspios-lite", "k3s-node", "ubuntu-24.04")
STALLED, LOOPING, RESENT = 7, 15, 3


def rack() -> list[tuple[Pi, Someone]]:
    """Make up 24 Pis."""
    found = []
    for number in range(1, 25):
        serial = f"{0x5B154510 + number * 0x01A3F7:08x}"
        pi = Pi(serial=serial, hostname=f"node-{number:02}", image=IMAGES[number % len(IMAGES)])
        model = "Pi 5" if number % 5 == 0 else "Pi 4"
        found.append((pi, Someone(serial, f"192.168.1.{100 + number}", model)))
    return found


def tell(place: House, rack: list[tuple[Pi, Someone]]) -> None:
    """Have a day of boots told."""
    place.has((pi for pi, _ in rack), generation=3)
    for number, (_, someone) in enumerate(rack, 1):
        if number == len(rack):  # the last one was never plugged in
            continue
        for past in range(6, 0, -1):
            story = Story(someone, seed=past, pace=0.8 + 0.1 * ((number + past) % 5))
            place.tell(story.told(generation=3 - past // 4), 86_400 * past * 0.9 + 977 * number)
        latest = Story(
            someone, seed=0, resends=frozenset({"kernel8.img", "start4.elf"}) if number == RESENT else frozenset()
        )
        match number:
            case 7:
                lacking = Story(someone, lacks=frozenset({"bcm2711-rpi-4-b.dtb"}))
                place.tell(lacking.told("kernel", 3), 190)
            case 15:
                place.tell(latest.told("linux", 3), 400)
            case 11:
                place.tell(latest.told("firmware", 3), 2.6)
            case 12:
                place.tell(latest.told("online", 3), 9)
            case 18:
                place.tell(latest.told("online", 3), 19)
            case _:
                place.tell(latest.told("online", 3), 1500 + 61 * number)
    place.tell(Story(Someone("da591740", "192.168.1.77", "Pi 5")).told(), 300)


async def picture(page: Page, path: Path, width: int, height: int = 0) -> None:
    """Take one, once nothing moves any more; without a height, as high as what is on it."""
    await page.wait_for_timeout(600)
    height = height or int(await page.evaluate("document.querySelector('footer').getBoundingClientRect().bottom"))
    clip = FloatRect(x=0, y=0, width=width, height=height)
    await page.screenshot(path=path, clip=clip, animations="disabled")


async def every(url: str, folder: Path, shown: list[tuple[Pi, Someone]]) -> None:
    """Take all of them."""
    async with chromium() as browser:
        await _every(browser, url, folder, shown)


async def _every(browser: Browser, url: str, folder: Path, shown: list[tuple[Pi, Someone]]) -> None:
    stalled, healthy = shown[STALLED - 1][0].serial, shown[RESENT - 1][0].serial
    for colours in ("light", "dark"):
        for width in (1280, 820, 360):
            # High enough that every row is in sight: what is out of sight is not painted.
            async with opened(browser, colours, width=width, height=3000) as page:
                for name, route in (("all", "#/"), ("stalled", f"#/pi/{stalled}"), ("healthy", f"#/pi/{healthy}")):
                    await page.goto(f"{url}{route}")
                    await page.wait_for_selector(".pi, .facts")
                    await picture(page, folder / f"{name}-{colours}-{width}.png", width)


async def main(folder: Path | None) -> None:
    """Take the pictures that were asked for."""
    with tempfile.TemporaryDirectory() as data:
        async with house(Path(data)) as place:
            shown = rack()
            tell(place, shown)
            await asyncio.sleep(1.5)
            if folder:
                await every(place.url, folder, shown)
                return
            async with chromium() as browser, opened(browser, width=1200, height=2000) as page:
                await page.goto(place.url)
                await page.wait_for_selector(".pi")
                await picture(page, README, 1200, 980)
    print(f"{README}: {README.stat().st_size} bytes")


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if sys.argv[1:] else None
    (chosen or README.parent).mkdir(exist_ok=True)
    asyncio.run(main(chosen))
