"""A server guest in which pinetboot runs in a container of its image, with NFS daemons of its own."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import containers
from containers import ENTRY
from lab.estate import DATA, Estate, report
from lab.netboot import LOG, Netboot
from support import require

NAME = "pinetboot"
_DAEMON_S = 200.0
_COMMAND_S = 200.0
# Everything that --privileged gives, by name; those of a later kernel would not be known to this one.
_ALL = (
    *("AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN"),
    *("DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE"),
    *("LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST"),
    *("NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT"),
    *("SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME"),
    *("SYS_TTY_CONFIG", "WAKE_ALARM"),
)
# The image below, as every runtime has it: an overlay, of which nothing is written to.
_SETUP = """
mkdir -p /image /bundle /run/over/upper /run/over/work /run/merged /run/nfs-state
mount -t ext4 -o ro /dev/vdb /image && mount -t ext4 -o ro /dev/vdc /bundle && modprobe overlay &&
mount -t overlay overlay -o lowerdir=/image,upperdir=/run/over/upper,workdir=/run/over/work /run/merged &&
mount -t cgroup2 cgroup2 /sys/fs/cgroup
"""
# The root of the guest is the kernel's first, which cannot be exchanged for another: --no-pivot.
_CRUN = "LD_LIBRARY_PATH=/bundle/lib /bundle/crun --cgroup-manager=disabled"


class Contained(Netboot):
    """The lab, with a container in the place of the process."""

    def __init__(self, estate: Estate, folder: Path) -> None:
        super().__init__(estate, folder, "daemons")
        began = time.monotonic()
        name = containers.image()
        image, bundle = folder / "image.ext4", folder / "bundle.ext4"
        containers.disk_of(name, image)
        _bundle(folder / "bundle", bundle)
        self.disks += [image, bundle]
        report(f"the container's image, {containers.bytes_of(name) / 1e6:.0f} MB, on a disk: {_since(began)}")

    def boot_server(self) -> None:
        super().boot_server()
        self.server.do(_SETUP, 60.0)

    def serve(self) -> float:
        began = time.monotonic()
        self.server.do(
            f"{_CRUN} delete --force {NAME} 2> /dev/null; "
            f"{_CRUN} run --no-pivot --detach --pid-file /run/served --bundle /bundle {NAME} > {LOG} 2>&1 < /dev/null "
            f"|| {{ cat {LOG}; exit 1; }}",
            60.0,
        )
        self.server.keeps_trying(f'grep -q \'"event": *"ready"\' {LOG} || {{ tail -5 {LOG}; exit 1; }}', _DAEMON_S)
        report(f"pinetboot serves from a container after {_since(began)}")
        return time.monotonic() - began

    def kill(self, signal: str) -> None:
        self.server.do(f"kill -{signal} $(cat /run/served)")
        self.server.keeps_trying(
            f"! kill -0 $(cat /run/served) 2> /dev/null || {{ tail -3 {LOG}; ps -eo pid,stat,wchan:30,args; exit 1; }}",
            60.0,
        )

    def pinetboot(self, *words: str) -> tuple[int, str]:
        quoted = " ".join(f"'{word}'" for word in words)
        return self.server.tries(f"{_CRUN} exec {NAME} {ENTRY} {quoted}", _COMMAND_S)

    def inside(self, command: str) -> str:
        """Run a shell command in the container; what it said."""
        return self.server.do(f"{_CRUN} exec {NAME} sh -c {shlex.quote(command)}", _COMMAND_S)

    def listed(self) -> str:
        return self.inside("exportfs -v")


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


def _bundle(folder: Path, made: Path) -> None:
    """Make a disk with what runs the container: its configuration, and crun of this machine."""
    require("crun", "ldd", "mke2fs")
    (folder / "lib").mkdir(parents=True)
    crun = shutil.which("crun")
    assert crun is not None
    shutil.copy2(crun, folder / "crun")
    linked = subprocess.run(["ldd", crun], capture_output=True, text=True, timeout=30, check=True).stdout
    for line in linked.splitlines():
        _, arrow, path = line.partition(" => ")
        if arrow and any(name in line for name in ("libyajl", "libseccomp")):
            shutil.copy2(path.split()[0], folder / "lib" / path.split()[0].rpartition("/")[2])
    (folder / "config.json").write_text(json.dumps(_config()))
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(folder), str(made), "16M"]
    subprocess.run(command, timeout=60, check=True)


def _config() -> dict[str, object]:
    """What `podman run --privileged --read-only --network host`, with a few tmpfs and volumes, comes to."""
    every = [f"CAP_{name}" for name in _ALL]
    environment = ["PATH=/opt/pinetboot/bin:/usr/sbin:/usr/bin:/sbin:/bin", "XDG_DATA_HOME=/srv"]
    bound = {DATA: DATA, "/etc/pinetboot": "/etc/pinetboot", "/usr/lib/modules": "/usr/lib/modules"}
    bound |= {"/var/lib/nfs": "/run/nfs-state"}
    mounts = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    mounts += [{"destination": "/sys", "type": "sysfs", "source": "sysfs"}]
    mounts += [{"destination": path, "type": "tmpfs", "source": "tmpfs"} for path in _TMPFS]
    return {
        "ociVersion": "1.0.0",
        "process": {
            "args": [ENTRY, "serve"],
            "cwd": "/",
            "env": environment,
            "user": {"uid": 0, "gid": 0},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), every),
        },
        "root": {"path": "/run/merged", "readonly": True},
        "mounts": [
            *mounts,
            *(
                {"destination": inside, "type": "bind", "source": path, "options": ["rbind", "rprivate"]}
                for inside, path in bound.items()
            ),
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts")]},
    }


_TMPFS = ("/dev", "/run", "/tmp", "/etc/exports.d")  # noqa: S108 - it is the container's
