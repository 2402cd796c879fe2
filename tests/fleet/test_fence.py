"""Whoever loses the claim to a fleet in the midst of its work changes nothing more that anybody sees."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from imagetrees import SERIAL, SERVED, raspios, snapshot
from support import require, require_root

from pinetboot.fleet import disks, generation, trees
from pinetboot.fleet.claim import Claim
from pinetboot.fleet.fence import Lost
from pinetboot.fleet.keeper import Keeper
from pinetboot.fleet.pi import Disk, Pi

PI = Pi(serial=SERIAL, hostname="node-1", image="raspios")


@pytest.fixture(autouse=True)
def _needs() -> None:
    require_root()  # trees have owners
    require("cp")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return raspios(tmp_path)


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    found = Keeper(tmp_path).look(wanted=True)
    assert found is not None
    return found


def usurp(data: Path) -> Claim:
    """Take the claim from whoever has it, as one does who takes it for dead."""
    other = Keeper(data)._win(max(int(path.name) for path in (data / "state" / "keeper").glob("[0-9]*")) + 1)
    assert other is not None
    return other


def make(image: Path, claim: Claim, number: int = 1) -> None:
    generation.make(image.parent.parent, PI, image, number, SERVED, lambda _: None, lambda: claim.lost, fence=claim)


def entries(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "pis" / SERIAL).iterdir())


class _TakenAtTheLastMoment:
    """A claim that another takes right before it is to be used."""

    def __init__(self, claim: Claim, data: Path) -> None:
        self._claim = claim
        self._data = data
        self.mark = claim.mark

    @property
    def lost(self) -> bool:
        return self._claim.lost

    def check(self) -> None:
        self._claim.check()

    def held(self) -> AbstractContextManager[None]:
        if not self._claim.lost:
            usurp(self._data)
        return self._claim.held()


def test_a_generation_that_is_half_made_never_gets_its_number(tmp_path: Path, image: Path, claim: Claim) -> None:
    make(image, claim)
    fence = _TakenAtTheLastMoment(claim, tmp_path)
    with pytest.raises(Lost):
        generation.make(tmp_path, PI, image, 2, SERVED, lambda _: None, lambda: fence.lost, fence=fence)
    assert entries(tmp_path) == ["1", "identity"]


def test_an_identity_that_is_half_made_comes_to_nothing(tmp_path: Path, image: Path, claim: Claim) -> None:
    fence = _TakenAtTheLastMoment(claim, tmp_path)
    with pytest.raises(Lost):
        generation.make(tmp_path, PI, image, 1, SERVED, lambda _: None, lambda: fence.lost, fence=fence)
    new = Keeper(tmp_path)._win(9)
    assert new is not None
    generation.sweep(tmp_path, new)
    assert entries(tmp_path) == []


def test_no_link_is_moved_no_generation_removed_and_no_file_written(tmp_path: Path, image: Path, claim: Claim) -> None:
    (tmp_path / "boot").mkdir()
    make(image, claim)
    make(image, claim, 2)
    trees.switch(tmp_path, SERIAL, 1, claim)
    before = snapshot(tmp_path / "pis")
    usurp(tmp_path)
    with pytest.raises(Lost):
        trees.switch(tmp_path, SERIAL, 2, claim)
    with pytest.raises(Lost):
        generation.remove(tmp_path, SERIAL, 1, claim)
    with pytest.raises(Lost):
        generation.refresh(tmp_path, PI.model_copy(update={"cmdline": "quiet", "ssh": True}), 1, SERVED, claim)
    assert trees.current(tmp_path, SERIAL) == 1
    assert snapshot(tmp_path / "pis") == before


def test_a_sweep_takes_what_others_left_and_not_what_is_being_made(tmp_path: Path, image: Path, claim: Claim) -> None:
    make(image, claim)
    own = tmp_path / "pis" / SERIAL
    half = own / f".new-{claim.mark}2"
    for folder in (half, own / ".new-2", own / ".new-0badc0de-2", own / ".gone-7", own / ".new-0badc0de-identity"):
        folder.mkdir()
    generation.sweep(tmp_path, claim)
    assert entries(tmp_path) == sorted(["1", "identity", half.name])
    new = usurp(tmp_path)
    theirs = own / f".new-{new.mark}3"
    theirs.mkdir()
    with pytest.raises(Lost):
        generation.sweep(tmp_path, claim)
    assert theirs.exists()
    generation.sweep(tmp_path, new)
    assert entries(tmp_path) == sorted(["1", "identity", theirs.name])


def test_a_disk_that_another_made_meanwhile_stays(
    tmp_path: Path, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("mke2fs")
    own = tmp_path / "pis" / SERIAL
    (own / disks.FOLDER).mkdir(parents=True)
    there = own / disks.FOLDER / "data.ext4"
    make_one = disks._make

    def late(beside: Path, path: Path, disk: Disk, fence: Claim) -> None:
        path.write_bytes(b"a Pi has it mounted")
        make_one(beside, path, disk, fence)

    monkeypatch.setattr(disks, "_make", late)
    disks.ensure(own, PI.model_copy(update={"disks": [Disk(mount="/data", size="8M")]}), claim)
    assert there.read_bytes() == b"a Pi has it mounted"
    assert entries(tmp_path) == [disks.FOLDER]


def test_what_is_given_up_is_over_at_once_in_every_thread(tmp_path: Path, image: Path, claim: Claim) -> None:
    (tmp_path / "boot").mkdir()
    make(image, claim)
    claim.release()
    assert claim.lost
    with pytest.raises(Lost):
        trees.switch(tmp_path, SERIAL, 1, claim)
