"""Disk images and trees of the tests' own: partition tables, FAT and ext4 made by the tools that everybody uses."""

from __future__ import annotations

import hashlib
import lzma
import os
import socket
import stat
import struct
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from support import require

MIB = 1 << 20
TOOLS = ("sfdisk", "mkfs.vfat", "mcopy", "mke2fs")
_GPT_TYPES = ("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "0FC63DAF-8483-4772-8E79-3D69D8477DE4")
_MBR_TYPES = ("c", "83")

# What each model needs, as small as can be; Pis read it, our code only sees the names.
BOOT_FILES = {
    "config.txt": b"arm_64bit=1\n",
    "cmdline.txt": b"console=tty1 root=PARTUUID=1-02 rootwait\n",
    "bootcode.bin": b"b" * 3000,
    "start.elf": b"s" * 9000,
    "fixup.dat": b"f" * 100,
    "start4.elf": b"4" * 9001,
    "fixup4.dat": b"f" * 101,
    "bcm2710-rpi-3-b.dtb": b"d" * 500,
    "bcm2711-rpi-4-b.dtb": b"d" * 501,
    "bcm2712-rpi-5-b.dtb": b"d" * 502,
    "kernel8.img": b"k" * 20000,
    "overlays/overlay_map.dtb": b"o" * 50,
    "overlays/A long name, with spaces and ümlauts.dtbo": b"l",
}


def run(*command: str | os.PathLike[str], input_text: str | None = None) -> str:
    """Run a tool, which must succeed."""
    done = subprocess.run(command, input=input_text, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def write_tree(top: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return top


def make_fat(path: Path, boot: Path, *, bits: int = 16, mib: int = 16) -> Path:
    """Make a FAT file system with the files of a folder."""
    path.touch()
    os.truncate(path, mib * MIB)
    run("mkfs.vfat", "-F", str(bits), "-n", "bootfs", *(["-s", "1"] if bits > 16 else []), path)
    if any(boot.iterdir()):
        run("env", "TZ=UTC", "LC_ALL=C.UTF-8", "mcopy", "-s", "-m", "-i", path, *sorted(boot.iterdir()), "::")
    return path


def make_ext4(path: Path, tree: Path | None, *, mib: int = 32, mounted: bool = False) -> Path:
    """Make an ext4 with a copy of a folder: `mounted` by the kernel (root), which keeps nanoseconds, else by mke2fs."""
    path.touch()
    os.truncate(path, mib * MIB)
    fill = ["-d", str(tree)] if tree is not None and not mounted else []
    run("mke2fs", "-q", "-F", "-t", "ext4", "-I", "256", *fill, path)
    if tree is not None and mounted:
        place = path.with_suffix(".mounted")
        place.mkdir()
        script = 'mount -o loop "$1" "$2" && cp -a --sparse=always "$3/." "$2/"'
        run("unshare", "--mount", "sh", "-c", script, "sh", path, place, tree)
        place.rmdir()
    return path


def make_disk(path: Path, *parts: Path, gpt: bool = False, kinds: tuple[str, ...] | None = None) -> Path:
    """Make a disk image with a partition for each file system."""
    start = 2048
    lines = ["label: gpt" if gpt else "label: dos", "unit: sectors"]
    places = []
    for number, part in enumerate(parts):
        size = part.stat().st_size // 512
        kind = (kinds or (_GPT_TYPES if gpt else _MBR_TYPES))[number]
        lines.append(f"start={start}, size={size}, type={kind}")
        places.append(start * 512)
        start += size + (-size % 2048)
    path.touch()
    os.truncate(path, start * 512 + MIB)
    run("sfdisk", "--quiet", path, input_text="\n".join(lines) + "\n")
    for place, part in zip(places, parts, strict=True):
        _lay(part, path, place)
    return path


def _lay(part: Path, disk: Path, place: int) -> None:
    with part.open("rb") as source, disk.open("r+b") as target:
        while data := source.read(MIB):
            if any(data):
                target.seek(place)
                target.write(data)
            place += len(data)


def xz(path: Path) -> Path:
    """Pack quickly; a file beside it."""
    packed = path.with_name(f"{path.name}.xz")
    packed.write_bytes(lzma.compress(path.read_bytes(), preset=0))
    return packed


def simple_disk(folder: Path, root_files: Mapping[str, bytes] | None = None, *, gpt: bool = False) -> Path:
    """Make a small disk image that every model boots."""
    require(*TOOLS)
    folder.mkdir(parents=True, exist_ok=True)
    boot = write_tree(folder / "boot-files", BOOT_FILES)
    root = write_tree(
        folder / "root-files", root_files or {"etc/hostname": b"raspberrypi\n", "usr/bin/true": b"x" * 5000}
    )
    fat, ext4 = make_fat(folder / "fat", boot), make_ext4(folder / "ext4", root)
    return make_disk(folder / "simple.img", fat, ext4, gpt=gpt)


def odd_tree(top: Path) -> Path:
    """Make a tree with everything that is easily lost. Needs root."""
    top.mkdir()
    write_tree(
        top,
        {
            "plain": b"plain",
            "with space": b"s",
            "new\nline": b"n",
            "-dash": b"d",
            "*?[glob]": b"g",
            "ünïcödé": b"u",
            "n" * 255: b"long",
            os.fsdecode(b"not-utf8-\xff\xfe"): b"bytes",
            "bin/ping": b"\x7fELF ping",
            "bin/su": b"\x7fELF su",
            "etc/shadow": b"secret",
            "etc/empty": b"",
            "with-acl/inside": b"acl",
            "locked/inside": b"l",
        },
    )
    os.link(top / "plain", top / "bin" / "hard link to plain")
    os.link(top / "plain", top / "zz hard link")
    (top / "dangling").symlink_to("/nowhere/at all")
    (top / "to plain").symlink_to("plain")
    os.link(top / "to plain", top / "hard link to a link", follow_symlinks=False)
    (top / "odd link").symlink_to(os.fsdecode(b"../\xff odd"))
    with (top / "sparse").open("wb") as file:
        file.seek(8 * MIB)
        file.write(b"end of the sparse file")
        file.truncate(12 * MIB)
    dev = top / "dev"
    dev.mkdir()
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(dev / "loop77", stat.S_IFBLK | 0o660, os.makedev(7, 77))
    os.mkfifo(dev / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as sock:
        before = Path.cwd()
        os.chdir(dev)
        try:
            sock.bind("socket")
        finally:
            os.chdir(before)
    (top / "empty folder").mkdir(mode=0o711)
    _own_and_mark(top)
    return top


def _own_and_mark(top: Path) -> None:
    dev = top / "dev"
    (dev / "null").chmod(0o666)
    os.chown(top / "with space", 1000, 1001)
    os.chown(dev / "loop77", 0, 6)
    os.chown(top / "dangling", 65534, 65534, follow_symlinks=False)
    os.chown(top / "etc/empty", 4_000_000_000, 3_999_999_999)
    (top / "bin/su").chmod(0o4755)
    (top / "etc/shadow").chmod(0o000)
    (top / "empty folder").chmod(0o1777)
    # The capability net_raw, permitted and effective, as <linux/capability.h> has it in revision 2.
    os.setxattr(top / "bin/ping", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    os.setxattr(top / "plain", "user.note", b"binary \x00\xff")
    os.setxattr(top / "empty folder", "user.on-a-folder", b"yes")
    os.setxattr(top / "plain", "trusted.overlay", b"only root sees it")
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *entry)
        for entry in ((1, 6, 0xFFFFFFFF), (2, 4, 1000), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
    )
    os.setxattr(top / "with-acl/inside", "system.posix_acl_access", acl)
    os.setxattr(top / "with-acl", "system.posix_acl_default", acl)
    times = {
        "plain": 1_234_567_890_123_456_789,
        "etc/empty": -86_400_000_000_000 * 365,  # 1969
        "with space": 4_102_444_800_999_999_999,  # 2100
        "to plain": 1_000_000_000_000_000_001,
        "locked": 1_111_111_111_222_222_222,
        "bin": 1_111_111_111_333_333_333,
        ".": 1_111_111_111_444_444_444,
    }
    (top / "locked").chmod(0o000)
    for name, when in times.items():
        os.utime(top / name, ns=(when, when), follow_symlinks=False)


def facts(top: Path) -> dict[str, dict[str, Any]]:
    """Tell everything of every file below, by its path: what two trees must have in common."""
    found: dict[str, dict[str, Any]] = {}
    inodes: dict[tuple[int, int], list[str]] = {}
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)  # noqa: PTH118 - names that are no text
            relative = os.path.relpath(path, top)
            found[relative] = _facts(path)
            info = os.lstat(path)
            if not stat.S_ISDIR(info.st_mode):
                inodes.setdefault((info.st_dev, info.st_ino), []).append(relative)
    found["."] = _facts(os.fspath(top))
    for names in inodes.values():
        for name in names:
            found[name]["same file as"] = sorted(names)
    return found


def _facts(path: str) -> dict[str, Any]:
    info = os.lstat(path)
    told: dict[str, Any] = {
        "mode": oct(info.st_mode),
        "owner": (info.st_uid, info.st_gid),
        "mtime_ns": info.st_mtime_ns,
        "xattrs": {
            key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
        },
    }
    if stat.S_ISREG(info.st_mode):
        told["size"] = info.st_size
        with open(path, "rb") as file:  # noqa: PTH123
            told["content"] = hashlib.file_digest(file, "sha256").hexdigest()
    if stat.S_ISLNK(info.st_mode):
        told["target"] = os.readlink(path)  # noqa: PTH115
    if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        told["device"] = (os.major(info.st_rdev), os.minor(info.st_rdev))
    return told


def loop_devices(below: Path) -> list[str]:
    """List what lies behind loop devices, below a folder."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # gone in between
            found.append(path.read_text().strip())
    return [path for path in found if path.startswith(f"{below}/")]
