"""Network interfaces and their addresses, from netlink: the one door to pyroute2.

Belongs here: what there is, and word that it changed. Never here: what to do about it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

import pyroute2

from pinetboot.errors import OperatorError

_IFF_UP = 1
_IFF_LOOPBACK = 8
# RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR of rtnetlink(7)
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100
_SETTLE_S = 0.02
_AGAIN_S = 0.5
_MOST_RECEIVED = 65536
# rtnetlink(7): RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR; RTM_NEWROUTE, RTM_DELROUTE
_LINKS_AND_ADDRESSES = frozenset({16, 17, 20, 21})
_ROUTES = frozenset({24, 25})
# neighbour.h: NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_PERMANENT
_NUD_VALID = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
_HEADER = struct.Struct("=IH")  # netlink(7): length with the header, type
_TO_MESSAGE = 16


@dataclass(frozen=True, slots=True)
class Link:
    """One interface. `mtu` is bytes; addresses come in the kernel's order, the primary one first."""

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    loopback: bool
    addresses: tuple[IPv4Interface, ...] = ()
    addresses6: tuple[IPv6Interface, ...] = ()

    @property
    def primary(self) -> IPv4Interface | None:
        """The address that broadcasts are answered from."""
        return self.addresses[0] if self.addresses else None


@dataclass(frozen=True, slots=True)
class Links:
    """All interfaces at one moment, by index."""

    by_index: dict[int, Link] = field(default_factory=dict)
    default_index: int | None = None

    def serving(self, interfaces: Sequence[str]) -> list[Link]:
        """Those that DHCP listens on: the ones named, else all that are up with IPv4, loopback not."""
        return [link for link in self.by_index.values() if self.serves(link, interfaces)]

    def serves(self, link: Link, interfaces: Sequence[str]) -> bool:
        """Whether `link`, as it was once, is one of serving() now."""
        now = self.by_index.get(link.index)
        if now is None or interfaces:
            return now is not None and now.name in interfaces
        return now.up and not now.loopback and bool(now.addresses)

    def holds(self, address: IPv4Address) -> bool:
        """Whether this host has `address` now."""
        return any(address == own.ip for link in self.by_index.values() for own in link.addresses)

    def towards(self, address: IPv4Address) -> Link | None:
        """The interface whose network holds `address`."""
        for link in self.by_index.values():
            if any(address in own.network for own in link.addresses):
                return link
        return None


def read() -> Links:
    """Ask the kernel; takes a few milliseconds and runs a loop of its own, so never call it on a running one."""
    found: dict[int, Link] = {}
    try:
        with pyroute2.IPRoute() as netlink:
            links = list(netlink.get_links())
            addresses = list(netlink.get_addr())
            routes = list(netlink.get_default_routes(family=socket.AF_INET))
    except (OSError, pyroute2.NetlinkError) as error:
        raise OperatorError(f"the network interfaces cannot be read: {error}") from None
    v4: dict[int, list[IPv4Interface]] = {}
    v6: dict[int, list[IPv6Interface]] = {}
    for item in addresses:
        # On a point-to-point link IFA_ADDRESS is the peer's; IFA_LOCAL is always ours where it is given.
        text = item.get("IFA_LOCAL") or item.get("IFA_ADDRESS")
        if text is None:
            continue
        if item["family"] == socket.AF_INET:
            v4.setdefault(item["index"], []).append(IPv4Interface((text, item["prefixlen"])))
        elif item["family"] == socket.AF_INET6:
            v6.setdefault(item["index"], []).append(IPv6Interface((text, item["prefixlen"])))
    for item in links:
        index = item["index"]
        found[index] = Link(
            index=index,
            name=item.get("IFLA_IFNAME") or str(index),
            mac=item.get("IFLA_ADDRESS") or "",
            mtu=item.get("IFLA_MTU") or 0,
            up=bool(item["flags"] & _IFF_UP),
            loopback=bool(item["flags"] & _IFF_LOOPBACK),
            addresses=tuple(v4.get(index, ())),
            addresses6=tuple(v6.get(index, ())),
        )
    return Links(found, routes[0].get("RTA_OIF") if routes else None)


