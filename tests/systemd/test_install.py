"""`pinetboot systemd install` and `uninstall` with the real systemctl, in a mount namespace with an /etc of its own.

systemd does not run there, as in an image of a system that is being made; what a running one does is the lab's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import require, require_root

UNIT = "systemd/system/pinetboot.service"
WANTED = "systemd/system/multi-user.target.wants/pinetboot.service"
TREE = Path(__file__).parents[2]
# The environment and the tree in places that a service can have, wherever they are here.
_SETUP = """
set -e
mount --make-rprivate /
cp -a /etc "$0/"
rm -rf "$0/etc/systemd/system" "$0/etc/pinetboot"
mkdir "$0/etc/systemd/system" "$0/etc/pinetboot"
mount --bind "$0/etc" /etc
mount -t tmpfs lab /run
mount -t tmpfs lab /mnt
mkdir /mnt/venv /mnt/tree
mount --bind "$1" /mnt/venv
mount --bind "$2" /mnt/tree
echo ready
exec sleep 300
"""
PROGRAM = "/mnt/venv/bin/pinetboot"
PINETBOOT = ("env", "PYTHONPATH=/mnt/tree", "/mnt/venv/bin/python3", "-m", "pinetboot", "systemd")


@dataclass
class Host:
    """`etc` is what the host has in /etc, as far as it matters."""

    etc: Path
    inside: tuple[str, ...]

    def run(self, *words: str, code: int = 0, before: tuple[str, ...] = ()) -> str:
        command = [*self.inside, *before, *PINETBOOT, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    @property
    def unit(self) -> Path:
        return self.etc / UNIT


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    require_root()
    require("systemctl", "unshare", "nsenter")
    command = ["unshare", "--mount", "sh", "-c", _SETUP, str(tmp_path), sys.prefix, str(TREE)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "ready\n"
        yield Host(tmp_path / "etc", ("nsenter", "--target", str(holder.pid), "--mount"))
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_it_is_put_in_place_for_this_very_installation_once(host: Host) -> None:
    told = host.run("install", "--no-start")
    text = host.unit.read_text()
    assert f"\nExecStart={PROGRAM} serve\n" in text
    assert (host.etc / WANTED).is_symlink()
    assert "was not started, and from now on starts with this host" in told
    assert f"{PROGRAM} check" in told

    before = host.unit.stat()
    assert "is as it should be" in host.run("install", "--no-start")
    assert host.unit.stat() == before

    assert "is stopped and gone" in host.run("uninstall")
    assert not host.unit.exists()
    assert not (host.etc / WANTED).is_symlink()
    assert "nothing was done" in host.run("uninstall")


def test_it_is_written_anew_where_the_settings_have_moved_the_data(host: Host) -> None:
    host.run("install", "--no-start")
    (host.etc / "pinetboot/pinetboot.toml").write_text('[server]\ndata = "/volume1/pis"\n')
    assert "is written" in host.run("install", "--no-start")
    assert "\nReadWritePaths=-/volume1/pis " in host.unit.read_text()
    # What this shell has is not the service's.
    assert "is as it should be" in host.run("install", "--no-start", before=("env", "PINETBOOT_DATA=/elsewhere"))


def test_a_unit_that_somebody_changed_is_not_lost(host: Host) -> None:
    host.run("install", "--no-start")
    changed = host.unit.read_text().replace("WatchdogSec=30", "WatchdogSec=90")
    host.unit.write_text(changed)
    told = host.run("install", "--no-start", code=2)
    assert "is not as pinetboot wrote it" in told
    assert "--replace" in told
    assert host.unit.read_text() == changed

    host.run("install", "--no-start", "--replace")
    kept = host.unit.with_name("pinetboot.service.bak")
    assert kept.read_text() == changed
    assert "WatchdogSec=30" in host.unit.read_text()

    host.unit.write_text("[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n")
    assert "it is kept as" in host.run("uninstall")
    assert kept.read_text() == changed
    assert "/bin/true" in kept.with_name("pinetboot.service.bak2").read_text()
    assert not host.unit.exists()


def test_lines_of_ones_own_beside_it_stay(host: Host) -> None:
    own = host.etc / "systemd/system/pinetboot.service.d/more.conf"
    own.parent.mkdir()
    own.write_text("[Service]\nNice=5\n")
    assert "more.conf is added to it" in host.run("install", "--no-start")
    assert "more.conf stays" in host.run("uninstall")
    assert own.exists()


def test_what_keeps_it_from_being_a_service_is_told_in_a_sentence(host: Host) -> None:
    assert "systemd does not run here" in host.run("install", code=2)
    assert "is root's to change" in host.run("install", code=2, before=("setpriv", "--reuid=65534", "--clear-groups"))
    settings = host.etc / "pinetboot/pinetboot.toml"
    settings.write_text('[nfs]\nmode = "daemons"\n')
    assert "is for a container" in host.run("install", "--no-start", code=2)
    settings.write_text("[tftp]\nprot = 69\n")
    assert "tftp.prot" in host.run("install", "--no-start", code=2)
    settings.write_text("")
    host.unit.symlink_to("/dev/null")
    assert "systemctl unmask pinetboot" in host.run("install", "--no-start", code=2)
    assert not (host.etc / WANTED).is_symlink()


def test_a_file_system_that_is_closed_leaves_the_unit_as_it_was(host: Host) -> None:
    host.run("install", "--no-start")
    before = host.unit.read_text()
    (host.etc / "pinetboot/pinetboot.toml").write_text('[server]\ndata = "/volume1/pis"\n')
    subprocess.run([*host.inside, "mount", "-o", "remount,bind,ro", "/etc"], timeout=20, check=True)
    assert "cannot be written" in host.run("install", "--no-start", code=2)
    assert host.unit.read_text() == before


def test_a_service_that_may_not_write_to_its_data_says_what_to_run(host: Host) -> None:
    subprocess.run([*host.inside, "mount", "-t", "tmpfs", "-o", "ro", "lab", "/srv"], timeout=20, check=True)
    command = [
        *host.inside,
        "env",
        "INVOCATION_ID=1",
        *PINETBOOT[1:-1],
        "serve",
        "--http-port",
        "20",
        "--tftp-port",
        "21",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "/srv/pinetboot cannot be made: Read-only file system" in done.stderr
    assert "Run `pinetboot systemd install` again" in done.stderr
