"""ONC RPC as far as asking for portmapper, mountd and nfsd needs it: calls and answers as bytes.

Belongs here: the layout (RFC 5531, XDR of RFC 4506), port mapper version 2 (RFC 1833), MOUNT version 3 (RFC 1813).
Answers may hold anything: what makes no sense raises Malformed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

PORTMAPPER: Final = 100000
NFS: Final = 100003
MOUNT: Final = 100005
LOCK: Final = 100021
STATUS: Final = 100024
NFS_ACL: Final = 100227
TCP: Final = 6
UDP: Final = 17
NAMES: Final = {
    PORTMAPPER: "portmapper",
    NFS: "nfs",
    MOUNT: "mountd",
    LOCK: "lockd",
    STATUS: "statd",
    NFS_ACL: "nfs_acl",
}

_CALL, _REPLY = 0, 1
_RPC_VERSION: Final = 2
_LAST_FRAGMENT: Final = 1 << 31
_MOST: Final = 10_000
_REFUSALS: Final = {1: "the program is not there", 2: "not that version of it", 3: "not that procedure", 4: "garbage"}


class Malformed(Exception):
    """An answer that is none."""


@dataclass(frozen=True, slots=True, order=True)
class Mapping:
    """One entry of the port mapper: which program listens where. `protocol` is TCP or UDP."""

    program: int
    version: int
    protocol: int
    port: int


def call(xid: int, program: int, version: int, procedure: int, arguments: bytes = b"") -> bytes:
    """Write a call without credentials, with the record mark that TCP wants."""
    body = struct.pack(">10I", xid, _CALL, _RPC_VERSION, program, version, procedure, 0, 0, 0, 0) + arguments
    return struct.pack(">I", _LAST_FRAGMENT | len(body)) + body


def mark(octets: bytes) -> tuple[int, bool]:
    """Read a record mark: how long the fragment is, and whether it is the last."""
    (word,) = struct.unpack(">I", octets)
    return word & ~_LAST_FRAGMENT, bool(word & _LAST_FRAGMENT)


def answer(xid: int, reply: bytes) -> bytes:
    """Take the results out of a reply. Raises Malformed, with why, for a refusal too."""
    reader = Reader(reply)
    if reader.number() != xid or reader.number() != _REPLY:
        raise Malformed("it is no answer to what was asked")
    if reader.number():
        raise Malformed("the call was denied")
    reader.number()
    reader.octets()
    status = reader.number()
    if status:
        raise Malformed(_REFUSALS.get(status, f"it failed with status {status}"))
    return reader.rest()


def mappings(results: bytes) -> list[Mapping]:
    """Read what PMAPPROC_DUMP gives."""
    reader = Reader(results)
    found: list[Mapping] = []
    while reader.number() and len(found) < _MOST:
        found.append(Mapping(reader.number(), reader.number(), reader.number(), reader.number()))
    return found


def exported(results: bytes) -> list[tuple[str, tuple[str, ...]]]:
    """Read what MOUNTPROC3_EXPORT gives: paths, and who may mount each; nobody named means everybody."""
    reader = Reader(results)
    found: list[tuple[str, tuple[str, ...]]] = []
    while reader.number() and len(found) < _MOST:
        path = reader.text()
        groups: list[str] = []
        while reader.number() and len(groups) < _MOST:
            groups.append(reader.text())
        found.append((path, tuple(groups)))
    return found


class Reader:
    """Takes XDR values from bytes, one after the other. Raises Malformed at the end."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def number(self) -> int:
        """Take an unsigned integer."""
        end = self._at + 4
        if end > len(self._octets):
            raise Malformed("the answer ends too early")
        (value,) = struct.unpack_from(">I", self._octets, self._at)
        self._at = end
        return int(value)

    def octets(self) -> bytes:
        """Take opaque data of any length."""
        length = self.number()
        start, self._at = self._at, self._at + (length + 3) // 4 * 4
        if self._at > len(self._octets):
            raise Malformed("the answer ends too early")
        return self._octets[start : start + length]

    def text(self) -> str:
        """Take a string."""
        return self.octets().decode("utf-8", "surrogateescape")

    def rest(self) -> bytes:
        """Take all that is left."""
        return self._octets[self._at :]
