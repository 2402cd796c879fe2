"""Every model boots beside a plain DHCP server on another host, one by one and a hundred at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from lab.test_beside_dhcp import files_below, is_there
from support import Daemon

from pinetboot.demo import tree
from pinetboot.pi.profiles import PROFILES

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(60)

SERVER = "10.55.0.2"
SERIALS = {3: tree.PI3, 4: tree.PI4, 5: tree.PI5}
MODELS = {model: SERIALS[profile.generation] for model, profile in PROFILES.items()}


@pytest.mark.parametrize(("model", "serial"), MODELS.items())
def test_each_model_boots_beside_a_plain_dhcp_server(lan: Lan, model: str, serial: str) -> None:
    router = lan.router()
    daemon = lan.serve()
    tree.make(daemon.data, f"http://{SERVER}/")

    code, report = lan.rehearse(model, serial)

    assert report["cause"] is None
    assert (code, report["ok"], report["server"]) == (0, True, SERVER)
    come = {file["name"].replace("//", "/"): file["bytes"] for file in report["files"] if is_there(file)}
    other = {"bcm2710-rpi-3-b.dtb", "bcm2710-rpi-3-b-plus.dtb"} - {PROFILES[model].device_tree}
    for name, size in files_below(daemon.data / "boot" / serial).items():
        assert name in other or come.get(f"{serial}/{name}") == size, name
    generation = PROFILES[model].generation
    assert ("bootcode.bin" in come) == (generation == 3)
    # Each of a Pi 3's two DHCP clients asks by itself, and neither confirms what it is offered (reference 2.2).
    told = router.read_text()
    discovers = len(daemon.said("boot offered"))
    assert discovers == (2 if generation == 3 else 1)
    assert ("DHCPREQUEST" in told, "DHCPACK" in told) == ((False, False) if generation == 3 else (True, True))
    stages = [step["stage"] for step in report["steps"]]
    assert stages == ["seen", *(["firmware"] if generation == 3 else []), "firmware", "kernel", "seed"]
    assert lan.addresses("pi") == []


def small_root(daemon: Daemon) -> None:
    """Serve one small tree from the root, to Pis without a folder of their own."""
    boot = daemon.data / "boot"
    for name in ("start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb", "kernel8.img", "overlays/overlay_map.dtb"):
        (boot / name).parent.mkdir(parents=True, exist_ok=True)
        (boot / name).write_bytes(os.urandom(20_000))
    (boot / "config.txt").write_text("arm_64bit=1\n")
    (boot / "cmdline.txt").write_text(f"root=/dev/ram0 ip=dhcp ds=nocloud;s=http://{SERVER}/\n")


def storm(lan: Lan, *flags: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "pinetboot", "rehearse", "--serial", "10000000", "--interface", "eth0", "--json"]
    told = lan.folder / "storm.json"
    with told.open("wb") as output:
        whole = [*lan.command("pi"), *command, *flags]
        done = subprocess.run(whole, stdout=output, stderr=subprocess.PIPE, timeout=110.0, check=False)
    assert (done.returncode in {0, 1}, done.stderr) == (True, b"")
    return done.returncode, json.loads(told.read_bytes())


def test_a_hundred_boot_at_once_each_with_a_lease_of_its_own(lan: Lan) -> None:
    router = lan.router()
    small_root(lan.serve())
    code, told = storm(lan, "--count", "100", "--at-once")
    assert [pi["cause"] for pi in told["pis"] if pi["cause"]] == []
    assert (code, told["ok"], told["count"], told["booted"]) == (0, True, 100, 100)
    assert [pi["serial"] for pi in told["pis"]] == [f"{0x10000000 + number:08x}" for number in range(100)]
    assert told["seconds"] >= max(pi["seconds"] for pi in told["pis"])
    said = [line.split("DHCPACK(eth0) ")[1].split() for line in router.read_text().splitlines() if "DHCPACK" in line]
    addresses, macs = {words[0] for words in said}, {words[1] for words in said}
    assert len(addresses) == len(macs) == 100
    assert all(len([file for file in pi["files"] if "http://" in file["name"]]) == 4 for pi in told["pis"])
    assert lan.addresses("pi") == []


def test_of_a_hundred_those_with_a_fault_are_told_from_the_others(lan: Lan) -> None:
    lan.router()
    small_root(lan.serve())
    harmless = ("drop:5", "drop-sent:5", "delay:5", "duplicate-oack", "overlap", "blksize:512", "double-slash")
    faults = [*harmless, "drop-dhcp:1", "text:Other", "no-request"]
    flags = [f"--fault={fault}@{number}" for number, fault in enumerate(faults, 1)]
    code, told = storm(lan, "--count", "100", "--at-once", "--dhcp-timeout", "9", *flags)
    assert (code, told["ok"], told["booted"]) == (1, False, 98)
    stopped = {pi["serial"]: (pi["stopped_at"], pi["cause"]["rule"]) for pi in told["pis"] if not pi["ok"]}
    assert stopped == {"10000008": ("seen", "D02"), "10000009": ("seen", "D03")}
    assert "Other" in told["pis"][8]["cause"]["what"]
    assert [pi["notes"][0] for pi in told["pis"][:10]] == [f"fault: {fault}" for fault in faults]
    assert not [note for pi in told["pis"][10:] for note in pi["notes"] if note.startswith("fault")]
    slow = {pi["serial"]: pi["seconds"] for pi in told["pis"] if pi["ok"] and pi["seconds"] > 2}
    assert {"10000002", "10000007"} <= set(slow)
    assert "10000005//start4.elf" not in {file["name"] for file in told["pis"][5]["files"]}
    assert "10000006//start4.elf" in {file["name"] for file in told["pis"][6]["files"]}
    assert lan.addresses("pi") == []
