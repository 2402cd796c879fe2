"""What `pinetboot check` looked at of NFS, as values.

Belongs here: shapes. What is looked at is `nfs.check`'s, what is wrong with it `nfs.findings`' and `nfs.misexports`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pinetboot.config import Nfs
from pinetboot.fleet.pi import Pi
from pinetboot.nfs import onc
from pinetboot.nfs.exports import Export
from pinetboot.nfs.modes import Nfsd
from pinetboot.nfs.wanted import Wanted

MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Root:
    """A Pi whose root is on NFS, as its own boot tree says: `server` and `path` of its nfsroot=, empty without one.

    `seen` is where it was seen last, empty where it was not.
    """

    pi: Pi
    server: str = ""
    path: str = ""
    initramfs: bool = False
    seen: str = ""

    @property
    def who(self) -> str:
        """Its name, with the serial where that is not part of it."""
        return f"{self.pi.name} ({self.pi.serial})" if self.pi.hostname else self.pi.name


@dataclass(frozen=True, slots=True)
class Host:
    """What was looked at. `registered` is None where no port mapper answers; `actual` where nothing can be listed."""

    nfs: Nfs
    data: str
    roots: tuple[Root, ...] = ()
    nfsd: Nfsd = field(default_factory=lambda: Nfsd(exportfs=False, supported=False, mounted=False))
    loadable: bool = False
    registered: tuple[onc.Mapping, ...] | None = None
    inotify_exhausted: bool = False
    kind: str = ""
    kind_options: str = ""
    refused: tuple[str, ...] = ()
    actual: Mapping[tuple[str, str], Export] | None = None
    users: tuple[Export, ...] = ()
    wanted: Wanted = field(default_factory=lambda: Wanted((), {}))
    own_addresses: frozenset[str] = frozenset()
    server_address: str = ""

    @property
    def harm(self) -> Literal["fatal", "info"]:
        """How bad it is that nothing can be mounted: not at all, where no Pi mounts a root."""
        return "fatal" if self.roots else "info"


def some(names: list[str]) -> str:
    """List names, the first few of many."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
