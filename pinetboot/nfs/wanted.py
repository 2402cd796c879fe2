"""Which Pi may mount what: from the fleet, its trees and where its Pis were seen to the exports that are wanted.

Belongs here: the decision. What stands on disk is looked at in `nfs.standing`; `nfs.exports` compares the outcome with
what is exported. Time is an argument, seconds that rise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv4Address
from typing import Final

from pinetboot.fleet.pi import Pi
from pinetboot.nfs.exports import Export

_MOST: Final = 1024
_MOST_ADDRESSES: Final = 4
_LATELY_S: Final = 600.0

# What has an identity of its own on disk, so that a file handle means the same after a restart. All others (overlay,
# FUSE, tmpfs, NFS re-exported, whatever comes) have none that nfsd could rely on: exports(5), fsid=. On btrfs a root
# may be a subvolume, whose identity is made up of two.
_IDENTIFIED: Final = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "f2fs", "jfs", "nilfs2", "reiserfs", "zfs", "bcachefs", "ocfs2", "gfs2"}
)
# A number of nfs-utils' own range, clear of the small ones that people choose, and of 0, which is NFSv4's root.
_FIRST_FSID: Final = 1 << 16
_FSIDS: Final = (1 << 31) - _FIRST_FSID


@dataclass(frozen=True, slots=True)
class Standing:
    """What of a Pi can be exported: the generations to be (those with a root), and whether it has a disks folder."""

    generations: frozenset[int] = frozenset()
    disks: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms trees are exported: options, the network that may mount any of them (or empty), and fsids."""

    options: str
    clients: str = ""
    needs_fsid: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """The exports that are wanted, and by serial why a Pi has none or not all of them."""

    exports: tuple[Export, ...]
    without: dict[str, str]


def needs_fsid(kind: str) -> bool:
    """Whether exports from a file system of that kind need an `fsid` to be known again after a restart."""
    return kind not in _IDENTIFIED


def fsid(below: str) -> int:
    """Make the number of a tree from its path below the data directory, the same on every node.

    A number and no UUID: it keeps file handles short, of which NFSv3 has 64 bytes, an NFS re-export needing most.
    """
    return _FIRST_FSID + int.from_bytes(blake2b(below.encode(), digest_size=8).digest(), "big") % _FSIDS


def wanted(
    data: str,
    pis: Iterable[Pi],
    standing: Mapping[str, Standing],
    addresses: Mapping[str, tuple[str, ...]],
    terms: Terms,
) -> Wanted:
    """List the exports of a fleet: root and boot of each generation, and the disks, for each client of their Pi.

    `data` is the data directory with no link in it, as nfsd will know it.
    """
    found: list[Export] = []
    without: dict[str, str] = {}
    taken: dict[int, str] = {}
    for pi in pis:
        clients = clients_of(pi, addresses.get(pi.serial, ()), terms)
        stands = standing.get(pi.serial, Standing())
        if pi.root != "nfs" or not stands.generations:
            continue
        if not clients:
            without[pi.serial] = "its address is not known yet; it is exported as soon as the Pi asks for its files"
            continue
        trees = [
            f"pis/{pi.serial}/{number}/{kind}" for number in sorted(stands.generations) for kind in ("boot", "root")
        ]
        for tree in [*trees, *([f"pis/{pi.serial}/disks"] if pi.disks and stands.disks else [])]:
            options = terms.options
            if terms.needs_fsid:
                number = fsid(tree)
                if taken.setdefault(number, tree) != tree:
                    without[pi.serial] = f"{tree} would have the fsid of {taken[number]}; its next generation will not"
                    continue
                options = f"{options},fsid={number}" if options else f"fsid={number}"
            found += [Export(f"{data.rstrip('/')}/{tree}", client, options) for client in clients]
    return Wanted(tuple(sorted(found)), without)


def clients_of(pi: Pi, addresses: tuple[str, ...], terms: Terms) -> list[str]:
    """Name a Pi's clients as exports(5) does: the network that is set, else its address, else where it was seen."""
    if terms.clients:
        return [terms.clients]
    return [f"{address}/32" for address in ((pi.address,) if pi.address else addresses)]


class Whereabouts:
    """Where each Pi was seen: the last address, and any other of the last ten minutes, as one of them may be a guest's.

    At most 1024 Pis and four addresses each: anyone on the network can add to it. Whoever asks for a Pi's files from
    another machine is exported that Pi's root as well; only an `address` in fleet.toml keeps it to one.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[str, dict[str, float]] = OrderedDict()
        self.changed = 0

    def learn(self, serial: str, address: str, now: float) -> bool:
        """Take that a Pi was seen at an IPv4 address; says whether that is news."""
        if not is_a_hosts(address):
            return False
        known = self._seen.setdefault(serial, {})
        news = address not in known
        known.pop(address, None)
        known[address] = now
        if news:
            self.changed += 1
            self._seen.move_to_end(serial)
            if len(self._seen) > _MOST:
                self._seen.popitem(last=False)
            if len(known) > _MOST_ADDRESSES:
                del known[next(iter(known))]
        return news

    def of(self, serial: str, now: float) -> tuple[str, ...]:
        """List where a Pi may be, the last place first."""
        known = list(reversed(self._seen.get(serial, {}).items()))
        return tuple(address for at, (address, seen) in enumerate(known) if not at or now - seen < _LATELY_S)


def is_a_hosts(address: str) -> bool:
    """Whether it is an IPv4 address that some machine beside this one may have."""
    try:
        found = IPv4Address(address)
    except ValueError:
        return False
    return not (found.is_unspecified or found.is_loopback or found.is_multicast or found.is_reserved)
