"""Whether a copy fits, asked before it is made: by what the file system does, not by its name."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from bigtree import mounted
from support import require, require_root

from pinetboot.errors import OperatorError
from pinetboot.fleet import room


@pytest.mark.parametrize(("kind", "fits"), [("xfs", True), ("btrfs", True), ("ext4", False)])
def test_copies_that_share_their_blocks_take_no_room(tmp_path: Path, kind: str, fits: bool) -> None:
    require_root()
    require({"xfs": "mkfs.xfs", "btrfs": "mkfs.btrfs", "ext4": "mke2fs"}[kind])
    with mounted(kind, tmp_path, "400M") as data:
        (data / "tree").mkdir()
        (data / "folder").mkdir()
        with (data / "tree/large").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 250 << 20)
        with nullcontext() if fits else pytest.raises(OperatorError, match=r"a copy needs 263 MB in .* are free"):
            room.need([data / "tree"], data / "folder", "a copy", size=250 << 20, files=1)
        assert list((data / "folder").iterdir()) == []


def test_holes_and_hard_links_are_counted_as_they_lie_on_disk(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "hole").open("wb") as file:
        file.truncate(1 << 43)
    (tree / "link").hardlink_to(tree / "hole")
    room.need([tree], tmp_path, "a copy", size=1 << 44, files=2)


def test_so_many_files_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(OperatorError, match="are free"):
        room.need([tmp_path / "tree"], tmp_path, "a copy", size=0, files=1 << 45)
