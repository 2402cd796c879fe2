"""The menus of installers, as text: for PXELINUX, for GRUB, and as a script for iPXE.

Belongs here: what stands in a menu and in which order. Every menu ends at the machine's own disk where nobody chooses,
so that a PC that is switched on boots as ever. Names in them are checked (letters, digits, `.`, `_`, `-`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pinetboot.fleet.pi import Machine
from pinetboot.installer.release import INITRD, KERNEL, LOCAL, MENU, Installer

# By this line a file is known as ours, which may be written anew.
MARK: Final = "# Made by pinetboot: what is changed here is lost; without this line it is left alone."
_ROOT: Final = "root"
_TITLE: Final = "Boot from the network (pinetboot)"
_DISK: Final = "Boot from this machine's own disk"
_WAIT_S: Final = 60
# Somebody who stands before it may still choose otherwise.
_CHOSEN_WAIT_S: Final = 5
_PC: Final = ("amd64", "i386")
# What GRUB calls a processor.
_GRUB_PROCESSORS: Final = {"amd64": "x86_64", "arm64": "arm64", "i386": "i386"}
_LOADERS_ON_DISK: Final = {
    "x86_64": ("/EFI/debian/shimx64.efi", "/EFI/Microsoft/Boot/bootmgfw.efi", "/EFI/BOOT/BOOTX64.EFI"),
    "arm64": ("/EFI/debian/shimaa64.efi", "/EFI/BOOT/BOOTAA64.EFI"),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What a machine boots by itself: an entry of the menu, and the words that its kernel gets more."""

    entry: str = LOCAL
    wait_s: int = _WAIT_S
    words: str = ""


@dataclass(frozen=True, slots=True)
class Root:
    """What boots from a root on a server: a title, URLs of kernel and initramfs files, and the command line's words."""

    title: str
    kernel: str
    initramfs: tuple[str, ...]
    cmdline: tuple[str, ...]

    @property
    def sayable(self) -> bool:
        """Whether a script of iPXE can say all of it: it takes these for its own, and has no way to quote them."""
        said = (self.kernel, *self.initramfs, *self.cmdline)
        return not any(
            "${" in word or word.startswith("#") or word in {"||", "&&"} or not word.isascii() or not word.isprintable()
            for word in said
        )


def choice(machine: Machine | None, installers: Iterable[Installer], server: str) -> Choice:
    """Say what a machine boots by itself. `server` is where preseeds are, "10.55.0.2:8080"; empty where nowhere.

    An installer that is not there leaves the menu.
    """
    if machine is None:
        return Choice()
    words = preseed_words(machine, server)
    if machine.boot in {MENU, LOCAL} or all(one.name != machine.boot for one in installers):
        return Choice(LOCAL, _CHOSEN_WAIT_S if machine.boot == LOCAL else _WAIT_S, words)
    return Choice(machine.boot, _CHOSEN_WAIT_S, words)


def preseed_words(machine: Machine, server: str) -> str:
    """The words that have Debian's installer fetch a machine's preseed (its guide, appendix B.2.4)."""
    if not machine.preseed or not server:
        return ""
    return f"auto=true priority=critical url=http://{server}/preseed/{machine.mac.replace(':', '-')}"


def _arguments(installer: Installer, words: str) -> str:
    screen = "vga=788" if installer.architecture in _PC else ""
    return " ".join(part for part in (screen, words, "--- quiet") if part)


def pxelinux(installers: Sequence[Installer], chosen: Choice) -> str:
    """The menu of PXELINUX. Names are relative, so that they come the way that the menu itself came."""
    pcs = [one for one in installers if one.architecture in _PC]
    entry = next((_label(one) for one in pcs if one.name == chosen.entry), LOCAL)
    lines = [MARK, "UI menu.c32", "PROMPT 0", f"MENU TITLE {_TITLE}", f"TIMEOUT {chosen.wait_s * 10}"]
    lines += [f"ONTIMEOUT {entry}", ""]
    for one in pcs:
        lines += [f"LABEL {_label(one)}", f"  MENU LABEL Install {one.title}, {one.architecture}"]
        lines += ["  MENU DEFAULT"] if _label(one) == entry else []
        lines += [f"  KERNEL {one.folder}/{KERNEL}", f"  INITRD {one.folder}/{INITRD}"]
        lines += [f"  APPEND {_arguments(one, chosen.words)}", ""]
    lines += [f"LABEL {LOCAL}", f"  MENU LABEL {_DISK}", *(["  MENU DEFAULT"] if entry == LOCAL else [])]
    lines += ["  LOCALBOOT 0", ""]
    return "\n".join(lines)


def _label(installer: Installer) -> str:
    return f"{installer.name}-{installer.architecture}"


