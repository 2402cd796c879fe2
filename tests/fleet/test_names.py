"""A Pi's folder by serial and by MAC, in whatever case, through the real resolver."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pinetboot.boot.resolver import BootTree, Missing, Refused
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.names import FleetNames
from pinetboot.fleet.pi import Pi

SERIAL, MAC = "5b154510", "dc:a6:32:2e:f8:ed"
DASHED = "dc-a6-32-2e-f8-ed"


def tree(tmp_path: Path, names: FleetNames | None = None) -> BootTree:
    (tmp_path / "boot").mkdir(exist_ok=True)
    (tmp_path / "pis").mkdir(exist_ok=True)
    return BootTree(tmp_path / "boot", tmp_path / "pis", names or known())


def known(*, learned: bool = False) -> FleetNames:
    if learned:
        return FleetNames({SERIAL: MAC}.get, {MAC: SERIAL}.get)
    names = FleetNames()
    names.inventory = Inventory((Pi.model_validate({"serial": SERIAL, "mac": MAC}),))
    return names


def put(tmp_path: Path, folder: str, text: str = "here") -> None:
    (tmp_path / "boot" / folder).mkdir(parents=True)
    (tmp_path / "boot" / folder / "config.txt").write_text(text)


def read(tree: BootTree, path: str) -> str:
    opened = tree.open(path)
    at_once = tree.open_now(path)
    if at_once is None:
        # The kernel answers from memory what it has just looked up, unless that is an absence and it keeps none here.
        assert not keeps_absences(tree)
        assert not (tree.root / path).exists()
    else:
        assert at_once.identity == opened.identity
    return os.pread(opened.fd, 100, 0).decode()


def keeps_absences(tree: BootTree) -> bool:
    """Whether the kernel remembers that a name is not there: it does for ext4, say, and not for a tmpfs."""
    with pytest.raises(Missing):
        tree.open("nobody/here")
    try:
        tree.open_now("nobody/here")
    except Missing:
        return True
    return False


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("folder", [SERIAL, DASHED, DASHED.upper(), SERIAL.upper(), MAC])
@pytest.mark.parametrize("asked", [SERIAL, SERIAL.upper(), DASHED, DASHED.upper()])
def test_one_folder_is_reached_by_every_name(tmp_path: Path, folder: str, asked: str, *, learned: bool) -> None:
    found = tree(tmp_path, known(learned=learned))
    put(tmp_path, folder)
    assert read(found, f"{asked}/config.txt") == "here"


def test_the_folder_that_was_asked_for_comes_first(tmp_path: Path) -> None:
    found = tree(tmp_path)
    put(tmp_path, SERIAL, "by serial")
    put(tmp_path, DASHED, "by mac")
    assert read(found, f"{SERIAL}/config.txt") == "by serial"
    assert read(found, f"{DASHED}/config.txt") == "by mac"
    assert read(found, f"{DASHED.upper()}/config.txt") == "by serial"


def test_what_a_pis_folder_lacks_is_missing_and_not_looked_for_elsewhere(tmp_path: Path) -> None:
    found = tree(tmp_path)
    put(tmp_path, SERIAL)
    put(tmp_path, DASHED)
    (tmp_path / "boot" / DASHED / "only-here").write_text("x")
    with pytest.raises(Missing):
        found.open(f"{SERIAL}/only-here")


def test_a_folder_of_nobody_stays_missing(tmp_path: Path) -> None:
    found = tree(tmp_path)
    put(tmp_path, SERIAL)
    for asked in ("99999999/config.txt", "dc-a6-32-00-00-00/config.txt", "other/config.txt"):
        with pytest.raises(Missing):
            found.open(asked)


def test_a_generation_is_reached_by_its_mac_and_still_fenced_in(tmp_path: Path) -> None:
    found = tree(tmp_path)
    boot = tmp_path / "pis" / SERIAL / "1" / "boot"
    boot.mkdir(parents=True)
    (boot / "config.txt").write_text("mine")
    (boot / "secret").symlink_to("../../../../pis")
    (tmp_path / "boot" / SERIAL).symlink_to(f"../pis/{SERIAL}/1/boot")
    for asked in (SERIAL, SERIAL.upper(), DASHED, DASHED.upper()):
        assert read(found, f"{asked}/config.txt") == "mine"
        with pytest.raises(Refused):
            found.open(f"{asked}/secret")


def test_a_root_without_a_loader_is_given_one(tmp_path: Path) -> None:
    names = known()
    found = tree(tmp_path, names)
    with pytest.raises(Missing):
        found.open("bootcode.bin")
    names.loader = tmp_path / "bootcode.bin"
    names.loader.write_text("an image's")
    assert read(found, "bootcode.bin") == "an image's"
    (tmp_path / "boot" / "bootcode.bin").write_text("the root's")
    assert read(found, "bootcode.bin") == "the root's"
