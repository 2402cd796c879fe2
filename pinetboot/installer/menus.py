"""The menus in the boot tree, written anew as installers and machines come and go.

Belongs here: the files' names, and that what somebody else wrote is left alone: only what bears our mark is replaced.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pinetboot import files
from pinetboot.fleet.pi import Machine
from pinetboot.installer import library, menu
from pinetboot.installer.menu import MARK
from pinetboot.installer.release import LOCAL, Installer

_PXELINUX: Final = "pxelinux.cfg"
_GRUB: Final = "grub"
_MACHINES: Final = "grub/machines"
# Where the GRUB of Debian's installer looks, which is signed with that path in it.
_ELSEWHERE: Final = {"amd64": "debian-installer/amd64/grub", "arm64": "debian-installer/arm64/grub"}


def write(boot: Path, machines: Iterable[Machine], server: str) -> list[str]:
    """Write all menus for what is in the boot tree; without an installer there are none. Raises OSError.

    `server` is where preseeds are, "10.55.0.2:8080", empty where nowhere. Returns names of files that are somebody's.
    """
    found = library.installers(boot)
    wanted = _wanted(found, machines, server) if found else {}
    foreign = [name for name, text in wanted.items() if not _put(boot / name, text)]
    _sweep(boot, set(wanted))
    return foreign


def _wanted(found: Sequence[Installer], machines: Iterable[Machine], server: str) -> dict[str, str]:
    wanted = {f"{_PXELINUX}/default": menu.pxelinux(found, menu.Choice()), f"{_GRUB}/grub.cfg": menu.grub(found)}
    for architecture, folder in _ELSEWHERE.items():
        if any(one.architecture == architecture for one in found):
            wanted[f"{folder}/grub.cfg"] = menu.grub_elsewhere()
    for machine in machines:
        chosen = menu.choice(machine, found, server)
        if chosen.entry != LOCAL or chosen.words:
            wanted[f"{_PXELINUX}/01-{machine.mac.replace(':', '-')}"] = menu.pxelinux(found, chosen)
            wanted[f"{_MACHINES}/{machine.mac}.cfg"] = menu.grub_choice(chosen)
    return wanted


def _put(path: Path, text: str) -> bool:
    """Write a file unless it is so already, or somebody else's; says whether it is as it should be."""
    try:
        there = path.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        there = None
    if there == text:
        return True
    if there is not None and not there.startswith(MARK):
        return False
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    files.write(path, text.encode())
    return True


def _sweep(boot: Path, wanted: set[str]) -> None:
    """Take away what was ours and is wanted no more, and folders that are empty by that."""
    folders = [_PXELINUX, _MACHINES, _GRUB, *_ELSEWHERE.values()]
    for folder in folders:
        if not (boot / folder).is_dir():
            continue
        for path in list((boot / folder).iterdir()):
            name = f"{folder}/{path.name}"
            if name not in wanted and path.is_file() and _is_ours(path):
                files.remove(path)
        for empty in (boot / folder, *(boot / folder).parents):
            if empty == boot or any(empty.iterdir()):
                break
            shutil.rmtree(empty, ignore_errors=True)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK.encode()
