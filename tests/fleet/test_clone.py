"""A copy is the same tree: every attribute of every file, and blocks shared where the file system can."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bigtree import grow, mounted, used_bytes
from support import require, require_root

from pinetboot import run, subvolume
from pinetboot.fleet import clone

_CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep, revision 2


def copy(source: Path, target: Path) -> list[int]:
    told: list[int] = []
    target.mkdir(exist_ok=True)
    clone.clone(source, target, files=told.append, cancelled=lambda: False)
    return told


def attributes(tree: Path) -> dict[str, object]:
    """All that a file is, by name; hard links as the first name of the same file."""
    found: dict[str, object] = {}
    first: dict[int, str] = {}
    for folder, folders, files in os.walk(tree):
        for name in [".", *folders, *files]:
            path = Path(folder) / name
            status = path.lstat()
            own = str(path.relative_to(tree))
            content = b""
            if stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.fsencode(path.readlink())
            extended = {
                key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
            }
            found[own] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                status.st_rdev,
                status.st_size if content else 0,
                status.st_nlink if not stat.S_ISDIR(status.st_mode) else 0,
                content,
                first.setdefault(status.st_ino, own),
                extended,
            )
    return found


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A tree with everything that a root may hold."""
    require_root()
    top = tmp_path / "odd"
    (top / "dev").mkdir(parents=True)
    (top / "ping").write_bytes(b"elf")
    os.setxattr(top / "ping", "security.capability", _CAPABILITY)
    os.setxattr(top / "ping", "user.note", b"a \0 b")
    (top / "sudo").write_bytes(b"elf")
    os.chown(top / "sudo", 1000, 50)
    (top / "sudo").chmod(0o6755)
    os.mknod(top / "dev" / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(top / "dev" / "sda", 0o660 | stat.S_IFBLK, os.makedev(8, 0))
    os.mkfifo(top / "pipe", 0o600)
    (top / "tmp").mkdir()
    (top / "tmp").chmod(0o1777)
    (top / "mail").mkdir()
    os.chown(top / "mail", 0, 8)
    (top / "mail").chmod(0o2775)
    (top / "mail" / "box").write_bytes(b"x")
    os.chown(top / "mail" / "box", 1000, 1000)
    (top / "link").symlink_to("/somewhere/else")
    os.lchown(top / "link", 7, 7)
    os.link(top / "sudo", top / "sudoedit")
    with (top / "sparse").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"in the middle")
    for name in (b"n\nl", b"\xff\xfe", b"-rf", b" ", "ü".encode(), b"'\"$(x)"):
        Path(os.fsdecode(os.fsencode(top) + b"/" + name)).write_bytes(name)
    for mode in (0o0, 0o444, 0o600, 0o711, 0o777, 0o4111):
        (top / f"file{mode:o}").write_bytes(b"x")
        (top / f"file{mode:o}").chmod(mode)
        (top / f"folder{mode:o}").mkdir()
        (top / f"folder{mode:o}" / "in it").write_bytes(b"x")
        (top / f"folder{mode:o}").chmod(mode)
    acl = bytes.fromhex("02000000 01000700ffffffff 02000600e8030000 04000500ffffffff 10000700ffffffff 20000500ffffffff")
    (top / "acl").mkdir()
    os.setxattr(top / "acl", "system.posix_acl_default", acl)
    (top / "acl" / "inherited").write_bytes(b"x")
    os.setxattr(top / "acl", "system.posix_acl_access", acl)
    for number in range(300):  # so many that cp copies, and these few are put right
        (top / f"plain{number}").write_bytes(b"x")
    for path in [*top.rglob("*"), top]:
        os.utime(path, ns=(1_500_000_000_123_456_789, 1_600_000_000_987_654_321), follow_symlinks=False)
    return top


