"""A tree that came from elsewhere: every path in it stays in it, whatever its links say."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from imagetrees import fill

from pinetboot import files
from pinetboot.fleet.inside import Tree


@pytest.fixture
def top(tmp_path: Path) -> Path:
    fill(
        tmp_path,
        {
            "outside/secret": "secret",
            "outside/folder/": "",
            "tree/etc/plain": "plain",
            "tree/usr/lib/deep": "deep",
            "tree/run/x": "x",
        },
    )
    top = tmp_path / "tree"
    for link, target in {
        "lib": "usr/lib",
        "absolute": "/etc/plain",
        "up": "../../../../../etc/plain",
        "out": str(tmp_path / "outside"),
        "dotted": "../outside",
        "etc/secret": str(tmp_path / "outside" / "secret"),
        "etc/circle": "circle",
        "etc/dangling": "/var/nowhere/file",
        "gone": "/made/on/demand",
    }.items():
        (top / link).symlink_to(target)
    os.mkfifo(top / "etc" / "fifo")
    return top


def test_links_are_followed_as_the_machine_itself_would(top: Path) -> None:
    with Tree(top) as tree:
        assert tree.read("/lib/deep") == b"deep"
        assert tree.read("absolute") == b"plain"
        assert tree.read("up") == b"plain"
        assert tree.read("usr/../../../etc/./plain") == b"plain"
        assert tree.names("lib") == ["deep"]
        assert tree.has_folder("lib")


@pytest.mark.parametrize(
    "path",
    [
        "out/secret",
        "dotted/secret",
        "etc/secret",
        "etc/circle",
        "etc/dangling",
        "etc/fifo",
        "etc",
        "etc/plain/x",
        "a\0b",
    ],
)
def test_nothing_else_is_read(top: Path, path: str) -> None:
    with Tree(top) as tree:
        assert tree.read(path) is None
        assert tree.text(path) is None
        assert tree.open(path) is None
        assert not tree.has_file(path)


def test_a_file_beyond_the_limit_is_not_read(top: Path) -> None:
    with Tree(top) as tree:
        assert tree.read("etc/plain", 5) == b"plain"
        assert tree.read("etc/plain", 4) is None


@pytest.mark.parametrize(
    "path", ["out/made", "dotted/made", "etc/secret", "etc/dangling", "gone/made", "new/folder/made"]
)
def test_writing_stays_inside(top: Path, path: str) -> None:
    outside = {name: name.read_bytes() if name.is_file() else b"" for name in (top.parent / "outside").rglob("*")}
    with Tree(top) as tree:
        tree.write(path, "made")
        assert tree.read(path) == b"made"
        tree.link(path, "/etc/plain")
        assert tree.read(path) == b"plain"
        assert tree.remove(path)
        assert not tree.remove(path)
        assert not tree.has(path)
    after = {name: name.read_bytes() if name.is_file() else b"" for name in (top.parent / "outside").rglob("*")}
    assert after == outside
    assert sorted(one.name for one in top.parent.iterdir()) == ["outside", "tree"]


def test_folders_are_made_where_links_lead_within(top: Path) -> None:
    with Tree(top) as tree:
        tree.make_folder("gone/here")
    assert stat.S_IMODE((top / "made/on/demand/here").stat().st_mode) == 0o755


@pytest.mark.parametrize("path", ["", "/", "..", "etc/..", "."])
def test_a_path_without_a_name_cannot_be_written(top: Path, path: str) -> None:
    with Tree(top) as tree, pytest.raises(OSError):  # noqa: PT011 - whatever the kernel says
        tree.write(path, "x")


def test_a_file_keeps_its_mode_and_a_folder_is_not_replaced(top: Path) -> None:
    (top / "etc/plain").chmod(0o640)
    with Tree(top) as tree:
        tree.write("etc/plain", "new", mode=0o600)
        tree.write("etc/other", "new", mode=0o600)
        with pytest.raises(IsADirectoryError):
            tree.write("usr/lib", "new")
        with pytest.raises(NotADirectoryError):
            tree.write("etc/plain/below", "new")
        assert not tree.remove("usr/lib")
    assert stat.S_IMODE((top / "etc/plain").stat().st_mode) == 0o640
    assert stat.S_IMODE((top / "etc/other").stat().st_mode) == 0o600
    assert not [name for name in (top / "etc").iterdir() if name.name.startswith(files.TEMPORARY)]


def test_too_many_folders_deep_is_not_there(top: Path) -> None:
    with Tree(top) as tree:
        before = sum(1 for _ in Path("/proc/self/fd").iterdir())
        path = "/".join(["d"] * 250)
        tree.make_folder(path)
        assert tree.has_folder(path)
        with pytest.raises(OSError, match="symbolic links"):
            tree.make_folder("/".join(["d"] * 400))
        assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before
