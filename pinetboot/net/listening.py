"""Listening sockets as the settings name them, and one clear sentence when one cannot be had."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pinetboot.errors import OperatorError
from pinetboot.net import udp
from pinetboot.net.links import Links

_CLAIM = "\0pinetboot/"
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
_BACKLOG = 1024


def udp_sockets(port: int, interfaces: Sequence[str], setting: str, *, ipv6: bool) -> list[udp.Socket]:
    """Listen on `port` everywhere, or on `interfaces` alone. Raises OperatorError that names `setting`."""
    openers = [lambda device: udp.listen(port, device=device)]
    if ipv6:
        openers.append(lambda device: udp.listen(port, ipv6=True, device=device))
    return _all(openers, interfaces, f"UDP port {port}", setting)


def tcp_sockets(port: int, interfaces: Sequence[str], setting: str) -> list[socket.socket]:
    """Listen for TCP as udp_sockets() does for UDP, IPv4 and IPv6. Raises OperatorError that names `setting`."""
    families = (socket.AF_INET, socket.AF_INET6)
    openers = [lambda device, family=family: _tcp(port, family, device) for family in families]
    return _all(openers, interfaces, f"TCP port {port}", setting)


_Opener = Callable[[str | None], socket.socket]


def _all(openers: Sequence[_Opener], interfaces: Sequence[str], what: str, setting: str) -> list[socket.socket]:
    """Open every socket on every interface; the first opener's must come, the others' where this host has IPv6."""
    sockets: list[socket.socket] = []
    devices: list[str | None] = [*interfaces] or [None]
    for device in devices:
        for opener in openers:
            try:
                sockets.append(opener(device))
            except OSError as error:
                if opener is not openers[0] and error.errno in _NO_IPV6:
                    continue
                for sock in sockets:
                    sock.close()
                raise explained(error, what, setting, device) from None
    return sockets


def _tcp(port: int, family: socket.AddressFamily, device: str | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if device is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sock.bind(("", port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


class Followed(NamedTuple):
    """What changed: sockets that were opened, those whose interface is gone, and why others could not be had."""

    came: list[socket.socket]
    went: list[socket.socket]
    faults: list[OperatorError]


class Listeners:
    """The sockets of a service: everywhere, or on each interface that the settings name while it is there.

    `opened` opens those for the interfaces that it is given, none meaning everywhere. Raises OperatorError.
    """

    def __init__(self, interfaces: Sequence[str], opened: Callable[[Sequence[str]], list[socket.socket]]) -> None:
        self._interfaces = interfaces
        self._opened = opened
        self._on: dict[tuple[int, str], list[socket.socket]] = {}

    @property
    def sockets(self) -> list[socket.socket]:
        """Every socket that is open now."""
        return [sock for sockets in self._on.values() for sock in sockets]

    def follow(self, links: Links) -> Followed:
        """Open and give up sockets as interfaces are there now; one that is made anew by the same name is another."""
        there = {(link.index, link.name): [link.name] for link in links.by_index.values()}
        wanted = {place: names for place, names in there.items() if place[1] in self._interfaces}
        if not self._interfaces:
            wanted = {(0, ""): []}
        went = [sock for place in list(self._on) if place not in wanted for sock in self._on.pop(place)]
        came: list[socket.socket] = []
        faults = []
        for place, names in wanted.items():
            if place not in self._on:
                try:
                    self._on[place] = self._opened(names)
                except OperatorError as fault:
                    faults.append(fault)
                else:
                    came += self._on[place]
        return Followed(came, went, faults)

    def close(self) -> None:
        """Close them all."""
        for sock in self.sockets:
            sock.close()
        self._on.clear()


def claim(what: str) -> socket.socket:
    """Have `what` on this host's network until the socket is closed, or this process ends. Raises OSError EADDRINUSE.

    An abstract name is of one network namespace, as ports are: containers that share ports share it too.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.bind(_CLAIM + what)
    except BaseException:
        sock.close()
        raise
    return sock


def explained(error: OSError, what: str, setting: str, device: str | None = None) -> OperatorError:
    """Say in one sentence why `what` ("UDP port 69") cannot be opened, and what to do; `setting` is where it is set."""
    where = f"{what} on {device}" if device else what
    flag = "--" + setting.replace(".", "-")
    port = what.rsplit(" ", 1)[1]
    letter = "u" if what.startswith("UDP") else "t"
    match error.errno:
        case errno.EADDRINUSE:
            return OperatorError(
                f"{where} is taken by another program",
                f"Stop that program (`ss -l{letter}np sport = :{port}` names it), or choose another port with {flag}."
                + (' Where it is this LAN\'s DHCP server, set dhcp.mode = "off".' if setting == "dhcp.port" else ""),
            )
        case errno.EPERM if device:
            return OperatorError(
                f"{where} may not be opened: this kernel wants CAP_NET_RAW for one interface alone",
                "Run as root, give that capability, or leave server.interfaces empty.",
            )
        case errno.EACCES | errno.EPERM:
            return OperatorError(
                f"{where} may not be opened by this user",
                f"Run as root, give the capability CAP_NET_BIND_SERVICE, or choose a port from 1024 with {flag}.",
            )
        case errno.ENODEV:
            return OperatorError(
                f"there is no network interface {device}",
                "Name one that `ip link` shows, in server.interfaces or with --interface.",
            )
    return OperatorError(f"{where} cannot be opened: {error.strerror}", f"Look at {setting} in the settings.")
