r"""The list of exports, as text and as values (exports(5)).

Belongs here: quoting, reading and writing lines, and what has to change for what is exported to be what is wanted.
Never here: which Pi may mount what (`nfs.wanted`), or a look at any file.

The trees of all Pis lie in one file system, each an export of its own, with `no_subtree_check`: nfsd looks at where a
client may mount, not at whether every file that it later names by handle lies below that point. So another machine, and
a Pi's mistake, get no further than the export; a Pi whose root user forges file handles reaches whatever else lies in
that file system. `subtree_check` would break open files that are renamed, which no root survives; who must keep Pis
apart from each other puts `pis/` of each on a file system of its own. Of the folders above an export mountd shows
NFSv4 clients nothing but the way down, by itself: an `fsid=0` is not needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

from pinetboot.nfs.options import meaning

_PLAIN: Final = re.compile(rb"[^0-9A-Za-z/._+@%=:,~-]")
_ESCAPE: Final = re.compile(rb"\\([0-3][0-7]{2})")
_CONTINUED: Final = re.compile(rb"\\\n[ \t]*")
_TOKEN: Final = re.compile(rb'(?:"[^"]*(?:"|$)|[^\s"])+')
_TREE: Final = re.compile(r"(.*)/pis/([0-9a-f]{8})/(?:([1-9][0-9]{0,8})/(root|boot)|(disks))", re.DOTALL)
# nfs-utils reads an escape in what it has just unescaped: of these, no spelling means what it says.
_UNWRITABLE: Final = re.compile(r"\\[0-7]{3}|\0")
_LONGEST: Final = 1024  # NFS_MAXPATHLEN of nfs-utils

HEADER: Final = "# Made by pinetboot, and made anew when its fleet changes. What is written in here by hand is lost.\n"


@dataclass(frozen=True, slots=True, order=True)
class Export:
    """One tree for one client: path, host or network, and the options between the brackets.

    Clients of ours are always networks, `10.0.0.5/32` for one address: for a network, and never for an address,
    exportfs and mountd do without asking the DNS.
    """

    path: str
    client: str
    options: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What makes it one and the same for nfsd; the options may change."""
        return self.path, self.client


class Tree(NamedTuple):
    """What of a Pi an export is, below the data directory `base`; `kind` is root, boot or disks, of number 0."""

    base: str
    serial: str
    number: int
    kind: str


def tree_of(path: str) -> Tree | None:
    """Say which tree of which Pi a path is; None where it is none."""
    found = _TREE.fullmatch(path.rstrip("/"))
    return Tree(found[1], found[2], int(found[3] or 0), found[4] or found[5]) if found else None


def quote(path: str) -> str:
    """Write a path as exports(5) reads it: octal escapes for all but letters, digits and a few signs."""
    octets = path.encode("utf-8", "surrogateescape")
    return _PLAIN.sub(lambda found: b"\\%03o" % found[0][0], octets).decode("ascii")


def unwritable(path: str) -> str:
    """Say why a path cannot stand in an exports file; empty where it can."""
    found = _UNWRITABLE.search(path)
    if found:
        return f"holds {found[0]!r}, which nfs-utils cannot read back"
    long = len(path.encode("utf-8", "surrogateescape")) >= _LONGEST
    return f"is longer than the {_LONGEST - 1} bytes that nfs-utils takes" if long else ""


def unescape(octets: bytes) -> str:
    r"""Read `\040` and its kind, as exports(5), etab and the kernel's own lists have them."""
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 8)]), octets).decode("utf-8", "surrogateescape")


def parse(text: str) -> list[Export]:
    """Read an exports file: every client of every line. What makes no sense is left out; nothing is raised."""
    found: list[Export] = []
    content = _CONTINUED.sub(b" ", text.encode("utf-8", "surrogateescape"))
    for line in content.split(b"\n"):
        tokens = _TOKEN.findall(line.partition(b"#")[0])
        words = [unescape(token.replace(b'"', b"")) for token in tokens]
        if words and words[0].startswith("/"):
            found += _clients(words[0], words[1:])
    return found


