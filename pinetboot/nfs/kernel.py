"""nfsd and exportfs of this host: what is exported, by what files, and changing it.

Belongs here: reading and writing where nfsd, mountd and exportfs read and write. Every function waits and belongs in a
thread; exportfs has a time limit, for it waits for mountd's lock. What is to change is decided in `nfs.exports`.

Single exports are added with `exportfs -i -o OPTIONS CLIENT:PATH` and taken away with `exportfs -u`: `-r` would
withdraw whatever an administrator exported by hand, and without `-i` a file of theirs that waits to be applied would
be. What is exported is read as `exportfs -s` lists it: the table that `-v` shows, with paths that can be told apart.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from pinetboot import files, mountinfo, run
from pinetboot.errors import OperatorError
from pinetboot.nfs import clients, exports
from pinetboot.nfs.clients import Client, Snapshot
from pinetboot.nfs.exports import Export
from pinetboot.nfs.modes import OURS, Nfsd

USERS: Final = Path("/etc/exports")
NFSD: Final = Path("/proc/fs/nfsd")
RMTAB: Final = Path("/var/lib/nfs/rmtab")
_USED: Final = Path("/proc/net/rpc/nfsd.export/content")
_FILE_SYSTEMS: Final = Path("/proc/filesystems")

_LIMIT_S: Final = 20.0
_AT_ONCE: Final = 64
_LEASE_S: Final = 90
_MOST_BYTES: Final = 16 << 20
_ANY_CODE: Final = range(256)


def look() -> Nfsd:
    """Look at this host's nfsd, and whether exportfs is installed."""
    kinds = _text(_FILE_SYSTEMS).split()
    threads = _text(NFSD / "threads").strip()
    versions = {word[1:].partition(".")[0] for word in _text(NFSD / "versions").split() if word.startswith("+")}
    return Nfsd(
        exportfs=run.find("exportfs") is not None,
        supported="nfsd" in kinds,
        mounted=threads.isdigit(),
        threads=int(threads) if threads.isdigit() else 0,
        versions=frozenset(int(version) for version in versions if version.isdigit()),
    )


def listed() -> list[Export]:
    """List what is exported now. Raises OperatorError."""
    return exports.parse_listed(os.fsdecode(_exportfs(["-s"]).out))


def ours() -> list[Export]:
    """List what our own file says."""
    return exports.parse(_text(OURS))


def users() -> list[Export]:
    """List what the files of this host's user say, ours left out."""
    paths = [USERS]
    with suppress(OSError):
        # What exportfs reads in there, and what not: utils/exportfs/exportfs.c, export_d_read().
        paths += sorted(
            path for path in OURS.parent.iterdir() if path.suffix == ".exports" and not path.name.startswith(".")
        )
    return [export for path in paths if path != OURS for export in exports.parse(_text(path))]


def write(wanted: Sequence[Export]) -> bool:
    """Write our file, if it says anything else; says whether it did. Raises OperatorError."""
    content = os.fsencode(exports.render(wanted))
    try:
        if _text(OURS) == os.fsdecode(content) or (not wanted and not OURS.exists()):
            return False
        OURS.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        files.write(OURS, content)
    except OSError as error:
        raise OperatorError(
            f"{OURS} cannot be written: {error.strerror}, so nothing new is exported",
            'Run as root, with /etc/exports.d and /var/lib/nfs writable, or set nfs.mode to "external" or "off".',
        ) from None
    return True


def export(wanted: Sequence[Export]) -> list[str]:
    """Export, beside what is exported already; returns what exportfs says against it. Raises OperatorError."""
    said: list[str] = []
    by_options: dict[str, list[str]] = {}
    for one in wanted:
        by_options.setdefault(one.options, []).append(exports.argument(one))
    for options, arguments in by_options.items():
        for at in range(0, len(arguments), _AT_ONCE):
            said += _said(_exportfs(["-i", "-o", options, *arguments[at : at + _AT_ONCE]]))
    return said


def withdraw(unwanted: Sequence[Export]) -> list[str]:
    """Export no more; returns what exportfs says against it. Raises OperatorError."""
    said: list[str] = []
    for at in range(0, len(unwanted), _AT_ONCE):
        said += _said(_exportfs(["-u", *(exports.argument(one) for one in unwanted[at : at + _AT_ONCE])]))
    return said


def snapshot(known: Snapshot) -> Snapshot:
    """See who mounts what now. Of clients that are confirmed in `known` the folder's name is enough."""
    before = {client.number: client for client in known.clients if client.confirmed}
    found = []
    with suppress(OSError):
        for name in sorted(os.listdir(NFSD / "clients")):  # noqa: PTH208 - names alone are wanted, many times a minute
            client = before.get(int(name)) if name.isdigit() else None
            found.append(client or _client(name))
    return Snapshot(
        tuple(client for client in found if client is not None),
        clients.parse_rmtab(_text(RMTAB)),
        clients.parse_used(_text(_USED)),
    )


def _client(name: str) -> Client | None:
    told = clients.parse_info(int(name), _text(NFSD / "clients" / name / "info")) if name.isdigit() else None
    # Seconds that count up would make every look differ from the one before.
    return Client(told.number, told.address, told.confirmed) if told is not None else None


def alive() -> list[str]:
    """List the addresses of NFSv4 clients that gave a sign of life within nfsd's usual lease."""
    found = []
    with suppress(OSError):
        for name in os.listdir(NFSD / "clients"):  # noqa: PTH208 - names alone are wanted
            told = clients.parse_info(0, _text(NFSD / "clients" / name / "info"))
            if told is not None and told.confirmed and (told.renewed_s or 0) <= _LEASE_S:
                found.append(told.address)
    return found


def kind_of(path: Path) -> str:
    """Name the kind of file system that a path lies in, as /proc/filesystems does; empty where that is not known."""
    mount = mountinfo.mount_of(path)
    return mount.kind if mount is not None else ""


def _exportfs(arguments: Sequence[str]) -> run.Done:
    try:
        return run.run(["exportfs", *arguments], timeout_s=_LIMIT_S, good=_ANY_CODE)
    except run.ProgramMissing:
        raise OperatorError(
            "exportfs is not installed, so nothing can be exported", "Install nfs-kernel-server (nfs-utils)."
        ) from None
    except run.ProgramFailed as error:
        raise OperatorError(
            f"nothing can be exported: {error}", "Look at `exportfs -v`, and at mountd's log."
        ) from None


def _said(done: run.Done) -> list[str]:
    lines = [line.removeprefix("exportfs: ").strip() for line in done.err.splitlines()]
    return [line for line in lines if line] or ([f"exportfs ended with code {done.code}"] if done.code else [])


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return os.fsdecode(file.read(_MOST_BYTES))
    except OSError:
        return ""
