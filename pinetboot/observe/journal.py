"""Which events become a log line, at which level, in which words.

Belongs here: the wording, and the rate at which lines that a peer can provoke may come. Time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pinetboot.boot.names import printable
from pinetboot.events import DhcpHeard, Event, HttpServed, Outcome, PacketDropped, TransferEnded, TransferStarted

_PER_S = 20.0
_BURST = 100.0


@dataclass(frozen=True, slots=True)
class Line:
    """One log line: level, event, and fields in the order to show."""

    level: str
    event: str
    fields: dict[str, object] = field(default_factory=dict)


_OUTCOMES = {
    Outcome.SENT: ("info", "file sent"),
    Outcome.UNCONFIRMED: ("info", "file sent, last ACK missing"),
    Outcome.PROBED: ("debug", "file probed"),
    Outcome.ABORTED: ("info", "transfer given up by the client"),
    Outcome.MISSING: ("info", "file not there"),
    Outcome.REFUSED: ("warning", "request refused"),
    Outcome.TIMED_OUT: ("warning", "client went silent"),
    Outcome.UNREACHABLE: ("info", "client closed its port"),
    Outcome.REPLACED: ("debug", "transfer replaced"),
    Outcome.FAILED: ("error", "transfer failed"),
    Outcome.STOPPED: ("warning", "transfer ended by our stop"),
}
# Lines that one busy boot makes by rights, and are never held back.
_ALWAYS = {Outcome.SENT, Outcome.UNCONFIRMED}


def line_for(event: Event) -> Line:
    """Put an event into words."""
    match event:
        case DhcpHeard():
            return _dhcp(event)
        case TransferStarted():
            fields = {
                "path": printable(event.path),
                "bytes": event.size,
                "blksize": event.blksize,
                "windowsize": event.windowsize,
            }
            return Line("debug", "transfer started", fields)
        case TransferEnded():
            return _transfer(event)
        case HttpServed():
            level = "info" if event.kind in {"seed", "boot"} else "debug"
            fields = {
                "method": event.method,
                "path": printable(event.path),
                "status": event.status,
                "bytes": event.sent_bytes,
            }
            return Line(level, f"http {event.kind}", fields)
        case PacketDropped():
            return Line("warning", f"{event.service} packet dropped", {"why": event.why})


def client_of(event: Event) -> str | None:
    """Say which address an event is about, None where it has none yet."""
    return None if isinstance(event, DhcpHeard) else event.client


def _dhcp(event: DhcpHeard) -> Line:
    fields: dict[str, object] = {"mac": event.mac, "interface": event.interface}
    if event.serial:
        fields["serial"] = event.serial
    if event.model:
        fields["model"] = event.model
    if event.answered:
        return Line("info", "boot offered", fields | {"from": event.answered})
    level = "info" if event.model and event.kind == "DISCOVER" else "debug"
    return Line(level, f"dhcp {event.kind.lower()} left alone", fields | {"why": event.why})


def _transfer(event: TransferEnded) -> Line:
    level, words = _OUTCOMES[event.outcome]
    fields: dict[str, object] = {"path": printable(event.path)}
    if event.outcome in _ALWAYS:
        fields |= {"bytes": event.size, "seconds": round(event.seconds, 3)}
    elif event.size:
        fields |= {"bytes": event.size, "sent": event.sent_bytes}
    if event.retransmissions:
        fields["retransmissions"] = event.retransmissions
    if event.why and event.outcome not in {Outcome.MISSING, Outcome.UNCONFIRMED}:
        fields["why"] = event.why
    return Line(level, words, fields)


class Journal:
    """Holds back lines that come faster than anyone reads: 20 a second of a kind, after a burst of 100."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float, int]] = {}

    def line(self, event: Event, now: float) -> Line | None:
        """Put an event into words; None when such lines come too fast. The next one tells how many were held back."""
        line = line_for(event)
        if line.level == "debug" or (isinstance(event, TransferEnded) and event.outcome in _ALWAYS):
            return line
        tokens, at, held_back = self._left.get(line.event, (_BURST, now, 0))
        tokens = min(_BURST, tokens + (now - at) * _PER_S)
        if tokens < 1:
            self._left[line.event] = (tokens, now, held_back + 1)
            return None
        self._left[line.event] = (tokens - 1, now, 0)
        if held_back:
            line.fields["and_more"] = held_back
        return line
