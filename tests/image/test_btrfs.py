"""On btrfs an image's root is a subvolume, so that a Pi's copy of it is one step."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bigtree import mounted
from diskimages import BOOT_FILES, TOOLS, simple_disk, write_tree
from support import require, require_root

from pinetboot import subvolume
from pinetboot.image import library

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("kind", ["disk", "folders", "tars"])
def test_the_root_is_a_subvolume_wherever_it_comes_from(tmp_path: Path, data: Path, image: Run, kind: str) -> None:
    require_root()
    require(*TOOLS, "unshare", "mount", "mkfs.btrfs", "btrfs")
    if kind == "disk":
        source: list[str | Path] = [simple_disk(tmp_path / "disk")]
    else:
        trees = [write_tree(tmp_path / "b", BOOT_FILES), write_tree(tmp_path / "r", {"etc/hostname": b"raspberrypi\n"})]
        if kind == "tars":
            for number, tree in enumerate(trees):
                trees[number] = tree.with_suffix(".tar")
                with tarfile.open(trees[number], "w") as packed:
                    packed.add(tree, ".")
        source = ["--boot", trees[0], "--root", trees[1]]
    with mounted("btrfs", tmp_path, "300M") as folder:
        data.symlink_to(folder)
        done = image("add", *source, "--name", "it")
        assert done.returncode == 0, done.stderr
        assert subvolume.is_one(library.folder(data, "it") / "root")
        assert (library.folder(data, "it") / "root" / "etc" / "hostname").read_text() == "raspberrypi\n"
        done = image("add", *source, "--name", "it", "--replace")
        assert done.returncode == 0, done.stderr
        assert image("remove", "it").returncode == 0
        assert [path.name for path in (data / "images").iterdir()] == [".lock"]
        left = subprocess.run(["btrfs", "subvolume", "list", folder], capture_output=True, check=True).stdout
        assert left == b""
