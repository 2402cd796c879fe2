"""A PC with SeaBIOS and iPXE's ROM, beside a plain DHCP server, to the first question of Debian's installer.

Two Pis boot meanwhile, each from its own files.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab import pxe
from lab.lan import INTERFACE, Lan
from lab.test_beside_dhcp import SERVER
from support import require, wait_until

from pinetboot.demo import tree

pytestmark = pytest.mark.timeout(400)

_PI_S = 90.0


def boots(lan: Lan, host: str, model: str, serial: str) -> int:
    """Boot a virtual Pi on a host; its exit code."""
    command = [sys.executable, "-m", "pinetboot", "rehearse", "--model", model, "--serial", serial]
    return lan.run(host, *command, "--interface", INTERFACE, within_s=_PI_S).returncode


def test_a_bios_pc_comes_by_pxelinux_s_menu_to_debian_s_installer_while_pis_boot(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-x86_64")
    lan.router()
    daemon = pxe.serving(lan, pxe.image("amd64"))
    boot = daemon.data / "boot"
    tree.make(daemon.data, f"http://{SERVER}/")
    machine = pxe.machine(lan, tmp_path, "pc").start_bios(pxe.MAC)
    try:
        pxe.until(daemon, "/ipxe")
        with ThreadPoolExecutor() as both:
            done = [both.submit(boots, lan, *who) for who in (("pi", "pi4", tree.PI4), ("client", "pi5", tree.PI5))]
        assert [one.result() for one in done] == [0, 0]
        pxe.until(daemon, "lpxelinux.0", lambda: machine.keys("m"))
        pxe.until(daemon, "/boot/libutil.c32")
        assert wait_until(lambda: "Install Debian 12" in machine.words(), pxe.STEP_S), machine.words()
        machine.screen(tmp_path / "menu.png")
        machine.keys("up", "ret")  # once: PXELINUX may stop for ever at keys that come while it fetches
        pxe.until(daemon, "/boot/installers/debian-12/amd64/linux")
        pxe.until(daemon, "/boot/installers/debian-12/amd64/initrd.gz")
        machine.until_installer()
        machine.screen(tmp_path / "installer.png")
    finally:
        machine.end()
    assert {line["machine"] for line in daemon.said("boot offered") if line["mac"] == pxe.MAC} == {"BIOS PC, iPXE"}
    paths = pxe.asked(daemon)
    assert paths.count("/ipxe") == 1
    assert paths.index("/ipxe") < paths.index("lpxelinux.0") < paths.index("/boot/pxelinux.cfg/default")
    # What is over TFTP and over HTTP, each to its last octet; the kernel finds a sum in its initramfs right besides.
    pxe.whole(daemon, "lpxelinux.0", "ldlinux.c32", "menu.c32", "libutil.c32")
    pxe.whole(daemon, "installers/debian-12/amd64/linux", "installers/debian-12/amd64/initrd.gz")
    assert (boot / tree.PI4).is_dir()
