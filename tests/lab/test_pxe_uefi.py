"""BIOS, UEFI and iPXE from Debian's packages, with Debian's own loaders: to a menu, and to a kernel.

These take minutes and a large download: run with PINETBOOT_LAB=full alone.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from installer.conftest import make_image
from lab import pxe
from lab.lan import Lan
from lab.pxe import PxeMachine
from lab.test_pxe_bios import asked, until
from support import Daemon, require, wait_until

from pinetboot.image.watch import Unwatched
from pinetboot.installer import adding
from pinetboot.installer.adding import Wanted

pytestmark = pytest.mark.timeout(600)

MAC = "52:54:00:12:34:56"
OWN_LEASES = """
[dhcp]
mode = "server"
range = "10.55.0.100-10.55.0.150"
"""
BY_ITSELF = f'[[machine]]\nmac = "{MAC}"\nboot = "debian-12"\n'
GREY, BLUE, RED = b"\xaa\xaa\xaa", b"\0\0\xaa", b"\xaa\0\0"
_MENU = re.compile(r"Install Debian 12 \(bookworm\), (\w+)")


def serving(lan: Lan, source: Path, config: str = "", fleet: str = "") -> Daemon:
    """Have a daemon with an installer."""
    daemon = lan.serve(config)
    adding.add(Wanted(daemon.data, daemon.data / "boot", str(source), system=pxe.loaders()), Unwatched())
    (daemon.data / "fleet.toml").write_text(fleet)
    return daemon


def until_menu(machine: PxeMachine) -> str:
    """Wait until GRUB shows the menu on the serial port; for which architecture."""
    machine.until("Boot from this machine's own disk", 240.0)
    found = _MENU.search(machine.text)
    assert found is not None, machine.text[-2000:]
    return found[1]


def whole(daemon: Daemon, *names: str) -> None:
    """See to it that each was sent to its last byte."""
    boot = daemon.data / "boot"
    sent = {str(line["path"]).removeprefix("/boot/"): line["bytes"] for line in daemon.lines if line.get("bytes")}
    for name in names:
        assert sent[name] == (boot / name).stat().st_size, name


def test_ovmf_comes_by_shim_and_grub_to_the_menu_and_to_a_kernel_by_itself(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-x86_64")
    daemon = serving(lan, pxe.image("amd64"), OWN_LEASES, BY_ITSELF)
    machine = pxe.machine(lan, tmp_path, "pc").start_uefi(MAC)
    try:
        until(daemon, "grub/grub.cfg", machine.drain)
        until(daemon, f"grub/machines/{MAC}.cfg", machine.drain)
        machine.screen(tmp_path / "menu.png")
        until(daemon, "installers/debian-12/amd64/linux", machine.drain)
        machine.screen(tmp_path / "kernel.png")
    finally:
        machine.end()
    whole(daemon, "bootx64.efi", "grubx64.efi", "installers/debian-12/amd64/linux")


def test_a_bios_pc_comes_by_pxelinux_s_menu_to_the_first_question_of_debian_s_installer(
    lan: Lan, tmp_path: Path
) -> None:
    require("qemu-system-x86_64")
    lan.router()
    daemon = serving(lan, pxe.image("amd64"))
    machine = pxe.machine(lan, tmp_path, "pc").start_bios(MAC)

    def asks() -> bool:
        time.sleep(2)
        colours = machine.colours()
        # Its dialogues are grey on blue, and what is chosen in them is red.
        return all(colours[colour] > least for colour, least in ((GREY, 500_000), (BLUE, 20_000), (RED, 1_000)))

    try:
        until(daemon, "/ipxe")
        until(daemon, "lpxelinux.0", lambda: machine.keys("m"))
        until(daemon, "/boot/libutil.c32")
        until(daemon, "/boot/installers/debian-12/amd64/linux", lambda: machine.keys("up", "ret"))
        until(daemon, "/boot/installers/debian-12/amd64/initrd.gz")
        assert wait_until(asks, 300.0), machine.colours().most_common(5)
        machine.screen(tmp_path / "installer.png")
    finally:
        machine.end()
    whole(daemon, "lpxelinux.0", "installers/debian-12/amd64/linux", "installers/debian-12/amd64/initrd.gz")


def test_aavmf_comes_by_the_image_s_own_shim_and_grub_to_the_menu(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-aarch64")
    daemon = serving(lan, pxe.image("arm64"), OWN_LEASES)
    machine = pxe.machine(lan, tmp_path, "board").start_arm64_uefi(MAC)
    try:
        assert until_menu(machine) == "arm64"
    finally:
        machine.end()
    whole(daemon, "bootaa64.efi", "grubaa64.efi", "grub/grub.cfg")


@pytest.mark.parametrize("http", [False, True], ids=["by PXE", "by HTTP"])
def test_ovmf_beside_another_dhcp_server_comes_by_ipxe_to_its_kernel_and_no_script_comes_twice(
    lan: Lan, tmp_path: Path, *, http: bool
) -> None:
    require("qemu-system-x86_64")
    lan.router()
    daemon = serving(lan, make_image(tmp_path / "12"), fleet=BY_ITSELF)
    machine = pxe.machine(lan, tmp_path, "pc").start_uefi(MAC, http=http)
    try:
        until(daemon, "/ipxe", machine.drain)
        until(daemon, "/boot/installers/debian-12/amd64/initrd.gz", machine.drain)
        time.sleep(20)
    finally:
        machine.end()
    assert asked(daemon).count("/ipxe") == 1
    whole(daemon, "snponly.efi", "installers/debian-12/amd64/initrd.gz")
    assert daemon.said("boot offered")[0]["machine"] == "UEFI x64 PC" + (", HTTP boot" if http else "")
