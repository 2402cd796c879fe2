"""What the servers saw, as values. A server tells; who listens (log, timeline, dashboard) is decided above it.

Belongs here: frozen facts about one thing that happened. Never here: text for people, or a way to react.
Times are not in them: whoever records an event reads its own clock as it arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class DhcpHeard:
    """A DHCP message was heard on UDP port 67. `answered` is None where it was left alone, for `why`."""

    mac: str
    kind: str
    interface: str
    answered: str | None
    why: str = ""
    serial: str | None = None
    model: str | None = None
    source: str = ""


class Outcome(StrEnum):
    """How a request for a file ended."""

    SENT = "sent"
    UNCONFIRMED = "unconfirmed"
    PROBED = "probed"
    ABORTED = "aborted"
    MISSING = "missing"
    REFUSED = "refused"
    TIMED_OUT = "timed out"
    UNREACHABLE = "unreachable"
    REPLACED = "replaced"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """A TFTP read request was granted. Sizes are bytes; `path` is the name as asked, made normal."""

    client: str
    port: int
    server: str
    path: str
    size: int
    blksize: int
    windowsize: int


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """A TFTP read request came to its end, granted or not. `sent_bytes` is what the client acknowledged."""

    client: str
    port: int
    server: str
    path: str
    outcome: Outcome
    size: int = 0
    sent_bytes: int = 0
    seconds: float = 0.0
    retransmissions: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class PacketDropped:
    """A datagram was dropped or answered with an error because its sender broke the protocol."""

    service: str
    client: str
    why: str


@dataclass(frozen=True, slots=True)
class HttpServed:
    """An HTTP request was answered. `kind` is seed, boot, health or page."""

    client: str
    method: str
    path: str
    status: int
    sent_bytes: int
    kind: str
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class FleetRead:
    """fleet.toml was read, at start or because it changed."""

    pis: int
    images: int


@dataclass(frozen=True, slots=True)
class PiReady:
    """A Pi has a new generation of its own, and boots it from now on."""

    serial: str
    hostname: str
    image: str
    generation: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FleetFault:
    """A Pi of the fleet, or with an empty serial the fleet itself, cannot be made what fleet.toml says."""

    serial: str
    why: str


Event = FleetRead | PiReady | FleetFault | DhcpHeard | TransferStarted | TransferEnded | PacketDropped | HttpServed
Sink = Callable[[Event], None]
