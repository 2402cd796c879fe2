"""What a Pi would miss in its trees: findings that follow from what was found there.

Belongs here: the sentences, and when each is right. Looking at the trees is `fleet.facts`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from pinetboot.boot import generated
from pinetboot.boot.generated import Served, TreeFacts
from pinetboot.causes import Finding
from pinetboot.fleet.pi import Pi
from pinetboot.image.models import bootable, family

_LONGEST_CMDLINE: Final = 1023
_KERNELS_OWN: Final = re.compile(r"(?:nfs)?vers=4.*|v4.*|minorversion=.*|proto=.*")  # klibc has none of them


def findings(
    pi: Pi, facts: TreeFacts, names: Iterable[str], model: str | None = None, served: Served | None = None
) -> list[Finding]:
    """Say what a tree lacks for a Pi. `names` are the files of its boot tree; `model` as far as it is known."""
    return [
        *of_the_model(names, model),
        *of_the_trees(pi, facts, served),
    ]


def of_the_trees(pi: Pi, facts: TreeFacts, served: Served | None = None) -> list[Finding]:
    """Say what a root, and its boot tree beside it, lack for a Pi that mounts it."""
    if pi.root != "nfs":
        return []
    return [*_of_the_root(pi, facts), *(_of_the_versions(facts, served) if served is not None else ())]


def of_the_model(names: Iterable[str], model: str | None) -> list[Finding]:
    """Say what a boot tree lacks for a model, or for all of them; `names` are its files."""
    lacking = bootable(names)
    wanted = family(model or "")
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


def of_the_mount(text: str, facts: TreeFacts) -> list[Finding]:
    """Say whether the one who mounts the root would refuse the NFS options of a command line (reference 5.2)."""
    options = [
        option
        for word in generated.words(text)
        if word.startswith("nfsroot=")
        for option in word.split(",")[1:]
        if _KERNELS_OWN.fullmatch(option)
    ]
    if not options or not facts.initramfs:
        return []
    return [
        Finding(
            "fatal",
            f"its cmdline.txt has {', '.join(options)} among the options of nfsroot",
            "its boot tree has an initramfs, whose mount program refuses that and tries again for ever",
            "Write vers=3 alone; where pinetboot makes the line, have `pinetboot serve` run, which corrects it.",
            "D29",
        )
    ]
