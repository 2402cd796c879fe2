"""What stands on disk to be exported, and what is kept of what was exported last."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinetboot.fleet.pi import Pi
from pinetboot.nfs import kernel, standing
from pinetboot.nfs.exports import Export, render
from pinetboot.nfs.wanted import Standing

SERIAL = "5b154510"
A = Export(f"/srv/pis/{SERIAL}/1/root", "10.0.0.5/32", "rw")
B = Export(f"/srv/pis/{SERIAL}/2/root", "10.0.0.5/32", "rw")


def generation(data: Path, number: int, *kinds: str) -> None:
    for kind in kinds:
        (data / "pis" / SERIAL / str(number) / kind).mkdir(parents=True)


def test_what_a_pi_boots_and_what_else_is_asked_for_stands_if_it_has_a_root(tmp_path: Path) -> None:
    generation(tmp_path, 1, "boot", "root")
    generation(tmp_path, 2, "boot", "root")
    generation(tmp_path, 3, "boot")
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / SERIAL).symlink_to(f"../pis/{SERIAL}/2/boot")
    disks = [{"mount": "/var/lib/rancher", "size": "1G"}]
    pi = Pi.model_validate({"serial": SERIAL, "disks": disks})
    found = standing.look(tmp_path, [pi], [{SERIAL: 1}, {SERIAL: 3}, {SERIAL: 4}, {}])
    assert found == {SERIAL: Standing(frozenset({1, 2}))}
    (tmp_path / "pis" / SERIAL / "disks").mkdir()
    assert standing.look(tmp_path, [pi])[SERIAL] == Standing(frozenset({2}), disks=True)
    assert standing.look(tmp_path / "nowhere", [pi])[SERIAL] == Standing()


def test_a_container_that_begins_anew_knows_what_was_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tmp_path / "pinetboot.exports"
    monkeypatch.setattr(kernel, "OURS", ours)
    (tmp_path / "state").mkdir()
    assert standing.lines(tmp_path) == []
    standing.keep(tmp_path, [A], ["/srv does not support NFS export"])
    assert standing.lines(tmp_path) == [A]
    assert standing.refused(tmp_path) == ["/srv does not support NFS export"]
    ours.write_text(render([B]))
    assert standing.lines(tmp_path) == [B]
    standing.keep(tmp_path, [], [])
    assert standing.refused(tmp_path) == []


def test_a_data_directory_that_may_not_be_written_is_no_fault(tmp_path: Path) -> None:
    standing.keep(tmp_path / "nowhere", [A], [])
    assert standing.refused(tmp_path / "nowhere") == []
