"""What would keep a machine that is no Pi from its installer, as findings.

Belongs here: which rules there are, each small and by itself, for installers, loaders, menus and preseeds. Nothing is
changed. None is fatal, which is for what no Pi could boot with: a PC that is told nothing boots from its own disk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from pinetboot.boot import seeds
from pinetboot.boot.template import TemplateFault
from pinetboot.causes import Finding
from pinetboot.dhcp import pxe
from pinetboot.dhcp.pxe import Machine as Firmware
from pinetboot.dhcp.pxe import NoWay, Pxe
from pinetboot.fleet import told
from pinetboot.fleet.pi import Machine
from pinetboot.fleet.subject import Ground
from pinetboot.installer import beside, library, menu
from pinetboot.installer.loaders import LOADERS
from pinetboot.installer.release import ARCHITECTURES, FOLDER, INITRD, KERNEL, LOCAL, MENU, RECORD, Installer

# What a preseed is filled in with where the network has not shown it yet (RFC 5737).
_SOME_ADDRESS: Final = "192.0.2.1"
_SOME_MAC: Final = bytes(6)
_PRESEEDS: Final = "preseed"
# Which firmware runs what: by PXE, and by HTTP (RFC 4578 section 2.1, and IANA's list behind it).
_FIRMWARE: Final = {
    "amd64": (Firmware(0), Firmware(7), Firmware(9), Firmware(16, http=True)),
    "i386": (Firmware(0), Firmware(6), Firmware(15, http=True)),
    "arm64": (Firmware(11), Firmware(19, http=True)),
}
# What Debian's loaders ask for next, each by its name.
_NEXT: Final = {
    "lpxelinux.0": ("ldlinux.c32", "libutil.c32", "menu.c32"),
    "bootx64.efi": ("grubx64.efi",),
    "bootaa64.efi": ("grubaa64.efi",),
}


def _installers(ground: Ground) -> list[Finding]:
    """Look whether each installer is whole, by the size of its files; reading them through would take long."""
    boot = ground.config.boot_root
    found = library.installers(boot)
    wrong = {one.folder: fault for one in found if (fault := _fault(boot, one))}
    known = {one.folder: one for one in found}
    wrong |= {name: f"{RECORD} is missing or cannot be read" for name in _folders(boot) if name not in known}
    return [
        Finding(
            "warning",
            f"boot/{folder} is no whole installer: {fault}",
            "the menu has it, and a machine that boots it stops there" if folder in known else "no menu has it",
            f"Run `pinetboot installer add {(known[folder].source if folder in known else '') or 'SOURCE'}"
            f" --name {folder.split('/')[1]}` again, or take the folder away.",
        )
        for folder, fault in sorted(wrong.items())
    ]


def _fault(boot: Path, one: Installer) -> str:
    sizes = {}
    for name in (KERNEL, INITRD):
        path = boot / one.folder / name
        if not path.is_file():
            return f"it has no {name}"
        sizes[name] = path.stat().st_size
    total = sum(sizes.values())
    if one.bytes and total != one.bytes:
        return f"{KERNEL} and {INITRD} have {total:,} bytes, where {one.bytes:,} were brought in"
    return ""


def _folders(boot: Path) -> Iterator[str]:
    for architecture in ARCHITECTURES:
        for path in (boot / FOLDER).glob(f"[!.]*/{architecture}"):
            if path.is_dir():
                yield f"{FOLDER}/{path.parent.name}/{architecture}"


def _named(ground: Ground) -> list[Finding]:
    """Look for the installers that fleet.toml names."""
    there = list(dict.fromkeys(one.name for one in library.installers(ground.config.boot_root)))
    lacking: defaultdict[str, list[str]] = defaultdict(list)
    for machine in ground.inventory.machines:
        if machine.boot not in {MENU, LOCAL, *there}:
            lacking[machine.boot].append(machine.mac)
    instead = "the menu comes up instead, and goes on to the machine's own disk"
    return [
        Finding(
            "warning",
            f"there is no installer {name}, which fleet.toml has {told.some(macs)} boot",
            instead if there else "there is none at all, and no menu",
            f"Run `pinetboot installer add SOURCE --name {name}`"
            + (f", or name what is there: {', '.join(there)}." if there else "."),
        )
        for name, macs in lacking.items()
    ]


def _preseeds(ground: Ground) -> list[Finding]:
    """Fill each preseed in as its machine would get it."""
    having = [machine for machine in ground.inventory.machines if machine.preseed]
    if having and not ground.config.http.enabled:
        who = told.some([machine.mac for machine in having])
        why = "http.enabled is false, and a preseed comes over HTTP alone: the installer asks all its questions"
        return [Finding("warning", f"{who} gets no preseed", why, "Switch HTTP on, or take `preseed` out.")]
    faults: defaultdict[str, list[str]] = defaultdict(list)
    for machine in having:
        fault = _preseed_fault(ground, machine)
        if fault:
            faults[fault].append(machine.mac)
    return [
        Finding(
            "warning",
            f"{told.some(macs)}: {fault}",
            "Debian's installer on it fetches a preseed, and is given none",
            f"Put it right in {ground.data / _PRESEEDS}, or what fleet.toml says of the machine.",
        )
        for fault, macs in faults.items()
    ]


def _preseed_fault(ground: Ground, machine: Machine) -> str:
    values: dict[str, Any] = {
        "pi": {
            "mac": machine.mac,
            "address": _SOME_ADDRESS,
            **({"hostname": machine.hostname} if machine.hostname else {}),
        },
        "data": machine.data,
        "server": {"address": str(_address(ground)), "http_port": ground.config.http.port},
        "seed": machine.preseed,
    }
    try:
        seeds.preseed(ground.data / _PRESEEDS, machine.preseed, values)
    except TemplateFault as fault:
        return str(fault)
    except OSError as error:
        return f"{_PRESEEDS}/{machine.preseed} cannot be read: {error.strerror}"
    return ""


def _address(ground: Ground) -> IPv4Address:
    return IPv4Address(told.web(ground.config, ground.links).partition(":")[0] or _SOME_ADDRESS)


def _loaders(ground: Ground) -> list[Finding]:
    """Ask for every kind of machine that could run an installer what it would be told, and look for what comes next."""
    config = ground.config
    found = library.installers(config.boot_root)
    if not found:
        return []
    offered = pxe.of_settings(config, ground.tree.has)
    if offered is None:
        why = "[pxe] is empty: no machine is told to boot, unless another DHCP server names the loaders"
        return [Finding("info", "there are installers, and pinetboot offers them to nobody", why, "Name them there.")]
    lacking: dict[str, Finding] = {}
    for one in found:
        for firmware in _FIRMWARE[one.architecture]:
            for name, who in _lacking(ground, offered, firmware):
                lacking.setdefault(name, _lacks(ground, one, name, who.replace(", ", " with ")))
    return [*lacking.values(), *_without_http(ground)]


def _lacking(ground: Ground, offered: Pxe, firmware: Firmware) -> Iterator[tuple[str, str]]:
    """Name the files that firmware, and iPXE on it, would boot and that are not there, each with who would."""
    ipxe = [] if firmware.http else [Firmware(firmware.architecture, ipxe=True)]
    for one in (firmware, *ipxe):
        way = pxe.way(one, _SOME_MAC, offered, _address(ground))
        if isinstance(way, NoWay):
            yield from [(way.lacks, one.name)] if way.lacks else []
        else:
            folder, slash, first = way.file.rpartition("/")
            wanted = (f"{folder}{slash}{name}" for name in _NEXT.get(first, ()))
            yield from ((name, one.name) for name in wanted if not offered.has(name))


def _lacks(ground: Ground, one: Installer, name: str, who: str) -> Finding:
    own = name.rpartition("/")[2]
    # What lies in a folder is made of what `installer add` brings, or is somebody's own.
    ours = own if name in {own, f"{beside.FOLDER}/{_address(ground)}/{own}"} else ""
    known = next((loader for loader in LOADERS[one.architecture] if loader.name == ours), None)
    again = f"run `pinetboot installer add {one.source or 'SOURCE'} --name {one.name}` again"
    next_of = next((first for first, more in _NEXT.items() if own in more), "")
    if next_of:
        why = f"a {who} is told {next_of}, which asks for that next and stops without it"
    elif ground.config.dhcp.mode == "off":
        why = f"a {who} that another DHCP server tells to boot it gets no file"
    else:
        why = f"a {who} is told nothing without it"
    if name in beside.DISKS:
        do = "Install mtools, with which the daemon makes one at its next start; the package ipxe has another loader."
    else:
        do = (
            f"See that the package {known.package} is there, and {again}."
            if known
            else "Put it there, or name another."
        )
    spared = name in beside.DISKS or (known is not None and not known.needed)
    return Finding("info" if spared else "warning", f"boot/{name} is not there", why, do)


def _without_http(ground: Ground) -> list[Finding]:
    if ground.config.http.enabled:
        return []
    return [
        Finding(
            "info",
            "machines come to their installers over TFTP alone",
            "http.enabled is false: UEFI that boots by HTTP is told nothing, and iPXE boots a PXE loader like others",
            "Nothing where they do; else switch HTTP on.",
        )
    ]


def _menus(ground: Ground) -> list[Finding]:
    """Look whether the menus are there and are ours."""
    boot = ground.config.boot_root
    found = library.installers(boot)
    if not found:
        return []
    server = told.web(ground.config, ground.links)
    wanted = [*_common(found)]
    for machine in ground.inventory.machines:
        chosen = menu.choice(machine, found, server)
        if chosen.entry != LOCAL or chosen.words:
            wanted += [f"pxelinux.cfg/01-{machine.mac.replace(':', '-')}", f"grub/machines/{machine.mac}.cfg"]
    state = {name: _is_ours(boot / name) for name in wanted}
    foreign = [f"boot/{name}" for name, ours in state.items() if ours is False]
    missing = [f"boot/{name}" for name, ours in state.items() if ours is None]
    return [
        *([_foreign(foreign)] if foreign else []),
        *([_missing(ground, missing)] if missing else []),
    ]


def _common(found: Sequence[Installer]) -> Iterator[str]:
    """Name the menus that are every machine's: PXELINUX runs on PCs, GRUB on what has UEFI."""
    architectures = {one.architecture for one in found}
    if architectures & {"amd64", "i386"}:
        yield "pxelinux.cfg/default"
    if architectures & {"amd64", "arm64"}:
        yield "grub/grub.cfg"


def _is_ours(path: Path) -> bool | None:
    """Whether a file bears our mark; None where there is none. Raises OSError."""
    mark = menu.MARK.encode()
    try:
        with path.open("rb") as file:
            return file.read(len(mark)) == mark
    except (FileNotFoundError, NotADirectoryError):
        return None


def _foreign(names: Sequence[str]) -> Finding:
    return Finding(
        "warning",
        f"the menu in {told.some(names)} is somebody else's",
        "pinetboot leaves alone what does not begin with its own mark: neither installers nor fleet.toml count in it",
        "Move it away, and start `pinetboot serve` anew, which writes its own.",
    )


def _missing(ground: Ground, names: Sequence[str]) -> Finding:
    return Finding(
        "warning",
        f"there is no menu in {told.some(names)}",
        "the daemon could not write it, or it was taken away since" if ground.running else "no daemon writes it",
        "Look into its log, and restart it." if ground.running else "Start `pinetboot serve`.",
    )


RULES: Final[Mapping[str, Callable[[Ground], list[Finding]]]] = {
    "the installers": _installers,
    "the installers of machines": _named,
    "the preseeds": _preseeds,
    "the boot loaders of machines": _loaders,
    "the menus of installers": _menus,
}
