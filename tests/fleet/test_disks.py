"""A Pi's disks: an ext4 each, made once, and never where the Pi could plant a link."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from imagetrees import SERIAL
from support import require

from pinetboot import run
from pinetboot.errors import OperatorError
from pinetboot.fleet import disks
from pinetboot.fleet.pi import Disk, Pi


def pi(*made: tuple[str, str]) -> Pi:
    return Pi(serial=SERIAL, disks=[Disk(mount=mount, size=size) for mount, size in made])


def test_a_disk_is_an_ext4_that_takes_no_room(tmp_path: Path) -> None:
    require("mke2fs", "dumpe2fs", "e2fsck")
    assert disks.ensure(tmp_path, pi(("/var/lib/rancher", "20G"), ("/data", "100M"))) == []
    folder = tmp_path / "disks"
    assert sorted(path.name for path in folder.iterdir()) == ["data.ext4", "var-lib-rancher.ext4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disks"]
    path = folder / "var-lib-rancher.ext4"
    assert path.stat().st_size == 20 << 30
    assert path.stat().st_blocks * 512 < 64 << 20
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    subprocess.run(["e2fsck", "-fn", path], check=True, capture_output=True)
    told = subprocess.run(["dumpe2fs", "-h", path], check=True, capture_output=True, text=True).stdout
    assert "Filesystem volume name:   var-lib-rancher\n" in told


def test_one_that_stands_is_left_alone(tmp_path: Path) -> None:
    require("mke2fs")
    disks.ensure(tmp_path, pi(("/data", "10M")))
    path = tmp_path / "disks" / "data.ext4"
    with path.open("r+b") as file:
        file.write(b"the Pi wrote here")
    before = path.stat()
    assert disks.ensure(tmp_path, pi(("/data", "10M"))) == []
    (larger,) = disks.ensure(tmp_path, pi(("/data", "20M")))
    assert "resize2fs" in larger.do
    (smaller,) = disks.ensure(tmp_path, pi(("/data", "5M")))
    assert "resize2fs" not in smaller.do
    assert disks.ensure(tmp_path, pi()) == []
    after = path.stat()
    assert (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)


def test_what_a_pi_plants_in_its_folder_is_not_touched(tmp_path: Path) -> None:
    require("mke2fs")
    other = tmp_path / "other.ext4"
    other.write_bytes(b"another Pi's")
    (tmp_path / "disks").mkdir()
    (tmp_path / "disks" / "data.ext4").symlink_to(other)
    (found,) = disks.ensure(tmp_path, pi(("/data", "10M")))
    assert "no regular file" in found.why
    assert other.read_bytes() == b"another Pi's"


def test_without_mke2fs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find", lambda _: None)
    with pytest.raises(OperatorError) as told:
        disks.ensure(tmp_path, pi(("/data", "10M")))
    assert "e2fsprogs" in told.value.do
    assert list((tmp_path / "disks").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["disks"]
