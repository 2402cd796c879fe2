"""Virtual Pis of every model on hosts of a Lan: the tree that they boot from, and whole boots, several at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pinetboot.pi.profiles import PROFILES, mac_of

if TYPE_CHECKING:
    from pathlib import Path

    from lab.lan import Lan

SERIALS = {model: f"{number:06x}b0" for number, model in enumerate(PROFILES, 0x5B1540)}
MODELS = tuple(PROFILES)
# A host of its own for each, that they may boot at once.
HOSTS: Mapping[str, tuple[str, ...]] = {f"pi-{model}": () for model in MODELS}
WITHIN_S = 60.0

# What any model wants, and small: here it matters who is asked and who answers.
_FILES = {
    "start.elf": 60_000,
    "fixup.dat": 4_000,
    "start4.elf": 60_000,
    "fixup4.dat": 4_000,
    "kernel8.img": 100_000,
    "kernel_2712.img": 100_000,
    "overlays/overlay_map.dtb": 5_000,
} | {profile.device_tree: 20_000 for profile in PROFILES.values()}


def mac(model: str) -> str:
    return mac_of(PROFILES[model], SERIALS[model]).hex(":")


def dress(lan: Lan) -> None:
    """Give each host of HOSTS the MAC of its Pi.

    dnsmasq writes the MAC that a DISCOVER names into the ARP table of its host, and this may be the TFTP server too.
    """
    for model in MODELS:
        lan.ip(f"pi-{model}", "link", "set", "eth0", "address", mac(model))


def plant(data: Path, server: str) -> None:
    """Fill a data directory with what each of them boots; `server` is where their seed is."""
    for serial in SERIALS.values():
        folder = data / "boot" / serial
        for name, size in _FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(serial.encode() * (size // len(serial)))
        (folder / "config.txt").write_text("arm_64bit=1\n")
        (folder / "cmdline.txt").write_text(f"console=tty1 root=/dev/ram0 ip=dhcp ds=nocloud;s=http://{server}/\n")
    (data / "boot" / "bootcode.bin").write_bytes(b"b" * 50_000)
    seed = data / "cloud-init" / "default"
    seed.mkdir(parents=True, exist_ok=True)
    (seed / "user-data").write_text("#cloud-config\n")


def boot(lan: Lan, models: Sequence[str] = MODELS, *flags: str, host: str = "") -> dict[str, dict[str, Any]]:
    """Boot these models at once, each on its own host (or all on `host`); their reports, with exit code as `code`."""
    running = {}
    for model in models:
        command = [sys.executable, "-m", "pinetboot", "rehearse", "--model", model, "--serial", SERIALS[model]]
        command += ["--interface", "eth0", "--json", *flags]
        whole = [*lan.command(host or f"pi-{model}"), *command]
        running[model] = subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lan.running += running.values()
    end = time.monotonic() + WITHIN_S
    reports = {}
    for model, process in running.items():
        output, errors = process.communicate(timeout=max(end - time.monotonic(), 1))
        assert process.returncode in {0, 1}, f"{model}: {errors.decode()}"
        report: dict[str, Any] = json.loads(output)
        reports[model] = report | {"code": process.returncode}
    return reports


def assert_booted(reports: Mapping[str, Mapping[str, Any]], server: str) -> None:
    """Check that each of them came all the way, from `server`."""
    causes = {model: report["cause"] for model, report in reports.items() if report["cause"]}
    assert not causes, causes
    told = {model: (report["code"], report["ok"], report["server"]) for model, report in reports.items()}
    assert told == dict.fromkeys(reports, (0, True, server))
