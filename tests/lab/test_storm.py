"""After a power cut: a hundred Pis boot at once, ten with a fault each, and everybody is told which, and why."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from browsers import chromium, opened
from playwright.async_api import Page, expect
from support import Daemon

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(150)

SERVER = "10.55.0.2"
FIRST, OTHER = 0x10000000, "20000000"  # ninety-nine Pi 4 from the first on, and a Pi 5
HEALTHY = 90
ELSEWHERE = "10.55.0.50"
# The serial of each with a fault, where it stands and by which rule.
SAID = {
    "10000000": ("firmware", "D13"),
    "10000001": ("firmware", "D14"),
    "10000002": ("kernel", "D27"),
    "10000003": ("kernel", "D45"),
    "10000004": ("firmware", "D18"),
    "10000005": ("firmware", "D19"),
    "10000006": ("linux", "D36"),
    "10000007": ("linux", "D34"),
    "10000008": ("kernel", "D28"),
    OTHER: ("kernel", "D15"),
}
# What cannot be had from the trees alone: answers that are blocked, and a cable that is pulled.
FAULTS = ("silence:1@5", "file-timeout:5@5", "unplug:60@6", "file-timeout:5@6")
CONFIG = """
[tftp]
timeout_s = 0.8
retries = 2
[nfs]
mode = "off"
"""


def serials() -> list[str]:
    return [*(f"{FIRST + number:08x}" for number in range(HEALTHY + len(SAID) - 1)), OTHER]


def plant(data: Path) -> None:
    """Give each its tree, ten of them with something wrong in it or about it."""
    files = ("start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb", "kernel8.img", "overlays/overlay_map.dtb")
    fleet = []
    for number, serial in enumerate(serials()):
        folder = data / "boot" / serial
        (folder / "overlays").mkdir(parents=True)
        for name in files:
            (folder / name).write_bytes(serial.encode() * 1000)
        (folder / "config.txt").write_text("arm_64bit=1\n")
        (folder / "cmdline.txt").write_text(f"root=/dev/ram0 ip=dhcp ds=nocloud;s=http://{SERVER}/\n")
        fleet.append(f'[[pi]]\nserial = "{serial}"\nhostname = "node-{number}"\nroot = "none"\n')
    spoil(data, data / "boot")
    fleet[7] += f'address = "{ELSEWHERE}"\n'
    (data / "fleet.toml").write_text("\n".join(fleet))


def spoil(data: Path, boot: Path) -> None:
    (boot / "10000000" / "start4.elf").unlink()
    (boot / "10000001" / "start4.elf").rename(boot / "10000001" / "start.elf")
    (boot / "10000002" / "bcm2711-rpi-4-b.dtb").unlink()
    (boot / "10000003" / "kernel8.img").unlink()
    (data / "kernel").write_bytes(b"outside of what is served")
    (boot / "10000003" / "kernel8.img").symlink_to(data / "kernel")
    (boot / "10000005" / "start4.elf").write_bytes(bytes(400_000))
    # An older cloud-init, and no slash at the end of the address.
    (boot / "10000006" / "cmdline.txt").write_text(f"root=/dev/ram0 ip=dhcp ds=nocloud;s=http://{SERVER}/seed%s\n")
    (boot / "10000008" / "cmdline.txt").write_text("")


class Place:
    """A daemon with a hundred Pis in its fleet, a LAN where addresses are given, and Pis to be switched on."""

    def __init__(self, lan: Lan) -> None:
        self.lan = lan
        lan.router()
        plant(lan.folder / "data")
        self.daemon: Daemon = lan.serve(CONFIG, shared=lan.folder / "data")

    def on(self, count: int) -> list[subprocess.Popen[bytes]]:
        """Switch on so many Pi 4, and the Pi 5."""
        told = [f"--fault={fault}" for fault in FAULTS]
        started = [
            self._on("pi4", f"{FIRST:08x}", "--count", str(count), "--at-once", *told),
            self._on("pi5", OTHER),
        ]
        self.lan.running += started
        return started

    def _on(self, model: str, serial: str, *flags: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "pinetboot", "rehearse", "--model", model, "--serial", serial, "--online"]
        whole = [*self.lan.command("pi"), *command, "--interface", "eth0", "--json", *flags]
        with (self.lan.folder / f"{model}-{time.monotonic_ns()}").open("wb") as output:
            return subprocess.Popen(whole, stdout=output, stderr=output)

    def told(self) -> str:
        """What the Pis told last, where it was nothing that a script reads."""
        texts = [path.read_text() for path in self.lan.folder.glob("pi[45]-*")]
        return "\n".join(text for text in texts if not text.startswith("{"))

    def status(self) -> dict[str, dict[str, Any]]:
        """What `pinetboot status --json` tells, by serial."""
        command = [sys.executable, "-m", "pinetboot", "status", "--json", "--config", str(self.daemon.settings)]
        done = self.lan.run("server", *command)
        assert done.returncode == 0, done.stderr
        return {pi["serial"]: pi for pi in json.loads(done.stdout)["pis"]}

    def get(self, path: str) -> str:
        with self.lan.inside("client"), urlopen(f"http://{SERVER}{path}", timeout=10) as answer:
            content: bytes = answer.read()
        return content.decode()

    def in_state(self, state: str) -> int:
        shown = json.loads(self.get("/api/pis"))["pis"]
        return sum(pi["state"] == state for pi in shown)


def to_their_end(started: list[subprocess.Popen[bytes]]) -> list[int]:
    """Wait until each is up or gave up; their exit codes."""
    return [process.wait(50) for process in started]


@pytest.fixture
def place(lan: Lan) -> Place:
    lan.address("client", "10.55.0.3/24")
    return Place(lan)


@pytest.fixture
def program(lan: Lan, tmp_path: Path) -> Path:
    """Chromium on the host `client`."""
    written = tmp_path / "chromium"
    written.write_text(f'#!/bin/sh\nexec {" ".join(lan.command("client"))} chromium "$@"\n')
    written.chmod(0o755)
    return written


async def test_of_a_hundred_ninety_are_online_and_ten_are_told_why_not(place: Place, program: Path) -> None:
    # A bootloader that comes to nothing begins anew; at the third time it is plain that it goes round in circles.
    for count in (len(serials()) - 1, len(SAID) - 1):
        assert await asyncio.to_thread(to_their_end, place.on(count)) == [1, 1], place.told()
    assert await asyncio.to_thread(place.in_state, "online") == HEALTHY
    assert await asyncio.to_thread(place.in_state, "stalled") == 0

    async with chromium(str(program)) as browser, opened(browser) as page:
        await page.goto(f"http://{SERVER}/")
        await expect(page.locator(".count[data-state=online] b")).to_have_text("90")
        await expect(page.locator(".count[data-state=stalled] b")).to_have_text("0")
        await page.evaluate("window.same = true")
        place.on(len(SAID) - 1)
        # It is told of without a reload.
        await expect(page.locator(".count[data-state=stalled] b")).to_have_text("10", timeout=20_000)
        assert await page.evaluate("window.same")
        shown = await asyncio.to_thread(place.status)
        await each_is_told(page, shown)
    says_why(shown)
    says_why({pi["serial"]: pi for pi in json.loads(await asyncio.to_thread(place.get, "/api/pis"))["pis"]})
    counted(await asyncio.to_thread(place.get, "/metrics"))
    said = {line["serial"]: (line["stage"], line["rule"]) for line in place.daemon.said("boot stalled")}
    assert said == SAID


def says_why(shown: dict[str, dict[str, Any]]) -> None:
    stalled = {serial: pi["boot"] for serial, pi in shown.items() if pi["state"] == "stalled"}
    assert {serial: (boot["cause"] or {}).get("rule") for serial, boot in stalled.items()} == {
        serial: rule for serial, (_, rule) in SAID.items()
    }
    online = [pi["boot"] for pi in shown.values() if pi["state"] == "online"]
    assert len(online) == len(shown) - len(stalled) == HEALTHY
    whole = ["seen", "firmware", "kernel", "linux", "seed", "online"]
    assert all([stage["name"] for stage in boot["stages"]] == whole for boot in online)
    assert not [boot["cause"] for boot in online if boot["cause"]]


async def each_is_told(page: Page, shown: dict[str, dict[str, Any]]) -> None:
    """Find each, open it and read its cause."""
    await page.get_by_role("button", name="Stalled").click()
    await expect(page.locator(".pi:visible .name a")).to_have_count(len(SAID))
    for serial, (_, rule) in SAID.items():
        await page.get_by_role("searchbox").fill(serial)
        await expect(page.locator(".pi:visible .name a")).to_have_count(1)
        await page.locator(".pi:visible .name a").click()
        stall = page.get_by_role("region", name=re.compile("Stalled at"))
        cause = shown[serial]["boot"]["cause"]
        await expect(stall).to_contain_text(cause["what"])
        await expect(stall).to_contain_text(cause["do"].replace("`", ""))
        await expect(stall).to_contain_text(rule)
        await page.go_back()


def counted(metrics: str) -> None:
    """Check the states, and what stalls by its rule."""
    assert 'pinetboot_pis{known="yes",state="online"} 90.0' in metrics
    assert 'pinetboot_pis{known="yes",state="stalled"} 10.0' in metrics
    rules = dict(re.findall(r'^pinetboot_pis_stalled\{rule="(D\d+)"\} ([\d.]+)$', metrics, re.MULTILINE))
    assert {rule: float(number) for rule, number in rules.items() if float(number)} == {
        rule: 1.0 for _, rule in SAID.values()
    }
