"""One lease and one range of addresses, as values, and a lease as a line of JSON.

Belongs here: what a lease is. Which address is whose is decided in `leases`, which alone changes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

_LATEST: Final = 1e11  # what is beyond is no time
_MAX_TEXT: Final = 600


@dataclass(slots=True)
class Lease:
    """One address, and whose it is or was; only the table changes it. Times are seconds since 1970.

    `client` is the key of clients (`client_key` of `serving`), empty for an address that rests: found in use, by `mac`
    where that is known. `until` is when the lease ends, 0 where the address never was leased; `held` is when an offer
    of it ends, or its rest. `firmware` is the transaction and option 97 of a Pi's last DISCOVER; `probed` says that
    nobody else was found at the address.
    """

    address: IPv4Address
    client: str
    mac: str
    until: float = 0.0
    held: float = 0.0
    serial: str = ""
    hostname: str = ""
    probed: bool = False
    firmware: tuple[int, bytes] | None = None
    queued: float | None = None

    @property
    def busy(self) -> float:
        """Until when nobody else may have the address."""
        return max(self.until, self.held)

    @property
    def resting(self) -> bool:
        """Whether it is nobody's because it was found in use."""
        return not self.client


@dataclass(frozen=True, slots=True)
class Range:
    """What addresses there are: `first` to `last` for everyone, the rest of `network` for reservations.

    `taken` are never given away: this host's own, the router's.
    """

    network: IPv4Network
    first: IPv4Address
    last: IPv4Address
    taken: frozenset[IPv4Address] = frozenset()

    def allows(self, address: IPv4Address) -> bool:
        """Whether a client may have an address at all."""
        ends = (self.network.network_address, self.network.broadcast_address)
        return address in self.network and address not in ends and address not in self.taken

    def __contains__(self, address: IPv4Address) -> bool:
        """Whether an address is one for everyone."""
        return self.first <= address <= self.last and self.allows(address)


def to_kept(lease: Lease) -> bytes:
    """Write a lease as one line of JSON, which ends in a newline.

    `state` is leased (until that time), offered (held until then, never leased) or declined (rests until then).
    """
    state = "declined" if lease.resting else "leased" if lease.until > 0 else "offered"
    kept: dict[str, Any] = {"address": str(lease.address), "mac": lease.mac, "client": lease.client, "state": state}
    kept |= {key: value for key, value in (("serial", lease.serial), ("hostname", lease.hostname)) if value}
    # Rounded up: a client is never promised more than was kept.
    kept["until"] = math.ceil(lease.busy * 1000) / 1000
    return json.dumps(kept, separators=(", ", ": ")).encode() + b"\n"


def from_kept(item: object) -> Lease | None:
    """Read a lease from what was one line of JSON; None for what is none."""
    if not isinstance(item, Mapping):
        return None
    texts = [item.get(key, "") for key in ("mac", "client", "serial", "hostname")]
    until, state = item.get("until"), item.get("state")
    if not all(isinstance(text, str) and len(text) <= _MAX_TEXT for text in texts):
        return None
    if isinstance(until, bool) or not isinstance(until, int | float) or not 0 <= until < _LATEST:
        return None
    try:
        address = IPv4Address(item.get("address"))
    except (ValueError, TypeError):
        return None
    mac, client, serial, hostname = texts
    if state not in {"leased", "offered", "declined"} or bool(client) == (state == "declined"):
        return None
    leased, held = (0.0, until) if state == "offered" else (until, 0.0) if client else (until, until)
    return Lease(address, client, mac, leased, held, serial, hostname, probed=state == "leased")
