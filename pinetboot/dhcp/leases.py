"""The table of leases: which address is whose, until when, and which one a newcomer gets.

Belongs here: the choice of addresses and their states, for a range of any size. What is answered is decided in
`serving`, the file is `lease_file`'s. Time is an argument: seconds since 1970, for leases outlive the process.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address
from typing import Final
from zlib import crc32

from pinetboot.dhcp.lease import Lease, Range

# So long an address rests that a client, or an ARP probe, found in use: time to find the one who has it.
REST_S: Final = 3600.0


class Leases:
    """All leases of one range. `changed` are those to be kept on disk, in the order that they changed.

    A client gets the same address each time: the one it had, else the one that its key comes to by a checksum, or the
    next one that nobody ever had. Only when there is none left, those are given again whose time is over: offers that
    nobody took first, then the lease that ended first. No step looks at all leases, but for configure().
    """

    def __init__(self, range_: Range) -> None:
        self.changed: dict[IPv4Address, Lease] = {}
        self._range = range_
        self._reserved: frozenset[IPv4Address] = frozenset()
        self._at: dict[int, Lease] = {}
        self._of: dict[str, Lease] = {}
        self._offered: dict[str, Lease] = {}
        # From an address that was given out or may not be, to one at or before the next that may: paths are shortened
        # as they are walked.
        self._skip: dict[int, int] = {}
        # (when free, address): of what was only offered, and of what was leased. Times in it may be too early.
        self._ends: tuple[list[tuple[float, int]], list[tuple[float, int]]] = ([], [])
        self.configure(range_, ())

    def __len__(self) -> int:
        """How many addresses are known, free ones included."""
        return len(self._at)

    def configure(self, range_: Range, reserved: Collection[IPv4Address]) -> None:
        """Take a range and the addresses that are set aside; what is leased stays."""
        self._range = range_
        self._reserved = frozenset(reserved)
        ends = {range_.network.network_address, range_.network.broadcast_address}
        numbers = {*self._at, *map(int, self._reserved), *map(int, range_.taken), *map(int, ends)}
        self._skip = {number: number + 1 for number in numbers}
        for ends_ in self._ends:
            ends_.clear()
        for lease in self._at.values():
            lease.queued = None
            self._queue(lease)

    def restore(self, lease: Lease) -> None:
        """Take one lease that was kept; a later one of the same address wins."""
        self._forget(int(lease.address))
        self._put(lease)
        mine = self._of if lease.until > 0 else self._offered
        before = mine.get(lease.client)
        if lease.client and (before is None or before.busy <= lease.busy):
            mine[lease.client] = lease

    def of(self, client: str) -> Lease | None:
        """What a client has, or had last, its own still."""
        return self._of.get(client)

    def latest(self, client: str) -> Lease | None:
        """What a client was offered last, else what it has."""
        return self._offered.get(client) or self._of.get(client)

    def at(self, address: IPv4Address) -> Lease | None:
        """Whose an address is or was."""
        return self._at.get(int(address))

    def all(self) -> list[Lease]:
        """Every address that is known."""
        return list(self._at.values())

    def valid(self, now: float) -> int:
        """Count the leases that run; it looks at all."""
        return sum(lease.until > now and not lease.resting for lease in self._at.values())

    def take_changed(self) -> Mapping[IPv4Address, Lease]:
        """Give what is to be kept since it was asked last."""
        changed, self.changed = self.changed, {}
        return changed

    def offer(
        self,
        client: str,
        mac: str,
        now: float,
        *,
        hold_s: float,
        reserved: IPv4Address | None = None,
        wanted: IPv4Address | None = None,
    ) -> Lease | None:
        """Hold an address for a client for a while; None where there is none. What it has leased stays its own."""
        own, offered = self._of.get(client), self._offered.get(client)
        if wanted is not None and int(wanted) in self._at:
            wanted = None  # it was another's, or is the client's own and comes first anyway
        choices = (reserved, own.address if own else None, offered.address if offered else None, wanted)
        fit = (one for one in choices if one is not None and self._may_have(client, mac, one, now, reserved))
        chosen = next(fit, None)
        found = self._next(client, now) if chosen is None else int(chosen)
        if found is None:
            return None
        lease = self._give(found, client, mac)
        if offered is not None and offered is not lease and offered.client == client and offered is not own:
            offered.held = now
            self._queue(offered)
        lease.held = now + hold_s
        self._queue(lease)
        self._offered[client] = lease
        return lease

    def claim(
        self,
        client: str,
        mac: str,
        address: IPv4Address,
        now: float,
        *,
        lease_s: float,
        reserved: IPv4Address | None = None,
    ) -> Lease | None:
        """Lease an address that a client asks for, or renew it; None where it cannot have that one.

        Another one that the client had is free from then on.
        """
        if not self._may_have(client, mac, address, now, reserved):
            return None
        lease = self._give(int(address), client, mac)
        before = self._of.get(client)
        if before is not None and before is not lease:
            before.until = min(before.until, now)
            before.held = 0.0
            self._changes(before)
        offered = self._offered.pop(client, None)
        if offered is not None and offered is not lease and offered is not before:
            offered.held = now
            self._queue(offered)
        self._of[client] = lease
        lease.until, lease.held, lease.probed = now + lease_s, 0.0, True
        self._changes(lease)
        return lease

    def withdraw(self, client: str, now: float) -> None:
        """Forget an offer that its client did not take; what it has leased stays."""
        offered = self._offered.pop(client, None)
        if offered is not None and offered.client == client:
            offered.held = now
            self._queue(offered)

    def release(self, client: str, address: IPv4Address, now: float) -> Lease | None:
        """Take back what a client gives back; None where it is not its own. It gets the same one again later."""
        lease = self._at.get(int(address))
        if lease is None or lease.client != client or lease.until <= now:
            return None
        lease.until, lease.held = now, 0.0
        self._changes(lease)
        return lease

    def decline(self, client: str, address: IPv4Address, now: float) -> Lease | None:
        """Have an address rest that its client found in use; None where it was not its own."""
        lease = self._at.get(int(address))
        if lease is None or lease.client != client or lease.busy <= now:
            return None
        return self.in_use(address, "", now)

    def in_use(self, address: IPv4Address, mac: str, now: float) -> Lease | None:
        """Have an address rest that somebody uses without a lease of it, the one with a MAC where that is known."""
        lease = self._at.get(int(address))
        if lease is None:
            return None
        self._disown(lease)
        lease.client, lease.mac, lease.serial, lease.hostname, lease.firmware = "", mac, "", "", None
        # Its time counts from here, so that it is not the first to be tried again.
        lease.until = lease.held = now + REST_S
        self._changes(lease)
        return lease

    def _may_have(self, client: str, mac: str, address: IPv4Address, now: float, reserved: IPv4Address | None) -> bool:
        if not self._range.allows(address):
            return False
        lease = self._at.get(int(address))
        own = lease is not None and lease.client == client
        if lease is not None and own and lease.until > now:
            return True  # whatever was reserved or moved since: who runs at an address stays there
        if address != reserved and (address in self._reserved or address not in self._range):
            return False
        # One that was found at an address which rests may have it.
        return lease is None or own or lease.busy <= now or (lease.resting and lease.mac == mac)

    def _next(self, client: str, now: float) -> int | None:
        """Choose for a newcomer: beginning at the place that its key comes to, what nobody had; else the oldest."""
        first, last = int(self._range.first), int(self._range.last)
        home = first + crc32(client.encode()) % (last - first + 1)
        for start in (home, first):
            found = self._fresh(start)
            if found <= last:
                return found
        return self._oldest(now)

    def _fresh(self, start: int) -> int:
        at = start
        walked = []
        while (following := self._skip.get(at)) is not None:
            walked.append(at)
            at = following
        for number in walked:
            self._skip[number] = at
        return at

    def _oldest(self, now: float) -> int | None:
        for leased, ends in enumerate(self._ends):
            while ends and ends[0][0] <= now:
                at, number = heapq.heappop(ends)
                lease = self._at.get(number)
                if lease is None or lease.queued != at:
                    continue
                lease.queued = None
                if lease.busy > now or (lease.until > 0) != leased:
                    self._queue(lease)
                elif lease.address in self._range and lease.address not in self._reserved:
                    return number
        return None

    def _queue(self, lease: Lease) -> None:
        """Note when an address is free; one entry an address, that of the earliest time."""
        busy = lease.busy
        if lease.queued is None or busy < lease.queued:
            lease.queued = busy
            heapq.heappush(self._ends[lease.until > 0], (busy, int(lease.address)))

    def _give(self, number: int, client: str, mac: str) -> Lease:
        lease = self._at.get(number)
        if lease is None:
            lease = Lease(IPv4Address(number), client, mac)
            self._put(lease)
        elif lease.client != client:
            self._disown(lease)
            lease.client, lease.serial, lease.hostname, lease.firmware = client, "", "", None
            lease.until, lease.held, lease.probed = min(lease.until, 1.0), 0.0, False
        lease.mac = mac
        return lease

    def _put(self, lease: Lease) -> None:
        number = int(lease.address)
        self._at[number] = lease
        self._skip.setdefault(number, number + 1)
        self._queue(lease)

    def _forget(self, number: int) -> None:
        lease = self._at.pop(number, None)
        if lease is not None:
            self._disown(lease)

    def _disown(self, lease: Lease) -> None:
        for of in (self._of, self._offered):
            if of.get(lease.client) is lease:
                del of[lease.client]

    def _changes(self, lease: Lease) -> None:
        self._queue(lease)
        self.keep(lease)

    def keep(self, lease: Lease) -> None:
        """Have a lease kept on disk as it is."""
        self.changed.pop(lease.address, None)
        self.changed[lease.address] = lease
