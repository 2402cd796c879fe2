"""A real PC's firmware, SeaBIOS with iPXE's ROM, beside a plain DHCP server: script, PXELINUX, menu, and a kernel."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from installer.conftest import make_image
from lab import pxe
from lab.lan import INTERFACE, Lan
from lab.test_beside_dhcp import SERVER
from support import Daemon, require, wait_until

from pinetboot.demo import tree
from pinetboot.image.watch import Unwatched
from pinetboot.installer import adding
from pinetboot.installer.adding import Wanted

pytestmark = pytest.mark.timeout(300)

MAC = "52:54:00:12:34:56"
# A PC is slow where it is emulated, on a machine that does other things as well.
_STEP_S = 90.0


def asked(daemon: Daemon) -> list[str]:
    """List what was sent whole, by TFTP or over HTTP, in its order."""
    lines = (line for line in daemon.lines if line.get("event") in {"file sent", "http boot"})
    return [str(line["path"]) for line in lines if line.get("status", 200) == 200]


def boots(lan: Lan, host: str, model: str, serial: str) -> int:
    """Boot a virtual Pi on a host; its exit code."""
    command = [sys.executable, "-m", "pinetboot", "rehearse", "--model", model, "--serial", serial]
    return lan.run(host, *command, "--interface", INTERFACE, within_s=_STEP_S).returncode


def until(daemon: Daemon, path: str, press: Callable[[], None] = lambda: None) -> None:
    """Wait until a path was sent, pressing keys meanwhile."""

    def came() -> bool:
        if path in asked(daemon):
            return True
        press()
        time.sleep(0.5)
        return False

    assert wait_until(came, _STEP_S), (path, asked(daemon))


def test_a_bios_pc_comes_through_ipxe_s_script_and_pxelinux_s_menu_to_a_kernel_while_pis_boot(
    lan: Lan, tmp_path: Path
) -> None:
    require("qemu-system-x86_64")
    lan.router()
    daemon = lan.serve()
    boot = daemon.data / "boot"
    image = make_image(tmp_path / "12", "i386")
    kernel, initrd = (image / f"text/debian-installer/i386/{name}" for name in ("linux", "initrd.gz"))
    # No kernel, but as long as one: what comes of it is that it was fetched to its last byte.
    kernel.write_bytes(bytes(510) + b"\x55\xaa" + bytes(range(256)) * 4000)
    initrd.write_bytes(bytes(range(256)) * 2000)
    adding.add(Wanted(daemon.data, boot, str(image), system=pxe.bios()), Unwatched())
    tree.make(daemon.data, f"http://{SERVER}/")
    machine = pxe.machine(lan, tmp_path, "pc")
    machine.start_bios(MAC, memory="256M")
    try:
        until(daemon, "/ipxe")
        with ThreadPoolExecutor() as both:
            done = [both.submit(boots, lan, *who) for who in (("pi", "pi4", tree.PI4), ("client", "pi5", tree.PI5))]
        assert [one.result() for one in done] == [0, 0]
        until(daemon, "lpxelinux.0", lambda: machine.keys("m"))
        until(daemon, "/boot/menu.c32")
        until(daemon, "/boot/libutil.c32")
        until(daemon, "/boot/installers/debian-12/i386/linux", lambda: machine.keys("up", "ret"))
        machine.screen(tmp_path / "screen.png")
    finally:
        machine.end()
    (offer,) = {line["machine"] for line in daemon.said("boot offered") if line["mac"] == MAC}
    assert offer == "BIOS PC, iPXE"
    paths = asked(daemon)
    assert paths.count("/ipxe") == 1
    assert paths.index("/ipxe") < paths.index("lpxelinux.0") < paths.index("/boot/pxelinux.cfg/default")
    sent = {line["path"]: line["bytes"] for line in daemon.lines if line.get("bytes") and line.get("path")}
    assert sent["lpxelinux.0"] == (boot / "lpxelinux.0").stat().st_size
    for name in ("ldlinux.c32", "menu.c32", "libutil.c32", "installers/debian-12/i386/linux"):
        assert sent[f"/boot/{name}"] == (boot / name).stat().st_size, name
