"""What the kernel and mountd say of who mounts: nfsd's own clients, mountd's table, and nfsd's cache of exports.

Belongs here: reading those texts, which hold what clients chose to send. What follows from them is `nfs.mounts`'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pinetboot.nfs.exports import unescape

_ADDRESS: Final = re.compile(r'^address: "(?:\[([^\]"]+)\]|([^:"]+))(?::[0-9]+)?"', re.MULTILINE)
_STATUS: Final = re.compile(r"^status: ([a-z]+)", re.MULTILINE)
_RENEWED: Final = re.compile(r"^seconds from last renew: ([0-9]{1,9})", re.MULTILINE)
_RMTAB: Final = re.compile(r"(\[[^\]]+\]|[^:]+):(/.*):0x([0-9a-fA-F]{1,8})")


@dataclass(frozen=True, slots=True)
class Client:
    """One NFSv4 client of nfsd. `number` is its folder's name, new with every start of its system.

    `renewed_s` is seconds since it last gave a sign of life, None where an older kernel does not say.
    """

    number: int
    address: str
    confirmed: bool = True
    renewed_s: int | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountd's rmtab: who mounted what over NFSv3, and how often without ever saying that it was over."""

    client: str
    path: str
    count: int


@dataclass(frozen=True, slots=True)
class Used:
    """An export that nfsd has in its cache: somebody used it within mountd's half hour. `domain` is who that may be."""

    path: str
    domain: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it at one moment."""

    clients: tuple[Client, ...] = ()
    mounts: tuple[Mount, ...] = ()
    used: frozenset[Used] = frozenset()


def parse_info(number: int, text: str) -> Client | None:
    """Read /proc/fs/nfsd/clients/NUMBER/info; None for what tells no address."""
    found = _ADDRESS.search(text)
    if found is None:
        return None
    status, renewed = _STATUS.search(text), _RENEWED.search(text)
    return Client(
        number,
        found[1] or found[2],
        confirmed=status is None or status[1] == "confirmed",
        renewed_s=int(renewed[1]) if renewed else None,
    )


def parse_rmtab(text: str) -> tuple[Mount, ...]:
    """Read mountd's table; lines that are none of its own are left out."""
    found = (_RMTAB.fullmatch(line) for line in text.split("\n"))
    return tuple(Mount(one[1].strip("[]"), one[2], int(one[3], 16)) for one in found if one is not None)


def parse_used(text: str) -> frozenset[Used]:
    """Read /proc/net/rpc/nfsd.export/content: the lines that hold, not those that expired or say no."""
    found = set()
    for line in text.encode("utf-8", "surrogateescape").split(b"\n"):
        path, tab, rest = line.partition(b"\t")
        domain, _, flags = rest.partition(b"(")
        if path.startswith(b"/") and tab and not flags.startswith(b")"):
            found.add(Used(unescape(path), unescape(domain)))
    return frozenset(found)
