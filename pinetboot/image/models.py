"""Which Pi models a boot partition can boot, told by the names in it (reference 3.6, 3.7).

Belongs here: the names that each model's firmware cannot do without. Never here: looking at a file system.
"""

from __future__ import annotations

from collections.abc import Iterable

# An entry is names of which one will do, the usual one first; one that ends in `*` stands for all that begin so.
# A kernel of Debian's or Ubuntu's is called vmlinuz, with config.txt saying so.
_NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "pi3": (
        ("bootcode.bin",),
        ("start.elf",),
        ("fixup.dat",),
        ("bcm2710-rpi-3-b.dtb", "bcm2710-rpi-3-b-plus.dtb"),
        ("kernel8.img", "kernel7.img", "vmlinuz", "vmlinuz-*"),
    ),
    "pi4": (
        ("start4.elf",),
        ("fixup4.dat",),
        ("bcm2711-rpi-4-b.dtb",),
        ("kernel8.img", "kernel7l.img", "vmlinuz", "vmlinuz-*"),
    ),
    "pi5": (
        ("config.txt",),
        ("bcm2712-rpi-5-b.dtb",),
        ("kernel_2712.img", "kernel8.img", "vmlinuz", "vmlinuz-*"),
    ),
}

# Ubuntu's A/B boot keeps kernel and device trees in the folder that `os_prefix` names.
_PREFIXES = ("current/",)


def bootable(names: Iterable[str]) -> dict[str, list[str]]:
    """Say per model what a boot tree lacks, of which nothing means that it boots.

    `names` are paths below the boot tree, of which FAT knows no case. Where one of several names would do, the entry
    lists them: "kernel8.img or kernel7l.img".
    """
    there = {name.lower().removeprefix("./") for name in names}
    there |= {name.removeprefix(prefix) for name in there for prefix in _PREFIXES if name.startswith(prefix)}
    return {
        model: [_told(choices) for choices in needs if not any(_has(there, name) for name in choices)]
        for model, needs in _NEEDS.items()
    }


def _has(there: set[str], name: str) -> bool:
    if name.endswith("*"):
        return any(one.startswith(name[:-1]) and "/" not in one for one in there)
    return name in there


def _told(choices: tuple[str, ...]) -> str:
    return " or ".join(name for name in choices if not name.startswith("vmlinuz"))


def family(model: str) -> str:
    """Give the name here of a model as the network shows it ("Pi 4", pi4-2020): pi4; empty where there is none."""
    short = "".join(char for char in model.lower() if char.isalnum())[:3]
    return short if short in _NEEDS else ""
