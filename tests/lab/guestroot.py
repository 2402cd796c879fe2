"""What guests run: one whole Debian by mmdebstrap, kept between test runs, and the smaller things cut out of it.

The server's archive is an initramfs. A Pi's root is a tree for `pinetboot image add`: a small one with an init of our
own, or a whole one with systemd and cloud-init.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import debian
import pytest
from packaging.requirements import Requirement
from support import require, require_root

import pinetboot

GUESTS = Path(__file__).parent / "guests"
PYTHON = (3, 11)
PACKAGES = (
    "busybox-static",
    "cloud-init",
    "e2fsprogs",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "netbase",
    "nfs-common",
    "nfs-kernel-server",
    "procps",
    "python3",
    "rpcbind",
    "systemd-sysv",
    "udev",
    "zstd",
)
_BOOTSTRAP_S = 400.0
_DOWNLOAD_S = 150.0
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")
_NO_TEXTS = tuple(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man", "i18n"))
MODULES = (
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "loop",
    "overlay",
    "nfs",
    "nfsv3",
    "nfsv4",
    "nfsd",
)
# Modules for a client's small initrd.
CLIENT_MODULES = ("virtio_pci", "virtio_net", "nfs", "nfsv3", "nfsv4")

_NOT_IN_A_GUEST = (
    "usr/share/perl",
    "usr/share/zoneinfo",
    "usr/share/bash-completion",
    "var/cache",
    "var/lib/apt/lists",
)
_NOT_ON_THE_SERVER = (
    *_NOT_IN_A_GUEST,
    "boot",
    "usr/lib/python3/dist-packages",
    "usr/lib/systemd",
    "usr/lib/udev",
    "usr/lib/modules",
    "usr/lib/klibc",
    "usr/share",
    "var/lib/dpkg",
)
_NOT_IN_A_SMALL_ROOT = (
    *_NOT_ON_THE_SERVER,
    "etc/cloud",
    "etc/systemd",
    "usr/bin/perl",
    "usr/bin/perl5.36.0",
    "usr/bin/python3",
    "usr/bin/python3.11",
    "usr/lib/apt",
    "usr/lib/python3",
    "usr/lib/python3.11",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "usr/lib/x86_64-linux-gnu/perl5",
)
_APPLETS = (
    "awk base64 cat chmod cp cut date dd df dmesg echo find grep head hostname ip kill ls md5sum mkdir mount mv ps rm "
    "sed seq sh sha256sum sleep stat stty sync tail touch tr true umount uname wc"
)
# What would serve NFS from a client, and timers that only cost time.
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "nfs-blkmap.service",
    "nfs-idmapd.service",
    "nfs-mountd.service",
    "nfs-server.service",
    "nfsdcld.service",
    "rpc-statd.service",
    "rpcbind.service",
    "rpcbind.socket",
)


# What a host that serves has no use for, and what only takes its time.
_NOT_ON_A_HOST = (
    "boot",
    "etc/cloud",
    "usr/lib/modules",
    "usr/lib/klibc",
    "usr/lib/apt",
    "usr/lib/python3",
    "usr/lib/udev/hwdb.bin",
    "usr/lib/udev/hwdb.d",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "usr/share",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
)
_IDLE = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "cloud-config.service",
    "cloud-final.service",
    "cloud-init-hotplugd.socket",
    "cloud-init-local.service",
    "cloud-init.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty-static.service",
    "getty@tty1.service",
    "nfs-blkmap.service",
    "nfs-idmapd.service",
    "nfsdcld.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-logind.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-repart.service",
    "systemd-sysctl.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "systemd-user-sessions.service",
)


def whole() -> Path:
    """Get the whole Debian: kernel, initramfs-tools' initrd, systemd, cloud-init, NFS server and client."""
    require_root()
    require("mmdebstrap", "cpio")
    recipe = hashlib.sha256(repr((PACKAGES, _NO_TEXTS)).encode()).hexdigest()[:12]
    kept = debian.cache() / f"lab-{debian.RELEASE}-{recipe}"
    # Tests in another process may want it at the same time.
    with (kept.parent / f"{kept.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make_whole(kept)
    return kept


def _make_whole(kept: Path) -> None:
    if not kept.is_dir():
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            made = Path(folder) / "root"
            debian.bootstrap(made, "minbase", PACKAGES, [f"--dpkgopt={text}" for text in _NO_TEXTS], _BOOTSTRAP_S)
            made.rename(kept)


def release(root: Path) -> str:
    """Name the release of a root's kernel."""
    (found,) = (root / "usr/lib/modules").iterdir()
    return found.name


def kernel(root: Path) -> Path:
    """Find the kernel of a root."""
    return root / "boot" / f"vmlinuz-{release(root)}"


def initrd(root: Path) -> Path:
    """Find the initrd that Debian's initramfs-tools made in a root."""
    return root / "boot" / f"initrd.img-{release(root)}"


def modules(root: Path, names: Iterable[str]) -> list[str]:
    """List modules and all that they need, as paths below lib/modules/<release>, in the order of loading."""
    folder = root / "usr/lib/modules" / release(root)
    # Not modules.dep, which only an installed kernel has.
    paths = {_module_name(found.name): found for found in (folder / "kernel").rglob("*.ko")}
    builtin = {_module_name(line) for line in (folder / "modules.builtin").read_text().splitlines()}
    found: dict[str, None] = {}

    def add(name: str) -> None:
        assert name in paths or name in builtin, f"the kernel has no module {name}"
        if name in paths and str(paths[name].relative_to(folder)) not in found:
            needs = _DEPENDS.search(paths[name].read_bytes())
            for other in needs[1].decode().split(",") if needs else ():
                if other:
                    add(other.replace("-", "_"))
            found[str(paths[name].relative_to(folder))] = None

    for name in names:
        add(name)
    return list(found)


def _module_name(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def small(target: Path, told: str) -> None:
    """Make a Pi's root: Debian cut down to its programs, with our init. `told` is what it says of itself."""
    source = whole()
    _copy(source, target, _NOT_IN_A_SMALL_ROOT)
    for name in (target / "usr/bin").glob("cloud*"):
        name.unlink()
    _add_modules(source, target)
    _install(GUESTS / "agent", target / "usr/local/sbin/agent")
    _install(GUESTS / "pi-init", target / "usr/sbin/init")
    (target / "etc/lab-release").write_text(f"{told}\n")
    (target / "boot/firmware").mkdir(parents=True)


def complete(target: Path, told: str) -> None:
    """Make a Pi's root with systemd and cloud-init as Debian has them."""
    source = whole()
    _copy(source, target, (*_NOT_IN_A_GUEST, "boot", "usr/lib/modules"))
    _add_modules(source, target)
    for name in _MASKED:
        unit = target / "etc/systemd/system" / name
        unit.unlink(missing_ok=True)
        unit.symlink_to("/dev/null")
    (target / "etc/lab-release").write_text(f"{told}\n")
    (target / "boot/firmware").mkdir(parents=True)


def host(target: Path, services: Path) -> None:
    """Make the root of a host with systemd, an NFS server and Python, on 10.55.0.2, and the units in `services`."""
    source = whole()
    _copy_some(source, target, _NOT_ON_A_HOST)
    _add_modules(source, target)
    _install(GUESTS / "agent", target / "usr/local/sbin/agent")
    units = target / "etc/systemd/system"
    for unit in services.iterdir():
        shutil.copyfile(unit, units / unit.name)
        (units / "multi-user.target.wants" / unit.name).symlink_to(f"../{unit.name}")
    for name in _IDLE:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (target / "etc/hostname").write_text("server\n")
    (target / "etc/machine-id").write_text(f"{7:032x}\n")
    (target / "etc/fstab").write_text("")
    (target / "etc/default/locale").unlink(missing_ok=True)


def tiny(target: Path, busybox: Path, told: str) -> None:
    """Make a root that is busybox and our init, for any architecture."""
    for name in ("bin", "sbin", "etc", "proc", "sys", "dev", "run", "tmp", "var", "boot/firmware", "usr/local/sbin"):
        (target / name).mkdir(parents=True)
    _install(busybox, target / "bin/busybox")
    for name in _APPLETS.split():
        (target / "bin" / name).symlink_to("busybox")
    _install(GUESTS / "agent", target / "usr/local/sbin/agent")
    _install(GUESTS / "pi-init", target / "sbin/init")
    (target / "etc/lab-release").write_text(f"{told}\n")
    (target / "etc/hosts").write_text("127.0.0.1\tlocalhost\n")


def _copy(source: Path, target: Path, without: Iterable[str]) -> None:
    subprocess.run(["cp", "--archive", "--reflink=auto", source, target], check=True, timeout=100)
    for name in without:
        path = target / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for name in ("etc/resolv.conf", "etc/hostname"):
        (target / name).unlink(missing_ok=True)


def _copy_some(source: Path, target: Path, without: Iterable[str]) -> None:
    """Copy a tree but for some parts of it, which are never read."""
    target.mkdir()
    left_out = [f"--exclude=./{name}" for name in without]
    taken = subprocess.Popen(
        ["tar", "--create", "--xattrs", "--directory", source, "--anchored", *left_out, "."], stdout=subprocess.PIPE
    )
    with taken:
        put = ["tar", "--extract", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--preserve-permissions"]
        subprocess.run([*put, "--directory", target], stdin=taken.stdout, check=True, timeout=200)
    assert taken.returncode == 0
    for name in ("etc/resolv.conf", "etc/hostname"):
        (target / name).unlink(missing_ok=True)


def _add_modules(source: Path, target: Path) -> None:
    inside = Path("usr/lib/modules") / release(source)
    (target / inside).mkdir(parents=True)
    for name in ("modules.dep", "modules.dep.bin", "modules.alias.bin", "modules.builtin", "modules.builtin.bin"):
        shutil.copy2(source / inside / name, target / inside / name)
    for name in (
        "modules.builtin.modinfo",
        "modules.devname",
        "modules.symbols.bin",
        "modules.softdep",
        "modules.order",
    ):
        shutil.copy2(source / inside / name, target / inside / name)
    for path in modules(source, MODULES):
        (target / inside / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / inside / path, target / inside / path)


def _install(source: Path, target: Path) -> None:
    """Put a program in a place where another may stand, or a link to one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def small_initrd(
    made: Path, root: Path, busybox: Path, names: Iterable[str] = CLIENT_MODULES, init: str = "initrd-init"
) -> None:
    """Pack our own small initrd, which does what a kernel with CONFIG_ROOT_NFS does, for the kernel of `root`.

    `init` is another of what this folder's guests begin with.
    """
    with tempfile.TemporaryDirectory(dir=made.parent) as folder:
        stage = Path(folder)
        _install(busybox, stage / "bin/busybox")
        (stage / "bin/sh").symlink_to("busybox")
        for source, target in ((init, "init"), ("agent", "agent"), ("udhcpc", "udhcpc")):
            _install(GUESTS / source, stage / target)
        inside = Path("lib/modules") / release(root)
        wanted = modules(root, names)
        for path in wanted:
            (stage / inside / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / "usr" / inside / path, stage / inside / path)
        (stage / "modules").write_text("".join(f"/{inside / path}\n" for path in wanted))
        archive(made, stage)


def server(made: Path) -> None:
    """Pack the server's initramfs: Debian's NFS server, and pinetboot as it is here with what it needs."""
    if sys.version_info[:2] != PYTHON:
        pytest.skip(f"the guest's Python is {PYTHON}, these tests run in {sys.version_info[:2]}")
    source = whole()
    with tempfile.TemporaryDirectory(dir=made.parent) as folder:
        stage = Path(folder)
        _install(GUESTS / "agent", stage / "usr/local/sbin/agent")
        _install(GUESTS / "server-init", stage / "init")
        _add_modules(source, stage)
        site(stage / "site")
        added = made.with_suffix(".added")
        archive(added, stage)
    base = source.with_suffix(".cpio")
    if not base.is_file():
        beside = base.with_suffix(f".{os.getpid()}")
        archive(beside, source, _NOT_ON_THE_SERVER)
        beside.rename(base)
    # The kernel unpacks one archive after the other.
    with made.open("wb") as file:
        for part in (base, added):
            with part.open("rb") as content:
                shutil.copyfileobj(content, file, 1 << 20)
    added.unlink()


def archive(made: Path, tree: Path, without: Iterable[str] = ()) -> None:
    """Pack a tree as an initramfs."""
    names = "".join(f"{name}\0" for name in _names(tree, set(without)))
    with made.open("wb") as file:
        subprocess.run(
            ["cpio", "--null", "--create", "--format=newc", "--quiet"],
            cwd=tree,
            input=names.encode(),
            stdout=file,
            check=True,
            timeout=100,
        )


def ext4(tree: Path, made: Path, room: int) -> None:
    """Make an ext4 file system of a directory, without mounting it, with room for so many bytes and as much again."""
    size = sum(found.lstat().st_blocks * 512 for found in tree.rglob("*"))
    with made.open("wb") as file:
        os.truncate(file.fileno(), size * 2 + room)
    done = subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, made], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr


def _names(tree: Path, without: set[str]) -> Iterator[str]:
    for folder, folders, files in os.walk(tree):
        inside = os.path.relpath(folder, tree)
        prefix = "" if inside == "." else f"{inside}/"
        if prefix:
            yield inside
        folders[:] = [name for name in folders if f"{prefix}{name}" not in without]
        for name in files:
            if f"{prefix}{name}" not in without:
                yield f"{prefix}{name}"
        for name in folders:
            if (Path(folder) / name).is_symlink():
                yield f"{prefix}{name}"


def site(target: Path) -> None:
    """Install pinetboot and all that it needs, as they are in the environment that the tests run in."""
    target.mkdir(parents=True)
    dependencies(target)
    shutil.copytree(Path(pinetboot.__file__).parent, target / "pinetboot", dirs_exist_ok=True)


def dependencies(target: Path, *more: str) -> None:
    """Install all that pinetboot needs, and these."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for found in _needed([*project["dependencies"], *more]):
        files = found.files
        assert files is not None, f"{found.name} does not say which files are its own"
        for name in files:
            if ".." not in name.parts and name.parts[0] != "__pycache__" and name.suffix != ".pth":
                path = Path(str(found.locate_file(name)))
                if path.is_file():
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, target / name)


def _needed(wanted: Iterable[str]) -> list[metadata.Distribution]:
    """Find what is installed of these, and of all that they need."""
    found: dict[str, metadata.Distribution] = {}
    todo = list(wanted)
    while todo:
        need = Requirement(todo.pop())
        if need.name not in found and (need.marker is None or need.marker.evaluate({"extra": ""})):
            found[need.name] = metadata.distribution(need.name)
            todo += found[need.name].requires or ()
    return list(found.values())


def arm64(folder: Path) -> tuple[Path, Path]:
    """Make the kernel and a small initrd for arm64 (`vmlinuz`, `initrd` in the first folder), and a root."""
    found = debian.packages(
        "lab-arm64", ["linux-image-arm64*", "busybox-static"], architecture="arm64", within_s=_DOWNLOAD_S
    )
    usr = found / "usr"
    if not usr.exists():
        usr.mkdir()
    if not (usr / "lib/modules").exists():
        # What the packages have in lib is looked for where a system with a merged /usr has it.
        (usr / "lib").mkdir(exist_ok=True)
        (usr / "lib/modules").symlink_to("../../lib/modules")
    busybox = found / "bin/busybox"
    boot, root = folder / "boot", folder / "root"
    boot.mkdir(parents=True)
    shutil.copyfile(kernel(found), boot / "vmlinuz")
    small_initrd(boot / "initrd", found, busybox)
    tiny(root, busybox, "arm")
    return boot, root
