"""The root that rpc.mountd gets where `/` is an overlay, as it is in a container: really mounted, and looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import require, require_root

from pinetboot import mountinfo
from pinetboot.nfs import rooting

REPOSITORY = Path(__file__).parent.parent.parent

# A container as runtimes make it: an overlay over this system for `/`, in which the data directory is a volume.
_CONTAINER = """
set -e
mount -t tmpfs tmpfs "$0"
mkdir "$0/upper" "$0/work" "$0/merged"
mount -t overlay overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/merged"
python=$1 repository=$2 data=$3
for path in /proc /dev "$(dirname "$(dirname "$python")")" "$repository"; do
    mkdir -p "$0/merged$path"
    mount --rbind "$path" "$0/merged$path"
done
mkdir -p "$0/merged/srv/test-data"
mount --bind "$data" "$0/merged/srv/test-data"
shift 3
exec chroot "$0/merged" env PYTHONPATH="$repository" "$python" "$@"
"""
_BECOME = """
import os, sys
from pathlib import Path
from pinetboot.nfs import rooting
command = [*rooting.command(Path("/srv/test-data")), *sys.argv[1:]]
os.execvp(command[0], command)
"""


def contained(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    require_root()
    require("unshare", "pivot_root", "mount", "umount", "chroot")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fleet.toml").write_text("of the Pis\n")
    (tmp_path / "root").mkdir()
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _CONTAINER]
    command += [str(tmp_path / "root"), sys.executable, str(REPOSITORY), str(tmp_path / "data")]
    command += ["-c", _BECOME, "sh", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_on_the_way_to_the_data_all_can_be_exported_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    script = """
        stat --file-system --format %T / /srv
        cat /srv/test-data/fleet.toml
        cmp /etc/passwd "$(readlink -f /etc/passwd)" && ls /proc/self/mountinfo
        awk '$5 == "/" { print $(NF - 2) }' /proc/self/mountinfo
        ls --almost-all /mnt
    """
    done = contained(tmp_path, script)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.split("\n") == ["tmpfs", "tmpfs", "of the Pis", "/proc/self/mountinfo", "tmpfs", ""]


def test_where_it_cannot_be_made_the_program_runs_without_and_the_reason_is_told(tmp_path: Path) -> None:
    # Not permitted to mount, as in a container that is not privileged.
    require_root()
    require("setpriv", "mount")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    unprivileged = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-P", "-m", "pinetboot.nfs.rooting"]
    command = [*unprivileged, str(tmp_path), "sh", "-c", "echo runs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stdout) == (0, "runs\n")
    assert done.stderr.startswith("NFS version 4 cannot be served from a container like this one: mount failed: ")


@pytest.mark.parametrize(
    ("kind", "options", "made"),
    [
        ("overlay", "rw,lowerdir=/a,upperdir=/b", True),
        ("overlay", "rw,lowerdir=/a,nfs_export=on", False),
        ("fuse.fuse-overlayfs", "rw", True),
        ("ext4", "rw", False),
        ("tmpfs", "rw", False),
        ("btrfs", "rw", False),
    ],
)
def test_it_is_made_where_the_root_is_a_union_alone(
    monkeypatch: pytest.MonkeyPatch, kind: str, options: str, *, made: bool
) -> None:
    monkeypatch.setattr(mountinfo, "mount_of", lambda _: mountinfo.Mount("0:1", "/", kind, options))
    assert bool(rooting.command(Path("/srv/pinetboot"))) is made
