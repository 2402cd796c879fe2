"""The firmware files that Debian packages, served as they are: a virtual Pi 4 boots as far as they go."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Daemon, require

pytestmark = pytest.mark.timeout(110)

PACKAGE = "raspi-firmware"
SERIAL = "5b154510"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_S = 45.0


@pytest.fixture(scope="module")
def firmware() -> Path:
    """Get the package's boot files, once for all test runs of this user."""
    home = os.environ.get("PINETBOOT_TEST_CACHE") or "~/.cache/pinetboot-tests"
    kept = Path(home).expanduser() / PACKAGE
    if not kept.is_dir():
        require("apt-get", "dpkg-deb")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            try:
                unpacked = unpack(download(Path(folder)))
            except subprocess.TimeoutExpired:
                pytest.skip(f"{PACKAGE} cannot be had: apt-get did not end within {APT_S:g} seconds")
            if not kept.is_dir():
                unpacked.rename(kept)
    (found,) = kept.rglob("start4.elf")
    return found.parent


def download(folder: Path) -> Path:
    """Download the package with apt's sources and state kept in `folder`; this machine's own stay as they are."""
    sources = folder / "sources.list"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    why = "this machine's apt knows no Debian mirror"
    for uri, release in mirrors(folder):
        sources.write_text(f"deb {signed}{uri} {release} non-free-firmware\n")
        for action in (["update"], ["download", PACKAGE]):
            done = apt_get(folder, "-o", f"Dir::Etc::sourcelist={sources}", "-o", "Dir::Etc::sourceparts=-", *action)
            if done.returncode:
                why = next((line for line in done.stderr.splitlines() if line.startswith("E:")), "apt-get failed")
                break
        else:
            (package,) = folder.glob("*.deb")
            return package
    pytest.skip(f"{PACKAGE} cannot be had: {why}")


def mirrors(folder: Path) -> list[tuple[str, str]]:
    """List where this machine's own apt would get Debian from: address and release, in the order of its sources."""
    planned = apt_get(folder, "--print-uris", "update").stdout
    return re.findall(r"'(\S+/debian/)dists/([a-z]+)/InRelease'", planned)


def apt_get(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run apt-get in `folder`, where it has its state as well."""
    options = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        # apt's own unprivileged user could not write here.
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "10",
    }
    command = ["apt-get", "-q", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    return subprocess.run(
        [*command, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=APT_S,
        check=False,
        env=os.environ | {"LC_ALL": "C"},
    )


def unpack(package: Path) -> Path:
    folder = package.with_suffix("")
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True, timeout=APT_S)
    return folder


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
