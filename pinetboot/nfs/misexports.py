"""What is wrong with the exports themselves: what cannot be exported, is not, or to whom it should not be.

Belongs here: a small function for each rule, from what was looked at to findings.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from pinetboot.causes import Finding
from pinetboot.nfs import exports
from pinetboot.nfs.host import MOST_NAMED, Host, some
from pinetboot.nfs.modes import OURS
from pinetboot.nfs.options import squashes_root

_ADDRESS_DO: Final = "Nothing; or write its address into fleet.toml, which also keeps its root to that address alone."


def _file_system(host: Host) -> list[Finding]:
    if host.kind != "overlay" or "nfs_export=on" in host.kind_options.split(","):
        return []
    return [
        Finding(
            host.harm,
            f"{host.data} lies on an overlay file system that cannot be exported",
            "nfsd needs file handles, which overlayfs makes only when it is mounted with index=on,nfs_export=on",
            "Put the data directory on a volume of its own (ext4, XFS, btrfs), a container's volume say.",
        )
    ]


def _refused(host: Host) -> list[Finding]:
    return [
        Finding(
            "fatal",
            "an export was refused",
            f"exportfs says: {line}",
            "Put the data directory on a file system that nfsd can export (ext4, XFS, btrfs).",
            "D29",
        )
        for line in host.refused[:MOST_NAMED]
    ]


def _options(host: Host) -> list[Finding]:
    if not squashes_root(host.nfs.options):
        return []
    return [
        Finding(
            "warning",
            "nfs.options has no no_root_squash",
            "the root user of a Pi is nobody on its own root file system: sudo, ssh and updates fail there",
            "Add no_root_squash to nfs.options.",
            "D33",
        )
    ]


def _overlapping(host: Host) -> list[Finding]:
    return [
        Finding(
            "warning",
            f"an export of your own, {export.path} to {export.client}, overlaps the trees of the Pis",
            "who may mount it reaches every Pi's root and secrets, and of two exports nfsd may take either one's "
            "options",
            f"Take it out of /etc/exports: pinetboot exports each tree to its own Pi, in {OURS}.",
        )
        for export in exports.overlapping(host.users, f"{host.data.rstrip('/')}/pis")[:MOST_NAMED]
    ]


def _exported(host: Host) -> list[Finding]:
    """What is wanted against what is exported."""
    if host.actual is None or (host.nfs.mode == "auto" and not host.nfsd.running):
        return []
    actual = host.actual
    missing = sorted(
        {export.path for export in host.wanted.exports if export.key not in actual}
        | {
            export.path
            for export in host.wanted.exports
            if export.key in actual and not exports.alike(export, actual[export.key])
        }
    )
    found = []
    if missing:
        trees = [tree for tree in map(exports.tree_of, missing) if tree]
        names = {root.pi.serial: root.who for root in host.roots}
        found.append(
            Finding(
                "fatal",
                f"{some(sorted({names.get(tree.serial, tree.serial) for tree in trees}))}: "
                f"{len(missing)} of {len({export.path for export in host.wanted.exports})} trees are not exported as "
                f"they should be, {missing[0]} say",
                "no `pinetboot serve` runs that would export them, or it cannot",
                "Start it, and look into its log for `nfs`; `exportfs -v` shows what is exported.",
                "D29",
            )
        )
    return found


def _without(host: Host) -> list[Finding]:
    return [
        Finding("info", f"{root.who} is exported nothing yet", host.wanted.without[root.pi.serial], _ADDRESS_DO)
        for root in host.roots
        if root.pi.serial in host.wanted.without
    ]


def _addresses(host: Host) -> list[Finding]:
    found = []
    for root in host.roots:
        clients = {export.client for export in host.wanted.exports if f"/pis/{root.pi.serial}/" in export.path}
        if not root.seen or not clients or any(exports.covers(client, root.seen) for client in clients):
            continue
        fixed = f'address = "{root.pi.address}" in fleet.toml' if root.pi.address and not host.nfs.clients else ""
        found.append(
            Finding(
                "warning",
                f"{root.who} was seen at {root.seen}, and its root is exported to {', '.join(sorted(clients))} alone",
                f"{fixed or 'nfs.clients'} does not have the address that its DHCP server gives it: it is refused",
                "Have the DHCP server give it that address, or correct the setting.",
                "D29",
            )
        )
    return found


def _servers(host: Host) -> list[Finding]:
    found = []
    for root in host.roots:
        known = {host.server_address, host.nfs.address} | host.own_addresses
        if not root.server or root.server in known or not _is_address(root.server):
            continue
        found.append(
            Finding(
                "fatal",
                f"{root.who} is told to mount its root from {root.server}, which is no address of this host",
                "its cmdline.txt was made when this host had another address, or by hand",
                "Have `pinetboot serve` run, which makes cmdline.txt anew; set server.address where the host has "
                "several addresses.",
                "D28",
            )
        )
    return found


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


RULES: Final[tuple[Callable[[Host], list[Finding]], ...]] = (
    *(_file_system, _refused, _options, _overlapping),
    *(_exported, _without, _addresses, _servers),
)
