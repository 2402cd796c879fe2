"""Which events become a log line, at which level, in which words.

Belongs here: the wording, and the rate at which lines that a peer can provoke may come. Time is an argument.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from pinetboot.boot.names import printable
from pinetboot.causes import Cause
from pinetboot.dhcp.events import DhcpTold, LeaseEnded, LeaseGranted, LeaseRefused
from pinetboot.events import (
    AddressMoved,
    BootImgMade,
    BootloaderUpdate,
    BootStalled,
    ConsoleHeard,
    DhcpHeard,
    Event,
    ExportsChanged,
    FileIgnored,
    FleetFault,
    FleetKept,
    FleetRead,
    HttpServed,
    InterfaceChanged,
    NfsTold,
    Outcome,
    PacketDropped,
    PhonedHome,
    PiMaking,
    PiOnline,
    PiReady,
    RolledBack,
    RootMounted,
    TransferEnded,
    TransferStarted,
)

_PER_S = 20.0
_BURST = 100.0
_MOST_EXPORTS = 12


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
    # As many at once as there are transfers when a virtual IP moves; its move is told by itself.
    Outcome.HOMELESS: ("debug", "transfer ended, its address left this host"),
}
_PLAIN: dict[type[Event], tuple[str, str]] = {
    TransferStarted: ("debug", "transfer started"),
    DhcpHeard: ("info", "boot offered"),
    LeaseEnded: ("info", "lease ended"),
    LeaseRefused: ("info", "address refused"),
    FleetRead: ("info", "fleet read"),
    PiMaking: ("info", "making a generation"),
    PiReady: ("info", "Pi made ready"),
    BootImgMade: ("info", "boot.img made"),
    RolledBack: ("warning", "Pi goes back to an earlier generation"),
    ExportsChanged: ("info", "exports changed"),
    RootMounted: ("info", "root mounted"),
    PhonedHome: ("debug", "Pi phoned home"),
    ConsoleHeard: ("debug", "bootloader says"),
    PiOnline: ("info", "Pi online"),
    BootStalled: ("warning", "boot stalled"),
    FileIgnored: ("warning", "kept file ignored"),
}
_SHOWN = {"address", "text", "by", "interface", "why", "serial", "pis", "images", "path", "generation", "hostname"}
# Lines that one busy boot makes by rights, and are never held back.
_ALWAYS = {Outcome.SENT, Outcome.UNCONFIRMED}


def line_for(event: Event) -> Line:
    """Put an event into words."""
    level, words = _heading(event)
    return Line(level, words, _fields(event))


def _heading(event: Event) -> tuple[str, str]:
    """Level and words, which is all that the rate of lines goes by."""
    if isinstance(event, TransferEnded):
        return _OUTCOMES[event.outcome]
    match event:
        case DhcpHeard():
            heading = _heard(event)
        case LeaseGranted():
            heading = ("debug", "lease renewed") if event.renewed else ("info", "address leased")
        case HttpServed():
            heading = "info" if event.kind in {"seed", "boot"} else "debug", f"http {event.kind}"
        case PacketDropped():
            heading = "warning", f"{event.service} packet dropped"
        case FleetFault():
            heading = "warning", "Pi not as it should be" if event.serial else "fleet left as it was"
        case InterfaceChanged():
            heading = _interface(event)
        case FleetKept() | AddressMoved() | BootloaderUpdate():
            heading = _turn(event)
        case NfsTold() | DhcpTold():
            heading = "info" if event.well else "warning", "nfs" if isinstance(event, NfsTold) else "dhcp"
        case _:
            heading = _PLAIN[type(event)]
    return heading


def _heard(event: DhcpHeard) -> tuple[str, str]:
    if event.machine:
        return _machine_heard(event)
    if event.answered is None:
        level = "info" if event.model and event.kind == "DISCOVER" else "debug"
        return level, f"dhcp {event.kind.lower()} left alone"
    if event.cause is not None:
        return "warning", "boot offered in vain"
    if event.model is None or event.kind != "DISCOVER":
        return "debug", f"dhcp {event.kind.lower()} answered"
    return _PLAIN[DhcpHeard]


def _machine_heard(event: DhcpHeard) -> tuple[str, str]:
    if event.answered is None or event.kind == "INFORM":
        return "debug", f"dhcp {event.kind.lower()} left alone"
    return ("info", "boot offered") if event.kind == "DISCOVER" else ("debug", f"dhcp {event.kind.lower()} answered")


def _turn(event: FleetKept | AddressMoved | BootloaderUpdate) -> tuple[str, str]:
    if isinstance(event, BootloaderUpdate):
        return "warning" if event.state in {"declined", "loop"} else "info", f"bootloader update {event.state}"
    if isinstance(event, AddressMoved):
        return "info", "active: the address is here" if event.held else "standby: the address is elsewhere"
    if event.epoch:
        return "info", "keeping the fleet"
    return "info" if event.expected else "warning", "the fleet is kept by another daemon"


def _fields(event: Event) -> dict[str, object]:
    match event:
        case TransferEnded():
            fields = _transfer(event)
        case DhcpHeard():
            fields = _dhcp(event)
        case TransferStarted():
            shown = {"bytes": event.size, "blksize": event.blksize, "windowsize": event.windowsize}
            fields = {"path": printable(event.path), **shown}
        case HttpServed():
            answered = {"status": event.status, "bytes": event.sent_bytes}
            fields = {"method": event.method, "path": printable(event.path), **answered}
        case NfsTold() | DhcpTold():
            fields = {"what": printable(event.what)}
        case PiMaking() | RolledBack() | LeaseGranted() | LeaseEnded() | LeaseRefused():
            fields = {name: value for name, value in asdict(event).items() if name != "renewed" and value != ""}
        case ExportsChanged():
            fields = _exports(event)
        case PiReady() | BootImgMade():
            fields = asdict(event) | {"seconds": round(event.seconds, 1)}
        case PiOnline() | BootStalled():
            fields = _boot(event)
        case _:
            fields = {name: value for name, value in asdict(event).items() if name in _SHOWN and value != ""}
    return fields


def client_of(event: Event) -> str | None:
    """Say which address an event is about, None where it has none yet."""
    match event:
        case TransferStarted() | TransferEnded() | PacketDropped() | HttpServed() | RootMounted() | PhonedHome():
            return event.client
        case ConsoleHeard():
            return event.client
    return None


def _exports(event: ExportsChanged) -> dict[str, object]:
    shown = {"added": event.added, "removed": event.removed}
    fields: dict[str, object] = {}
    for name, exports in shown.items():
        if exports:
            more = [f"and {len(exports) - _MOST_EXPORTS} more"] if len(exports) > _MOST_EXPORTS else []
            fields[name] = [*(printable(one) for one in exports[:_MOST_EXPORTS]), *more]
    return fields


def _dhcp(event: DhcpHeard) -> dict[str, object]:
    fields: dict[str, object] = {"mac": event.mac, "interface": event.interface}
    if event.serial:
        fields["serial"] = event.serial
    if event.model:
        fields["model"] = event.model
    if event.machine:
        fields["machine"] = event.machine
    if event.relay:
        fields["relay"] = event.relay
    if event.answered:
        fields["from"] = event.answered
    else:
        fields["why"] = event.why
    return fields | _cause(event.cause)


def _interface(event: InterfaceChanged) -> tuple[str, str]:
    if event.there:
        return "info", "interface came"
    return "warning", "interface not there, waiting for it" if event.interface else "interface not usable"


def _boot(event: PiOnline | BootStalled) -> dict[str, object]:
    fields: dict[str, object] = {"serial": event.serial}
    if event.hostname:
        fields["hostname"] = event.hostname
    if isinstance(event, PiOnline):
        return fields | ({} if event.seconds is None else {"seconds": round(event.seconds, 1)})
    return fields | {"stage": event.stage, **_cause(event.cause)}


def _cause(cause: Cause | None) -> dict[str, object]:
    if cause is None:
        return {}
    return {"rule": cause.rule, "what": printable(cause.what), "why": cause.why, "do": cause.do}


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


def _is_sent(event: Event) -> bool:
    return isinstance(event, TransferEnded) and event.outcome in _ALWAYS


class Journal:
    """Holds back lines that come faster than anyone reads: 20 a second of a kind, after a burst of 100."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float, int]] = {}

    def line(self, event: Event, now: float) -> Line | None:
        """Put an event into words; None when such lines come too fast. The next one tells how many were held back."""
        level, words = _heading(event)
        if level == "debug" or isinstance(event, PiOnline) or _is_sent(event):
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
