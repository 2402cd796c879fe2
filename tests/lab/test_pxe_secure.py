"""UEFI with Secure Boot on, and the other ways of UEFI: every loader as it was signed, or iPXE.

These take minutes: run with PINETBOOT_LAB=full alone.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from installer.conftest import make_image
from lab import pxe
from lab.lan import Lan
from lab.test_beside_dhcp import SERVER
from lab.test_pxe_uefi import BY_ITSELF, DISK
from support import require

pytestmark = pytest.mark.timeout(600)

OWN_LEASES = """
[dhcp]
mode = "server"
range = "10.55.0.100-10.55.0.150"
"""


def test_ovmf_with_secure_boot_comes_by_signed_loaders_to_a_signed_kernel(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-x86_64")
    daemon = pxe.serving(lan, pxe.image("amd64"), OWN_LEASES, BY_ITSELF)
    machine = pxe.machine(lan, tmp_path, "pc").start_uefi(pxe.MAC, secure=True)
    try:
        pxe.until(daemon, f"grub/machines/{pxe.MAC}.cfg", machine.drain)
        pxe.until(daemon, "installers/debian-12/amd64/initrd.gz", machine.drain)
        machine.until_installer()
        machine.screen(tmp_path / "installer.png")
    finally:
        machine.end()
    pxe.whole(daemon, "bootx64.efi", "grubx64.efi", "grub/grub.cfg")


def test_beside_another_server_shim_refuses_what_nobody_signed(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-x86_64")
    lan.router()
    daemon = pxe.serving(lan, make_image(tmp_path / "12"), fleet=BY_ITSELF)
    machine = pxe.machine(lan, tmp_path, "pc").start_uefi(pxe.MAC, secure=True)
    try:
        pxe.until(daemon, f"beside/{SERVER}/grubx64.efi", machine.drain)
        time.sleep(
            30
        )  # by then it would have its menu; shim's box about a violation stays until somebody presses a key
    finally:
        machine.end()
    assert "grub/grub.cfg" not in pxe.asked(daemon)


def test_ovmf_with_secure_boot_that_boots_by_http_comes_to_a_signed_kernel_beside_a_plain_dhcp_server(
    lan: Lan, tmp_path: Path
) -> None:
    require("qemu-system-x86_64")
    lan.router()
    daemon = pxe.serving(lan, pxe.image("amd64"), fleet=BY_ITSELF)
    machine = pxe.machine(lan, tmp_path, "pc").start_uefi(pxe.MAC, http=True, secure=True)
    try:
        pxe.until(daemon, f"grub/machines/{pxe.MAC}.cfg", machine.drain)
        pxe.until(daemon, "installers/debian-12/amd64/initrd.gz", machine.drain)
        machine.until_installer()
    finally:
        machine.end()
    pxe.whole(daemon, f"beside/{SERVER}/bootx64.img", f"grub/machines/{pxe.MAC}.cfg")


def test_ovmf_that_boots_by_http_comes_by_ipxe_to_its_kernel_and_no_script_comes_twice(
    lan: Lan, tmp_path: Path
) -> None:
    require("qemu-system-x86_64")
    lan.router()
    daemon = pxe.serving(lan, make_image(tmp_path / "12"), '[pxe]\n"16" = "snponly.efi"\n', BY_ITSELF)
    machine = pxe.machine(lan, tmp_path, "pc").start_uefi(pxe.MAC, http=True)
    try:
        pxe.until(daemon, "/ipxe", machine.drain)
        pxe.until(daemon, "/boot/installers/debian-12/amd64/initrd.gz", machine.drain)
        time.sleep(10)  # what goes round comes again by then
    finally:
        machine.end()
    assert pxe.asked(daemon).count("/ipxe") == 1
    pxe.whole(daemon, "snponly.efi", "installers/debian-12/amd64/initrd.gz")
    assert daemon.said("boot offered")[0]["machine"] == "UEFI x64 PC, HTTP boot"


def test_aavmf_comes_by_the_image_s_own_shim_and_grub_to_the_menu(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-aarch64")
    daemon = pxe.serving(lan, pxe.image("arm64"), OWN_LEASES, architecture="")
    machine = pxe.machine(lan, tmp_path, "board").start_arm64_uefi(pxe.MAC)
    try:
        machine.until(DISK, pxe.STEP_S)
        assert "Install Debian 12 (bookworm), arm64" in machine.text
    finally:
        machine.end()
    pxe.whole(daemon, "bootaa64.efi", "grubaa64.efi", "grub/grub.cfg")


def test_aavmf_that_boots_by_http_comes_by_a_disk_of_shim_and_grub_to_its_kernel(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-aarch64")
    lan.router()
    daemon = pxe.serving(lan, make_image(tmp_path / "12", "arm64"), fleet=BY_ITSELF, architecture="arm64")
    machine = pxe.machine(lan, tmp_path, "board").start_arm64_uefi(pxe.MAC, http=True)
    try:
        machine.until(DISK, pxe.STEP_S)
        pxe.until(daemon, "installers/debian-12/arm64/linux", machine.drain)
    finally:
        machine.end()
    pxe.whole(daemon, f"beside/{SERVER}/bootaa64.img")
