"""What another firmware than a Pi's starts of a Pi's boot tree: iPXE on a board with UEFI, or on a PC.

Belongs here: finding kernel, initramfs and command line where config.txt has a Pi's firmware find them (reference 5.2).
A look that never fails, whatever a tree holds.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinetboot.boot.generated import words
from pinetboot.fleet import facts
from pinetboot.fleet.inside import Tree
from pinetboot.pi import config_txt

# In this order where config.txt names none, each with the initramfs that auto_initramfs=1 takes along.
_KERNELS: Final = {"kernel8.img": "initramfs8", "kernel_2712.img": "initramfs_2712", "vmlinuz": "initrd.img"}


@dataclass(frozen=True, slots=True)
class Start:
    """What is started: names below the boot tree, and the words of the command line."""

    kernel: str
    initramfs: tuple[str, ...]
    cmdline: tuple[str, ...]


def start(boot: Path) -> Start | None:
    """Look what there is to start; None where there is no kernel."""
    with suppress(OSError), Tree(boot) as tree:
        config = config_txt.parse(tree.read("config.txt") or b"", "")
        prefix = facts.prefix(tree, config)
        named = config.settings.get("kernel")
        kernel = next((name for name in ([named] if named else _KERNELS) if tree.has_file(prefix + name)), None)
        if kernel is None:
            return None
        initramfs = config.initramfs
        if not initramfs and config.flag("auto_initramfs") and kernel in _KERNELS:
            initramfs = [_KERNELS[kernel]]
        cmdline = config.settings.get("cmdline") or "cmdline.txt"
        text = tree.text(prefix + cmdline) or tree.text(cmdline) or ""
        there = tuple(prefix + name for name in initramfs if tree.has_file(prefix + name))
        return Start(prefix + kernel, there, tuple(words(text)))
    return None