@pytest.mark.parametrize("way", ["put right after", "cp does it all", "by the time it is copied it is another"])
def test_every_attribute_of_every_file(odd: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = attributes(odd)
    if way == "cp does it all":
        monkeypatch.setattr(clone, "_odd_ones", lambda _: None)
    else:
        assert clone._odd_ones(odd)
    if way == "by the time it is copied it is another":
        (odd / "mail" / "box").unlink()
        os.utime(odd / "mail", ns=(1, 1_600_000_000_987_654_321))
        del before["mail/box"]
    copy(odd, odd.with_name("copy"))
    assert attributes(odd.with_name("copy") / "odd") == before
    assert (odd.with_name("copy") / "odd" / "sparse").stat().st_blocks * 512 < 1 << 20
    assert attributes(odd) == before


@pytest.mark.parametrize("kind", ["xfs", "btrfs", "ext4"])
def test_blocks_are_shared_where_they_can_be(tmp_path: Path, kind: str) -> None:
    require_root()
    require(*{"xfs": ["mkfs.xfs"], "btrfs": ["mkfs.btrfs"], "ext4": ["mke2fs"]}[kind])
    with mounted(kind, tmp_path, "600M") as folder:
        (folder / "tree").mkdir()
        (folder / "tree" / "large").write_bytes(os.urandom(64 << 20))
        grow(folder / "tree", 50)
        before = used_bytes(folder)
        copy(folder / "tree", folder / "copy")
        clone.settle(folder / "copy")
        took = used_bytes(folder) - before
        assert attributes(folder / "copy" / "tree") == attributes(folder / "tree")
        assert (took > 64 << 20) == (kind == "ext4")


def test_a_subvolume_is_copied_by_a_snapshot_and_deleted_whole(odd: Path) -> None:
    require("mkfs.btrfs", "btrfs")
    with mounted("btrfs", odd.parent, "600M") as folder:
        subvolume.make(folder / "tree", 0o750)
        subprocess.run(["cp", "-a", f"{odd}/.", folder / "tree"], check=True)
        before = attributes(folder / "tree")
        told = copy(folder / "tree", folder / "copy")
        assert subvolume.is_one(folder / "copy" / "tree")
        assert attributes(folder / "copy" / "tree") == before
        assert told == []
        (folder / "copy" / "tree" / "ping").write_bytes(b"another")
        assert attributes(folder / "tree") == before
        (folder / "copy" / "tree").rename(folder / "copy" / "root")
        clone.discard(folder / "copy")
        assert not (folder / "copy").exists()
        assert attributes(folder / "tree") == before


def test_a_subvolume_goes_without_the_right_to_delete_one_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_root()
    require("mkfs.btrfs", "btrfs")
    with mounted("btrfs", tmp_path, "300M") as folder:
        (folder / "tree").mkdir()
        subvolume.make(folder / "tree" / "root", 0o755)
        (folder / "tree" / "root" / "file").write_bytes(b"x")
        monkeypatch.setattr(subvolume, "delete", lambda _: False)
        clone.discard(folder / "tree")
        assert not (folder / "tree").exists()


def test_what_is_mounted_in_a_tree_outlives_it(tmp_path: Path) -> None:
    require("mkfs.btrfs", "btrfs")
    require_root()
    with mounted("btrfs", tmp_path, "300M") as folder:
        subvolume.make(folder / "kept", 0o755)
        (folder / "kept" / "file").write_bytes(b"x")
        point = tmp_path / "tree" / "root"
        point.mkdir(parents=True)
        subprocess.run(["mount", "--bind", folder / "kept", point], check=True)
        try:
            clone.discard(tmp_path / "tree")
            assert (folder / "kept" / "file").read_bytes() == b"x"
        finally:
            subprocess.run(["umount", point], check=True)


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_how_many_files_are_done_is_told_of_each_of_two(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_root()
    require({"xfs": "mkfs.xfs", "ext4": "mke2fs"}[kind])
    monkeypatch.setattr(run, "_LOOK_S", 0.001)
    with mounted(kind, tmp_path, "600M") as folder, ThreadPoolExecutor(2) as pool:
        grow(folder / "tree", 3000)
        os.sync()
        both = list(pool.map(copy, [folder / "tree"] * 2, [folder / "one", folder / "other"]))
        for told in both:
            assert len(told) >= 3
            assert told == sorted(told)
        assert sum(told[-1] for told in both) <= 2 * 3000 * 1.1
        assert max(told[-1] for told in both) >= 1000


def test_a_copy_that_is_not_wanted_any_more_ends(tmp_path: Path) -> None:
    grow(tmp_path / "tree", 3000)
    told: list[int] = []
    (tmp_path / "copy").mkdir()
    with pytest.raises(run.Cancelled):
        clone.clone(tmp_path / "tree", tmp_path / "copy", files=told.append, cancelled=lambda: True)
    assert not told
    clone.discard(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_copy_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises((run.ProgramFailed, OSError), match="No such file"):
        copy(tmp_path / "missing", tmp_path / "copy")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    require_root()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "large").write_bytes(b"x" * (40 << 20))
    with mounted("ext4", tmp_path, "30M") as folder, pytest.raises(run.ProgramFailed, match="No space left on device"):
        copy(tmp_path / "tree", folder / "copy")


def test_cp_dies_with_the_one_who_started_it(tmp_path: Path) -> None:
    require("setpriv")
    code = (
        "import sys; from pathlib import Path; from pinetboot import run\n"
        "run.follow(['sh', '-c', 'echo $$; exec sleep 60'], cancelled=lambda: False,\n"
        f"    looks=lambda: Path({str(tmp_path / 'up')!r}).touch())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 20
    while not (tmp_path / "up").exists() and time.monotonic() < end:
        time.sleep(0.02)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    assert children
    parent.kill()
    parent.wait()
    while any(Path(f"/proc/{child}/cmdline").exists() for child in children) and time.monotonic() < end:
        time.sleep(0.02)
    assert not [child for child in children if Path(f"/proc/{child}/exe").exists()]
