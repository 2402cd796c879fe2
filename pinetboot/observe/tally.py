"""What happened since the start, counted: plain numbers that cost an event next to nothing, read when somebody asks.

Belongs here: which event counts as what. Every kind has a bounded set of labels: no serial, MAC, address, path or text
of a message is ever one. How they are shown is `web.metrics`'s.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from pinetboot.dhcp.events import LeaseEnded, LeaseGranted, LeaseRefused
from pinetboot.events import (
    BootStalled,
    DhcpHeard,
    Event,
    HttpServed,
    Outcome,
    PacketDropped,
    PiOnline,
    TransferEnded,
    TransferStarted,
)
from pinetboot.observe.boot import Boot
from pinetboot.observe.stages import STAGES

# Seconds. A Pi 4 with a quick disk takes some 25 s from DISCOVER to online, a Pi 3 with a full system minutes.
BOOT_S: Final = (10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1200.0)
STAGE_S: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
LAG_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)

OTHER: Final = "other"
NO_RULE: Final = "none"
_RULE: Final = re.compile(r"D(?:0[1-9]|[1-4][0-9])")
_LAST_RULE: Final = "D47"
_DHCP_KINDS: Final = frozenset(
    {"DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM", "BOOTP"}  # RFC 2132 section 9.6
)
_HTTP_KINDS: Final = frozenset({"seed", "boot", "health", "phone", "page"})
_SERVICES: Final = frozenset({"tftp", "dhcp", "http", "netconsole", "nfs"})
_STATUSES: Final = range(100, 600)


class Distribution:
    """How many values lie at or below each of `bounds`, and their sum."""

    __slots__ = ("_counts", "bounds", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.total = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulated(self) -> list[int]:
        """How many values are at most each bound, and at last how many there are."""
        return list(accumulate(self._counts))


@dataclass(frozen=True, slots=True)
class Standing:
    """How things are at this moment. `pis` counts by (in fleet.toml, state), `stalled` by rule. Sizes are bytes.

    `services` are states by name, `chunks` counts by where each came from: of all since the start.
    """

    pis: Counter[tuple[bool, str]]
    stalled: Counter[str]
    services: dict[str, str]
    transfers: int
    cache_bytes: int
    cache_limit_bytes: int
    chunks: Counter[str]
    keeps_fleet: bool


class Tally:
    """Counts events. `latest` finds the latest boot of a Pi, for how long its stages took."""

    def __init__(self, latest: Callable[[str], Boot | None] = lambda _: None) -> None:
        self.latest = latest
        self.requests = dict.fromkeys(Outcome, 0)  # TFTP requests that came to an end
        self.started = 0
        self.sent_bytes = 0
        self.retransmissions = 0
        self.dhcp: Counter[tuple[str, bool]] = Counter()  # (kind, answered)
        self.leases: Counter[str] = Counter()
        self.http: Counter[tuple[str, str]] = Counter()  # (kind, status)
        self.http_bytes: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.stalls: Counter[str] = Counter()  # by rule
        self.happened: Counter[type[Event]] = Counter()  # all that has no labels
        self.boots = Distribution(BOOT_S)
        self.stages = {name: Distribution(STAGE_S) for name in STAGES[:-1]}
        self.lag = Distribution(LAG_S)

    def take(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, TransferEnded):
            self.requests[event.outcome] += 1
            self.sent_bytes += event.sent_bytes
            self.retransmissions += event.retransmissions
        elif isinstance(event, TransferStarted):
            self.started += 1
        elif isinstance(event, DhcpHeard):
            self.dhcp[_one_of(event.kind, _DHCP_KINDS), event.answered is not None] += 1
        elif isinstance(event, HttpServed):
            kind = _one_of(event.kind, _HTTP_KINDS)
            self.http[kind, str(event.status) if event.status in _STATUSES else OTHER] += 1
            self.http_bytes[kind] += event.sent_bytes
        elif isinstance(event, PacketDropped):
            self.dropped[_one_of(event.service, _SERVICES)] += 1
        else:
            self._rarer(event)

    def _rarer(self, event: Event) -> None:
        self.happened[type(event)] += 1
        match event:
            case PiOnline():
                self._measure(event)
            case BootStalled():
                self.stalls[rule_of(event.cause.rule if event.cause else "")] += 1
            case LeaseGranted():
                self.leases["renewed" if event.renewed else "granted"] += 1
            case LeaseEnded():
                self.leases["ended"] += 1
            case LeaseRefused():
                self.leases["refused"] += 1

    def _measure(self, event: PiOnline) -> None:
        """Take how long a boot took, and each of its stages: to the first sign of the next one that was seen."""
        if event.seconds is not None:
            self.boots.add(event.seconds)
        boot = self.latest(event.serial)
        for (stage, span), (_, after) in pairwise(sorted(boot.spans.items())) if boot else ():
            self.stages[STAGES[stage]].add(max(0.0, after.first - span.first))


def rule_of(text: str) -> str:
    """Give a D-rule of the reference's section 7 as a label: D01 to D47, or `none`."""
    return text if _RULE.fullmatch(text) and text <= _LAST_RULE else NO_RULE


def _one_of(text: str, known: frozenset[str]) -> str:
    return text if text in known else OTHER
