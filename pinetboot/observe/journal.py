"""Which events become a log line, at which level, in which words.

Belongs here: the wording, and the rate at which lines that a peer can provoke may come. Time is an argument.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from pinetboot.boot.names import printable
from pinetboot.events import (
    DhcpHeard,
    Event,
    FleetFault,
    FleetRead,
    HttpServed,
    Outcome,
    PacketDropped,
    PiReady,
    TransferEnded,
    TransferStarted,
)

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
_PLAIN: dict[type[Event], tuple[str, str]] = {
    TransferStarted: ("debug", "transfer started"),
    DhcpHeard: ("info", "boot offered"),
    FleetRead: ("info", "fleet read"),
    PiReady: ("info", "Pi made ready"),
}
_SHOWN = {"why", "serial", "pis", "images"}
# Lines that one busy boot makes by rights, and are never held back.
_ALWAYS = {Outcome.SENT, Outcome.UNCONFIRMED}


def line_for(event: Event) -> Line:
    """Put an event into words."""
    level, words = _heading(event)
    return Line(level, words, _fields(event))


def _heading(event: Event) -> tuple[str, str]:
    """Level and words, which is all that the rate of lines goes by."""
    match event:
        case TransferEnded():
            return _OUTCOMES[event.outcome]
        case DhcpHeard(answered=None):
            level = "info" if event.model and event.kind == "DISCOVER" else "debug"
            return level, f"dhcp {event.kind.lower()} left alone"
        case HttpServed():
            return "info" if event.kind in {"seed", "boot"} else "debug", f"http {event.kind}"
        case PacketDropped():
            return "warning", f"{event.service} packet dropped"
        case FleetFault():
            return "warning", "Pi not as it should be" if event.serial else "fleet left as it was"
    return _PLAIN[type(event)]


def _fields(event: Event) -> dict[str, object]:
    match event:
        case TransferEnded():
            return _transfer(event)
        case DhcpHeard():
            return _dhcp(event)
        case TransferStarted():
            shown = {"bytes": event.size, "blksize": event.blksize, "windowsize": event.windowsize}
            return {"path": printable(event.path), **shown}
        case HttpServed():
            shown = {"status": event.status, "bytes": event.sent_bytes}
            return {"method": event.method, "path": printable(event.path), **shown}
        case PiReady():
            return asdict(event) | {"seconds": round(event.seconds, 1)}
    return {name: value for name, value in asdict(event).items() if name in _SHOWN and value != ""}


def client_of(event: Event) -> str | None:
    """Say which address an event is about, None where it has none yet."""
    match event:
        case DhcpHeard() | FleetRead() | PiReady() | FleetFault():
            return None
    return event.client


def _dhcp(event: DhcpHeard) -> dict[str, object]:
    fields: dict[str, object] = {"mac": event.mac, "interface": event.interface}
    if event.serial:
        fields["serial"] = event.serial
    if event.model:
        fields["model"] = event.model
    return fields | ({"from": event.answered} if event.answered else {"why": event.why})


def _transfer(event: TransferEnded) -> dict[str, object]:
    fields: dict[str, object] = {"path": printable(event.path)}
    if event.outcome in _ALWAYS:
        fields |= {"bytes": event.size, "seconds": round(event.seconds, 3)}
    elif event.size:
        fields |= {"bytes": event.size, "sent": event.sent_bytes}
    if event.retransmissions:
        fields["retransmissions"] = event.retransmissions
    if event.why and event.outcome not in {Outcome.MISSING, Outcome.UNCONFIRMED}:
        fields["why"] = event.why
    return fields


class Journal:
    """Holds back lines that come faster than anyone reads: 20 a second of a kind, after a burst of 100."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float, int]] = {}

    def line(self, event: Event, now: float) -> Line | None:
        """Put an event into words; None when such lines come too fast. The next one tells how many were held back."""
        level, words = _heading(event)
        if level == "debug" or (isinstance(event, TransferEnded) and event.outcome in _ALWAYS):
            return line_for(event)
        tokens, at, held_back = self._left.get(words, (_BURST, now, 0))
        tokens = min(_BURST, tokens + (now - at) * _PER_S)
        if tokens < 1:
            self._left[words] = (tokens, now, held_back + 1)
            return None
        self._left[words] = (tokens - 1, now, 0)
        line = line_for(event)
        if held_back:
            line.fields["and_more"] = held_back
        return line
