"""What was seen of the host and of the LANs around it, as values.

Belongs here: what `findings` thinks about. How it is found out is `look`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Literal

from pinetboot.config import Config
from pinetboot.dhcp.asking import Neighbour
from pinetboot.host.spanning import Bpdu

Protocol = Literal["udp", "tcp"]


@dataclass(frozen=True, slots=True)
class Lan:
    """One interface: its addresses, who answered there, and what the switch's port said.

    `unasked` says why nobody was asked for, empty where somebody was.
    """

    interface: str
    addresses: tuple[IPv4Interface, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    unasked: str = ""
    spanning: Bpdu | None = None

    def holds(self, address: IPv4Address) -> bool:
        """Whether its network holds an address."""
        return any(address in own.network for own in self.addresses)


@dataclass(frozen=True, slots=True)
class Held:
    """A port that `service` needs, as `setting` says, and that others hold; `by` names them for people."""

    service: str
    protocol: Protocol
    port: int
    setting: str
    by: str


@dataclass(frozen=True, slots=True)
class Closed:
    """Packets that the firewall surely drops, `UDP 69` say, and the chain that does it."""

    packets: tuple[str, ...]
    interfaces: tuple[str, ...]
    chain: str
    established: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """All that was seen. `known` are addresses of the fleet's Pis; `serving`: a pinetboot serves on this host now.

    `misplaced` says why the range of `dhcp.mode = "server"` cannot be leased; `no_roots` what keeps this
    process from making root trees; `slow_s` how far the clock is behind what is certain; `synchronised` is None where
    nobody knows.
    """

    config: Config
    lans: tuple[Lan, ...] = ()
    own: frozenset[IPv4Address] = frozenset()
    known: frozenset[IPv4Address] = frozenset()
    serving: bool = False
    misplaced: tuple[str, str] | None = None
    held: tuple[Held, ...] = ()
    closed: tuple[Closed, ...] = ()
    unlisted_firewall: bool = False
    may_bind: bool = True
    may_raw: bool = True
    no_roots: str = ""
    slow_s: float = 0.0
    synchronised: bool | None = None
