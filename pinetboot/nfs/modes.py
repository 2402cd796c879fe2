"""What each nfs.mode needs of this host, and how it is said where that is missing.

Belongs here: the sentences. What there is comes as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinetboot.config import Nfs

OURS: Final = Path("/etc/exports.d/pinetboot.exports")
_NO_ROOT: Final = "Pis with a root over NFS find none here"


@dataclass(frozen=True, slots=True)
class Nfsd:
    """What there is of an NFS server. `supported`: the kernel has nfsd; `versions` are those that are switched on."""

    exportfs: bool
    supported: bool
    mounted: bool
    threads: int = 0
    versions: frozenset[int] = frozenset()

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self.threads > 0


def may_export(nfs: Nfs, seen: Nfsd) -> bool:
    """Whether exports can be made. Without nfsd's threads they can: they wait in the file for it to start."""
    if not seen.exportfs:
        return False
    return seen.running if nfs.mode == "auto" else True


def lacking(nfs: Nfs, seen: Nfsd) -> str:
    """Say what is missing, what will not work for it, and what to do; empty where nothing is."""
    if nfs.mode not in {"auto", "exports"} or (seen.exportfs and seen.running):
        return ""
    if not seen.exportfs:
        why, do = "exportfs is not installed", "install nfs-kernel-server"
    elif not seen.supported:
        why, do = "this kernel has no nfsd loaded", "run `systemctl enable --now nfs-server`, or `modprobe nfsd` first"
    elif not seen.mounted:
        why, do = "/proc/fs/nfsd is not mounted here", "start the NFS server of this host"
    else:
        why, do = "nfsd does not run", "run `systemctl enable --now nfs-server`"
    rest = "; all else is served" if nfs.mode == "auto" else ""
    return f'{_NO_ROOT}: {why}{rest}. To have them, {do}, or name another server with nfs.mode "external"'


def word(nfs: Nfs, seen: Nfsd) -> str:
    """Say in a few words what holds, for the block at start."""
    match nfs.mode:
        case "off":
            return 'off: nfs.mode is "off"'
        case "external":
            return f"served by {nfs.address} as {nfs.path}"
        case "daemons":
            return f"kernel nfsd with programs started by pinetboot, exports in {OURS}"
    if not seen.exportfs or not seen.running:
        why = "exportfs is not installed" if not seen.exportfs else "nfsd does not run here"
        return f"{'off' if nfs.mode == 'auto' else 'not yet'}: {why}"
    return f"kernel nfsd of this host, exports in {OURS}"
