"""One boot of a machine that is no Pi, as a record: when each stage was reached, and its files one by one.

Belongs here: the record and its bounds. Whose an event is, and what begins a boot, is decided in `machines`; why one
stands still in `machine_causes`. Times are seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from pinetboot.boot.names import printable
from pinetboot.causes import Cause
from pinetboot.events import HttpServed, TransferEnded, TransferStarted
from pinetboot.observe.boot import Span
from pinetboot.observe.files import RESULTS, File
from pinetboot.observe.stages import FIRMWARE, KERNEL, SEED, SEEN

MOST_FILES: Final = 64  # a boot; by GRUB's menu it is about 30, names that are not there included
_MOST_OPEN: Final = 64
_MOST_NAME: Final = 100
# A transfer begins before it is told that it did.
_EARLIER_S: Final = 0.5
_OK: Final = "ok"
_STATUSES: Final = {200: _OK, 206: _OK, 304: _OK, 403: "refused", 404: "missing", 499: "aborted"}
_INSTALLERS: Final = "installers"
_KERNELS: Final = ("kernel", "vmlinuz", "Image", "initrd", "initramfs")
_LINUX: Final = "linux"

By = Literal["tftp", "http"]


class Fetch(NamedTuple):
    """A file that was asked for: over what, and how it ended. Its name is the path in the boot tree."""

    by: By
    file: File


class Running(NamedTuple):
    """A file that is on its way since `began`; `size` is its bytes, 0 where that is not known."""

    by: By
    name: str
    size: int
    began: float


@dataclass(slots=True)
class MachineBoot:
    """One boot, from a DHCP message to wherever. `kind` is what the machine said that it is.

    `files` are the first 64 that came to an end, `more` and `more_size` count the others; `sent` and `size` count those
    that came whole. `running` are files under way by what tells their end. `installer` is the one whose files it asked
    for, empty for none. `giver` is the DHCP server that its address is from, where that is another one. `ipxe`: iPXE
    was heard of; `left`: its own system was, so that it boots no more from here. `signs` rises with each sign.
    `cause` is why it stands still as of `judged`, a number of signs.
    """

    kind: str
    started: float
    last: float
    spans: dict[int, Span]
    stage: int = SEEN
    files: list[Fetch] = field(default_factory=list)
    more: int = 0
    more_size: int = 0
    sent: int = 0
    size: int = 0
    running: dict[int | str, Running] = field(default_factory=dict)
    installer: str = ""
    giver: str = ""
    ipxe: bool = False
    left: bool = False
    signs: int = 0
    cause: Cause | None = None
    judged: int = -1

    def enter(self, stage: int, now: float) -> None:
        """Take a sign of a stage; one that lies behind is written down, and the boot stays where it is."""
        self.signs += 1
        self.last = now
        self.stage = max(self.stage, stage)
        span = self.spans.get(stage)
        if span is None:
            self.spans[stage] = Span(now, now)
        else:
            span.last = now

    def starts(self, event: TransferStarted, now: float) -> None:
        """A TFTP transfer begins."""
        self._begins(event.port, Running("tftp", _short(event.path), event.size, now), now)

    def starts_http(self, path: str, now: float) -> None:
        """A request of HTTP boot begins; `path` is that of the URL."""
        self._begins(path, Running("http", _short(_in_tree(path)), 0, now), now)

    def ends(self, event: TransferEnded, now: float) -> None:
        """A TFTP transfer ended, or was not granted."""
        self.running.pop(event.port, None)
        sizes = (event.size, event.sent_bytes, RESULTS[event.outcome], event.retransmissions)
        self._add("tftp", event.path, now, event.seconds, sizes)

    def ends_http(self, event: HttpServed, now: float) -> None:
        """A request of HTTP boot was answered, or of a seed."""
        if event.kind == "seed":
            if _STATUSES.get(event.status) == _OK:
                self.enter(SEED, now)
            return
        begun = self.running.pop(event.path, None)
        result = _STATUSES.get(event.status, "error")
        whole = event.size or (event.sent_bytes if result == _OK else 0)
        if result == _OK:
            # A client that goes before the end had its answer begun.
            result = "probed" if event.method == "HEAD" else _OK if event.sent_bytes >= whole else "aborted"
        seconds = max(0.0, now - begun.began) if begun is not None else 0.0
        self._add("http", _in_tree(event.path), now, seconds, (whole, event.sent_bytes, result, 0))

    def _begins(self, key: int | str, running: Running, now: float) -> None:
        if len(self.running) < _MOST_OPEN:
            self.running[key] = running
        self.left = False
        self.enter(_stage_of(running.name), now)

    def _add(self, by: By, path: str, now: float, seconds: float, sizes: tuple[int, int, str, int]) -> None:
        size, _, result, _ = sizes
        at = now - self.started - seconds
        if at < -_EARLIER_S:
            return  # the boot before began it
        stage = _stage_of(path)
        self.enter(stage, now)
        self.left = False
        folder, _, rest = path.partition("/")
        if folder == _INSTALLERS and "/" in rest:
            self.installer = _short(rest.partition("/")[0])
        if result == _OK:
            self.sent += 1
            self.size += size
            self.spans[stage].size += size
        if len(self.files) < MOST_FILES:
            self.files.append(Fetch(by, File(_short(path), stage, max(0.0, at), seconds, *sizes)))
        else:
            self.more += 1
            self.more_size += size if result == _OK else 0


def begun(kind: str, now: float) -> MachineBoot:
    """Begin a boot."""
    return MachineBoot(kind, now, now, {SEEN: Span(now, now)})


def _in_tree(path: str) -> str:
    """Name a URL's path as TFTP would."""
    return path.removeprefix("/").removeprefix("boot/")


def _short(path: str) -> str:
    shown = printable(path)
    return shown if len(shown) <= _MOST_NAME else f"{shown[: _MOST_NAME - 1]}…"


def _stage_of(path: str) -> int:
    name = path[path.rfind("/") + 1 :]
    there = path.startswith(f"{_INSTALLERS}/") or name == _LINUX or name.startswith(_KERNELS)
    return KERNEL if there else FIRMWARE
