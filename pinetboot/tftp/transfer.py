"""The server's half of one read transfer, as a machine without a socket and without a clock.

Belongs here: which blocks to send next, when to send them again, and when to stop. Time is an argument, in seconds of
any clock that only rises. Blocks are counted from 1 without ever rolling over; the wire's 16 bits are made of them
elsewhere. Block 0 stands for the OACK, which is acknowledged like a block (RFC 2347).

Rules kept here (RFC 1350, 7440; the reference's section 3.2 says what breaks a Pi):
an acknowledgement of the newest block advances; in lock-step nothing else ever makes us send (the Sorcerer's
Apprentice); with a window, an acknowledgement inside it resumes after that block, and a repeated one is the client's
word for a gap, answered once per window sent; one for a block never sent is ignored.
A client that loses packets of one window after the other has too small a buffer for them: it gets fewer at once, with
a pause between (its ACK comes only at the window's end, so that nothing but the time can pace them), and more again
once windows arrive whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

_WIRE_BLOCKS = 0x10000
MAX_BACKOFF_S = 30.0
PAUSE_S = 0.001
_FORGIVEN = 1  # losses in a row that may be the network's chance
_WHOLE_WINDOWS = 16  # that earn a larger burst; twice as many each time


@dataclass(frozen=True, slots=True)
class Send:
    """Send blocks `first` to `last`, both included; block 0 alone is the OACK."""

    first: int
    last: int


class Rest(Enum):
    """Nothing to send."""

    WAIT = auto()
    DONE = auto()
    GAVE_UP = auto()


Step = Send | Rest


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the client: `timeout_s` at first, then (with `backoff`) doubled, `retries` times."""

    timeout_s: float
    retries: int
    backoff: bool = True

    def wait_s(self, attempt: int) -> float:
        """Seconds to wait after sending for the `attempt`-th time, counted from 0."""
        if not self.backoff:
            return self.timeout_s
        return min(self.timeout_s * 2.0 ** min(attempt, 16), max(MAX_BACKOFF_S, self.timeout_s))


