"""What `pinetboot check` says of a boot.img, each rule by itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import bootkeys
import pytest
from imagetrees import raspios
from support import require

from pinetboot import check
from pinetboot.bootimg import fat, layout
from pinetboot.config import Config, build
from pinetboot.fleet import generation, ramdisk, state, store, told, trees
from pinetboot.fleet.pi import Pi
from pinetboot.net.links import Links

SERIAL = "5b154510"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A fleet of one Pi 4 with trees and a signed boot.img, as the daemon makes them."""
    require("mcopy", "mformat")
    raspios(tmp_path)
    for name in ("boot", "pis", "state", "cloud-init"):
        (tmp_path / name).mkdir()
    (tmp_path / "fleet.toml").write_text(f'[[pi]]\nserial = "{SERIAL}"\nimage = "raspios"\nboot = "img"\n')
    seen(tmp_path, "Pi 4")
    served = told.served(settings(tmp_path), Links(), pi(tmp_path), "")
    assert served is not None
    generation.make(tmp_path, pi(tmp_path), tmp_path / "images" / "raspios", 1, served, lambda _: None, lambda: False)
    trees.switch(tmp_path, SERIAL, 1)
    shutil.copy(bootkeys.pair().private, tmp_path / "key")
    ready = ramdisk.prepare(made(tmp_path), pi(tmp_path), str(tmp_path / "key"), lambda: False)
    assert ready is not None
    ramdisk.place(ready)
    return tmp_path


def seen(data: Path, model: str) -> None:
    state.keep_seen(data, [{"serial": SERIAL, "mac": "dc:a6:32:2e:f8:ed", "model": model, "address": "192.0.2.7"}])


def made(data: Path) -> Path:
    return data / "pis" / SERIAL / "1"


def settings(data: Path, **more: dict[str, Any]) -> Config:
    sections: dict[str, dict[str, Any]] = {"nfs": {"mode": "off"}, "boot_img": {"key_file": str(data / "key")}}
    server = {"data": str(data), "address": "127.0.0.1"}
    return build({**sections, "server": server, **more}, "test")


def pi(data: Path) -> Pi:
    return store.read(settings(data)).by_serial[SERIAL]


def findings(data: Path, **more: dict[str, Any]) -> list[str]:
    """What is said of the boot.img, the severity first."""
    report = check.run(settings(data, **more))
    found = [one for one in report.to_json()["findings"] if "boot.img" in one["what"]]
    assert all(one["why"] and one["do"] and one["rule"] in {"D17", "D41"} for one in found)
    assert all(one["severity"] != "fatal" for one in found)
    return [f"{one['severity']}: {one['what']}: {one['why']}" for one in found]


def the_one(data: Path, **more: dict[str, Any]) -> str:
    found = findings(data, **more)
    assert len(found) == 1, found
    return found[0]


def test_one_that_is_as_it_should_be(data: Path) -> None:
    assert findings(data) == []


def test_a_pi_that_is_to_have_none(data: Path) -> None:
    fleet = data / "fleet.toml"
    fleet.write_text(fleet.read_text().replace('boot = "img"', ""))
    (data / "key").unlink()
    (made(data) / "boot" / "cmdline.txt").write_text("other\n")
    assert findings(data) == []


def test_a_key_that_is_missing_open_to_others_or_none(data: Path) -> None:
    (data / "key").chmod(0o644)
    assert "may be read by others" in the_one(data)
    (data / "key").write_text("no key")
    (data / "key").chmod(0o600)
    assert "no private key" in the_one(data)
    (data / "key").unlink()
    assert "cannot be read" in the_one(data)
    found = findings(data, boot_img={"key_file": ""})
    assert "is not signed" in found[0]
    assert "older than its boot tree, or its key" in found[1]


def test_one_that_is_older_than_its_tree_or_not_there(data: Path) -> None:
    (made(data) / "boot" / "cmdline.txt").write_text("other\n")
    assert "older than its boot tree" in the_one(data)
    ramdisk.remove(made(data))
    assert "is not made yet" in the_one(data)


def test_a_tree_that_fits_none(data: Path) -> None:
    (made(data) / "boot" / "CONFIG.TXT").write_text("")
    assert "one name to FAT" in the_one(data)


def test_a_host_without_mtools(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (made(data) / "boot" / "cmdline.txt").write_text("other\n")
    monkeypatch.setattr(fat, "is_there", lambda: False)
    assert "mtools is not installed" in the_one(data)


@pytest.mark.parametrize(("model", "severity"), [("Pi 4", "warning"), ("Pi 5", "info")])
def test_one_that_is_too_large_for_a_pi_4(data: Path, model: str, severity: str) -> None:
    seen(data, model)
    record = ramdisk.record(made(data))
    assert record is not None
    image, size = made(data) / "boot" / "boot.img", layout.PI4_MOST + 1
    with image.open("r+b") as file:
        file.truncate(size)
    now = replace(record, size=size, written=image.stat().st_mtime_ns)
    told = {name: getattr(now, name) for name in ("tree", "key", "sha256", "size", "written", "sig")}
    (made(data) / "boot-img.json").write_text(json.dumps(told))
    assert the_one(data).startswith(f"{severity}: pi-{SERIAL}: its boot.img has {size:,} bytes")


def test_a_pi_3_and_a_daemon_without_http(data: Path) -> None:
    seen(data, "Pi 3B+")
    assert "a Pi 3 has no HTTP boot" in the_one(data)
    seen(data, "Pi 4")
    assert "http.enabled is false" in the_one(data, http={"enabled": False})


def test_a_folder_of_the_users_own(data: Path) -> None:
    (data / "boot" / SERIAL).unlink()
    shutil.copytree(made(data) / "boot", data / "boot" / SERIAL)
    assert "a folder of your own" in the_one(data)
