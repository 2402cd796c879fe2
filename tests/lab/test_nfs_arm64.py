"""The whole chain on an emulated arm64 board: U-Boot's DHCP and TFTP, Debian's arm64 kernel, a root over NFS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lab.estate import ARM, DATA, SERVER, report
from lab.machines import Machine
from lab.netboot import UP, Netboot
from support import require

pytestmark = pytest.mark.timeout(900)

UBOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
PROMPT = "\n=> "
_FETCH_S = 240.0
_BOOT_S = 240.0


@pytest.fixture
def lab(netboot: Callable[[str], Netboot]) -> Netboot:
    require("qemu-system-aarch64")
    if not UBOOT.exists():
        pytest.skip("not installed: u-boot-qemu")
    return netboot("exports")


def test_u_boot_gets_kernel_and_initramfs_from_us_and_the_root_is_mounted_over_version_3(lab: Netboot) -> None:
    with lab.firmware(ARM) as get:
        bootargs = get("cmdline.txt").decode().strip()
    sizes = [int(lab.server.do(f"stat -Lc %s {DATA}/boot/{ARM.serial}/{name}")) for name in ("kernel8.img", ARM.initrd)]
    board = lab.machine("arm64", lab.folder)
    board.start_arm64(UBOOT, mac=ARM.mac)
    try:
        board.until("stop autoboot", 60.0)
        board.types(" ")
        board.until(PROMPT, 30.0)
        said(board, "setenv autoload no; dhcp", f"DHCP client bound to address {ARM.address}", 60.0)
        said(board, f"setenv serverip {SERVER}; setenv tftpwindowsize 8", PROMPT, 10.0)
        for address, name, size in zip(
            ("${kernel_addr_r}", "${ramdisk_addr_r}"), ("kernel8.img", ARM.initrd), sizes, strict=True
        ):
            text = said(board, f"tftpboot {address} {ARM.serial}/{name}", "Bytes transferred = ", _FETCH_S)
            board.until(PROMPT, 10.0, since=len(board.text) - 40)
            assert f"Bytes transferred = {size} " in text + board.text[-200:]
        said(board, f"setenv bootargs '{bootargs}'", PROMPT, 10.0)
        fetched = said(board, "booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdtcontroladdr}", UP, _BOOT_S)
        report(f"arm64 board: root mounted {board.until(UP, 1.0):.1f} s after power was given")
        told = next(line for line in fetched.splitlines() if UP in line)
        assert f"LAB pi up, arm, host pi-{ARM.serial}, root {SERVER}:{DATA}/pis/{ARM.serial}/1/root / nfs rw," in told
        assert ",vers=3," in told
        assert f"nfsroot={SERVER}:{DATA}/pis/{ARM.serial}/1/root,vers=3 rw ip=dhcp" in bootargs
        booted = lab.server.do(f"cat {DATA}/pis/{ARM.serial}/1/root/var/boots")
        assert booted.count("booted ") == 1
    finally:
        board.end()


def said(board: Machine, command: str, marker: str, within_s: float) -> str:
    """Type a command at U-Boot's prompt; what came until a marker."""
    before = len(board.text)
    board.types(f"{command}\n")
    # The echo of what was typed ends with the line.
    board.until(marker, within_s, since=before + len(command))
    return board.text[before:]
