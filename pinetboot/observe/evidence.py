"""What was seen of one attempt of a boot beside how far it came: what tells why it goes no further.

Belongs here: keeping it, bounded, because anyone on the network can add to it. What follows from it is decided in
`causes` and the modules beside it. Time is an argument, seconds that only rise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pinetboot.causes import Cause
from pinetboot.events import DhcpHeard, HttpServed, Outcome, TransferEnded, TransferStarted

MOST_NAMES: Final = 128
_MOST_OPEN: Final = 64
_MOST_SEEN: Final = 1 << 20
# The very same DISCOVER sooner than this is a copy of it: the firmware waits four seconds or more (reference 2.8).
_COPY_S: Final = 1.0
# TFTP_FILE_TIMEOUT is 30 s, and 5 s are its least (reference 4.2): so long a silence between two files is no haste.
LATE_S: Final = 20.0
_SENT: Final = frozenset({Outcome.SENT, Outcome.UNCONFIRMED})
# Files of which the size matters, whatever becomes of them.
_MEASURED: Final = frozenset({"config.txt", "cmdline.txt"})
_OK: Final = (200, 206)
_GONE: Final = 499  # the client went before the end


@dataclass(slots=True)
class Evidence:
    """What tells why an attempt goes no further. Names are without their folder, at most 128 of each kind.

    `server` is the address that it was told to boot from, `asked_at` the one that its requests for files came to.
    `requested`: its firmware asked a DHCP server for an address, `giver` being that. `foreseen` is what stands against
    this boot since its DISCOVER; `discovers` counts these, `copied` says how a copy of one came.
    `refused` is (path, why) of a file, `broken` (path, its bytes, bytes that arrived), `unheard` (path, how often it
    was asked for) where no answer got through, `late` (name, seconds) of the longest silence before a request.
    `sizes` are bytes of a few files, `empty` names one that has none, `dropped` one that the client gave up.
    `seed` is (path, HTTP status) of a seed that was not given, `seed_tries` how often. `running` are transfers under
    way by the client's port: (path, bytes, when it began). `by_http` counts requests over HTTP.
    `latest` names the file that was asked for last, `address` is where from, `linux_at` the one that Linux requested,
    `unaddressed` the server from which Linux requests 0.0.0.0.
    `mounts` is (serial, address) where the root of another Pi was mounted, `root_at` the address that mounted its own,
    `moved_to` the address that Linux requested after that; `anew`: it asked for an address after its root was mounted.
    """

    server: str = ""
    asked_at: str = ""
    requested: bool = False
    giver: str = ""
    foreseen: Cause | None = None
    discovers: int = 0
    copied: str = ""
    missing: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    refused: tuple[str, str] | None = None
    broken: tuple[str, int, int] | None = None
    unheard: tuple[str, int] | None = None
    late: tuple[str, float] | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    empty: str = ""
    dropped: str = ""
    seed: tuple[str, int] | None = None
    seed_tries: int = 0
    running: dict[int, tuple[str, int, float]] = field(default_factory=dict)
    by_http: int = 0
    latest: str = ""
    address: str = ""
    linux_at: str = ""
    unaddressed: str = ""
    mounts: tuple[str, str] | None = None
    root_at: str = ""
    moved_to: str = ""
    anew: bool = False
    _discover: tuple[int, str, float] = (0, "", float("-inf"))

    @property
    def absent(self) -> set[str]:
        """Names that were asked for and found nowhere."""
        return self.missing - self.sent

    @property
    def asked(self) -> set[str]:
        """Names that were asked for."""
        return self.missing | self.sent

    # Files. A rack of Pis asks ten thousand times a second: this way is kept short.

    def starts(self, event: TransferStarted, name: str, now: float) -> None:
        """A transfer begins."""
        if len(self.running) < _MOST_OPEN:
            self.running[event.port] = (event.path, event.size, now)
        self.asked_at, self.address, self.latest = event.server, event.client, name
        if name in _MEASURED:
            self.sizes[name] = max(event.size, self.sizes.get(name, 0))

    def lacks(self, name: str) -> None:
        """A file is not there."""
        self.latest = name
        if name not in self.missing and len(self.missing) < MOST_NAMES:
            self.missing.add(name)

    def ends(self, event: TransferEnded, name: str) -> None:
        """A transfer ended, or was not granted for another reason than that the file is not there."""
        outcome = event.outcome
        self.running.pop(event.port, None)
        if outcome in _SENT or outcome is Outcome.PROBED:
            if len(self.sent) < MOST_NAMES:
                self.sent.add(name)
            if not event.size and outcome in _SENT:
                self.empty = name
        elif outcome is Outcome.REFUSED:
            self.refused = (event.path, event.why)
        elif outcome is Outcome.TIMED_OUT and not event.sent_bytes:
            self.unheard = (event.path, event.repeats + 1)
        elif outcome is Outcome.TIMED_OUT:
            self.broken = (event.path, event.size, event.sent_bytes)
        elif outcome is Outcome.ABORTED:
            self.dropped = name

    def waited(self, name: str, seconds: float) -> None:
        """So long nothing was heard before a request for a file."""
        if self.late is None or seconds > self.late[1]:
            self.late = (name, seconds)

    def boots_by_http(self, event: HttpServed, name: str) -> None:
        """The bootloader asked for a file over HTTP (reference 4.4)."""
        self.by_http, self.address = min(self.by_http + 1, _MOST_SEEN), event.client
        self.latest = name
        if event.status in _OK:
            self.sent.add(name)
        elif event.status == _GONE:
            self.dropped = name
        else:
            self.lacks(name)

    # DHCP.

    def hears_discover(self, event: DhcpHeard, now: float) -> None:
        """The firmware looks for a server, and was answered."""
        xid, where, at = self._discover
        if event.xid and xid == event.xid and now - at < _COPY_S and not event.relay:
            self.copied = self.copied or _copied(where, event.interface)
            return
        self._discover = (event.xid, event.interface, now)
        self.discovers = min(self.discovers + 1, _MOST_SEEN)
        self.server, self.foreseen = event.answered or "", event.cause

    def hears_request(self, event: DhcpHeard, *, linux: bool) -> None:
        """The firmware, or Linux, asks for an address."""
        if not linux:
            self.requested, self.giver = True, event.server
        elif event.unaddressed:
            self.unaddressed = event.server or "a server"
        else:
            self.linux_at = event.requested or self.linux_at
            if self.root_at:
                self.anew = True
                if event.requested and event.requested != self.root_at:
                    self.moved_to = event.requested

    # Linux.

    def mounted(self, client: str) -> None:
        """Its root was mounted from that address."""
        self.root_at = client

    def seed_refused(self, event: HttpServed) -> None:
        """A file of its seed was not given."""
        if self.seed is None or self.seed[0] != event.path:
            self.seed_tries = 0
        self.seed = (event.path, event.status)
        self.seed_tries = min(self.seed_tries + 1, _MOST_SEEN)


def _copied(first: str, second: str) -> str:
    return f"on {first}" if first == second else f"on {first} and on {second}"
