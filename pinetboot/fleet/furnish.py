"""What is written into a root tree while it is made, and into its boot tree: a Pi's names, keys, mounts and services.

Belongs here: which files, where they go, and what of the image has to give way (reference 5.2, 5.3). What they say is
`boot.generated`'s. Nothing here is done to a tree that a Pi may have mounted, but for the boot files of its settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pinetboot.boot import generated, online
from pinetboot.boot.generated import Served, TreeFacts
from pinetboot.causes import Finding
from pinetboot.fleet import identity
from pinetboot.fleet.inside import Tree
from pinetboot.fleet.pi import Pi

_UNITS: Final = "etc/systemd/system"
_WANTS: Final = f"{_UNITS}/multi-user.target.wants"
_SHIPPED: Final = ("lib/systemd/system", "usr/lib/systemd/system", _UNITS)
# They grow a card's partition, swap to it, or make the host keys anew, over those that are to outlive the generation.
_OFF: Final = ("dphys-swapfile", "regenerate_ssh_host_keys", "resize2fs_once", "rpi-resize")
_HOSTS: Final = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_DBUS_ID: Final = "var/lib/dbus/machine-id"
_SSH: Final = "etc/ssh"
_CLOUD: Final = "etc/cloud/cloud.cfg.d/90_pinetboot.cfg"
_CLOUD_TEXT: Final = """\
# Written by pinetboot: host keys outlive generations, and a root on NFS has nothing to grow.
ssh_deletekeys: false
growpart:
  mode: 'off'
resize_rootfs: false
"""
# Raspberry Pi OS from Trixie on: rpi-swap's default puts a swap file beside its zram, and that does no good over NFS.
_RPI_SWAP: Final = ("etc/rpi/swap.conf", "usr/lib/systemd/system-generators/rpi-swap-generator")
_SWAP: Final = "etc/rpi/swap.conf.d/90-pinetboot.conf"
_SWAP_TEXT: Final = """\
# Written by pinetboot: swap in compressed memory alone, for a file would lie on NFS.
[Main]
Mechanism=zram
"""
_SSH_FILE: Final = "ssh"
_USERCONF_FILE: Final = "userconf.txt"


def root(tree: Tree, own: Path, pi: Pi, served: Served, *, generation: str, facts: TreeFacts) -> list[Finding]:
    """Write all that a root tree gets. `own` is the Pi's folder, its identity complete. Raises OSError."""
    fstab = generated.fstab(tree.text("etc/fstab") or "", pi, served, generation, facts)
    tree.write("etc/fstab", fstab)
    tree.write("etc/hostname", f"{pi.name}\n")
    tree.write("etc/hosts", generated.hosts(tree.text("etc/hosts") or _HOSTS, pi.name))
    _identity(tree, own)
    if facts.has_systemd:
        _services(tree, pi, served)
    _without_rc(tree)
    if facts.cloud_init is not None:
        tree.write(_CLOUD, _CLOUD_TEXT)
    if any(tree.has_file(path) for path in _RPI_SWAP):
        tree.write(_SWAP, _SWAP_TEXT)
    if facts.has_mount_nfs and pi.disks:
        for folder in (generated.DISKS, *(disk.mount for disk in pi.disks)):
            tree.make_folder(folder)
    # Services that look for these may run before /boot/firmware is mounted over NFS: they see what lies below it.
    below = "boot/firmware" if facts.boot_folder else "boot"
    if tree.has_folder(below):
        settings(tree, pi, folder=f"{below}/")
    return elsewhere(fstab)


def settings(tree: Tree, pi: Pi, *, folder: str = "", ssh: bool = True, userconf: bool = True) -> None:
    """Write the boot files that come from a Pi's settings, where it has any (reference 5.3). Raises OSError."""
    if ssh and pi.ssh:
        tree.write(folder + _SSH_FILE, "", durable=not folder)
    if userconf and pi.userconf:
        tree.write(folder + _USERCONF_FILE, f"{pi.userconf}\n", mode=0o600, durable=not folder)


def unset(tree: Tree, *, ssh: bool, userconf: bool) -> None:
    """Take away the boot files of settings that are no more. Raises OSError."""
    if ssh:
        tree.remove(_SSH_FILE)
    if userconf:
        tree.remove(_USERCONF_FILE)


def _identity(tree: Tree, own: Path) -> None:
    own_id = identity.machine_id(own)
    tree.write("etc/machine-id", own_id, mode=0o444)
    if tree.has_file(_DBUS_ID) and tree.text(_DBUS_ID) != own_id:
        tree.write(_DBUS_ID, own_id)
    if not tree.has_folder(_SSH):
        return
    for name in tree.names(_SSH):
        if identity.is_host_key(name):
            tree.remove(f"{_SSH}/{name}")
    for name, text in identity.host_keys(own).items():
        tree.write(f"{_SSH}/{name}", text, mode=identity.mode(name))


def _services(tree: Tree, pi: Pi, served: Served) -> None:
    for name in _OFF:
        unit = f"{name}.service"
        if any(tree.has(f"{folder}/{unit}") for folder in _SHIPPED) or tree.has(f"etc/init.d/{name}"):
            for wants in tree.names(_UNITS):
                if wants.endswith(".wants"):
                    tree.remove(f"{_UNITS}/{wants}/{unit}")
            tree.link(f"{_UNITS}/{unit}", "/dev/null")
    if pi.ssh and not tree.has(f"{_UNITS}/sockets.target.wants/ssh.socket"):
        _enable_ssh(tree)
    if served.url:
        tree.write(f"{_UNITS}/{online.UNIT}", online.unit())
        tree.write(online.SCRIPT, online.script(pi, served), mode=0o755)
        tree.link(f"{_WANTS}/{online.UNIT}", f"../{online.UNIT}")


def _enable_ssh(tree: Tree) -> None:
    """Do what `systemctl enable ssh` does; the file `ssh` alone may be looked for before it can be seen."""
    shipped = next((folder for folder in _SHIPPED[:2] if tree.has_file(f"{folder}/ssh.service")), None)
    if shipped is not None:
        tree.link(f"{_WANTS}/ssh.service", f"/{shipped}/ssh.service")
        tree.link(f"{_UNITS}/sshd.service", f"/{shipped}/ssh.service")


def _without_rc(tree: Tree) -> None:
    """Take the links of System V's init away, which systemd follows as well."""
    for level in tree.names("etc"):
        if level.startswith("rc") and level.endswith(".d"):
            for name in tree.names(f"etc/{level}"):
                if name[3:] in _OFF:
                    tree.remove(f"etc/{level}/{name}")


def elsewhere(fstab: str) -> list[Finding]:
    """Say what the fstab of a root mounts from a disk that the Pi may not have."""
    return [
        Finding(
            "warning",
            f"its etc/fstab mounts {device} at {point}",
            "a Pi without that disk stops in emergency mode",
            "Add nofail to its options in the image, or take the line out.",
            "D31",
        )
        for device, point in generated.elsewhere(fstab)
    ]
