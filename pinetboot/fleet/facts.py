"""What a boot tree and its root can do, told by looking at them.

Belongs here: cheap looks that never fail, whatever a tree holds. What follows from them is `fleet.lacking`'s.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from pinetboot.boot.generated import TreeFacts
from pinetboot.fleet import kernels
from pinetboot.fleet.inside import Tree
from pinetboot.pi import config_txt
from pinetboot.pi.config_txt import ConfigTxt

_MODELS: Final = ("pi4", "pi5", "pi3")
_FILTER: Final = re.compile(rb"(?m)^[ \t]*\[[^\]\n]*\][ \t]*\r?$")
_KERNEL: Final = re.compile(r"kernel[^/]*\.img|vmlinu[xz][^/]*")
_NAMED_RELEASE: Final = re.compile(r"(?:vmlinuz|initrd\.img|initramfs\.img)-([0-9]+\.[0-9][0-9A-Za-z.+~_-]*)")
_MOUNT_NFS: Final = ("sbin/mount.nfs", "usr/sbin/mount.nfs", "usr/bin/mount.nfs", "bin/mount.nfs")
_SYSTEMD: Final = ("lib/systemd/systemd", "usr/lib/systemd/systemd")
_CLOUD_INIT: Final = re.compile(r"""(?m)^__VERSION__ *= *["']([0-9]+(?:\.[0-9]+)*)""")
_PACKAGED: Final = re.compile(
    r"(?ms)^Package: cloud-init\n(?:[^\n]+\n)*?Version: (?:[0-9]+:)?([0-9]+(?:\.[0-9]+)*)"  # dpkg's status
)
_PACKAGES: Final = ("dist-packages", "site-packages")
_MOST_STATUS: Final = 64 << 20
_MOST_KERNELS: Final = 8
_MOST_NAMES: Final = 20_000


def look(boot: Path, root: Path | None, *, releases: bool = True) -> TreeFacts:
    """Look at a boot tree and at the root that belongs to it. Never fails: what cannot be looked at is not there.

    `releases` reads the kernels as well, which takes a second the first time.
    """
    in_boot = _boot(boot, releases=releases)
    mount_nfs = systemd = boot_folder = False
    cloud_init: tuple[int, ...] | None = None
    modules: tuple[str, ...] = ()
    if root is not None:
        with suppress(OSError), Tree(root) as tree:
            mount_nfs = any(tree.has_file(path) for path in _MOUNT_NFS)
            systemd = any(tree.has_file(path) for path in _SYSTEMD)
            boot_folder = tree.has_folder("boot/firmware")
            cloud_init = _cloud_init(tree)
            modules = tuple(name for name in tree.names("lib/modules") if tree.has_folder(f"lib/modules/{name}"))
    return TreeFacts(
        initramfs=in_boot.initramfs,
        has_mount_nfs=mount_nfs,
        cloud_init=cloud_init,
        kernels=modules,
        boot_kernels=in_boot.boot_kernels,
        has_systemd=systemd,
        cmdlines=in_boot.cmdlines,
        boot_folder=boot_folder,
    )


def boot_names(boot: Path) -> list[str]:
    """List the files of a boot tree, as paths below it."""
    found: list[str] = []
    for folder, _, names in os.walk(boot):
        inside = os.path.relpath(folder, boot)
        found += [name if inside == "." else f"{inside}/{name}" for name in names]
        if len(found) > _MOST_NAMES:
            break
    return sorted(found)


def _boot(boot: Path, *, releases: bool) -> TreeFacts:
    found = TreeFacts(
        initramfs=False, has_mount_nfs=False, cloud_init=None, kernels=(), boot_kernels=(), has_systemd=False
    )
    with suppress(OSError), Tree(boot) as tree:
        configs = _configs(tree)
        found = TreeFacts(
            initramfs=any(_has_initramfs(tree, config) for config in configs),
            has_mount_nfs=False,
            cloud_init=None,
            kernels=(),
            boot_kernels=_kernels(tree, configs) if releases else (),
            has_systemd=False,
            cmdlines=_cmdlines(tree, configs),
        )
    return found


def _configs(tree: Tree) -> list[ConfigTxt]:
    """Read config.txt as each model does, and as none: with every section applying, whatever its filter."""
    text = tree.read("config.txt") or b""
    read = [config_txt.parse(text, model) for model in _MODELS]
    every = config_txt.parse(_FILTER.sub(b"", text), "")
    for model, config in zip((*_MODELS, ""), [*read, every], strict=True):
        for name in config.includes[:_MOST_KERNELS]:
            config_txt.parse(tree.read(name) or b"", model, config)
    return [*read, every]


def prefix(tree: Tree, config: ConfigTxt) -> str:
    """Say the folder or the beginning of a name that os_prefix sets, where anything begins so."""
    named = config.settings.get("os_prefix", "")
    folder, _, start = named.rpartition("/")
    return named if named and any(name.startswith(start) for name in tree.names(folder)) else ""


def _has_initramfs(tree: Tree, config: ConfigTxt) -> bool:
    named = prefix(tree, config)
    if any(tree.has_file(named + name) for name in config.initramfs):
        return True
    if not config.flag("auto_initramfs"):
        return False
    folder, _, start = named.rpartition("/")
    return any(name.startswith(f"{start}initramfs") for name in tree.names(folder))


def _cmdlines(tree: Tree, configs: list[ConfigTxt]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for config in configs:
        name = config.settings.get("cmdline") or "cmdline.txt"
        prefixed = prefix(tree, config) + name
        found[prefixed if tree.has_file(prefixed) else name] = None
    return tuple(found)


def _kernels(tree: Tree, configs: list[ConfigTxt]) -> tuple[str, ...]:
    paths: dict[str, None] = {}
    releases: set[str] = set()
    for before in dict.fromkeys(["", *(prefix(tree, config) for config in configs)]):
        folder, slash, _ = before.rpartition("/")
        for name in tree.names(folder):
            named = _NAMED_RELEASE.fullmatch(name)
            if named:
                releases.add(named[1])
            elif _KERNEL.fullmatch(name):
                paths[f"{folder}{slash}{name}"] = None
    for path in list(paths)[:_MOST_KERNELS]:
        fd = tree.open(path)
        if fd is None:
            continue
        try:
            releases.add(kernels.release(fd))
        except OSError:
            continue
        finally:
            os.close(fd)
    return tuple(sorted(releases - {""}))


def _cloud_init(tree: Tree) -> tuple[int, ...] | None:
    for folder in ("usr/lib/python3", *(f"usr/lib/{name}" for name in tree.names("usr/lib") if _is_python(name))):
        for packages in _PACKAGES:
            text = tree.text(f"{folder}/{packages}/cloudinit/version.py")
            if text is not None:
                return _version(_CLOUD_INIT, text)
    if not tree.has_file("usr/bin/cloud-init"):
        return None
    return _version(_PACKAGED, tree.text("var/lib/dpkg/status", _MOST_STATUS) or "")


def _is_python(name: str) -> bool:
    return name.startswith("python3.")


def _version(pattern: re.Pattern[str], text: str) -> tuple[int, ...]:
    found = pattern.search(text)
    return tuple(int(part[:9]) for part in found[1].split(".")) if found else ()