class LinkWatch:
    """Keeps `links` as they are, and calls back within moments of each change; what is the same as before is none."""

    def __init__(self, changed: Callable[[Links], None] | None = None) -> None:
        self.links = Links()
        self._changed = changed
        self._sock: socket.socket | None = None
        self._reading: asyncio.Task[None] | None = None
        self._stale = False
        # A thread of its own: who waits for a dead disk in the loop's threads must not keep an address from being seen.
        self._thread = ThreadPoolExecutor(1, "links")

    async def start(self) -> None:
        """Subscribe, then read for the first time, so that no change falls between. Raises OperatorError."""
        try:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
            sock.bind((0, _GROUPS))
        except OSError as error:
            raise OperatorError(f"the network interfaces cannot be watched: {error.strerror}") from None
        self._sock = sock
        loop = asyncio.get_running_loop()
        loop.add_reader(sock.fileno(), self._something_changed)
        self.links = await loop.run_in_executor(self._thread, read)

    async def neighbours(self) -> dict[str, str]:
        """Read the neighbour table, off the loop. Raises OperatorError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, neighbours)

    def close(self) -> None:
        """Stop watching."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self._reading is not None:
            self._reading.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _something_changed(self) -> None:
        # Which message it was does not matter beyond that, nor does one lost to a full buffer: all is read anew.
        matters = False
        try:
            while self._sock is not None:
                matters |= matter(self._sock.recv(_MOST_RECEIVED))
        except BlockingIOError:
            pass
        except OSError:
            matters = True
        if not matters:
            return
        self._stale = True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read_anew())

    async def _read_anew(self) -> None:
        while self._stale:
            await asyncio.sleep(_SETTLE_S)
            self._stale = False
            try:
                links = await asyncio.get_running_loop().run_in_executor(self._thread, read)
            except OperatorError:
                self._stale = True
                await asyncio.sleep(_AGAIN_S)
                continue
            if links != self.links:
                self.links = links
                if self._changed is not None:
                    self._changed(links)


def neighbours() -> dict[str, str]:
    """Read the kernel's neighbour table: MACs by IPv4 address, of those that answered once. Raises OperatorError.

    Like read(), never call it on a running loop.
    """
    try:
        with pyroute2.IPRoute() as netlink:
            entries = [item for item in netlink.get_neighbours(family=socket.AF_INET) if item["state"] & _NUD_VALID]
    except (OSError, pyroute2.NetlinkError) as error:
        raise OperatorError(f"the neighbour table cannot be read: {error}") from None
    found = ((item.get("NDA_DST"), item.get("NDA_LLADDR")) for item in entries)
    return {address: mac for address, mac in found if address and mac}


def matter(messages: bytes) -> bool:
    """Whether rtnetlink messages tell of links, of addresses or of a default route; a router has many other routes."""
    at = 0
    while at + _HEADER.size <= len(messages):
        size, kind = _HEADER.unpack_from(messages, at)
        if kind in _LINKS_AND_ADDRESSES or size < _HEADER.size:
            return True
        # struct rtmsg: family, then the length of the prefix that is routed
        if kind in _ROUTES and messages[at + _TO_MESSAGE + 1 : at + _TO_MESSAGE + 2] == b"\0":
            return True
        at += (size + 3) & ~3
    return False


def lend(index: int, address: IPv4Interface, for_s: int) -> None:
    """Put an address on an interface; the kernel itself takes it away after `for_s` seconds. Raises OperatorError.

    Like read(), never call it on a running loop.
    """
    try:
        with pyroute2.IPRoute() as netlink:
            netlink.addr(
                "replace",
                index=index,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
                preferred_lft=for_s,
                valid_lft=for_s,
            )
    except (OSError, pyroute2.NetlinkError) as error:
        raise OperatorError(f"the address {address} cannot be put on the interface: {error}") from None


def take_back(index: int, address: IPv4Interface) -> None:
    """Take a lent address off its interface; no fault when it is gone already."""
    with suppress(OSError, pyroute2.NetlinkError), pyroute2.IPRoute() as netlink:
        netlink.addr("del", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
