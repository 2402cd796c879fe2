"""One boot of one Pi as a record: how far it came, when, how much was sent, and what it lacked.

Belongs here: the record, and keeping it as JSON. Which event changes it is decided in `timeline`.
Times are seconds of any clock that only rises; `offset` is what makes seconds since 1970 of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeGuard

from pinetboot.causes import Cause
from pinetboot.observe import files
from pinetboot.observe.evidence import MOST_NAMES, Evidence
from pinetboot.observe.files import Files
from pinetboot.observe.stages import FIRMWARE, KERNEL, ONLINE, ROM_FILES, SEEN, STAGES

_MOST_TEXT: Final = 1000
_MOST_WARNINGS: Final = 8
_A_LOOK: Final = 3
_LATEST: Final = 1e11  # seconds since 1970; what is beyond is no time


@dataclass(slots=True)
class Span:
    """One stage of a boot: its first and last sign, and the bytes of the files that were sent in it."""

    first: float
    last: float
    size: int = 0


@dataclass(slots=True)
class Boot:
    """One boot, from a first sign to `online` or to where it stands. An attempt is one run of the firmware.

    `stage` is the farthest of this attempt, `moved` when it was reached, `last` its last sign; where the daemon was
    away, waiting counts from `resumed`. `stuck` is the stage in which it was found stalled, `tried` the one that the
    attempt before came to, with the evidence `before`. `number` counts the boots of this Pi. `phoned`: it said
    itself that it is up. `warnings` are worth knowing though it goes on. `back_to`: the generation that the Pi was sent
    back to as this boot was late.
    """

    started: float
    stage: int
    spans: dict[int, Span]
    moved: float
    last: float
    ended: float | None = None
    stalled: bool = False
    cause: Cause | None = None
    attempts: int = 1
    retransmissions: int = 0
    generation: int | None = None
    back_to: int | None = None
    resumed: float = float("-inf")
    stuck: int = -1
    tried: int = -1
    told: tuple[str, str] | None = None
    evidence: Evidence = field(default_factory=Evidence)
    before: Evidence | None = None
    number: int = 1
    files: Files = field(default_factory=Files)
    phoned: bool = False
    warnings: tuple[Cause, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the files that were sent."""
        return sum(span.size for span in self.spans.values())

    @property
    def may_discover(self) -> bool:
        """Whether a DISCOVER of the firmware is part of the attempt: a repeated one, or the second one of a Pi 3."""
        # A file that it asks for in vain, again and again, was asked for as well.
        asked = {*self.evidence.asked, self.evidence.latest}
        return self.stage == SEEN or (self.stage == FIRMWARE and asked <= ROM_FILES)

    @property
    def state(self) -> str:
        """`online`, `stalled` or `booting`; a boot that is over and still `booting` was broken off by the next."""
        if self.stage == ONLINE:
            return "online"
        return "stalled" if self.stalled else "booting"

    @property
    def seconds(self) -> float | None:
        """How long it took to be online; None where it is not, or where its beginning was not seen."""
        if self.ended is None or self.stage != ONLINE or min(self.spans) > FIRMWARE:
            return None
        return self.ended - self.started

    def enter(self, stage: int, now: float) -> None:
        """Take a sign of a stage. One that lies behind is written down, and the boot stays where it is."""
        span = self.spans.get(stage)
        if stage > self.stage:
            self.settle()
            self.stage, self.moved = stage, now
            self.spans[stage] = Span(now, now)
        elif span is None:
            self.spans[stage] = Span(now, now)
        else:
            span.last = now
        self.last = now

    def settle(self) -> None:
        """Write the last sign down in its stage, which is not done with every sign."""
        span = self.spans[self.stage]
        span.last = max(span.last, self.last)

    def again(self, stage: int, now: float) -> None:
        """Begin anew: the firmware starts over, and what this attempt came to is kept to tell why."""
        self.tried, self.before, self.evidence = self.stage, self.evidence, Evidence()
        self.files = Files()
        self.attempts += 1
        self.started = self.moved = self.last = now
        self.stage, self.spans = stage, {stage: Span(now, now)}
        self.generation = None

    def copy(self) -> Boot:
        """A copy that another thread may read."""
        self.settle()
        spans = {stage: replace(span) for stage, span in self.spans.items()}
        missing = Evidence(missing=self.evidence.absent)
        return replace(self, spans=spans, evidence=missing, before=None, files=self.files.copy())

    def to_kept(self, offset: float) -> dict[str, Any]:
        """The shape that is kept in state/boots/; times are seconds since 1970."""
        return {
            "started": self.started + offset,
            "ended": None if self.ended is None else self.ended + offset,
            "stalled": self.stalled,
            "attempts": self.attempts,
            "retransmissions": self.retransmissions,
            "generation": self.generation,
            "back_to": self.back_to,
            "cause": self.cause.to_json() if self.cause else None,
            "missing": sorted(self.evidence.absent),
            "number": self.number,
            "phoned": self.phoned,
            "warnings": [cause.to_json() for cause in self.warnings],
            "files": self.files.to_kept(),
            "stages": [
                [STAGES[stage], span.first + offset, span.last + offset, span.size]
                for stage, span in sorted(self.spans.items())
            ],
        }


