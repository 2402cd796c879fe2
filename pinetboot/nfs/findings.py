"""What is wrong with the NFS server, ours or another, as findings: from what was looked at to sentences.

Belongs here: a small function for each rule. What is looked at, and how, is `nfs.check`'s; what is wrong with the
exports themselves is in `nfs.misexports`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from pinetboot.causes import Finding
from pinetboot.config import Nfs
from pinetboot.nfs import misexports, onc
from pinetboot.nfs.host import MOST_NAMED, Host

_V3: Final = 3
_SERVE_MODES: Final = ("auto", "exports", "daemons")
_OTHER: Final = 'Or name the NFS server that the Pis use, with nfs.mode "external".'


def of_this_host(host: Host) -> list[Finding]:
    """Everything that can be said where this host serves NFS itself; nothing where it does not."""
    if host.nfs.mode not in _SERVE_MODES:
        return []
    return [finding for rule in (*_RULES, *misexports.RULES) for finding in rule(host)]


def _no_nfsd(host: Host) -> list[Finding]:
    nfsd = host.nfsd
    if nfsd.running and nfsd.exportfs:
        return []
    ours = host.nfs.mode == "daemons"
    if not nfsd.exportfs:
        why, do = "exportfs is not installed", "Install nfs-kernel-server."
    elif not nfsd.supported and not host.loadable:
        why = "this kernel has no nfsd module"
        do = "Install a kernel that has one (Debian: linux-image-amd64), or have another host serve NFS."
    elif not nfsd.supported:
        why, do = "the nfsd module is not loaded", "Run `modprobe nfsd` on this host."
        do += " pinetboot starts it then." if ours else " `systemctl enable --now nfs-server` does so at every boot."
    elif not nfsd.mounted:
        why, do = "nfsd's file system is not mounted on /proc/fs/nfsd here", "Run `mount -t nfsd nfsd /proc/fs/nfsd`."
    else:
        why, do = "nfsd has no threads", "Run `systemctl enable --now nfs-server`."
        do = "Have `pinetboot serve` run, and look into its log." if ours else do
    return [Finding(host.harm, "no root file system can be mounted from this host", why, f"{do} {_OTHER}", "D29")]


def _versions(host: Host) -> list[Finding]:
    found = []
    if host.nfsd.running and host.nfsd.versions:
        lacking = [version for version in host.nfs.versions if version not in host.nfsd.versions]
        found += [
            Finding(
                "fatal" if version == _V3 and any(root.initramfs for root in host.roots) else "warning",
                f"nfsd does not serve version {version}, which nfs.versions promises to Pis",
                "it was started without, and goes on so until it is started anew",
                f"Set vers{version}=y in /etc/nfs.conf and restart nfs-server, or take it out of nfs.versions.",
                "D29",
            )
            for version in lacking
        ]
    return found


def _port_mapper(host: Host) -> list[Finding]:
    if _V3 not in host.nfs.versions or not host.nfsd.running:
        return []
    harm: Literal["fatal", "warning"] = "fatal" if any(root.initramfs for root in host.roots) else "warning"
    if host.registered is None:
        return [
            Finding(
                harm,
                "no rpcbind answers on port 111",
                "a Pi asks there for mountd's port before it mounts over version 3",
                "Run `systemctl enable --now rpcbind`, or take 3 out of nfs.versions where no Pi has an initramfs.",
                "D29",
            )
        ]
    known = {one.program for one in host.registered}
    if known <= {onc.PORTMAPPER}:
        return [
            Finding(
                harm,
                "rpcinfo shows only the portmapper",
                "an rpcbind answers on port 111 that neither nfsd nor mountd is registered with: one of the host's, "
                "started beside or after the one that they know, hides it",
                "Stop the one that is not wanted (`systemctl disable --now rpcbind rpcbind.socket` on the host of a "
                "container), then restart what serves NFS.",
                "D29",
            )
        ]
    missing = [onc.NAMES[program] for program in (onc.NFS, onc.MOUNT) if program not in known]
    if not missing:
        return []
    return [
        Finding(
            harm,
            f"{' and '.join(missing)} not registered with rpcbind",
            "rpcbind was started anew since, or what is missing does not run",
            'Restart what serves NFS: nfs-server, or pinetboot with nfs.mode "daemons".',
            "D29",
        )
    ]


def _ports(host: Host) -> list[Finding]:
    if host.registered is None or host.nfs.mode != "daemons":
        return []
    nfs = host.nfs
    wanted = {
        onc.MOUNT: ("nfs.mountd_port", nfs.mountd_port),
        onc.STATUS: ("nfs.statd_port", nfs.statd_port),
        onc.LOCK: ("nfs.lockd_port", nfs.lockd_port),
    }
    found = []
    for program, (setting, port) in wanted.items():
        others = sorted({one.port for one in host.registered if one.program == program} - {port})
        if others:
            found.append(
                Finding(
                    "warning",
                    f"{onc.NAMES[program]} listens on port {', '.join(map(str, others))}, {setting} says {port}",
                    "another one than ours is at work, or it was started before the port was set; a firewall that "
                    "opens our ports shuts it off",
                    "Stop the NFS server of the host (`systemctl disable --now nfs-server rpc-statd`), then restart "
                    "pinetboot.",
                    "D29",
                )
            )
    return found


def _inotify(host: Host) -> list[Finding]:
    if not host.inotify_exhausted:
        return []
    return [
        Finding(
            "fatal" if host.nfs.mode == "daemons" and host.roots else "warning",
            "no inotify instance is left for this user",
            "rpc.mountd does not start without one, nor do other programs; many containers on one host use them up",
            "Run `sysctl fs.inotify.max_user_instances=1024`, and write it into /etc/sysctl.d for the next boot.",
        )
    ]


def of_another(
    nfs: Nfs, *, roots: bool, answers: frozenset[int], exported: list[tuple[str, tuple[str, ...]]] | str
) -> list[Finding]:
    """Say what is wrong with another NFS server. `answers`: the versions that do; `exported`: its list, or why none."""
    severity: Literal["fatal", "info"] = "fatal" if roots else "info"
    lacking = [version for version in nfs.versions if version not in answers]
    if not answers:
        return [
            Finding(
                severity,
                f"no NFS server answers at {nfs.address}, port 2049",
                "nfs.address names it as the one that serves the Pis' roots",
                "Start it, open the port, or correct nfs.address.",
                "D29",
            )
        ]
    found = [
        Finding(
            "warning",
            f"{nfs.address} does not serve NFS version {version}, which nfs.versions promises to Pis",
            "it is switched off there",
            f"Switch it on there, or take {version} out of nfs.versions.",
            "D29",
        )
        for version in lacking
    ]
    if isinstance(exported, str):
        if _V3 in nfs.versions:
            what = f"what {nfs.address} exports cannot be seen: {exported}"
            why = "a Pi with an initramfs asks its rpcbind and mountd as well"
            found.append(Finding("warning", what, why, "Open ports 111 and mountd's there.", "D29"))
        return found
    base = nfs.path.rstrip("/") + "/"
    if not any(base.startswith(path.rstrip("/") + "/") or path.startswith(base) for path, _ in exported):
        listed = ", ".join(path for path, _ in exported[:MOST_NAMED]) or "nothing"
        found.append(
            Finding(
                severity,
                f"{nfs.address} does not export {nfs.path}",
                f"it exports {listed}; nfs.path has to be the data directory as that server knows it",
                "Export it there to the Pis, with rw,no_root_squash, or correct nfs.path.",
                "D29",
            )
        )
    return found


_RULES: Final[tuple[Callable[[Host], list[Finding]], ...]] = (_no_nfsd, _versions, _port_mapper, _ports, _inotify)
