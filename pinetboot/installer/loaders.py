"""Boot loaders for machines that are no Pi: where the distribution puts them, and their places in the boot tree.

Belongs here: which file comes from where, and copying it. UEFI's are as they were signed: shim, and the GRUB that it
checks, each by the name that the one before asks for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinetboot import files
from pinetboot.errors import OperatorError

# Debian's own folders below /, and below a folder of tests.
_SYSLINUX: Final = "usr/lib/syslinux/modules/bios"
_NOTE: Final = ".loaders.json"


@dataclass(frozen=True, slots=True)
class Loader:
    """A file of the boot tree: `name`, where Debian's `package` has it, and its name in Debian's netboot images."""

    name: str
    path: str
    package: str
    in_image: str = ""
    needed: bool = True


_PC: Final = (
    Loader("lpxelinux.0", "usr/lib/PXELINUX/lpxelinux.0", "pxelinux"),
    Loader("ldlinux.c32", f"{_SYSLINUX}/ldlinux.c32", "syslinux-common"),
    Loader("libutil.c32", f"{_SYSLINUX}/libutil.c32", "syslinux-common"),
    Loader("menu.c32", f"{_SYSLINUX}/menu.c32", "syslinux-common"),
)
_X64: Final = (
    Loader("bootx64.efi", "usr/lib/shim/shimx64.efi.signed", "shim-signed", "bootnetx64.efi"),
    Loader(
        "grubx64.efi", "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", "grub-efi-amd64-signed", "grubx64.efi"
    ),
    Loader("snponly.efi", "usr/lib/ipxe/snponly.efi", "ipxe", needed=False),
)
_ARM64: Final = (
    Loader("bootaa64.efi", "usr/lib/shim/shimaa64.efi.signed", "shim-signed:arm64", "bootnetaa64.efi"),
    Loader(
        "grubaa64.efi", "usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed", "grub-efi-arm64-signed", "grubaa64.efi"
    ),
)
LOADERS: Final[dict[str, Sequence[Loader]]] = {"amd64": (*_PC, *_X64), "i386": _PC, "arm64": _ARM64}


def find(architecture: str, image: Path, system: Path) -> dict[str, Path]:
    """Find the loaders of an architecture: on this host, else in a netboot image. Raises OperatorError for what lacks.

    `image` is the folder of the installer's kernel, `system` the root of this host's files.
    """
    found: dict[str, Path] = {}
    missing: list[Loader] = []
    for loader in LOADERS[architecture]:
        own = image / (loader.in_image or loader.name)
        # What a tarball brings is no link to a file of this host.
        place = next((one for one in (system / loader.path, own) if one.is_file()), None)
        place = None if place == own and own.is_symlink() else place
        if place is not None:
            found[loader.name] = place
        elif loader.needed:
            missing.append(loader)
    if missing:
        packages = " ".join(dict.fromkeys(loader.package for loader in missing))
        raise OperatorError(
            f"{', '.join(loader.name for loader in missing)}, which {architecture} machines boot, is not on this host",
            f"Install it: `apt-get install {packages}` on Debian.",
        )
    return found


def place(found: dict[str, Path], boot: Path, folder: Path) -> list[str]:
    """Copy loaders into the boot tree; what somebody else put there stays. Returns the names that did. Raises OSError.

    `folder` keeps which are ours, by their SHA-256.
    """
    ours = _ours(folder)
    kept = []
    for name, source in found.items():
        content = source.read_bytes()
        target = boot / name
        there = target.read_bytes() if target.is_file() else None
        if there is not None and there != content and ours.get(name) != _sum(there):
            kept.append(name)
            continue
        ours[name] = _sum(content)
        if there != content:
            files.write(target, content)
    files.write(folder / _NOTE, json.dumps(ours, indent=1, sort_keys=True).encode())
    return kept


def clear(names: Iterable[str], boot: Path, folder: Path) -> None:
    """Take loaders of ours out of the boot tree again. Raises OSError."""
    ours = _ours(folder)
    for name in names:
        target = boot / name
        if name in ours and target.is_file() and _sum(target.read_bytes()) == ours[name]:
            files.remove(target)
        ours.pop(name, None)
    files.write(folder / _NOTE, json.dumps(ours, indent=1, sort_keys=True).encode())


def _ours(folder: Path) -> dict[str, str]:
    try:
        kept = json.loads((folder / _NOTE).read_text())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in kept.items()} if isinstance(kept, dict) else {}


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
