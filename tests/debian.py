"""What Debian packages, for tests that want the real thing: had through this machine's own apt sources, and kept.

`PINETBOOT_TEST_CACHE` says where; by default it is `~/.cache/pinetboot-tests`.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
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
    (found,) = packages(FIRMWARE, [FIRMWARE], component="non-free-firmware").rglob("start4.elf")
    return found.parent


def tree() -> Path:
    """Get a tar of a small Debian with apt, as mmdebstrap makes it, once for all test runs of this user."""
    kept = cache() / f"debian-{RELEASE}-apt.tar"
    if not kept.is_file():
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            made = Path(folder) / kept.name
            bootstrap(made, "apt")
            made.rename(kept)
    return kept


def bootstrap(
    made: Path, variant: str, names: Sequence[str] = (), flags: Sequence[str] = (), within_s: float = BOOTSTRAP_S
) -> None:
    """Make a Debian of this variant with these packages: a tar or a directory, by the name of `made`."""
    require("mmdebstrap")
    uri = next((uri for uri, release in Apt(made.parent).mirrors() if release == RELEASE), None)
    if uri is None:
        pytest.skip(f"this machine's apt knows no mirror of {RELEASE}")
    command = ["mmdebstrap", f"--variant={variant}", "--quiet", *flags]
    command += [f"--include={','.join(names)}"] if names else []
    command += [RELEASE, str(made), f"deb {uri} {RELEASE} main"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"a Debian tree cannot be had: mmdebstrap did not end within {within_s:g} seconds")
    if done.returncode:
        pytest.skip(f"a Debian tree cannot be had: {done.stderr.strip()[-300:]}")


def packages(
    name: str,
    names: Sequence[str],
    *,
    component: str = "main",
    architecture: str = "",
    release: str = "",
    within_s: float = APT_S,
) -> Path:
    """Get what packages hold, unpacked into one folder, once for all test runs of this user.

    `name` is what the folder is called, `release` that of the packages where it is not this machine's.
    `linux-image-arm64*`, say, is the kernel that linux-image-arm64 stands for.
    """
    kept = cache() / name
    if not kept.is_dir():
        require("apt-get", "dpkg-deb")
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            unpacked = Path(folder) / "unpacked"
            try:
                for package in Apt(Path(folder), architecture, within_s).download(names, component, release):
                    subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True, timeout=APT_S)
            except subprocess.TimeoutExpired:
                pytest.skip(f"{name} cannot be had: apt-get did not end within {within_s:g} seconds")
            if not kept.is_dir():
                unpacked.rename(kept)
    return kept


@dataclass(frozen=True)
class Apt:
    """apt with sources and state kept in `folder`; this machine's own stay as they are. Empty: its own architecture."""

    folder: Path
    architecture: str = ""
    within_s: float = APT_S

    def download(self, names: Sequence[str], component: str, wanted: str = "") -> list[Path]:
        """Download packages into the folder."""
        sources = self.folder / "sources.list"
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        only = ("-o", f"Dir::Etc::sourcelist={sources}", "-o", "Dir::Etc::sourceparts=-")
        why = "this machine's apt knows no Debian mirror"
        for uri, release in self.mirrors():
            sources.write_text(f"deb {signed}{uri} {wanted or release} {component}\n")
            done = self.get(*only, "update")
            if not done.returncode:
                real = [self._real(only, name[:-1]) if name.endswith("*") else name for name in names]
                done = self.get(*only, "download", *real)
                if not done.returncode:
                    return list(self.folder.glob("*.deb"))
            why = next((line for line in done.stderr.splitlines() if line.startswith("E:")), "apt-get failed")
        pytest.skip(f"{', '.join(names)} cannot be had: {why}")

    def mirrors(self) -> list[tuple[str, str]]:
        """List where this machine's own apt would get Debian from: address and release, in the order of its sources."""
        planned = self.get("--print-uris", "update").stdout
        return re.findall(r"'(\S+/debian/)dists/([a-z]+)/InRelease'", planned)

    def get(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run apt-get."""
        for part in ("state/lists/partial", "cache/archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        options = {
            "Dir::State": self.folder / "state",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            # apt's own unprivileged user could not write here.
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::Retries": "1",
            "Acquire::http::Timeout": "10",
        }
        if self.architecture:
            options |= {"APT::Architecture": self.architecture, "APT::Architectures::": self.architecture}
        command = ["apt-get", "-q", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
        return subprocess.run(
            [*command, *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=self.within_s,
            check=False,
            env=os.environ | {"LC_ALL": "C"},
        )

    def _real(self, only: Sequence[str], name: str) -> str:
        """Name the kernel that a package such as linux-image-arm64 stands for."""
        planned = self.get(*only, "--print-uris", "--yes", "--no-install-recommends", "install", name).stdout
        found = re.search(r"/(linux-[a-z]+-[0-9][^/_ ]*)_[^/]*\.deb'", planned)
        if found is None:
            pytest.skip(f"{name} cannot be had: apt-get finds no package that it stands for")
        return found[1]
