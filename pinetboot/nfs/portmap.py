"""What rpcbind has to know of nfsd and the programs beside it, said again where it lost it.

Belongs here: an rpcbind that was started anew knows nothing of what runs, and nfsd and lockd register themselves only
when they start. Waits, and belongs in a thread.
"""

from __future__ import annotations

from typing import Final

from pinetboot.config import Nfs
from pinetboot.nfs import onc, rpc
from pinetboot.nfs.onc import Mapping

_V3, _V4 = 3, 4
_LOCK_VERSIONS: Final = (4, 3, 1)


def replay(settings: Nfs) -> tuple[list[str], list[str]]:
    """Register what answers and is not registered; returns the names, and a sentence for each that would not go."""
    names: list[str] = []
    faults: list[str] = []
    try:
        known = set(rpc.registered())
    except rpc.Unanswered:
        return names, faults
    lost: dict[int, list[Mapping]] = {}
    for one in _wanted(settings):
        if one not in known:
            lost.setdefault(one.program, []).append(one)
    for program, mappings in lost.items():
        first = mappings[0]
        if not rpc.answers(rpc.LOCALHOST, first.port, program, first.version):
            continue
        try:
            for one in mappings:
                rpc.register(one)
            names.append(onc.NAMES[program])
        except rpc.Unanswered as error:
            faults.append(f"{onc.NAMES[program]} cannot be registered with rpcbind: {error}")
    return names, faults


def _wanted(settings: Nfs) -> list[Mapping]:
    """List what programs and kernel register by themselves when they start, as far as clients ask for it."""
    version_4 = [Mapping(onc.NFS, _V4, onc.TCP, rpc.NFS_PORT)] if _V4 in settings.versions else []
    return [
        Mapping(onc.NFS, _V3, onc.TCP, rpc.NFS_PORT),
        *version_4,
        Mapping(onc.NFS_ACL, _V3, onc.TCP, rpc.NFS_PORT),
        Mapping(onc.MOUNT, _V3, onc.TCP, settings.mountd_port),
        *(Mapping(onc.STATUS, 1, protocol, settings.statd_port) for protocol in (onc.TCP, onc.UDP)),
        *(
            Mapping(onc.LOCK, version, protocol, settings.lockd_port)
            for version in _LOCK_VERSIONS
            for protocol in (onc.TCP, onc.UDP)
        ),
    ]
