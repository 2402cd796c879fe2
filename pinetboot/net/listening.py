"""Listening sockets as the settings name them, and one clear sentence when one cannot be had."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence

from pinetboot.errors import OperatorError
from pinetboot.net import udp

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
                raise _explained(error, what, setting, device) from None
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


def _explained(error: OSError, what: str, setting: str, device: str | None) -> OperatorError:
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
