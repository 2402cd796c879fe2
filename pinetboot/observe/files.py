"""The files of one boot, one by one, as far as anybody looks at them: when each came, how large, and how it ended.

Belongs here: the record, its bounds, and how it is packed once the boot is over. What a name means is `stages`'.
Times are seconds since the boot's first sign, so that no clock that is set later moves them.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from pinetboot.events import HttpServed, Outcome, TransferEnded
from pinetboot.observe.stages import STAGES

MOST_FILES: Final = 200  # a boot; a Pi 5 asks for about 60, names that are not there included
MOST_PACKED: Final = 64 << 10  # bytes a Pi, of the boots before its last one
_MOST_NAME: Final = 100
_MOST_UNPACKED: Final = 256 << 10
_SERIAL_SIZE: Final = 8
_MAC_SIZE: Final = len("dc-a6-32-2e-f8-ed")
_LONGEST_S: Final = 1e7
# A transfer begins before it is told that it did.
_EARLIER_S: Final = 0.5

# How a request ended, in the words of `rehearse --json`, and in more where the server sees more.
RESULTS: Final = {
    Outcome.SENT: "ok",
    Outcome.UNCONFIRMED: "ok",
    Outcome.PROBED: "probed",
    Outcome.MISSING: "missing",
    Outcome.REFUSED: "refused",
    Outcome.TIMED_OUT: "timeout",
    Outcome.ABORTED: "aborted",
    Outcome.UNREACHABLE: "aborted",
    Outcome.REPLACED: "aborted",
    Outcome.FAILED: "error",
    Outcome.STOPPED: "error",
    Outcome.HOMELESS: "error",
}
_STATUSES: Final = {200: "ok", 206: "ok", 304: "ok", 404: "missing", 499: "aborted"}
_WORDS: Final = frozenset(RESULTS.values())


class File(NamedTuple):
    """One request for a file. `first` and `seconds` are seconds, `size` its bytes, `sent` those that arrived.

    `name` is below the Pi's own folder, `stage` a place in STAGES, `result` a value of RESULTS, `resent` packets.
    """

    name: str
    stage: int
    first: float
    seconds: float
    size: int
    sent: int
    result: str
    resent: int = 0


class Files:
    """The files of one attempt, the first 200 one by one; of the rest their number `more` and their bytes `more_size`.

    `lost`: there were some, and they had to give way to those of later boots.
    """

    __slots__ = ("_packed", "_rows", "lost", "more", "more_size")

    def __init__(self) -> None:
        self.more = 0
        self.more_size = 0
        self.lost = False
        self._rows: list[File] = []
        self._packed = b""

    def add(self, file: File) -> None:
        """Take one more."""
        if len(self._rows) < MOST_FILES:
            self._rows.append(file)
        else:
            self.more += 1
            self.more_size += file.sent

    def take(self, event: TransferEnded, serial: str, stage: int, at: float) -> None:
        """Take a transfer that ended `at` seconds into the boot; one that an attempt before began is left out."""
        if len(self._rows) >= MOST_FILES:  # whoever asks for so many is no Pi, and is not waited for
            self.more += 1
            self.more_size += event.sent_bytes
            return
        first = at - event.seconds
        if first > -_EARLIER_S:
            name = own_name(event.path, serial)
            sizes = (event.size, event.sent_bytes, RESULTS[event.outcome], event.retransmissions)
            self.add(File(name, stage, max(0.0, first), event.seconds, *sizes))

    def take_http(self, event: HttpServed, stage: int, at: float) -> None:
        """Take a file that was given over HTTP or not `at` seconds into the boot: of the seed, or of HTTP boot."""
        name = event.path[event.path.rfind("/") + 1 :]
        result = "probed" if event.method == "HEAD" else _STATUSES.get(event.status, "refused")
        self.add(File(name[:_MOST_NAME], stage, at, 0.0, event.sent_bytes, event.sent_bytes, result))

    def all(self) -> list[File]:
        """Give them in the order in which they ended."""
        return _unpacked(self._packed) if self._packed else list(self._rows)

    @property
    def packed_size(self) -> int:
        """Bytes that they take now that the boot is over; 0 before pack()."""
        return len(self._packed)

    def pack(self) -> None:
        """Take less room: the boot is over, and nobody adds any more."""
        if self._rows:
            self._packed, self._rows = _packed(self._rows), []

    def drop(self) -> None:
        """Give way."""
        self.lost = self.lost or bool(self._packed or self._rows)
        self._packed, self._rows = b"", []

    def copy(self) -> Files:
        """A copy that another thread may read."""
        copied = Files()
        copied.more, copied.more_size, copied.lost = self.more, self.more_size, self.lost
        copied._rows, copied._packed = list(self._rows), self._packed
        return copied

    def to_kept(self) -> list[Any]:
        """The shape that is kept in state/boots/."""
        packed = self._packed or (_packed(self._rows) if self._rows else b"")
        return [b64encode(packed).decode(), self.more, self.more_size, self.lost]


def from_kept(item: object) -> Files:
    """Read files back; none where there are none, or what is there is not of ours."""
    files = Files()
    match item:
        case [str(packed), int(more), int(more_size), bool(lost)] if more >= 0 and more_size >= 0:
            files.more, files.more_size, files.lost = more, more_size, lost
            if len(packed) <= MOST_PACKED * 4 // 3 + 4:
                try:
                    files._packed = b64decode(packed, validate=True)  # noqa: SLF001 - one of its own kind
                except (Error, ValueError):
                    files.lost = True
    return files


def bound(latest_first: Iterable[Files]) -> None:
    """Have the files of a Pi's earlier boots give way where all of them take more than they may."""
    left = MOST_PACKED
    for files in latest_first:
        left -= files.packed_size
        if left < 0:
            files.drop()


def own_name(path: str, serial: str) -> str:
    """Name a file as people know it: without the folder by serial or MAC that its path begins with (reference 3.4)."""
    folder, slash, name = path.partition("/")
    size = len(folder)
    if slash and ((size == _SERIAL_SIZE and folder.lower() == serial) or (size == _MAC_SIZE and folder[2] == "-")):
        path = name
    return path if len(path) <= _MOST_NAME else path[: _MOST_NAME - 1] + "…"


def _packed(rows: list[File]) -> bytes:
    kept = [
        [one.name, one.stage, round(one.first, 3), round(one.seconds, 3), one.size, one.sent, one.result, one.resent]
        for one in rows
    ]
    return zlib.compress(json.dumps(kept, separators=(",", ":")).encode())


def _unpacked(packed: bytes) -> list[File]:
    """Read them back; what is none of ours is left out, for it comes from a file that anything may have written."""
    try:
        kept = json.loads(zlib.decompressobj().decompress(packed, _MOST_UNPACKED))
    except (zlib.error, ValueError, RecursionError):
        return []
    found = (_file(item) for item in kept[:MOST_FILES]) if isinstance(kept, list) else ()
    return [one for one in found if one is not None]


def _file(item: object) -> File | None:
    match item:
        case [str(name), int(stage), int() | float() as first, int() | float() as seconds, *rest]:
            pass
        case _:
            return None
    match rest:
        case [int(size), int(sent), str(result), int(resent)] if result in _WORDS:
            counts = min(stage, size, sent, resent) >= 0 and stage < len(STAGES) and len(name) <= _MOST_NAME
            times = -_LONGEST_S < first < _LONGEST_S and 0 <= seconds < _LONGEST_S
            return File(name, stage, first, seconds, size, sent, result, resent) if counts and times else None
    return None
