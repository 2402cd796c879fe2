"""UEFI from Debian's packages beside a plain DHCP server: by shim, GRUB and its menu to a kernel, and by HTTP."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from installer.conftest import make_image
from lab import pxe
from lab.lan import Lan
from lab.pxe import PxeMachine
from lab.test_beside_dhcp import SERVER
from support import require, wait_until

pytestmark = pytest.mark.timeout(600)

BY_ITSELF = f'[[machine]]\nmac = "{pxe.MAC}"\nboot = "debian-12"\n'
DISK = "Boot from this machine's own disk"
KNOWING = f"beside/{SERVER}"


def stands(machine: PxeMachine) -> bool:
    """Go to the first entry of GRUB's menu; whether it counts down no more. A key that comes too early is lost."""
    machine.keys("up")
    time.sleep(1)
    machine.drain()
    before = len(machine.text)
    time.sleep(3)
    machine.drain()
    return "automatically in" not in machine.text[before:]


def test_ovmf_comes_by_shim_and_grub_s_menu_to_debian_s_installer(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-x86_64")
    lan.router()
    daemon = pxe.serving(lan, pxe.image("amd64"))
    machine = pxe.machine(lan, tmp_path, "pc").start_uefi(pxe.MAC)
    try:
        machine.until("executed automatically in 5", pxe.STEP_S)
        assert "Install Debian 12 (bookworm), amd64" in machine.text
        assert wait_until(lambda: stands(machine), pxe.STEP_S)
        machine.screen(tmp_path / "menu.png")
        machine.keys("ret")
        pxe.until(daemon, "installers/debian-12/amd64/linux", machine.drain)
        pxe.until(daemon, "installers/debian-12/amd64/initrd.gz", machine.drain)
        machine.until_installer()
        machine.screen(tmp_path / "installer.png")
    finally:
        machine.end()
    pxe.whole(daemon, f"{KNOWING}/bootx64.efi", f"{KNOWING}/grubx64.efi", "grub/grub.cfg")
    pxe.whole(daemon, "installers/debian-12/amd64/linux", "installers/debian-12/amd64/initrd.gz")


def test_aavmf_comes_by_shim_and_grub_to_its_menu_and_to_a_kernel_by_itself(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-aarch64")
    lan.router()
    daemon = pxe.serving(lan, make_image(tmp_path / "12", "arm64"), fleet=BY_ITSELF, architecture="arm64")
    machine = pxe.machine(lan, tmp_path, "board").start_arm64_uefi(pxe.MAC)
    try:
        machine.until(DISK, pxe.STEP_S)
        assert "Install Debian 12 (bookworm), arm64" in machine.text
        pxe.until(daemon, "installers/debian-12/arm64/linux", machine.drain)
    finally:
        machine.end()
    pxe.whole(daemon, f"{KNOWING}/bootaa64.efi", f"{KNOWING}/grubaa64.efi", f"grub/machines/{pxe.MAC}.cfg")


def test_ovmf_that_boots_by_http_comes_by_a_disk_of_shim_and_grub_to_its_kernel(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-x86_64")
    lan.router()
    daemon = pxe.serving(lan, make_image(tmp_path / "12"), fleet=BY_ITSELF)
    machine = pxe.machine(lan, tmp_path, "pc").start_uefi(pxe.MAC, http=True)
    try:
        machine.until(DISK, pxe.STEP_S)
        machine.screen(tmp_path / "menu.png")
        pxe.until(daemon, "installers/debian-12/amd64/linux", machine.drain)
    finally:
        machine.end()
    pxe.whole(daemon, f"{KNOWING}/bootx64.img", f"grub/machines/{pxe.MAC}.cfg")
    assert daemon.said("boot offered")[0]["machine"] == "UEFI x64 PC, HTTP boot"
