"""The file system of a boot.img: the same bytes every time, and read by everybody."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from imagetrees import fill
from support import require

from pinetboot import run
from pinetboot.bootimg import fat
from pinetboot.pi.fat import Fat

CONTENT: dict[str, str | bytes] = {
    "config.txt": "arm_64bit=1\n",
    "cmdline.txt": "console=tty1\n",
    "kernel8.img": hashlib.shake_128(b"kernel").digest(3_000_001),
    "bcm2711-rpi-4-b.dtb": b"\xd0\x0d\xfe\xed",
    "empty": b"",
    "UPPER.TXT": "upper",
    "a name with spaces [and brackets].txt": "odd",
    "a long ümlaut": "odd",
    "overlays/vc4-kms-v3d-pi5.dtbo": b"overlay",
    "overlays/overlay_map.dtb": b"map",
    "deep/er/d[1]/file": b"deep",
}


@pytest.fixture(autouse=True)
def _needs() -> None:
    require("mformat", "mcopy", "mdir", "fsck.fat")


def make(folder: Path, image: Path, volume: str = "5b154510") -> bytes:
    files = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    fat.make(folder, files, image, volume, lambda: False)
    return image.read_bytes()


def test_the_same_files_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    fill(one, CONTENT)
    made = make(one, tmp_path / "one.img")
    fill(other, dict(reversed(CONTENT.items())))
    for path in other.rglob("*"):
        os.utime(path, (10**9, 10**9))
    time.sleep(2.1)  # FAT counts time in twos of seconds
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("MTOOLS_NO_VFAT", "1")
    assert hashlib.sha256(make(other, tmp_path / "other.img")).digest() == hashlib.sha256(made).digest()
    assert make(other, tmp_path / "another.img", "5b154511") != made


def test_fsck_finds_nothing_and_mtools_reads_all_of_it(tmp_path: Path) -> None:
    tree, image, back = tmp_path / "tree", tmp_path / "boot.img", tmp_path / "back"
    fill(tree, CONTENT)
    make(tree, image)
    checked = subprocess.run(["fsck.fat", "-n", "-v", image], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    assert "16 bit entries" in checked.stdout
    listed = subprocess.run(["mdir", "-i", image, "::"], capture_output=True, text=True, check=True).stdout
    assert "PINETBOOT" in listed
    assert "5B15-4510" in listed
    back.mkdir()
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    subprocess.run(["mcopy", "-s", "-i", image, "::*", back], check=True, env=environment)
    assert contents(back) == contents(tree)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_virtual_pi_reads_all_of_it(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    fill(tree, CONTENT)
    system = Fat(memoryview(make(tree, tmp_path / "boot.img")))
    for name, content in contents(tree).items():
        for asked in (name, name.upper(), f"/{name}"):
            found = system.find(asked)
            assert found is not None, asked
            assert found.size == len(content)
            assert system.read(found, 1 << 30) == content
    assert system.find("overlays") is None
    assert system.find("kernel8.img/x") is None
    assert system.find("nothing") is None


@pytest.mark.parametrize("size", [0, 1_900_000, 2_200_000, 16_300_000, 40_000_000])
def test_any_size_is_a_clean_fat16(tmp_path: Path, size: int) -> None:
    fill(tmp_path / "tree", {"kernel8.img": bytes(size), "overlays/a": b"a"})
    image = tmp_path / "boot.img"
    make(tmp_path / "tree", image)
    checked = subprocess.run(["fsck.fat", "-n", "-v", image], capture_output=True, text=True, check=False)
    assert (checked.returncode, "16 bit entries" in checked.stdout) == (0, True), checked.stdout
    assert image.stat().st_size < size * 1.03 + (3 << 20)


def test_more_files_than_one_command_line_takes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    fill(tree, {f"overlays/{'o' * 60}-{number}.dtbo": str(number) for number in range(210)})
    system = Fat(memoryview(make(tree, tmp_path / "boot.img")))
    found = system.find(f"overlays/{'o' * 60}-209.dtbo")
    assert found is not None
    assert system.read(found, 100) == b"209"


def test_it_ends_as_soon_as_nobody_wants_it(tmp_path: Path) -> None:
    fill(tmp_path / "tree", {"a": "a"})
    with pytest.raises(run.Cancelled):
        fat.make(tmp_path / "tree", {"a": 1}, tmp_path / "boot.img", "00000000", lambda: True)


def test_without_mtools_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_PATH", str(tmp_path))
    with pytest.raises(run.ProgramMissing, match="mtools"):
        fat.make(tmp_path, {}, tmp_path / "boot.img", "00000000", lambda: False)
