"""GRUB that knows its server, for machines whose address comes from somebody else: `beside/<address>/`.

Belongs here: making it of shim and GRUB in the boot tree, and having it for each address that machines are told.

Debian's GRUB asks whoever its address came from for its menu: the siaddr of the DHCPACK, which no ProxyDHCP can change.
Here it is told another place. Its signature does not hold after that: shim refuses it where Secure Boot is on.

UEFI that boots by HTTP takes a disk in place of a program (UEFI 2.10 section 24.7.3). On that lie shim and GRUB as they
were signed, with a grub.cfg beside them that says whom to ask.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Final

from pinetboot import files, run
from pinetboot.bootimg import fat
from pinetboot.installer import grub_image

FOLDER: Final = "beside"


@dataclass(frozen=True, slots=True)
class _Chain:
    """The names of shim, of the GRUB that it asks for, and of the disk of both.

    `default` is what firmware starts from a disk, `looks` where GRUB may look on it for its menu.
    """

    shim: str
    grub: str
    disk: str
    default: str
    looks: tuple[str, ...]


_CHAINS: Final = (
    _Chain("bootx64.efi", "grubx64.efi", "bootx64.img", "BOOTX64.EFI", ("grub", "debian-installer/amd64/grub")),
    _Chain("bootaa64.efi", "grubaa64.efi", "bootaa64.img", "BOOTAA64.EFI", ("grub", "debian-installer/arm64/grub")),
)
DISKS: Final = frozenset(chain.disk for chain in _CHAINS)
_NAMES: Final = tuple(name for chain in _CHAINS for name in (chain.shim, chain.grub, chain.disk))
_NEW: Final = ".new-"
# Nobody makes a disk for longer: what is older was left by one that was killed.
_STALE_S: Final = 3600.0
_CARDS: Final = 8
_SERIAL: Final = slice(39, 43)  # of a FAT16's boot sector


def knowing(grub: bytes, address: IPv4Address) -> bytes | None:
    """Make a GRUB that has its menu from `address`, of the same length; None of one that is made otherwise."""
    return grub_image.with_prefix(grub, f"(tftp,{address})/grub")


def disk_menu(address: IPv4Address) -> str:
    """Write the grub.cfg of a disk: GRUB gets itself an address, and then its menu from `address`."""
    lines = ["net_dhcp"]
    for number in range(_CARDS):
        # By this name the menu finds the MAC of the card that got the address.
        card = f"efinet{number}_dhcp"
        lines += [f'if [ -n "$net_{card}_mac" ]; then', f"    set net_default_interface={card}", "fi"]
    lines += [f"set root=tftp,{address}", "set prefix=($root)/grub", "source $prefix/grub.cfg", ""]
    return "\n".join(lines)


def write(boot: Path, addresses: Iterable[IPv4Address]) -> None:
    """Have all of it for each address, and nothing for another. Raises OSError.

    Without mtools, or without room, there are no disks.
    """
    wanted: set[str] = set()
    for chain in _CHAINS:
        grub, shim = _content(boot / chain.grub), _content(boot / chain.shim)
        if grub is None or shim is None:
            continue
        for address in addresses:
            folder = boot / FOLDER / str(address)
            made = knowing(grub, address)
            if made is not None:
                wanted |= {f"{address}/{chain.shim}", f"{address}/{chain.grub}"}
                # Without the second the first leads nowhere.
                _put(folder / chain.grub, made)
                _put(folder / chain.shim, shim)
            with suppress(run.ProgramMissing, run.ProgramFailed):
                _put_disk(folder, chain, shim, grub, disk_menu(address).encode())
                wanted.add(f"{address}/{chain.disk}")
    _sweep(boot / FOLDER, wanted)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _put(path: Path, content: bytes) -> None:
    if _content(path) != content:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        files.write(path, content)


def _put_disk(folder: Path, chain: _Chain, shim: bytes, grub: bytes, menu: bytes) -> None:
    """Make a disk where there is none of the same content: its serial number is a sum over that."""
    content = {f"EFI/BOOT/{chain.default}": shim, f"EFI/BOOT/{chain.grub}": grub}
    content |= {f"{place}/grub.cfg": menu for place in chain.looks}
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in content.values())).hexdigest()[:8]
    with suppress(FileNotFoundError, NotADirectoryError), (folder / chain.disk).open("rb") as disk:
        if disk.read(_SERIAL.stop)[_SERIAL][::-1].hex() == digest:
            return
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_NEW, dir=folder) as made:
        home = Path(made)
        for name, part in content.items():
            (home / "tree" / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            (home / "tree" / name).write_bytes(part)
        sizes = {name: len(part) for name, part in content.items()}
        fat.make(home / "tree", sizes, home / chain.disk, digest, lambda: False)
        _put(folder / chain.disk, (home / chain.disk).read_bytes())


def _sweep(home: Path, wanted: set[str]) -> None:
    """Take away what is wanted no more; only what has our names, in folders that are called like an address."""
    if not home.is_dir():
        return
    for folder in list(home.iterdir()):
        if not _is_address(folder.name):
            continue
        for name in _NAMES:
            if f"{folder.name}/{name}" not in wanted and (folder / name).is_file():
                files.remove(folder / name)
        for left in folder.glob(f"{_NEW}*"):
            if time.time() - left.stat().st_mtime > _STALE_S:
                shutil.rmtree(left, ignore_errors=True)
        for empty in (folder, home):
            if not any(empty.iterdir()):
                shutil.rmtree(empty)


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True
