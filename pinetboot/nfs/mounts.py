"""Who has which Pi's trees mounted, as far as anyone can know: a new mount is told once, and guards what is in use.

Belongs here: joining what nfsd, its clients' folder and mountd say. In doubt something is in use. NFSv3 has no word for
"still mounted": what rmtab has stays in use until the same Pi is seen to mount another of its roots, for a Pi has one.
What nfsd has in its cache counts for half an hour, though every exportfs empties that. An NFSv4 client that is alive
has mounted the generation that it was seen to begin with; where that was before our own start, all that it may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from pinetboot.events import RootMounted
from pinetboot.nfs.clients import Client, Snapshot, Used
from pinetboot.nfs.clients import Mount as Line
from pinetboot.nfs.exports import Export, Tree, covers, tree_of

_HALF_HOUR_S: Final = 1800.0  # mountd's own time to live for what it tells nfsd


@dataclass(slots=True)
class _Client:
    """An NFSv4 client. `fresh`: it came while we watched; `root`: what it was seen to mount, None where not known."""

    address: str
    fresh: bool
    root: Tree | None = None


class Mounts:
    """What is mounted of the data directory `base`, as the NFS server knows it, and of others that were exported."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")
        self._clients: dict[int, _Client] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._left: set[tuple[str, str]] = set()
        self._used: dict[Tree, dict[str, float]] = {}
        self._snapshot: Snapshot | None = None

    def take(
        self,
        seen: Snapshot,
        now: float,
        own: Mapping[str, str],
        booted: Mapping[str, int],
        lines: Iterable[Export] = (),
    ) -> list[RootMounted]:
        """Take what is said `now`, seconds that rise; returns the mounts of roots that are new, one for each.

        `own` is whose address is whose, `booted` the generation that each Pi loaded last, `lines` what we export.
        """
        first = self._snapshot is None
        told = self._take_lines(seen.mounts, own, lines, first=first)
        before = set(self._used)
        self._use(seen.used, now)
        for number in self._clients.keys() - {client.number for client in seen.clients}:
            del self._clients[number]
        for client in seen.clients:
            mounted = self._take_client(client, own, booted, before, first=first)
            if mounted is not None:
                told.append(mounted)
        self._snapshot = seen
        return told

    def _use(self, used: Iterable[Used], now: float) -> None:
        """Keep what was in nfsd's cache within the last half hour."""
        for one in used:
            tree = tree_of(one.path)
            if tree is not None:
                self._used.setdefault(tree, {})[one.domain] = now
        for tree, domains in list(self._used.items()):
            lately = {domain: at for domain, at in domains.items() if now - at < _HALF_HOUR_S}
            if lately:
                self._used[tree] = lately
            else:
                del self._used[tree]

    def _take_lines(
        self, lines: Iterable[Line], own: Mapping[str, str], exports: Iterable[Export], *, first: bool
    ) -> list[RootMounted]:
        told = []
        counts: dict[tuple[str, str], int] = {}
        for line in lines:
            tree = tree_of(line.path)
            if tree is None:
                continue
            key = line.client, line.path
            counts[key] = line.count
            if first or line.count <= self._counts.get(key, 0):
                continue
            self._left.discard(key)
            if tree.kind == "root" and tree.base == self._base:
                told.append(RootMounted(tree.serial, line.client, tree.number))
                if own.get(line.client) == tree.serial:
                    self._leave_all_but(line.client, tree, list(exports))
        self._counts = counts
        self._left &= counts.keys()
        return told

    def _leave_all_but(self, address: str, root: Tree, exports: list[Export]) -> None:
        """Take it that a Pi which mounts one root has left the others, at that address and at any that it had."""
        alone = {export.client for export in exports if (tree := tree_of(export.path)) and tree.serial == root.serial}
        for client, path in self._counts:
            tree = tree_of(path)
            if tree is None or tree.serial != root.serial:
                continue
            other = tree.number not in {0, root.number} and client == address
            moved = client != address and f"{client}/32" in alone
            if other or moved:
                self._left.add((client, path))

    def _take_client(
        self,
        client: Client,
        own: Mapping[str, str],
        booted: Mapping[str, int],
        before: Collection[Tree],
        *,
        first: bool,
    ) -> RootMounted | None:
        known = self._clients.setdefault(client.number, _Client(client.address, fresh=not first))
        serial = own.get(client.address)
        if known.root is not None or not known.fresh or not client.confirmed or serial is None:
            return None
        roots = {
            tree
            for tree, domains in self._used.items()
            if (tree.base, tree.serial, tree.kind) == (self._base, serial, "root")
            and _any_covers(domains, client.address)
        }
        # An older root may be in the cache still: the one that the Pi loaded its kernel from, else the newcomer.
        loaded = {tree for tree in roots if tree.number == booted.get(serial)}
        new = {tree for tree in roots if tree not in before}
        choice = loaded or new or roots
        if not choice:
            return None
        known.root = max(choice)
        return RootMounted(serial, client.address, known.root.number)

    def in_use(self, export: Export) -> bool:
        """Whether somebody may have an export of ours mounted; yes as long as nobody has looked."""
        tree = tree_of(export.path)
        if self._snapshot is None:
            return True
        if tree is None:
            return False
        domains = self._used.get(tree, ())
        if any(export.client in domain.split(",") for domain in domains):
            return True
        if any(
            covers(export.client, client) and path.rstrip("/") == export.path
            for client, path in self._counts.keys() - self._left
        ):
            return True
        return any(
            covers(export.client, client.address) and _may_have(client, tree, export.client)
            for client in self._clients.values()
        )

    def generations(self, serial: str, lines: Iterable[Export] = ()) -> frozenset[int]:
        """List the generations of a Pi that somebody may have mounted, by the exports `lines` or any other way."""
        through = (tree_of(export.path) for export in lines if self.in_use(export))
        mounted = (tree_of(path) for _, path in self._counts.keys() - self._left)
        known = (client.root for client in self._clients.values())
        return frozenset(
            tree.number
            for tree in (*through, *mounted, *self._used, *known)
            if tree is not None and (tree.base, tree.serial) == (self._base, serial) and tree.number
        )


def _any_covers(domains: Iterable[str], address: str) -> bool:
    return any(covers(domain, address) for domain in domains)


def _may_have(client: _Client, tree: Tree, exported_to: str) -> bool:
    """Whether an NFSv4 client that an export covers has it mounted.

    One whose root is known has that and what goes with it. Of others it is not known: an export to them alone is taken
    to be theirs; one to a whole network, with every desktop in it, only once nfsd has it in its cache.
    """
    if client.root is not None:
        return tree.serial == client.root.serial and tree.number in {0, client.root.number}
    try:
        return ip_network(exported_to, strict=False).num_addresses == 1
    except ValueError:
        return False
