"""What the manifests let a container do is enough for what it is there for: pinetboot runs with just that here."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from diskimages import facts, odd_tree, simple_disk
from fleet.test_reconcile import SERIAL, fleet, image, ready
from kubernetes.manifests import Object, container, of, overlay, server
from support import Daemon, free_port, loopback_config, require, require_root


@pytest.fixture(autouse=True)
def _needs() -> None:
    require_root()
    require("setpriv", "cp")


def only(given: Object) -> list[str]:
    """Make a command prefix of a container's securityContext: root with the capabilities that it adds, and no more."""
    assert given["runAsUser"] == 0
    assert given["allowPrivilegeEscalation"] is False
    assert given["capabilities"]["drop"] == ["ALL"]
    added = ",".join(f"+{name.lower()}" for name in given["capabilities"].get("add", []))
    return ["setpriv", f"--bounding-set=-all{',' + added if added else ''}", "--inh-caps=-all", "--no-new-privs"]


def test_without_any_capability_the_job_brings_in_what_firmware_and_kernel_are_and_does_so_again(
    tmp_path: Path,
) -> None:
    job = container(of(overlay("boot"), "Job"))
    disk = simple_disk(tmp_path / "disk")
    args: list[str] = list(job["args"])
    (place,) = (number for number, word in enumerate(args) if word.startswith("https://"))
    args[place] = str(disk)
    args[args.index("--sha256") + 1] = hashlib.sha256(disk.read_bytes()).hexdigest()
    command = [
        *only(job["securityContext"]),
        sys.executable,
        "-m",
        "pinetboot",
        *args,
        "--data",
        str(tmp_path / "data"),
    ]
    said = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert "the boot partition alone" in said[0]
    assert "raspios-lite is there already" in said[1]
    assert (tmp_path / "data" / "images" / "raspios-lite" / "boot" / "config.txt").is_file()


def test_with_what_a_nas_takes_roots_are_made_with_files_of_all_owners_and_kinds(
    tmp_path: Path, daemons: list[Daemon]
) -> None:
    tftp, http = free_port(), free_port(socket.SOCK_STREAM)
    nfs = '[nfs]\nmode = "external"\naddress = "192.168.1.5"\npath = "/volume1/pinetboot"'
    inside = only(container(server(overlay("external")))["securityContext"])
    config = loopback_config(tftp, http, more=nfs)
    daemon = Daemon(tmp_path / "daemon", config, ("--address", "127.0.0.1"), inside, tftp_port=tftp, http_port=http)
    daemons.append(daemon)
    image(daemon.data, "a")
    odd = odd_tree(daemon.data / "images" / "a" / "root" / "odd")
    os.removexattr(odd / "plain", "trusted.overlay")  # which only a privileged container may read
    daemon.start()
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "a"\n')
    ready(daemon)
    assert facts(daemon.data / "pis" / SERIAL / "1" / "root" / "odd") == facts(odd)
    cmdline = (daemon.data / "boot" / SERIAL / "cmdline.txt").read_text()
    assert f"nfsroot=192.168.1.5:/volume1/pinetboot/pis/{SERIAL}/1/root," in cmdline