class Transfer:
    """One read transfer of `blocks` blocks (at least 1: an empty file is one empty block).

    `acked` is the newest block known to have arrived (-1: not even the OACK), `sent` the newest one sent,
    `deadline` when to call tick() next.
    """

    __slots__ = (
        "_answered_gap",
        "_attempt",
        "_burst",
        "_burst_end",
        "_earn",
        "_first",
        "_last_sent_at",
        "_losses",
        "_patience",
        "_rest",
        "_whole",
        "_window",
        "acked",
        "blocks",
        "deadline",
        "repeats",
        "retransmissions",
        "sent",
        "windowsize",
    )

    def __init__(self, *, blocks: int, windowsize: int, oack: bool, patience: Patience) -> None:
        self.blocks = blocks
        self.windowsize = windowsize
        self._patience = patience
        self._first = self.acked = -1 if oack else 0
        self.sent = self.acked
        self.deadline = 0.0
        self.retransmissions = 0
        self.repeats = 0
        self._attempt = 0
        self._answered_gap = False
        self._last_sent_at = 0.0
        # RFC 7440 lets an ACK be for any block of the window, so it has to be told from one long past.
        self._window = min(windowsize, _WIRE_BLOCKS // 2 - 1)
        self._burst = self._window
        self._burst_end = self.acked
        self._rest = 0  # the last block of what is still to be sent after a pause; 0 for nothing
        self._losses = 0
        self._whole = 0
        self._earn = _WHOLE_WINDOWS

    def start(self, now: float) -> Step:
        """Send the OACK, or without options the first window."""
        return self._advance(now)

    def acknowledged(self, number: int, now: float) -> Step:
        """Take an ACK with the wire's block number (0 to 65535)."""
        if self.acked < 0 and number != 0:
            return Rest.WAIT  # nothing but the OACK was sent
        step = (number - self.acked) % _WIRE_BLOCKS
        block = self.acked + step
        if block > self.sent:
            return Rest.WAIT
        if step == 0:
            return self._gap(now)
        self._judge(lost=block < self.sent)
        self.acked = block
        if block == self.blocks:
            return Rest.DONE
        self._attempt = 0
        self._answered_gap = False
        return self._advance(now)

    def lease(self) -> int:
        """How far lock-step may go without asking: the last block that may be sent on its predecessor's ACK alone.

        0 when there is no such run. While a lease is used, the exact ACK of the newest block is answered with the
        next one; anything else, and the time that passes, is brought here by resume() first.
        """
        return self.blocks if self.windowsize == 1 and self.sent >= 1 else 0

    def resume(self, sent: int, moved_at: float) -> None:
        """Catch up with a lease: `sent` is now the newest block sent, all before it are acknowledged.

        `moved_at` is when that was last seen to change; it counts as the time of sending.
        """
        if sent > self.sent:
            self.sent = sent
            self.acked = sent - 1
            self._attempt = 0
            self._sent_at(moved_at)

    def asked_again(self, now: float) -> Step:
        """Take a repeated read request. It tells that our first answer was lost only when that was a while ago.

        An OACK that comes twice breaks a Pi 3 (reference 3.2), hence the wait of half a time-out.
        """
        self.repeats += 1
        if self.acked != self._first or now - self._last_sent_at < self._patience.timeout_s / 2:
            return Rest.WAIT
        return self._again(now)

    def silent_since(self, now: float) -> bool:
        """Whether the client has left at least one time-out pass since we last sent anything new."""
        return self._attempt > 0 or now - self._last_sent_at >= self._patience.timeout_s

    def tick(self, now: float) -> Step:
        """Look at the time: send again what was not acknowledged, or give up."""
        if now < self.deadline:
            return Rest.WAIT
        if self._rest:
            return self._emit(self._burst_end + 1, self._rest, now)
        if self._attempt >= self._patience.retries:
            return Rest.GAVE_UP
        self._attempt += 1
        self._answered_gap = False
        self._judge(lost=True)
        return self._again(now)

    def postponed(self, now: float) -> None:
        """Our own storage or link kept the client waiting until now: its time starts again."""
        self._sent_at(now)

    @property
    def pausing(self) -> bool:
        """Whether the rest of a window is to be sent at `deadline`, a moment from now."""
        return self._rest > 0

    @property
    def all_sent(self) -> bool:
        """Whether nothing but the last acknowledgement is missing."""
        return self.sent == self.blocks and self.acked >= self.sent - self.windowsize

    def _advance(self, now: float) -> Step:
        first = self.acked + 1
        return self._emit(first, 0 if first == 0 else min(self.acked + self._window, self.blocks), now)

    def _gap(self, now: float) -> Step:
        if self.windowsize == 1 or self._answered_gap or self.sent == self.acked:
            return Rest.WAIT
        self._answered_gap = True
        self._judge(lost=True)
        return self._again(now)

    def _again(self, now: float) -> Step:
        first = self.acked + 1
        return self._emit(first, min(max(self.sent, self._rest), first + self._window - 1), now)

    def _emit(self, first: int, last: int, now: float) -> Step:
        """Send as much of `first` to `last` as may go at once; the rest follows after a pause."""
        end = min(last, first + self._burst - 1)
        # Blocks that were sent before, whatever the reason to send them once more.
        self.retransmissions += max(0, min(self.sent, end) - first + 1)
        self._burst_end = end
        self._rest = last if end < last else 0
        self.sent = max(self.sent, end)
        self._sent_at(now)
        if self._rest:
            self.deadline = now + PAUSE_S
        return Send(first, end)

    def _judge(self, *, lost: bool) -> None:
        """Learn from a window that came through whole, or did not, how much to send at once."""
        if self.windowsize == 1 or self.acked < 0:
            return
        if lost:
            self._losses += 1
            self._whole = 0
            if self._losses > _FORGIVEN:
                self._burst = max(1, self._burst // 2)
            return
        self._losses = 0
        self._whole += 1
        if self._burst < self._window and self._whole >= self._earn:
            self._burst = min(self._window, self._burst * 2)
            self._whole = 0
            self._earn *= 2

    def _sent_at(self, now: float) -> None:
        self._last_sent_at = now
        self.deadline = now + self._patience.wait_s(self._attempt)
