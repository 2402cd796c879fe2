"""Fixtures for installers: images as Debian's packages have them, in small, and a host with boot loaders."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from image.conftest import in_process

from pinetboot.image.watch import Unwatched
from pinetboot.installer import adding
from pinetboot.installer.adding import Added, Wanted
from pinetboot.installer.loaders import LOADERS

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Add = Callable[..., Added]


def make_image(
    folder: Path, architecture: str = "amd64", version: str = "12 (bookworm)", screens: str = "text"
) -> Path:
    """Make the folder of a package debian-installer-…-netboot-…; its kernel says what it is."""
    home = folder / screens / "debian-installer" / architecture
    home.mkdir(parents=True)
    (home / "linux").write_text(f"kernel {architecture} {version} {screens}")
    (home / "initrd.gz").write_text(f"initrd {architecture} {version} {screens}")
    (folder / screens / "version.info").write_text(f"Debian version:  {version}\nInstaller build: 20230607+deb12u15\n")
    if architecture == "arm64":
        (home / "bootnetaa64.efi").write_bytes(b"shim of the image")
        (home / "grubaa64.efi").write_bytes(b"grub of the image")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data" / "boot").mkdir(parents=True)
    return tmp_path / "data"


@pytest.fixture
def boot(data: Path) -> Path:
    return data / "boot"


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """Make a host on which Debian's loaders for PCs are installed."""
    root = tmp_path / "system"
    for loader in LOADERS["amd64"]:
        (root / loader.path).parent.mkdir(parents=True, exist_ok=True)
        (root / loader.path).write_text(f"{loader.name} of the host")
    return root


@pytest.fixture
def add(data: Path, boot: Path, system: Path) -> Add:
    def run(source: Path | str, **more: object) -> Added:
        return adding.add(Wanted(data, boot, str(source), system=system, **more), Unwatched())  # type: ignore[arg-type]

    return run


@pytest.fixture
def installer(data: Path) -> Run:
    """Run `pinetboot installer …` on the data directory."""

    def run(*words: str | Path, config: str = "") -> subprocess.CompletedProcess[str]:
        settings = data.parent / "pinetboot.toml"
        settings.write_text(config)
        return in_process(["installer", *map(str, words), "--config", str(settings), "--data", str(data)])

    return run
