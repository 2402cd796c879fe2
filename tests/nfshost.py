"""A host with Debian's real NFS programs: /etc and /var/lib of its own, in a mount namespace; nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import debian
import pytest
from support import require, require_root

_PACKAGES = (
    *("nfs-kernel-server", "nfs-common", "rpcbind", "libtirpc3", "libtirpc-common", "libevent-core-2.1-7"),
    *("libwrap0", "libnfsidmap1", "libkeyutils1"),
)
_COMMAND_S = 30.0
_SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$0"
cp -a /etc "$0/etc"
mkdir -p "$0/etc/exports.d" "$0/lib/nfs/sm" "$0/lib/nfs/sm.bak"
mount --bind "$0/etc" /etc
mount --bind "$0/lib" /var/lib
cp "$1/etc/netconfig" /etc/
grep -q ^_rpc: /etc/passwd || echo _rpc:x:64301:65534::/run/rpcbind:/usr/sbin/nologin >> /etc/passwd
grep -q ^statd: /etc/passwd || echo statd:x:64302:65534::/var/lib/nfs:/usr/sbin/nologin >> /etc/passwd
rm -f /etc/exports; : > /etc/exports
: > /var/lib/nfs/etab; : > /var/lib/nfs/rmtab
echo ready
exec sleep 600
"""


@dataclass
class NfsHost:
    """Commands run in it through `inside`; `environment` finds the programs and what they are linked with."""

    pid: int
    environment: dict[str, str]

    @property
    def inside(self) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-m", "-n"]

    def run(self, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.inside, *command],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=_COMMAND_S,
            check=False,
            env=os.environ | self.environment,
        )
        assert done.returncode == code, done.stderr
        return done

    def write(self, path: str, text: str) -> None:
        subprocess.run(
            [*self.inside, "tee", path],
            input=os.fsencode(text),
            stdout=subprocess.DEVNULL,
            timeout=_COMMAND_S,
            check=True,
        )

    def read(self, path: str) -> str:
        return self.run("cat", path).stdout


def programs() -> dict[str, str]:
    """Get the programs; returns the environment that finds them."""
    folder = debian.packages("nfs-utils", _PACKAGES)
    libraries = [str(path.parent) for path in folder.rglob("libtirpc.so.3")]
    if not libraries:
        pytest.skip("the package libtirpc3 has no library for this machine")
    path = os.pathsep.join([str(folder / "usr/sbin"), str(folder / "sbin"), os.environ["PATH"], "/usr/sbin", "/sbin"])
    return {"PATH": path, "LD_LIBRARY_PATH": os.pathsep.join(sorted(set(libraries)))}


@contextmanager
def nfs_host(folder: Path, *flags: str) -> Iterator[NfsHost]:
    """Make one. `flags` are more of unshare's, `--net` say."""
    require_root()
    require("unshare", "nsenter")
    environment = programs()
    own = folder / "nfs-host"
    own.mkdir()
    command = ["unshare", "--mount", *flags, "sh", "-c", _SETUP, str(own), str(debian.cache() / "nfs-utils")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stderr is not None
    try:
        if holder.stdout.readline() != "ready\n":
            holder.wait(_COMMAND_S)
            raise AssertionError(holder.stderr.read())
        yield NfsHost(holder.pid, environment)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stderr.close()
        shutil.rmtree(own, ignore_errors=True)
