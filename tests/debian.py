"""What Debian packages, for tests that want the real thing: had through this machine's own apt sources, and kept.

`PINETBOOT_TEST_CACHE` says where; by default it is `~/.cache/pinetboot-tests`.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from support import require

FIRMWARE = "raspi-firmware"
RELEASE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_S = 45.0
BOOTSTRAP_S = 100.0


def cache() -> Path:
    """Where things are kept between test runs."""
    folder = Path(os.environ.get("PINETBOOT_TEST_CACHE") or "~/.cache/pinetboot-tests").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def firmware() -> Path:
    """Get the boot files of the package raspi-firmware, once for all test runs of this user."""
    kept = cache() / FIRMWARE
    if not kept.is_dir():
        require("apt-get", "dpkg-deb")
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            try:
                unpacked = unpack(download(Path(folder)))
            except subprocess.TimeoutExpired:
                pytest.skip(f"{FIRMWARE} cannot be had: apt-get did not end within {APT_S:g} seconds")
            if not kept.is_dir():
                unpacked.rename(kept)
    (found,) = kept.rglob("start4.elf")
    return found.parent


def tree() -> Path:
    """Get a tar of a small Debian, as mmdebstrap makes it, once for all test runs of this user."""
    kept = cache() / f"debian-{RELEASE}-essential.tar"
    if not kept.is_file():
        require("mmdebstrap")
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            made = Path(folder) / kept.name
            uri = next((uri for uri, release in mirrors(Path(folder)) if release == RELEASE), None)
            if uri is None:
                pytest.skip(f"this machine's apt knows no mirror of {RELEASE}")
            command = ["mmdebstrap", "--variant=essential", "--quiet", RELEASE, str(made), f"deb {uri} {RELEASE} main"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=BOOTSTRAP_S, check=False)
            except subprocess.TimeoutExpired:
                pytest.skip(f"a Debian tree cannot be had: mmdebstrap did not end within {BOOTSTRAP_S:g} seconds")
            if done.returncode:
                pytest.skip(f"a Debian tree cannot be had: {done.stderr.strip()[-300:]}")
            made.rename(kept)
    return kept


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
        for action in (["update"], ["download", FIRMWARE]):
            done = apt_get(folder, "-o", f"Dir::Etc::sourcelist={sources}", "-o", "Dir::Etc::sourceparts=-", *action)
            if done.returncode:
                why = next((line for line in done.stderr.splitlines() if line.startswith("E:")), "apt-get failed")
                break
        else:
            (package,) = folder.glob("*.deb")
            return package
    pytest.skip(f"{FIRMWARE} cannot be had: {why}")


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
