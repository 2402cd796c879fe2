"""What the servers saw, as values. A server tells; who listens (log, timeline, dashboard) is decided above it.

Belongs here: frozen facts about one thing that happened. Never here: text for people, or a way to react.
Times are not in them: whoever records an event reads its own clock as it arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pinetboot.causes import Cause
from pinetboot.dhcp.events import DhcpTold, LeaseEnded, LeaseGranted, LeaseRefused


@dataclass(frozen=True, slots=True)
class DhcpHeard:
    """A DHCP message was heard on UDP port 67. `answered` is None where it was left alone, for `why`.

    `requested` is the address that a REQUEST asks for or renews, empty in all other messages. `source` is the client's
    own address; what comes through a relay, `relay`, shows none. `cause`: why a boot that is answered goes no further.
    `server` is the DHCP server that a REQUEST names (option 54), `unaddressed`: it asks for 0.0.0.0 by name.
    `xid` is the transaction. `machine` names what asks to boot and is no Pi.
    """

    mac: str
    kind: str
    interface: str
    answered: str | None
    why: str = ""
    serial: str | None = None
    model: str | None = None
    source: str = ""
    requested: str = ""
    relay: str = ""
    cause: Cause | None = None
    server: str = ""
    unaddressed: bool = False
    xid: int = 0
    machine: str = ""


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
    HOMELESS = "homeless"


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
    """A TFTP read request came to its end, granted or not. `sent_bytes` is what the client acknowledged.

    `repeats` counts how often the client asked again before any of it arrived.
    """

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
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class PacketDropped:
    """A datagram was dropped or answered with an error because its sender broke the protocol."""

    service: str
    client: str
    why: str


@dataclass(frozen=True, slots=True)
class HttpServed:
    """An HTTP request was answered. `kind` is seed, boot, health, phone or page; `server` is the address asked.

    `size` is the bytes of the whole answer, 0 where it has none; of `sent_bytes` a client may not have taken the last.
    """

    client: str
    method: str
    path: str
    status: int
    sent_bytes: int
    kind: str
    user_agent: str = ""
    server: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class FleetRead:
    """fleet.toml was read, at start or because it changed."""

    pis: int
    images: int


@dataclass(frozen=True, slots=True)
class PiMaking:
    """A generation of a Pi's own is begun to be made from an image."""

    serial: str
    hostname: str
    image: str
    generation: int


@dataclass(frozen=True, slots=True)
class PiReady:
    """A Pi has a new generation of its own, and boots it from now on."""

    serial: str
    hostname: str
    image: str
    generation: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BootImgMade:
    """The boot.img of a Pi was made anew from its boot tree: so many bytes, `signed` with the user's key or not."""

    serial: str
    hostname: str
    generation: int
    bytes: int
    signed: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class FleetKept:
    """Who keeps the fleet of our data directory has changed: this daemon by its claim `epoch`, else (0) `by`.

    `expected`: there are several by design, with a virtual IP that says which of them keeps it.
    """

    epoch: int
    by: str
    expected: bool


@dataclass(frozen=True, slots=True)
class AddressMoved:
    """The address that clients are told came to this host, or left it."""

    address: str
    held: bool


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A Pi goes back to the generation `to`, as `generation` was not online `after_s` seconds after it was booted."""

    serial: str
    hostname: str
    generation: int
    to: int
    after_s: float


@dataclass(frozen=True, slots=True)
class BootloaderUpdate:
    """What becomes of an update of a Pi's bootloader: `state` is one of `eeprom.update.Came`, `why` a sentence."""

    serial: str
    hostname: str
    state: str
    why: str


@dataclass(frozen=True, slots=True)
class FleetFault:
    """A Pi of the fleet, or with an empty serial the fleet itself, cannot be made what fleet.toml says."""

    serial: str
    why: str


@dataclass(frozen=True, slots=True)
class RootMounted:
    """A Pi has the root tree of one of its generations mounted over NFS, from the address `client`."""

    serial: str
    client: str
    generation: int


@dataclass(frozen=True, slots=True)
class ConsoleHeard:
    """A line of a bootloader's log came over UDP from the address `client` (reference 4.5): whatever somebody sent."""

    client: str
    text: str


@dataclass(frozen=True, slots=True)
class PhonedHome:
    """A Pi told over HTTP that it is up, from the address `client`. `hostname` is what it said, empty for nothing."""

    client: str
    serial: str
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class PiOnline:
    """A boot is through, `seconds` after its first sign; None where its beginning was not seen."""

    serial: str
    seconds: float | None
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class BootStalled:
    """A boot goes no further than `stage` (design 2.6); `cause` is the most likely one, None where none is known."""

    serial: str
    stage: str
    cause: Cause | None
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class FileIgnored:
    """A file that pinetboot keeps for itself cannot be used, and is left out."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class ExportsChanged:
    """What nfsd exports of ours has changed: each as CLIENT:PATH."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NfsTold:
    """Something about NFS on this host, in one sentence; `well` is false where somebody should look at it."""

    well: bool
    what: str


@dataclass(frozen=True, slots=True)
class InterfaceChanged:
    """An interface that the settings name came, or is not there and waited for; without a name it cannot be used."""

    interface: str
    there: bool
    why: str = ""


Event = (
    FleetRead
    | PiMaking
    | PiReady
    | BootImgMade
    | FleetKept
    | AddressMoved
    | RolledBack
    | BootloaderUpdate
    | FleetFault
    | DhcpHeard
    | LeaseGranted
    | LeaseEnded
    | LeaseRefused
    | DhcpTold
    | TransferStarted
    | TransferEnded
    | PacketDropped
    | HttpServed
    | RootMounted
    | ExportsChanged
    | NfsTold
    | ConsoleHeard
    | PhonedHome
    | PiOnline
    | BootStalled
    | FileIgnored
    | InterfaceChanged
)
Sink = Callable[[Event], None]