def grub(installers: Sequence[Installer]) -> str:
    """The menu of GRUB, for every machine: what one boots by itself stands in a file that is named after its MAC."""
    lines = [MARK, f"set default={LOCAL}", f"set timeout={_WAIT_S}", 'set words=""', 'set menu="($root)/grub"']
    # Over a network GRUB knows whether a file is there by reading it alone.
    lines += ['if source "$menu/machines/$net_default_mac.cfg"; then', "    true", "fi"]
    for one in installers:
        lines += [f'if [ "$grub_cpu" = "{_GRUB_PROCESSORS[one.architecture]}" ]; then']
        lines += [f"    menuentry 'Install {_quoted(one.title)}, {one.architecture}' --id {one.name} {{"]
        lines += [f"        echo 'Loading {_quoted(one.title)} ...'"]
        lines += [f"        linux /{one.folder}/{KERNEL} {_grub_arguments(one)}"]
        lines += [f"        initrd /{one.folder}/{INITRD}", "    }", "fi"]
    lines += [f"menuentry {_DOUBLE}{_DISK}{_DOUBLE} --id {LOCAL} {{"]
    for processor, names in _LOADERS_ON_DISK.items():
        lines += [f'    if [ "$grub_cpu" = "{processor}" ]; then', f"        for name in {' '.join(names)}; do"]
        lines += ["            if search --no-floppy --file --set=disk $name; then"]
        lines += ["                chainloader ($disk)$name", "                boot", "            fi"]
        lines += ["        done", "    fi"]
    return "\n".join([*lines, "    exit", "}", ""])


_DOUBLE: Final = '"'


def _quoted(text: str) -> str:
    return text.replace("'", "")


def _grub_arguments(installer: Installer) -> str:
    screen = "vga=788 " if installer.architecture in _PC else ""
    return f"{screen}$words --- quiet"


def grub_choice(chosen: Choice) -> str:
    """What one machine boots by itself, in GRUB."""
    return f'{MARK}\nset default={chosen.entry}\nset timeout={chosen.wait_s}\nset words="{chosen.words}"\n'


def grub_elsewhere() -> str:
    """What sends GRUB from the folder that it was made to look in (Debian's installer has its own) to the menu."""
    return f"{MARK}\nsource ($root)/grub/grub.cfg\n"


def ipxe(installers: Sequence[Installer], chosen: Choice, base: str, loader: str = "", root: Root | None = None) -> str:
    """The script of iPXE: a menu, then one boot or an end, and never another script of ours.

    `installers` are those for its processor, `base` is the URL of the boot tree with a slash at its end, `loader` the
    URL of the architecture's own loader, empty for none. A `root` is what a machine that has one boots by itself.
    """
    entry = chosen.entry if any(one.name == chosen.entry for one in installers) else LOCAL
    lines = ["#!ipxe", MARK, f"menu {_TITLE}"]
    lines += [f"item --key r {_ROOT} {root.title}"] if root else []
    lines += [f"item {_label(one)} Install {one.title}, {one.architecture}" for one in installers]
    lines += ["item --key m loader The menu of this machine's own boot loader"] if loader else []
    lines += [f"item --key l {LOCAL} {_DISK}"]
    default = _ROOT if root else next((_label(one) for one in installers if one.name == entry), LOCAL)
    wait_s = _CHOSEN_WAIT_S if root else chosen.wait_s
    lines += [f"choose --default {default} --timeout {wait_s * 1000} picked || goto {LOCAL}", "goto ${picked}"]
    lines += _ipxe_root(root) if root else []
    for one in installers:
        folder = f"{base}{one.folder}"
        lines += [f":{_label(one)}", f"initrd --name {INITRD} {folder}/{INITRD} || goto failed"]
        lines += [f"kernel {folder}/{KERNEL} initrd={INITRD} {_arguments(one, chosen.words)} || goto failed"]
        lines += ["boot || goto failed"]
    if loader:
        # PXELINUX asks for its files behind this; it is RFC 5071's path prefix.
        lines += [":loader", f"set netX/210:string {base}", f"chain --autofree {loader} || goto failed", "goto local"]
    lines += [":failed", "echo That could not be booted; the machine's own disk is next.", "sleep 5"]
    return "\n".join([*lines, f":{LOCAL}", "exit", ""])


def _ipxe_root(root: Root) -> list[str]:
    """Boot a kernel with its root on a server. UEFI's kernels take the initramfs that `initrd=` names."""
    names = [url.rpartition("/")[2] for url in root.initramfs]
    lines = [f":{_ROOT}"]
    lines += [f"initrd --name {name} {url} || goto failed" for name, url in zip(names, root.initramfs, strict=True)]
    words = [*(f"initrd={name}" for name in names), *root.cmdline]
    return [*lines, f"kernel {root.kernel} {' '.join(words)} || goto failed", "boot || goto failed"]
