"""Network interfaces and their addresses, from netlink: the one door to pyroute2.

Belongs here: what there is, and word that it changed. Never here: what to do about it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
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
        if interfaces:
            return [link for link in self.by_index.values() if link.name in interfaces]
        return [link for link in self.by_index.values() if link.up and not link.loopback and link.addresses]

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
    """Keeps `links` as they are and calls back after each change, once things have settled for a moment."""

    def __init__(self, changed: Callable[[Links], None] | None = None) -> None:
        self.links = Links()
        self._changed = changed
        self._sock: socket.socket | None = None
        self._reading: asyncio.Task[None] | None = None
        self._stale = False

    async def start(self) -> None:
        """Subscribe, then read for the first time, so that no change falls between. Raises OperatorError."""
        try:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
            sock.bind((0, _GROUPS))
        except OSError as error:
            raise OperatorError(f"the network interfaces cannot be watched: {error.strerror}") from None
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._something_changed)
        self.links = await asyncio.to_thread(read)

    def close(self) -> None:
        """Stop watching."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self._reading is not None:
            self._reading.cancel()

    def _something_changed(self) -> None:
        # Which message it was does not matter, nor does one lost to a full buffer: all is read anew.
        with suppress(OSError):
            while self._sock is not None:
                self._sock.recv(65536)
        self._stale = True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read_anew())

    async def _read_anew(self) -> None:
        while self._stale:
            self._stale = False
            await asyncio.sleep(_SETTLE_S)
            with suppress(OperatorError):
                self.links = await asyncio.to_thread(read)
        if self._changed is not None:
            self._changed(self.links)


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
