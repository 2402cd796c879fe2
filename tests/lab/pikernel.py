"""A kernel as a Pi's is, with CONFIG_IP_PNP and CONFIG_ROOT_NFS built in, out of Debian's own source.

Its building takes minutes; it is kept between test runs.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import debian
import pytest
from support import require

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


def kept() -> Path:
    """Where it is once it is built."""
    return debian.cache() / f"lab-pi-kernel-{hashlib.sha256(_config().encode()).hexdigest()[:12]}"


def build() -> Path:
    """Build it where it is not there yet."""
    require("bc", "bison", "flex", "gcc", "make", "tar", "xz")
    if not Path("/usr/include/gelf.h").exists():
        pytest.skip("not installed: libelf-dev, for the objtool of the kernel's build")
    found = kept()
    if not found.is_file():
        (source,) = (debian.packages(f"lab-{SOURCE}", [SOURCE], within_s=_UNPACK_S) / "usr/src").glob("*.tar.xz")
        with tempfile.TemporaryDirectory(dir=found.parent) as folder:
            tree = Path(folder)
            subprocess.run(["tar", "-xJf", source, "--strip-components=1"], cwd=tree, check=True, timeout=_UNPACK_S)
            (tree / "lab.config").write_text(_config())
            whole = os.environ | {"KCONFIG_ALLCONFIG": "lab.config"}
            _run(tree, "make", "ARCH=x86_64", "allnoconfig", environment=whole)
            made = (tree / ".config").read_text().splitlines()
            missing = [name for name in ("IP_PNP_DHCP", "ROOT_NFS", "NFS_V4_2") if f"CONFIG_{name}=y" not in made]
            assert not missing, missing
            _run(tree, "make", "ARCH=x86_64", f"-j{os.cpu_count()}", "bzImage")
            (tree / "arch/x86/boot/bzImage").rename(found)
    return found


def _config() -> str:
    config = "".join(f"CONFIG_{name}=y\n" for name in _BUILTIN.split())
    return config + "".join(f"# CONFIG_{name} is not set\n" for name in _OFF.split())


def _run(tree: Path, *command: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=tree, capture_output=True, text=True, timeout=_BUILD_S, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
