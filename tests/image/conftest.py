"""Fixtures for images: the command, a data directory, a disk image, and a web server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from diskimages import simple_disk, xz
from webfiles import Site, serving

from pinetboot import cli

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def image(data: Path) -> Run:
    """Run `pinetboot image …` on the data directory, inside another command if `inside` says so."""

    def run(*words: str | Path, inside: Sequence[str] = (), config: str = "") -> subprocess.CompletedProcess[str]:
        settings = data.parent / "pinetboot.toml"
        settings.write_text(config)
        arguments = ["image", *map(str, words), "--config", str(settings), "--data", str(data)]
        if not inside:
            return in_process(arguments)
        command = [*inside, sys.executable, "-m", "pinetboot", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    return run


def in_process(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Do what the command does, without the second that it takes to start."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["pinetboot", *arguments]):
        try:
            cli.main()
        except SystemExit as end:
            return subprocess.CompletedProcess(arguments, int(end.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture
def listed(image: Run) -> Callable[[], list[dict[str, Any]]]:
    """Give what `image list --json` says."""

    def ask() -> list[dict[str, Any]]:
        done = image("list", "--json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["images"]
        return found

    return ask


@pytest.fixture
def left(data: Path) -> Callable[[], list[str]]:
    """List all that lies in images/, but for the lock, and all downloads."""

    def look() -> list[str]:
        downloads = data / "state" / "downloads"
        there = [path.name for path in (data / "images").iterdir()] if (data / "images").is_dir() else []
        parts = [path.name for path in downloads.iterdir()] if downloads.is_dir() else []
        return sorted({*there, *parts} - {".lock"})

    return look


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small disk image, not packed."""
    return simple_disk(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="session")
def packed(disk: Path) -> Path:
    """The same, packed with xz."""
    return xz(disk)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site
