"""U-Boot on an emulated arm64 board beside a plain DHCP server: large blocks, windows of them, and a sum over all."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from lab import pxe
from lab.lan import Lan
from lab.machines import Machine
from lab.test_beside_dhcp import SERVER
from support import require

pytestmark = pytest.mark.timeout(300)


UBOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")


def said(board: Machine, command: str, marker: str, within_s: float) -> str:
    """Type a command at U-Boot's prompt; what came until a marker."""
    before = len(board.text)
    board.types(f"{command}\n")
    board.until(marker, within_s, since=before + len(command))
    board.until("\n=> ", 20.0, since=before + len(command))
    return board.text[before:]


def test_u_boot_fetches_with_windows_and_finds_every_byte_in_its_place(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-aarch64")
    if not UBOOT.exists():
        pytest.skip("not installed: u-boot-qemu")
    lan.router()
    daemon = lan.serve()
    content = b"".join(number.to_bytes(4, "big") for number in range(3_000_001))
    (daemon.data / "boot" / "large").write_bytes(content)
    board = Machine(lan, tmp_path, "board").start_arm64(UBOOT, mac=pxe.MAC)
    try:
        board.until("stop autoboot", 120.0)
        board.types(" ")
        board.until("\n=> ", 60.0)
        said(board, "setenv autoload no; dhcp", "DHCP client bound to address 10.55.0.1", 120.0)
        said(board, f"setenv serverip {SERVER}; setenv tftpblocksize 1468; setenv tftpwindowsize 16", "=> ", 20.0)
        said(board, "tftpboot ${kernel_addr_r} large", f"Bytes transferred = {len(content)} ", 180.0)
        told = said(board, "crc32 ${fileaddr} ${filesize}", "==>", 60.0)
    finally:
        board.end()
    assert f"==> {zlib.crc32(content):08x}" in told
    (line,) = [line for line in daemon.said("file sent") if line["path"] == "large"]
    assert line["bytes"] == len(content)