def only_a_look(boots: Sequence[Boot]) -> bool:
    """Whether the latest boot is none: somebody fetched a file or two of a Pi that runs."""
    boot = boots[-1]
    first = boot.stage <= KERNEL and SEEN not in boot.spans and boot.attempts == 1
    few = len(boot.evidence.asked) < _A_LOOK and boot.evidence.by_http < _A_LOOK
    return first and few and len(boots) > 1 and boots[-2].stage == ONLINE


def begun(stage: int, now: float, number: int = 1) -> Boot:
    """Begin a boot."""
    return Boot(now, stage, {stage: Span(now, now)}, moved=now, last=now, number=number)


def from_kept(item: object, offset: float = 0.0) -> Boot | None:
    """Read a boot back; None for what is none. `offset` is taken off its times."""
    if not isinstance(item, Mapping):
        return None
    spans = _spans(item.get("stages"), offset)
    started, ended = item.get("started"), item.get("ended")
    if not spans or not _is_time(started) or not (ended is None or _is_time(ended)):
        return None
    attempts, retransmissions, generation = (item.get(key) for key in ("attempts", "retransmissions", "generation"))
    if not _is_count(attempts) or not _is_count(retransmissions) or not (generation is None or _is_count(generation)):
        return None
    stage = max(spans)
    last = spans[stage].last
    if ended is not None:
        ended -= offset
    elif stage == ONLINE:
        ended = last
    missing, number = item.get("missing"), item.get("number")
    names = missing[:MOST_NAMES] if isinstance(missing, list) else []
    warned = item.get("warnings")
    warnings = map(_cause, warned[:_MOST_WARNINGS] if isinstance(warned, list) else ())
    return Boot(
        started=started - offset,
        stage=stage,
        spans=spans,
        moved=spans[stage].first,
        last=last,
        ended=ended,
        stalled=item.get("stalled") is True,
        cause=_cause(item.get("cause")),
        attempts=attempts,
        retransmissions=retransmissions,
        generation=generation,
        back_to=item["back_to"] if _is_count(item.get("back_to")) else None,
        stuck=stage,
        evidence=Evidence(missing={name for name in names if isinstance(name, str) and len(name) <= _MOST_TEXT}),
        number=number if _is_count(number) else 0,
        files=files.from_kept(item.get("files")),
        phoned=item.get("phoned") is True,
        warnings=tuple(cause for cause in warnings if cause is not None),
    )


def _spans(item: object, offset: float) -> dict[int, Span]:
    """Read the stages; empty where one of them is none."""
    if not isinstance(item, list) or len(item) > len(STAGES):
        return {}
    spans = {}
    for one in item:
        match one:
            case [str(name), first, last, size] if name in STAGES and _is_time(first) and _is_time(last):
                if not _is_count(size):
                    return {}
                spans[STAGES.index(name)] = Span(first - offset, last - offset, size)
            case _:
                return {}
    return spans


def _cause(item: object) -> Cause | None:
    keys = ("rule", "what", "why", "do")
    if not isinstance(item, Mapping) or not all(isinstance(item.get(key), str) for key in keys):
        return None
    return Cause(*(item[key][:_MOST_TEXT] for key in keys))


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LATEST


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
