"""A kernel as a Pi's is, with CONFIG_IP_PNP and CONFIG_ROOT_NFS and without an initramfs, mounts its root by itself.

Its building takes minutes: run with PINETBOOT_LAB=full alone. It is kept between test runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lab import pikernel
from lab.estate import BARE, DATA, SERVER, report
from lab.netboot import UP, Netboot

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def kernel() -> Path:
    """Build the kernel, once for all test runs of this user."""
    return pikernel.build()


@pytest.fixture
def lab(netboot: Callable[[str], Netboot]) -> Netboot:
    return netboot("exports")


@pytest.mark.parametrize(("versions", "mounted"), [("[3, 4]", "4.1"), ("[3]", "3")])
def test_the_kernel_itself_mounts_the_root_that_its_command_line_names(
    lab: Netboot, kernel: Path, versions: str, mounted: str
) -> None:
    lab.kill("TERM")
    lab.settings(f"versions = {versions}")
    lab.serve()
    cmdline = f"{DATA}/boot/{BARE.serial}/cmdline.txt"
    lab.server.keeps_trying(f"grep -q 'vers={mounted},proto=tcp' {cmdline}")
    with lab.firmware(BARE) as get:
        told = get("cmdline.txt").decode().strip()
    pi = lab.machine(f"pi-kernel-{mounted}", lab.folder)
    pi.start(kernel, None, told, mac=BARE.mac)
    try:
        report(f"a Pi's kernel, version {mounted}: up after {pi.until(UP, 90.0):.1f} s")
        pi.ready()
        line = pi.do("grep ' / nfs' /proc/mounts")
        assert line.startswith(f"{SERVER}:{DATA}/pis/{BARE.serial}/1/root / nfs")
        assert f",vers={mounted}," in line
        pi.do("echo written > /var/by-itself && sync")
        assert lab.server.do(f"cat {DATA}/pis/{BARE.serial}/1/root/var/by-itself") == "written\n"
    finally:
        pi.end()
