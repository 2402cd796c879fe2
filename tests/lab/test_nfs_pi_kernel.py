"""A kernel as a Pi's is, with CONFIG_IP_PNP and CONFIG_ROOT_NFS and without an initramfs, mounts its root by itself.

Its building takes minutes: run with PINETBOOT_LAB=full alone. It is kept between test runs.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import debian
import pytest
from lab.estate import BARE, DATA, SERVER, report
from lab.netboot import UP, Netboot
from support import require

pytestmark = pytest.mark.timeout(3600)

SOURCE = "linux-source-6.1"
_BUILD_S = 2400.0
_UNPACK_S = 300.0
# As in bcm2711_defconfig where it is about the network; the rest is what QEMU's PC needs.
_BUILTIN = """
64BIT ACPI AIO BINFMT_ELF BINFMT_SCRIPT BLK_DEV BLK_DEV_LOOP BLOCK BUG DEVTMPFS EPOLL EVENTFD EXT4_FS FHANDLE
FILE_LOCKING FUTEX HIGH_RES_TIMERS INET INOTIFY_USER IP_PNP IP_PNP_DHCP MAGIC_SYSRQ MULTIUSER NET NETDEVICES
NETWORK_FILESYSTEMS NET_CORE NFS_FS NFS_V3 NFS_V4 NFS_V4_1 NFS_V4_2 NO_HZ_IDLE OVERLAY_FS PACKET PCI POSIX_TIMERS PRINTK
PROC_FS PROC_SYSCTL ROOT_NFS RTC_CLASS SERIAL_8250 SERIAL_8250_CONSOLE SHMEM SIGNALFD SYSFS TIMERFD TMPFS TTY UNIX
UNIX98_PTYS VIRTIO_MENU VIRTIO_NET VIRTIO_PCI
"""
_OFF = "EMBEDDED EXPERT SPECULATION_MITIGATIONS"


@pytest.fixture(scope="module")
def kernel() -> Path:
    """Build the kernel out of Debian's own source, once for all test runs of this user."""
    require("bc", "bison", "flex", "gcc", "make", "tar", "xz")
    if not Path("/usr/include/gelf.h").exists():
        pytest.skip("not installed: libelf-dev, for the objtool of the kernel's build")
    config = "".join(f"CONFIG_{name}=y\n" for name in _BUILTIN.split())
    config += "".join(f"# CONFIG_{name} is not set\n" for name in _OFF.split())
    kept = debian.cache() / f"lab-pi-kernel-{hashlib.sha256(config.encode()).hexdigest()[:12]}"
    if not kept.is_file():
        (source,) = (debian.packages(f"lab-{SOURCE}", [SOURCE], within_s=_UNPACK_S) / "usr/src").glob("*.tar.xz")
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            tree = Path(folder)
            subprocess.run(["tar", "-xJf", source, "--strip-components=1"], cwd=tree, check=True, timeout=_UNPACK_S)
            (tree / "lab.config").write_text(config)
            whole = os.environ | {"KCONFIG_ALLCONFIG": "lab.config"}
            run(tree, "make", "ARCH=x86_64", "allnoconfig", environment=whole)
            made = (tree / ".config").read_text().splitlines()
            missing = [name for name in ("IP_PNP_DHCP", "ROOT_NFS", "NFS_V4_2") if f"CONFIG_{name}=y" not in made]
            assert not missing, missing
            run(tree, "make", "ARCH=x86_64", f"-j{os.cpu_count()}", "bzImage")
            (tree / "arch/x86/boot/bzImage").rename(kept)
    return kept


def run(tree: Path, *command: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=tree, capture_output=True, text=True, timeout=_BUILD_S, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]


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
