"""Generations on disk, and the link that says which one a Pi boots."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinetboot.errors import OperatorError
from pinetboot.fleet import made, trees

SERIAL = "5b154510"


def generation(data: Path, number: int, image: str = "a") -> None:
    boot = data / "pis" / SERIAL / str(number) / "boot"
    boot.mkdir(parents=True)
    (data / "boot").mkdir(exist_ok=True)
    (boot.parent / made.NAME).write_text(f'image = "{image}"\nidentity = "i{number}"\nroot = "nfs"\n')


def test_finished_generations_are_listed_and_nothing_else(tmp_path: Path) -> None:
    assert trees.generations(tmp_path, SERIAL) == []
    for number in (10, 2):
        generation(tmp_path, number)
    for name in (".new-11", ".gone-1", "identity", "disks", "03", "x1"):
        (tmp_path / "pis" / SERIAL / name).mkdir()
    (tmp_path / "pis" / SERIAL / "5").mkdir()  # without a record it was never finished
    (tmp_path / "pis" / SERIAL / "6").mkdir()
    (tmp_path / "pis" / SERIAL / "6" / made.NAME).write_text("image = ")
    found = trees.generations(tmp_path, SERIAL)
    assert [(one.number, one.image, one.identity, one.root) for one in found] == [
        (2, "a", "i2", "nfs"),
        (10, "a", "i10", "nfs"),
    ]
    assert trees.next_number(tmp_path, SERIAL) == 12


def test_a_pi_is_moved_to_and_fro(tmp_path: Path) -> None:
    generation(tmp_path, 1)
    generation(tmp_path, 2)
    assert trees.current(tmp_path, SERIAL) is None
    for number in (1, 2, 2, 1):
        trees.switch(tmp_path, SERIAL, number)
        assert trees.current(tmp_path, SERIAL) == number
        assert str(trees.link_in(tmp_path, SERIAL).readlink()) == f"../pis/{SERIAL}/{number}/boot"
    assert [one.name for one in (tmp_path / "boot").iterdir()] == [SERIAL]
    trees.unlink(tmp_path, SERIAL)
    assert trees.current(tmp_path, SERIAL) is None


def test_what_was_left_by_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    generation(tmp_path, 1)
    (tmp_path / "boot" / f".{SERIAL}.new").symlink_to("nowhere")
    trees.switch(tmp_path, SERIAL, 1)
    assert trees.current(tmp_path, SERIAL) == 1


def test_a_folder_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    generation(tmp_path, 1)
    own = tmp_path / "boot" / SERIAL
    own.mkdir()
    (own / "config.txt").write_text("mine")
    with pytest.raises(OperatorError, match="folder of your own"):
        trees.switch(tmp_path, SERIAL, 1)
    trees.unlink(tmp_path, SERIAL)
    assert (own / "config.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "target", ["../pis/99999999/1/boot", "/etc", f"../pis/{SERIAL}/x/boot", f"../pis/{SERIAL}/1/root"]
)
def test_a_link_that_is_none_of_ours_names_no_generation(tmp_path: Path, target: str) -> None:
    generation(tmp_path, 1)
    trees.link_in(tmp_path, SERIAL).symlink_to(target)
    assert trees.current(tmp_path, SERIAL) is None


def test_a_rollback_is_remembered(tmp_path: Path) -> None:
    generation(tmp_path, 1)
    trees.reject(tmp_path, SERIAL, 1)
    assert [one.rejected for one in trees.generations(tmp_path, SERIAL)] == [True]


def test_everything_of_a_pi_can_be_deleted(tmp_path: Path) -> None:
    generation(tmp_path, 1)
    trees.purge(tmp_path, SERIAL)
    trees.purge(tmp_path, SERIAL)
    assert list((tmp_path / "pis").iterdir()) == []
