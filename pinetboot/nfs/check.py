"""Looking at all that NFS needs, for `pinetboot check`: with or without a running daemon, and changing nothing.

Belongs here: what is looked at. What is wrong with it is said in `nfs.findings`. Each look has a time limit of its own.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from pinetboot import mountinfo, run
from pinetboot.boot import generated
from pinetboot.causes import Finding
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.fleet import facts, state, store, trees
from pinetboot.fleet.inside import Tree
from pinetboot.fleet.pi import Pi
from pinetboot.net import links
from pinetboot.nfs import findings as rules
from pinetboot.nfs import inotify, kernel, onc, rpc, standing, wanted
from pinetboot.nfs.exports import Export
from pinetboot.nfs.host import Host, Root
from pinetboot.nfs.modes import OURS
from pinetboot.nfs.wanted import Terms, Wanted
from pinetboot.observe.seen import Seen

_MAX_CMDLINE: Final = 1 << 16
_LIMIT_S: Final = 5.0


def findings(config: Config, data: Path, serial: str = "") -> list[Finding]:
    """Look at everything that has to do with NFS, for one Pi alone where `serial` names it.

    Raises OperatorError where fleet.toml cannot be read.
    """
    nfs = config.nfs
    pis = tuple(pi for pi in store.read(config).pis if serial in {"", pi.serial})
    seen = {one.serial: one for one in state.seen(data)}
    roots = tuple(root for pi in pis if pi.root == "nfs" and (root := _root(data, pi, seen.get(pi.serial))))
    if nfs.mode == "external":
        return [*_external(config, roots), *_left_over(nfs.mode)]
    if nfs.mode == "off":
        return [*_off(roots), *_left_over(nfs.mode)]
    if os.geteuid() != 0:
        return [
            Finding(
                "info",
                "NFS was not looked at",
                "only root may see what nfsd exports, and to whom",
                "Run `pinetboot check` as root.",
            )
        ]
    return rules.of_this_host(_host(config, data, pis, roots, seen))


def _off(roots: tuple[Root, ...]) -> list[Finding]:
    if not roots:
        return []
    return [
        Finding(
            "info",
            f"the roots of {len(roots)} Pis are exported by hand",
            'nfs.mode is "off"',
            'Set it to "exports", and pinetboot exports them.',
        )
    ]


def _left_over(mode: str) -> list[Finding]:
    """What was exported under another mode, and is withdrawn by nobody: a Pi might have it mounted."""
    if not kernel.ours():
        return []
    return [
        Finding(
            "info",
            f"{OURS} still exports what it did before",
            f'nfs.mode is "{mode}" now, and nothing is withdrawn that a Pi might have mounted',
            f"Once no Pi uses it any more: `rm {OURS}` and `exportfs -r`.",
        )
    ]


def _external(config: Config, roots: tuple[Root, ...]) -> list[Finding]:
    nfs = config.nfs
    answers = frozenset(version for version in nfs.versions if rpc.answers(nfs.address, rpc.NFS_PORT, onc.NFS, version))
    exported: list[tuple[str, tuple[str, ...]]] | str
    try:
        exported = rpc.exported(nfs.address) if answers else ""
    except rpc.Unanswered as error:
        exported = str(error)
    return rules.of_another(nfs, roots=bool(roots), answers=answers, exported=exported)


def _root(data: Path, pi: Pi, seen: Seen | None) -> Root | None:
    """Read what a Pi's own boot tree says of its root; None while it has none."""
    number = trees.current(data, pi.serial)
    if number is None:
        return None
    boot = data / "pis" / pi.serial / str(number) / "boot"
    looked = facts.look(boot, None, releases=False)
    address = seen.address if seen else ""
    with suppress(OSError), Tree(boot) as tree:
        for word in generated.words(tree.text(looked.cmdlines[0], _MAX_CMDLINE) or ""):
            name, _, value = word.strip('"').partition("=")
            server, colon, path = value.partition(",")[0].rpartition(":/")
            if name == "nfsroot" and colon:
                return Root(pi, server.strip("[]"), f"/{path}", looked.initramfs, address)
    return Root(pi, initramfs=looked.initramfs, seen=address)


def _host(config: Config, data: Path, pis: tuple[Pi, ...], roots: tuple[Root, ...], seen: dict[str, Seen]) -> Host:
    real = data.resolve()
    nfsd = kernel.look()
    registered: tuple[onc.Mapping, ...] | None = None
    with suppress(rpc.Unanswered):
        registered = tuple(rpc.registered())
    actual: dict[tuple[str, str], Export] | None = None
    with suppress(OperatorError):
        actual = {export.key: export for export in kernel.listed()}
    mount = mountinfo.mount_of(real)
    return Host(
        config.nfs,
        str(real),
        roots=roots,
        nfsd=nfsd,
        loadable=nfsd.supported or _loadable(),
        registered=registered,
        inotify_exhausted=inotify.exhausted(),
        kind=mount.kind if mount else "",
        kind_options=mount.options if mount else "",
        refused=tuple(standing.refused(data)),
        actual=actual if nfsd.exportfs else None,
        users=tuple(kernel.users()),
        wanted=_wanted(config, real, pis, seen, mount.kind if mount else ""),
        own_addresses=_own_addresses(),
        server_address="" if config.server.address == "auto" else config.server.address,
    )


def _wanted(config: Config, real: Path, pis: tuple[Pi, ...], seen: dict[str, Seen], kind: str) -> Wanted:
    """The exports of what each Pi boots, to where it was seen last; those in use beside them are not asked for."""
    places = {one.serial: (one.address,) for one in seen.values() if wanted.is_a_hosts(one.address)}
    terms = Terms(config.nfs.options, config.nfs.clients, wanted.needs_fsid(kind))
    return wanted.wanted(str(real), pis, standing.look(real, pis), places, terms)


def _own_addresses() -> frozenset[str]:
    with suppress(OperatorError):
        found = links.read().by_index.values()
        return frozenset(str(own.ip) for link in found for own in link.addresses)
    return frozenset()


def _loadable() -> bool:
    """Whether the module could be loaded: modinfo opens its file, of which modprobe --dry-run knows the name alone."""
    try:
        run.run(["modinfo", "--field=license", "nfsd"], timeout_s=_LIMIT_S)
    except (run.ProgramMissing, run.ProgramFailed):
        return False
    return True
