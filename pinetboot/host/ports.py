"""Who holds a port of this host: /proc/net for the sockets (proc(5)), /proc/PID/fd for their programs.

Belongs here: reading them. A program of another user is known to root alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinetboot.host.scene import Protocol

_PROC: Final = Path("/proc")
# The states of a socket that waits for whoever comes: UDP without a peer, TCP that listens (proc(5)).
_WAITING: Final = {"udp": "07", "tcp": "0A"}
_SOCKET: Final = re.compile(r"socket:\[([0-9]+)\]")
_FEWEST_FIELDS: Final = 10
_OWN_NAME: Final = "pinetboot"
_WORDS_BEFORE_NAME: Final = 3  # python3 -m pinetboot


@dataclass(frozen=True, slots=True)
class Holder:
    """A program that waits on a port; `pid` is 0 and `program` empty where only root may know. `ours`: a pinetboot."""

    protocol: Protocol
    port: int
    pid: int = 0
    program: str = ""
    ours: bool = False


def holders(wanted: Collection[tuple[Protocol, int]]) -> list[Holder]:
    """Say who waits on these ports, one program once for each, by port."""
    sockets = {inode: (protocol, port) for protocol, port, inode in _sockets() if (protocol, port) in wanted}
    owners = _owners(sockets) if sockets else {}
    found = {Holder(protocol, port, *owners.get(inode, ())) for inode, (protocol, port) in sockets.items()}
    return sorted(found, key=lambda one: (one.port, one.protocol, one.pid))


def _sockets() -> Iterator[tuple[Protocol, int, str]]:
    protocols: tuple[Protocol, ...] = ("udp", "tcp")
    for protocol in protocols:
        for family in ("", "6"):
            with suppress(OSError):
                for line in (_PROC / "net" / f"{protocol}{family}").read_text().splitlines()[1:]:
                    fields = line.split()
                    if len(fields) >= _FEWEST_FIELDS and fields[3] == _WAITING[protocol]:
                        yield protocol, int(fields[1].rpartition(":")[2], 16), fields[9]


def _owners(inodes: Collection[str]) -> Mapping[str, tuple[int, str, bool]]:
    """Find pid, name, and whether it is a pinetboot, of the programs that hold these sockets; one for each."""
    found: dict[str, tuple[int, str, bool]] = {}
    for process in _PROC.iterdir():
        if not process.name.isdecimal():
            continue
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                inode = _SOCKET.fullmatch(str(descriptor.readlink()))
                if inode is not None and inode[1] in inodes and inode[1] not in found:
                    found[inode[1]] = _program(process)
    return found


def _program(process: Path) -> tuple[int, str, bool]:
    name, words = "", [""]
    with suppress(OSError):
        name = (process / "comm").read_text(errors="replace").strip()
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    ours = any(Path(word).name == _OWN_NAME for word in words[:_WORDS_BEFORE_NAME])
    return int(process.name), _OWN_NAME if ours else name, ours
