"""The firmware files that Debian packages, served as they are: a virtual Pi 4 boots as far as they go."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import debian
import pytest
from support import Daemon

pytestmark = pytest.mark.timeout(110)

SERIAL = "5b154510"


@pytest.fixture(scope="module")
def firmware() -> Path:
    return debian.firmware()


def test_a_pi_4_boots_debian_s_firmware_up_to_the_device_tree_that_is_not_in_it(
    firmware: Path, serve: Callable[..., Daemon]
) -> None:
    daemon = serve()
    tree = daemon.data / "boot" / SERIAL
    shutil.copytree(firmware, tree)
    command = [sys.executable, "-m", "pinetboot", "rehearse", "--model", "pi4", "--serial", SERIAL, "--no-dhcp"]
    command += ["--server", "127.0.0.1", "--tftp-port", str(daemon.tftp_port), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)

    assert (report["ok"], report["stopped_at"], report["cause"]["rule"]) == (False, "kernel", "D27")
    assert f"{SERIAL}/bcm2711-rpi-4-b.dtb" in report["cause"]["what"]
    come = {file["name"]: file["bytes"] for file in report["files"] if file["result"] == "ok" and not file["probe"]}
    sizes = {name: (tree / name).stat().st_size for name in ("start4.elf", "fixup4.dat")}
    assert sizes["start4.elf"] > 1 << 20
    assert come == {f"{SERIAL}/{name}": size for name, size in sizes.items()}
    assert {line["path"]: line["bytes"] for line in daemon.said("file sent")} == come
