"""The dashboard in a browser, Debian's Chromium: what people see, find, and hear of it."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from browsers import chromium, opened
from playwright.async_api import Browser, Page, expect
from stories import House, Someone, Story, house, pc

from pinetboot.events import PhonedHome, TransferEnded
from pinetboot.fleet.pi import Machine, Pi

GOOD, BAD, BUSY, NEVER, STRANGER = "5b154510", "5b154511", "5b154512", "5b154513", "da591740"
ADDRESSES = {GOOD: "192.168.1.51", BAD: "192.168.1.52", BUSY: "192.168.1.53", STRANGER: "192.168.1.77"}
FLEET = [
    Pi(serial=GOOD, hostname="node-1", image="raspios-lite"),
    Pi(serial=BAD, hostname="node-2", image="raspios-lite"),
    Pi(serial=BUSY, hostname="node-10", image="k3s"),
    Pi(serial=NEVER, image="raspios-lite"),
]
PC, BOARD, LAPTOP = "52:54:00:12:34:56", "52:54:00:aa:aa:aa", "52:54:00:bb:bb:bb"
KERNEL, INITRD = (f"/installers/debian-12/amd64/{name}" for name in ("linux", "initrd.gz"))
AXE = os.environ.get("PINETBOOT_AXE", "")


def story(serial: str, **more: Any) -> Story:
    return Story(Someone(serial, ADDRESSES[serial]), **more)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def place(tmp_path: Path) -> AsyncIterator[House]:
    """Pis in every state: online, stalled, booting, never seen, and one in no fleet."""
    async with house(tmp_path) as made:
        made.has(FLEET, generation=2)
        made.tell(story(GOOD, seed=1).told(), 4000)
        made.tell(story(GOOD, seed=2, resends=frozenset({"kernel8.img"})).told(), 300)
        made.tell(story(BAD, lacks=frozenset({"bcm2711-rpi-4-b.dtb"})).told("kernel"), 200)
        made.tell(story(BUSY).told(), 6)
        made.tell(story(STRANGER).told(), 200)
        async with asyncio.timeout(5):
            while made.services.overview.shown(BAD)["state"] != "stalled":  # noqa: ASYNC110 - it is looked at, not told
                await asyncio.sleep(0.05)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def mixed(tmp_path: Path) -> AsyncIterator[House]:
    """Have a Pi, and machines that are none: at its kernel, one that stands still, and one that was never seen."""
    async with house(tmp_path) as made:
        made.has(FLEET[:1], machines=[Machine(mac=PC, boot="menu", hostname="nuc"), Machine(mac=BOARD, boot="local")])
        made.tell(story(GOOD, seed=1).told(), 4000)
        made.tell_of_machine(pc(PC, "192.168.1.60", ["bootx64.efi", "grubx64.efi", "grub/grub.cfg", KERNEL]), 8)
        made.tell_of_machine(pc(LAPTOP, "192.168.1.61", ["bootx64.efi", "grubx64.efi"]), 90)
        yield made


def names(page: Page) -> Any:
    return page.locator(".pi:visible .name a")


async def test_all_pis_at_a_glance_stalled_first(browser: Browser, place: House) -> None:
    async with opened(browser) as page:
        await page.goto(place.url)
        await expect(names(page)).to_have_text(["node-2", "node-10", STRANGER, "node-1", f"pi-{NEVER}"])
        await expect(page).to_have_title("(1 stalled) All Pis · pinetboot")
        await expect(page.locator("#link")).to_have_text("Live")
        for state, number in (
            ("all", 5),
            ("stalled", 1),
            ("booting", 1),
            ("online", 2),
            ("unseen", 1),
            ("stranger", 1),
        ):
            await expect(page.locator(f".count[data-state={state}] b")).to_have_text(str(number))
        bad = page.locator(".pi", has_text="node-2")
        await expect(bad).to_contain_text("Stalled at kernel: bcm2711-rpi-4-b.dtb is not served")
        await expect(bad.get_by_role("img", name="stalled at stage 3 of 7, kernel")).to_be_visible()
        good = page.locator(".pi", has_text="node-1").last
        await expect(good).to_contain_text("raspios-lite · gen 2")
        await expect(good).to_contain_text("5 min ago")
        await expect(good).to_contain_text(re.compile(r"3\d s"))


async def test_a_pi_is_found_by_state_and_by_words(browser: Browser, place: House) -> None:
    async with opened(browser) as page:
        await page.goto(place.url)
        await page.get_by_role("button", name="Stalled").click()
        await expect(names(page)).to_have_text(["node-2"])
        await page.get_by_role("button", name="Stalled").click()
        await expect(names(page)).to_have_count(5)
        await page.keyboard.press("/")
        await page.keyboard.type("k3s")
        await expect(names(page)).to_have_text(["node-10"])
        await expect(page.locator(".shown")).to_have_text("1 of 5 Pis shown")
        await page.get_by_role("searchbox").fill("nothing like it")
        await expect(page.get_by_role("heading", name="No Pi fits")).to_be_visible()
        await page.get_by_role("button", name="Show all").click()
        await page.get_by_label("Order").select_option("Name")
        await expect(names(page)).to_have_text([STRANGER, "node-1", "node-2", "node-10", f"pi-{NEVER}"])


async def test_a_stalled_pi_says_why_and_what_to_do(browser: Browser, place: House) -> None:
    async with opened(browser) as page:
        await page.goto(place.url)
        await page.get_by_role("link", name="node-2").click()
        await expect(page.get_by_role("heading", name="node-2")).to_be_focused()
        stall = page.get_by_role("region", name=re.compile("Stalled at kernel"))
        await expect(stall).to_contain_text("bcm2711-rpi-4-b.dtb is not served")
        cause = place.services.overview.shown(BAD)["boot"]["cause"]
        await expect(stall).to_contain_text(cause["why"])
        await expect(stall).to_contain_text(cause["do"].replace("`", ""))
        await expect(stall).to_contain_text("armstub8-gic.bin, bcm2711-rpi-4-b.dtb")
        await expect(stall).to_contain_text("D27")
        await expect(page.locator(".log")).to_be_hidden()


async def test_a_boot_is_a_waterfall_with_its_gaps_and_what_was_sent_again(browser: Browser, place: House) -> None:
    async with opened(browser) as page:
        await page.goto(f"{place.url}#/pi/{GOOD}")
        files = page.locator(".file")
        kernel = files.filter(has_text="kernel8.img")
        await expect(kernel).to_contain_text(re.compile(r"9\.6 MB · [\d.]+ s · [\d.]+ MB/s · \d sent again"))
        await expect(kernel).to_have_attribute("data-resent", "true")
        await expect(files.filter(has_text="pieeprom.sig")).to_have_count(0)
        await page.get_by_label(re.compile("asked for and not there")).check()
        await expect(files.filter(has_text="pieeprom.sig")).to_contain_text("not there")
        boxes = [
            await files.filter(has_text=name).locator(".file-bar").bounding_box() for name in ("initramfs8", "kernel8")
        ]
        first, second = (box for box in boxes if box)
        assert first["x"] + first["width"] <= second["x"] + 1
        assert min(first["width"], second["width"]) > 20
        await expect(page.locator(".gaps > span").last).to_contain_text("quiet")
        await expect(page.locator(".band")).to_have_text(
            ["seen", "firmware", "kernel", "linux", "root", "seed", "online"]
        )
        past = page.get_by_role("region", name="Boots")
        await past.get_by_role("link", name="Boot 1").click()
        await expect(page.get_by_role("heading", name="Boot 1")).to_be_visible()
        await expect(files.filter(has_text="kernel8.img")).to_contain_text("9.6 MB")
        await expect(past.locator("[aria-current]")).to_have_text("Boot 1")


async def test_what_changes_is_seen_and_heard_without_a_reload(browser: Browser, place: House) -> None:
    async with opened(browser) as page:
        await page.goto(place.url)
        await page.evaluate("window.same = true")
        row = page.locator(".pi", has_text="node-10")
        await expect(row).to_contain_text("Booting")
        boots = place.services.overview.boots
        boots.take(PhonedHome(ADDRESSES[BUSY], BUSY), BUSY)
        await expect(row).to_contain_text("Online")
        await expect(page.locator(".count[data-state=online] b")).to_have_text("3")
        await expect(page.locator("#said")).to_have_text("node-10 online.")
        await page.goto(f"{place.url}#/pi/{NEVER}")
        await expect(page.get_by_text("No boot of it was seen yet.")).to_be_visible()
        place.tell(Story(Someone(NEVER, "192.168.1.54")).told(), 6)
        await expect(page.locator(".who")).to_contain_text("Booting")
        await expect(page.locator(".file", has_text="start4.elf")).to_be_visible()
        place.tell(Story(Someone(NEVER, "192.168.1.54")).told()[-1:], 60)
        await expect(page.locator(".who")).to_contain_text("Online")
        assert await page.evaluate("window.same")


async def test_what_the_bootloader_says_and_what_is_worth_knowing_is_shown(browser: Browser, place: House) -> None:
    overview = place.services.overview
    async with opened(browser) as page:
        await page.goto(f"{place.url}#/pi/{BAD}")
        await expect(page.locator(".file").first).to_be_visible()
        log = page.get_by_role("region", name="Bootloader log")
        await expect(log).to_be_hidden()
        overview.logs.take(ADDRESSES[BAD], "RPi: BOOTLOADER release <b>VERSION</b>", BAD, BAD, time.monotonic())
        await expect(log).to_contain_text("RPi: BOOTLOADER release <b>VERSION</b>", timeout=10_000)
        await page.goto(f"{place.url}#/pi/{NEVER}")
        (warning,) = overview.warnings(NEVER)
        await expect(page.get_by_role("region", name="Worth knowing")).to_contain_text(warning.what)


async def test_a_fleet_that_changes_is_followed(browser: Browser, place: House) -> None:
    async with opened(browser) as page:
        await page.goto(place.url)
        await expect(names(page)).to_have_count(5)
        place.has([*FLEET[:2], Pi(serial=STRANGER, hostname="found", image="k3s")])
        await expect(names(page)).to_have_text(["node-2", BUSY, "found", "node-1"])


async def test_a_stranger_comes_with_the_line_that_adds_it(browser: Browser, place: House) -> None:
    async with opened(browser) as page:
        await page.goto(place.url)
        line = f"pinetboot pi add {STRANGER} --image raspios-lite"
        section = page.get_by_role("region", name="1 Pi not in the fleet")
        await expect(section.locator("code")).to_have_text(line)
        # Over plain http, from another host than localhost, there is no clipboard to write to.
        await page.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false })")
        await section.get_by_role("button", name=f"Copy the command for {STRANGER}").click()
        await expect(page.locator("#said")).to_have_text("Copied.")
        search = page.get_by_role("searchbox")
        await search.focus()
        await page.keyboard.press("Control+V")
        await expect(search).to_have_value(line)
        await page.get_by_role("searchbox").fill("")
        await section.get_by_role("link", name=STRANGER).click()
        await expect(page.get_by_role("region", name="Not in the fleet").locator("code")).to_have_text(line)


async def test_machines_that_are_no_pi_stand_below_the_pis_and_one_is_a_page(browser: Browser, mixed: House) -> None:
    async with opened(browser) as page:
        await page.goto(mixed.url)
        section = page.get_by_role("region", name="Machines")
        rows = section.get_by_role("listitem")
        await expect(rows.locator(".name a")).to_have_text(["nuc", BOARD, LAPTOP])
        nuc, board, laptop = (rows.nth(place) for place in range(3))
        for text in ("Booting", PC, "UEFI x64 PC", "kernel", "debian-12", "192.168.1.60", "s ago", "4 files, 6.0 MB"):
            await expect(nuc).to_contain_text(text)
        await expect(nuc.get_by_role("img", name="stage 3 of 5, kernel")).to_be_visible()
        for text in ("Not seen", "local", "never"):
            await expect(board).to_contain_text(text)
        await expect(laptop).to_contain_text("not in fleet.toml")
        await expect(laptop).to_contain_text("Stalled at firmware: it fetched grubx64.efi, and asked for no menu here")
        await expect(page).to_have_title("(1 stalled) All Pis · pinetboot")
        await laptop.get_by_role("link").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name=LAPTOP)).to_be_focused()
        stall = page.get_by_role("region", name="Stalled at firmware")
        await expect(stall).to_contain_text("192.168.1.1, which gave the address, for its menu")
        await expect(page.locator(".file-name")).to_have_text(["bootx64.efi", "grubx64.efi"])
        await expect(page.locator(".file").last).to_contain_text("1.5 MB · 400 ms · 3.8 MB/s · TFTP")
        await expect(page.locator(".legend b")).to_have_text(["seen", "firmware", "kernel", "linux", "seed"])
        await expect(page.locator(".band")).to_have_text(["seen", "firmware"])


async def test_machines_are_seen_live_from_the_first_on(browser: Browser, place: House) -> None:
    async with opened(browser, forgiven="404") as page:
        await page.goto(place.url)
        await expect(names(page)).to_have_count(5)
        section = page.get_by_role("region", name="Machines")
        await expect(section).to_be_hidden()
        place.tell_of_machine(pc(PC, "192.168.1.60", ["bootx64.efi"]), 2)
        await expect(section.get_by_role("listitem")).to_contain_text("1 file, 1.5 MB")
        place.tell_of_machine(pc(PC, "192.168.1.60", [KERNEL, INITRD])[2:], 1)
        await expect(section.get_by_role("listitem")).to_contain_text("kernel")
        await section.get_by_role("link").click()
        await expect(page.locator(".file")).to_have_count(3)
        await expect(page.locator(".file", has_text="initrd.gz")).to_contain_text("HTTP")
        place.tell_of_machine(pc(PC, "192.168.1.60", ["/preseed.late"])[2:], 1)
        await expect(page.locator(".file")).to_have_count(4)
        place.has(FLEET, machines=[Machine(mac=BOARD)])
        await page.goto(f"{place.url}#/machine/{BOARD}")
        await expect(page.get_by_text("No boot of it was seen yet.")).to_be_visible()
        await page.goto(f"{place.url}#/machine/02:00:00:00:00:00")
        await expect(page.locator(".fault")).to_contain_text("never seen to boot")


@pytest.mark.parametrize("route", ["#/", f"#/machine/{LAPTOP}"])
async def test_machines_fit_on_a_phone(browser: Browser, mixed: House, route: str) -> None:
    async with opened(browser, width=360, height=740) as page:
        await page.goto(f"{mixed.url}{route}")
        await expect(page.locator(".machines .name a, .file").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == 360


async def test_a_daemon_that_is_away_is_said_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, forgiven="net::ERR") as page:
        async with house(tmp_path) as made:
            made.has(FLEET)
            port = int(made.url.rpartition(":")[2].strip("/"))
            await page.goto(made.url)
            await expect(names(page)).to_have_count(4)
        await expect(page.locator("#away")).to_contain_text("No answer from pinetboot since", timeout=10_000)
        await expect(names(page)).to_have_count(4)
        async with house(tmp_path, http_port=port) as made:
            made.has(FLEET[:1])
            await expect(names(page)).to_have_count(1, timeout=15_000)
            await expect(page.locator("#link")).to_have_text("Live")
            await expect(page.locator("#away")).to_be_hidden()


async def test_no_pi_yet_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    async with house(tmp_path) as made, opened(browser, forgiven="404") as page:
        await page.goto(made.url)
        await expect(page.get_by_role("heading", name="No Pi yet")).to_be_visible()
        await expect(page.locator(".empty code")).to_have_text("pinetboot pi add SERIAL --image NAME")
        await page.goto(f"{made.url}#/pi/00000000")
        await expect(page.locator(".fault")).to_contain_text("never seen")


async def test_the_keyboard_alone_gets_everywhere(browser: Browser, place: House) -> None:
    async with opened(browser) as page:
        await page.goto(place.url)
        await expect(names(page)).to_have_count(5)
        await page.keyboard.press("Tab")
        await expect(page.locator("#skip")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        reached = []
        for _ in range(30):
            await page.keyboard.press("Tab")
            reached.append(
                await page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id")
            )
            ring = "getComputedStyle(document.activeElement.closest('.pi') ?? document.activeElement).outlineStyle"
            assert await page.evaluate(ring) == "solid", reached[-1]
            if reached[-1] == "node-2":
                break
        assert {"1Stalled", "Copy", "search", STRANGER} <= set(reached)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="node-2")).to_be_focused()
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Enter")
        await expect(names(page)).to_have_count(5)


@pytest.mark.parametrize("route", ["#/", f"#/pi/{BAD}", f"#/pi/{GOOD}"])
async def test_it_fits_on_a_phone(browser: Browser, place: House, route: str) -> None:
    async with opened(browser, width=360, height=740) as page:
        await page.goto(f"{place.url}{route}")
        await expect(page.locator(".name a, .file").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        await page.evaluate("document.querySelector('h1').textContent")
        too_wide = """[...document.querySelectorAll('main *')].filter((one) => {
          const box = one.getBoundingClientRect();
          return box.width && !one.closest('.unseen, [hidden]') && (box.right > 361 || box.left < -1);
        }).map((one) => one.className)"""
        assert await page.evaluate(too_wide) == []


async def test_its_colours_are_the_systems_until_somebody_chooses(browser: Browser, place: House) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    seen: dict[str, str] = {}
    systems: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for system in systems:
        async with opened(browser, system) as page:
            await page.goto(place.url)
            button = page.get_by_role("button", name=re.compile("Colours"))
            seen[system] = await page.evaluate(ground)
            await button.click()
            await button.click()
            await expect(button).to_have_accessible_name("Colours: dark")
            seen[f"{system} dark"] = await page.evaluate(ground)
            await page.reload()
            assert await page.evaluate(ground) == seen[f"{system} dark"]
    assert seen["light"] != seen["dark"] == seen["light dark"] == seen["dark dark"]


async def test_what_a_pi_calls_its_files_is_text_and_nothing_else(browser: Browser, place: House) -> None:
    evil = Someone(STRANGER, ADDRESSES[STRANGER])
    names_of = ('<img src=x onerror="alert(1)">', "\u202egnp.exe", "a\nb", "<script>alert(1)</script>")
    told = Story(evil).told("firmware")
    files = [(at, event) for at, event in told if isinstance(event, TransferEnded)]
    extra = [
        (at, replace(event, path=f"{STRANGER}/{name}")) for (at, event), name in zip(files, names_of, strict=False)
    ]
    place.tell([*told, *extra], 30)
    async with opened(browser) as page:
        page.on("dialog", lambda _: pytest.fail("a name of a file was run"))
        await page.goto(f"{place.url}#/pi/{STRANGER}")
        await page.get_by_label(re.compile("asked for and not there")).check()
        await expect(page.locator(".file-name", has_text="<img src=x")).to_be_visible()
        assert await page.locator(".files img, .files script").count() == 0


if AXE:  # axe.min.js of the npm package axe-core, which is no part of this project

    @pytest.mark.parametrize("system", ["light", "dark"])
    async def test_axe_finds_no_fault(browser: Browser, place: House, system: Literal["light", "dark"]) -> None:
        script = await asyncio.to_thread(Path(AXE).read_text)
        for route, there in (("#/", ".pi .name a"), (f"#/pi/{BAD}", ".file"), (f"#/pi/{GOOD}", ".file")):
            async with opened(browser, system, bypass_csp=True) as page:
                await page.goto(f"{place.url}{route}")
                await expect(page.locator(there).first).to_be_visible()
                await page.evaluate(script)
                found = await page.evaluate("axe.run()")
                assert "color-contrast" in {rule["id"] for rule in found["passes"]}
                faults = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]
                assert faults == [], route

    @pytest.mark.parametrize("system", ["light", "dark"])
    async def test_axe_finds_no_fault_with_machines(
        browser: Browser, mixed: House, system: Literal["light", "dark"]
    ) -> None:
        script = await asyncio.to_thread(Path(AXE).read_text)
        for route, there in (("#/", ".machines .why"), (f"#/machine/{LAPTOP}", ".file"), (f"#/machine/{BOARD}", "h1")):
            async with opened(browser, system, bypass_csp=True) as page:
                await page.goto(f"{mixed.url}{route}")
                await expect(page.locator(there).last).to_be_visible()
                await page.evaluate(script)
                found = await page.evaluate("axe.run()")
                faults = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]
                assert faults == [], route
