"""Why a machine that is no Pi stands still, as far as what was seen of it tells; nothing where it does not.

Belongs here: which reason fits. The sentences are in `pinetboot.causes`. A menu before which nobody chooses is no
fault, nor is a name that a boot loader looks for and can do without: GRUB and PXELINUX ask for many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.observe.files import File
from pinetboot.observe.machine_boot import MachineBoot
from pinetboot.observe.stages import KERNEL, LINUX

STILL_S: Final = 60.0
_GRUB: Final = frozenset({"grubx64.efi", "grubaa64.efi", "grubia32.efi"})
_SHIM: Final = frozenset({"bootx64.efi", "bootaa64.efi", "bootia32.efi", "shimx64.efi", "shimaa64.efi"})
_SHIM_BY_HTTP: Final = frozenset({"bootx64.img", "bootaa64.img"})
_IPXE: Final = frozenset({"snponly.efi", "ipxe.efi"})
_PXELINUX: Final = frozenset({"lpxelinux.0", "pxelinux.0"})
_MENU: Final = "pxelinux.cfg/default"
_GRUB_MENU: Final = "grub/grub.cfg"
# GRUB as the daemon makes it for a machine whose address is from another server.
_KNOWS_SERVER: Final = "beside/"
# What an installer starts with (Debian's names).
_PAIR: Final = {"linux": "initrd.gz", "initrd.gz": "linux"}


class Seen(NamedTuple):
    """The files of a boot that stands: all, and those that came whole. `beside`: another server gives addresses."""

    boot: MachineBoot
    files: list[File]
    came: list[File]
    beside: bool

    @property
    def absent(self) -> list[File]:
        """Files that were not there, under any path."""
        names = {_name(file) for file in self.came}
        return [file for file in self.files if file.result == "missing" and _name(file) not in names]


def why(boot: MachineBoot, now: float, *, beside: bool) -> Cause | None:
    """Say why a boot stands still; None where it goes on, or nothing tells."""
    # Files that are not remembered one by one may be those that would be missed.
    if now - boot.last < STILL_S or boot.running or boot.stage >= LINUX or boot.more or not boot.files:
        return None
    if boot.judged != boot.signs:
        files = [fetch.file for fetch in boot.files]
        seen = Seen(boot, files, [file for file in files if file.result == "ok"], beside)
        boot.cause = next((found for rule in _RULES if (found := rule(seen)) is not None), None)
        boot.judged = boot.signs
    return boot.cause


def _nothing(seen: Seen) -> Cause | None:
    """Nothing that it asked for is there."""
    missing = all(file.result == "missing" for file in seen.files)
    return causes.machine_finds_nothing(seen.files[0].name) if missing else None


def _latest(seen: Seen) -> Cause | None:
    """The file that it asked for last did not come whole."""
    file = seen.files[-1]
    if file.result == "timeout" or (file.result == "aborted" and _needed(file)):
        return causes.machine_broke_off(file.name, file.size, file.sent)
    return causes.machine_refused(file.name) if file.result == "refused" and _needed(file) else None


def _lacks(seen: Seen) -> Cause | None:
    """A file that is needed is not there, and nothing came after it was asked for."""
    # PXELINUX looks in several folders; the first is where it should be.
    absent = {_name(file): file.name for file in reversed(seen.absent) if _needed(file)}
    for file in reversed(seen.files):
        if file.result == "ok":
            return None
        if _name(file) in absent:
            return causes.machine_lacks(absent[_name(file)])
    return None


def _no_menu(seen: Seen) -> Cause | None:
    """PXELINUX or GRUB is there, and no menu of it."""
    if seen.boot.stage >= KERNEL:
        return None
    if any(_name(file) in _PXELINUX for file in seen.came):
        found = any("pxelinux.cfg/" in file.name for file in seen.came)
        asked = any(file.name.endswith(_MENU) for file in seen.absent)
        return causes.machine_has_no_menu("PXELINUX", _MENU) if asked and not found else None
    found = any(_name(file).startswith("grub.cfg") for file in seen.came)
    asked = any(file.name.endswith(_GRUB_MENU) for file in seen.absent)
    return causes.machine_has_no_menu("GRUB", _GRUB_MENU) if asked and not found else None


def _half(seen: Seen) -> Cause | None:
    """Of an installer's two files it asked for one alone."""
    last = seen.files[-1]
    other = _PAIR.get(_name(last), "")
    if last.result != "ok" or not other or not last.name.startswith("installers/"):
        return None
    beside = f"{last.name.rpartition('/')[0]}/{other}"
    asked = any(file.name == beside for file in seen.files)
    return None if asked else causes.machine_has_half(last.name, other)


def _loader(seen: Seen) -> Cause | None:
    """It fetched boot loaders of UEFI alone."""
    boot, name = seen.boot, _name(seen.came[-1]) if seen.came else ""
    if any(_name(file) not in _GRUB | _SHIM | _SHIM_BY_HTTP | _IPXE for file in seen.came) or _grub_asks(seen):
        return None
    if name in _IPXE:
        return None if boot.ipxe else causes.ipxe_not_signed(seen.came[-1].name)
    if name in _GRUB and seen.came[-1].name.startswith(_KNOWS_SERVER):
        return causes.grub_not_signed(seen.came[-1].name)
    if name in _GRUB and seen.beside:
        return causes.grub_asks_elsewhere(seen.came[-1].name, boot.giver)
    return causes.loader_alone(seen.came[-1].name) if name else None


_RULES: Final[tuple[Callable[[Seen], Cause | None], ...]] = (_nothing, _latest, _lacks, _no_menu, _half, _loader)


def _grub_asks(seen: Seen) -> bool:
    """Whether GRUB runs and asks here, in vain or not."""
    return any("/grub/" in f"/{file.name}" or "grub.cfg" in file.name for file in seen.files)


def _needed(file: File) -> bool:
    """Whether what asks for a file cannot do without it."""
    name = _name(file)
    loader = name in _GRUB | _SHIM | _IPXE | _PXELINUX or name.endswith(".c32")
    return loader or file.stage == KERNEL


def _name(file: File) -> str:
    return file.name[file.name.rfind("/") + 1 :]