def _clients(path: str, words: list[str]) -> list[Export]:
    found, default = [], ""
    for word in words:
        if word.startswith("-"):
            default = word[1:]
            continue
        client, _, rest = word.partition("(")
        found.append(Export(path, client or "*", ",".join(part for part in (default, rest.removesuffix(")")) if part)))
    return found or [Export(path, "*", default)]


def parse_listed(text: str) -> list[Export]:
    """Read what `exportfs -s` prints: an export a line, spaces in a path as octal escapes, quotes as they are."""
    found = []
    for line in text.encode("utf-8", "surrogateescape").split(b"\n"):
        path, _, rest = line.partition(b" ")
        client, _, options = unescape(rest).strip().partition("(")
        if path.startswith(b"/") and client:
            found.append(Export(unescape(path), client, options.removesuffix(")")))
    return found


def render(exports: Iterable[Export]) -> str:
    """Write an exports file: a line for each path, with all its clients."""
    lines: dict[str, list[str]] = {}
    for export in sorted(exports):
        lines.setdefault(export.path, []).append(f"{export.client}({export.options})")
    return HEADER + "".join(f"{quote(path)} {' '.join(clients)}\n" for path, clients in lines.items())


def argument(export: Export) -> str:
    """Name an export as exportfs takes it, `CLIENT:PATH`, with brackets around an IPv6 network's address."""
    address, slash, length = export.client.partition("/")
    client = f"[{address}]{slash}{length}" if ":" in address else export.client
    return f"{client}:{export.path}"


def alike(one: Export, other: Export) -> bool:
    """Whether two exports are the same, whatever their options are spelt like."""
    return one.key == other.key and meaning(one.options) == meaning(other.options)


def covers(client: str, address: str) -> bool:
    """Whether an address is among those of a client as exports(5) or the kernel names it.

    The kernel joins all that an address belongs to with commas. Names and wildcards may be anyone: they cover it.
    """
    return any(_covers(part, address) for part in client.split(","))


def _covers(client: str, address: str) -> bool:
    try:
        return ip_address(address) in ip_network(client, strict=False)
    except ValueError:
        return client == address or not re.fullmatch(r"[0-9a-f.:/]+", client)


@dataclass(frozen=True, slots=True)
class Changes:
    """What to do, in this order: write `standing` and `gone` to the file, add, withdraw, write `standing` alone.

    `standing` is all that is to be exported, `gone` what is not any more; `withdraw` is what of it nfsd still has.
    """

    standing: tuple[Export, ...]
    gone: tuple[Export, ...]
    add: tuple[Export, ...]
    withdraw: tuple[Export, ...]


def changes(
    wanted: Iterable[Export],
    ours: Iterable[Export],
    actual: Mapping[tuple[str, str], Export],
    in_use: Callable[[Export], bool],
    users: Collection[tuple[str, str]],
) -> Changes:
    """Decide what has to change. `ours` is what our own file says, `actual` what is exported, by key.

    What is not wanted and `in_use` stays as it is. Nothing is withdrawn that our file does not have, nor what the
    `users` of this host export themselves.
    """
    standing = {export.key: export for export in wanted}
    gone = []
    for export in ours:
        if export.key in standing:
            continue
        if in_use(export):
            standing[export.key] = export
        else:
            gone.append(export)
    lacking = [
        export for export in standing.values() if export.key not in actual or not alike(export, actual[export.key])
    ]
    withdraw = [export for export in gone if export.key in actual and export.key not in users]
    return Changes(tuple(sorted(standing.values())), tuple(gone), tuple(sorted(lacking)), tuple(withdraw))


def overlapping(users: Iterable[Export], folder: str) -> list[Export]:
    """List what the user's own exports have of a folder: it, something in it, or something that it lies in."""
    base = folder.rstrip("/") + "/"
    return [
        export
        for export in users
        if (export.path.rstrip("/") + "/").startswith(base) or base.startswith(export.path.rstrip("/") + "/")
    ]
