"""What a DHCP server of its own LAN did, as values: part of all `events`, apart because they are many.

Belongs here: frozen facts, as there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaseGranted:
    """An address is leased, on disk and told to its client. `serial` and `hostname` are empty where not known."""

    mac: str
    address: str
    interface: str
    serial: str = ""
    hostname: str = ""
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class LeaseEnded:
    """An address was given back, or is in use by somebody without a lease of it, the one at `mac`, and rests now."""

    mac: str
    address: str
    interface: str
    why: str


@dataclass(frozen=True, slots=True)
class LeaseRefused:
    """A client asked for an address that it cannot have."""

    mac: str
    address: str
    interface: str


@dataclass(frozen=True, slots=True)
class DhcpTold:
    """Something about leasing addresses, in one sentence; `well` is false where somebody should look at it."""

    well: bool
    what: str
