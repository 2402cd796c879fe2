"""kill -9 at any moment of an import: nothing broken is ever to be seen, and the next import leaves nothing behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diskimages import BOOT_FILES, TOOLS, facts, loop_devices, make_disk, make_ext4, make_fat, write_tree, xz
from support import require, require_root, wait_until

from pinetboot.image import library

KILLS = 40
MOST_S = 60.0


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two images of some hundred files, so that an import takes its time everywhere."""
    require_root()
    require(*TOOLS, "unshare", "setpriv")
    folder = tmp_path_factory.mktemp("sources")
    boot = make_fat(folder / "fat", write_tree(folder / "boot", BOOT_FILES))
    made = []
    for number in range(2):
        files = {f"dir{at % 20}/file{at}": random.Random(at + number).randbytes(3000 + 40 * at) for at in range(500)}  # noqa: S311 - repeatable on purpose
        tree = write_tree(folder / f"tree{number}", files)
        made.append(xz(make_disk(folder / f"{number}.img", boot, make_ext4(folder / f"ext4-{number}", tree))))
    return made


def whole(data: Path) -> dict[str, dict[str, Any]] | None:
    """Look at the image that stands; None for none. Its files are counted against its record."""
    record = library.load(data, "it")
    if record is None:
        assert not library.folder(data, "it").exists()
        return None
    trees = library.folder(data, "it")
    found = facts(trees)
    kinds = [one for one in found.values() if not one["mode"].startswith("0o4")]
    assert len(kinds) == record.files + 1  # and image.toml
    assert sum(one.get("size", 0) for one in kinds) - (trees / "image.toml").stat().st_size == record.bytes
    assert contents(trees / "root") == contents(Path(record.source).with_name(f"tree{Path(record.source).name[0]}"))
    return found


def contents(top: Path) -> dict[str, str]:
    return {name: one["content"] for name, one in facts(top).items() if "content" in one}


def mounts(data: Path) -> list[str]:
    """List what any process still has mounted below."""
    found = []
    for path in Path("/proc").glob("[0-9]*/mounts"):
        try:
            found += [line for line in path.read_text().splitlines() if str(data) in line]
        except OSError:
            continue
    return found


@pytest.mark.timeout(110)
def test_kill_9_at_random_moments(sources: list[Path], tmp_path: Path, image: Callable[..., Any], data: Path) -> None:
    began = time.monotonic()
    done = image("add", sources[0], "--name", "it")
    assert done.returncode == 0, done.stderr
    takes = time.monotonic() - began
    chance = random.Random(7)  # noqa: S311 - repeatable on purpose
    kills = 0
    while kills < KILLS and time.monotonic() - began < MOST_S:
        command = [sys.executable, "-m", "pinetboot", "image", "add", str(sources[kills % 2]), "--name", "it"]
        command += ["--replace", "--data", str(data)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Start-up is the same as ever; what comes after it is what may break.
        time.sleep(chance.uniform(takes * 0.25, takes * 1.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        assert whole(data) is not None
    assert kills >= 10, "too slow to say anything"
    for number in (0, 1):
        done = image("add", sources[number], "--name", "it", "--replace")
        assert done.returncode == 0, done.stderr
        assert whole(data) is not None
    assert sorted(path.name for path in (data / "images").iterdir()) == [".lock", "it"]
    assert wait_until(lambda: not loop_devices(data), 5)
    assert mounts(data) == []


@pytest.mark.timeout(60)
def test_kill_9_of_a_first_import_leaves_no_image(sources: list[Path], image: Callable[..., Any], data: Path) -> None:
    chance = random.Random(8)  # noqa: S311 - repeatable on purpose
    for _ in range(10):
        command = [
            sys.executable,
            "-m",
            "pinetboot",
            "image",
            "add",
            str(sources[0]),
            "--name",
            "it",
            "--data",
            str(data),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until((data / "images" / ".lock").exists, 10)
        time.sleep(chance.uniform(0, 0.4))
        process.kill()
        process.wait()
        if whole(data) is not None:
            assert image("remove", "it").returncode == 0
    library.sweep(data)
    assert [path.name for path in (data / "images").iterdir()] == [".lock"]


@pytest.mark.timeout(60)
def test_what_copies_dies_with_the_import(sources: list[Path], data: Path) -> None:
    """The program that writes the tree is gone as well: else it would write on into what the next import sweeps."""
    command = [sys.executable, "-m", "pinetboot", "image", "add", str(sources[0]), "--name", "it", "--data", str(data)]
    for _ in range(20):
        if killed_while_it_copies(command, data):
            break
    else:
        pytest.fail("the import was never met while it copies")
    assert wait_until(lambda: not writers(data), 5)


def killed_while_it_copies(command: list[str], data: Path) -> bool:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: [*data.glob("images/.new-*/root/dir1")] or process.poll() is not None, 10)
    process.kill()
    process.wait()
    return bool([*data.glob("images/.new-*/root/dir1")])


def writers(data: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"cp") and any(os.fsencode(data) in word for word in words):
            found.append(str(words))
    return found


@pytest.mark.timeout(60)
def test_ctrl_c_ends_it_and_leaves_nothing(sources: list[Path], data: Path) -> None:
    command = [sys.executable, "-m", "pinetboot", "image", "add", str(sources[0]), "--data", str(data), "--name"]
    through = []
    for name in ("one", "two", "three", "four", "five"):
        process = subprocess.Popen([*command, name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert wait_until(lambda: [*data.glob("images/.new-*/*")], 10)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[1]
        assert "Traceback" not in said
        if process.returncode:
            break
        through.append(name)  # it had nothing left to break off
    else:
        pytest.fail("the import was never met while it is at it")
    assert sorted(path.name for path in (data / "images").iterdir()) == sorted([".lock", *through])
