"""What a boot tree and its root can do, told by looking at them.

Belongs here: cheap looks that never fail, whatever a tree holds, and the findings that follow from them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pinetboot.boot.generated import Served, TreeFacts
from pinetboot.causes import Finding
from pinetboot.fleet import kernels
from pinetboot.fleet.inside import Tree
from pinetboot.fleet.pi import Pi
from pinetboot.image.models import bootable
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
_LONGEST_CMDLINE: Final = 1023


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


def _prefix(tree: Tree, config: ConfigTxt) -> str:
    """The folder or the beginning of a name that os_prefix sets, where anything begins so."""
    prefix = config.settings.get("os_prefix", "")
    folder, _, start = prefix.rpartition("/")
    return prefix if prefix and any(name.startswith(start) for name in tree.names(folder)) else ""


def _has_initramfs(tree: Tree, config: ConfigTxt) -> bool:
    prefix = _prefix(tree, config)
    if any(tree.has_file(prefix + name) for name in config.initramfs):
        return True
    if not config.flag("auto_initramfs"):
        return False
    folder, _, start = prefix.rpartition("/")
    return any(name.startswith(f"{start}initramfs") for name in tree.names(folder))


def _cmdlines(tree: Tree, configs: list[ConfigTxt]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for config in configs:
        name = config.settings.get("cmdline") or "cmdline.txt"
        prefixed = _prefix(tree, config) + name
        found[prefixed if tree.has_file(prefixed) else name] = None
    return tuple(found)


def _kernels(tree: Tree, configs: list[ConfigTxt]) -> tuple[str, ...]:
    paths: dict[str, None] = {}
    releases: set[str] = set()
    for prefix in dict.fromkeys(["", *(_prefix(tree, config) for config in configs)]):
        folder, slash, _ = prefix.rpartition("/")
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


def findings(
    pi: Pi, facts: TreeFacts, names: Iterable[str], model: str | None = None, served: Served | None = None
) -> list[Finding]:
    """Say what a tree lacks for a Pi. `names` are the files of its boot tree; `model` as far as it is known."""
    return [
        *_of_the_model(names, model),
        *(_of_the_root(pi, facts) if pi.root == "nfs" else ()),
        *(_of_the_versions(facts, served) if pi.root == "nfs" and served is not None else ()),
    ]


def _of_the_model(names: Iterable[str], model: str | None) -> list[Finding]:
    lacking = bootable(names)
    wanted = model[:3] if model else ""
    if wanted in lacking:
        if not lacking[wanted]:
            return []
        return [
            Finding(
                "warning",
                f"its boot tree has no {', no '.join(lacking[wanted])}",
                f"a Raspberry {wanted[:2].capitalize()} {wanted[2:]} cannot boot without",
                "Use an image that is made for this model.",
                "D15" if wanted == "pi5" else "D13",
            )
        ]
    if all(lacking.values()):
        nearest = min(lacking, key=lambda one: len(lacking[one]))
        return [
            Finding(
                "warning",
                "its boot tree has the files of no Pi model",
                f"for a {nearest}, {', '.join(lacking[nearest])} would be missing",
                "Use an image that is made for a Raspberry Pi.",
                "D13",
            )
        ]
    return []


def _of_the_root(pi: Pi, facts: TreeFacts) -> list[Finding]:
    found = []
    if not facts.has_mount_nfs:
        lost = "/boot/firmware and its disks are" if pi.disks else "/boot/firmware is"
        found.append(
            Finding(
                "warning",
                f"{lost} not mounted on the Pi",
                "its root has no mount.nfs, so a kernel upgrade on the Pi does not reach the boot tree",
                "Add the package nfs-common to the image, then make a new generation with `pinetboot pi upgrade`.",
            )
        )
    without = [release for release in facts.boot_kernels if release not in facts.kernels]
    if without:
        has = f"modules of {', '.join(facts.kernels)}" if facts.kernels else "no modules at all"
        found.append(
            Finding(
                "warning",
                f"the root has no modules for the kernel {', '.join(without)} of its boot tree",
                f"lib/modules holds {has}",
                "Use the boot and the root tree of one and the same image.",
                "D27",
            )
        )
    if facts.cloud_init is None and (pi.seed != "default" or pi.data):
        found.append(
            Finding(
                "warning",
                f"the seed {pi.seed} is never read",
                "the image has no cloud-init",
                "Use an image that has it (Raspberry Pi OS Trixie, Ubuntu), or add the package cloud-init to this one.",
                "D35",
            )
        )
    if not facts.has_systemd:
        found.append(
            Finding(
                "info",
                "the Pi cannot say itself that it is up",
                "its root has no systemd, which pinetboot-online.service is for",
                "Nothing: it counts as online two minutes after its root was mounted.",
            )
        )
    return found


def _of_the_versions(facts: TreeFacts, served: Served) -> list[Finding]:
    if not facts.initramfs or 3 in served.nfs_versions:  # noqa: PLR2004 - NFS version 3
        return []
    return [
        Finding(
            "fatal",
            "its root cannot be mounted",
            "the image boots with an initramfs, which mounts NFS version 3 alone, and nfs.versions has no 3",
            "Add 3 to nfs.versions, or set auto_initramfs=0 in the image's config.txt.",
            "D29",
        )
    ]


def of_the_command_line(text: str) -> list[Finding]:
    """Say what is wrong with a finished command line."""
    if len(text.strip()) <= _LONGEST_CMDLINE:
        return []
    return [
        Finding(
            "warning",
            f"its cmdline.txt has {len(text.strip())} characters",
            f"more than {_LONGEST_CMDLINE} may be cut off by the firmware or the kernel",
            "Take words out of the image's cmdline.txt, or out of `cmdline` in fleet.toml.",
            "D27",
        )
    ]
