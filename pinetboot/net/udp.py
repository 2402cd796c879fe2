"""UDP sockets whose answers leave from the very address that was asked.

Belongs here: socket options, ancillary data, and the numbers for them that the socket module lacks. asyncio's own
datagram transports carry no ancillary data, and uvloop has no sock_recvfrom(), so these are non-blocking sockets for
add_reader(). Never here: what the bytes mean.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from typing import Final, NamedTuple

from pinetboot.net.addresses import Endpoint, PortRange, endpoint

# Linux numbers that the socket module of Python 3.11 lacks: ip(7), ipv6(7), udp(7).
_IP_PKTINFO: Final = 8
_IP_MTU: Final = 14
_IPV6_MTU: Final = 24
_IPV6_RECVPKTINFO: Final = 49
_IPV6_PKTINFO: Final = 50
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_SO_RCVBUFFORCE: Final = 33

_PKTINFO: Final = struct.Struct("=I4s4s")  # interface, local address (ipi_spec_dst), destination in the header
_PKTINFO6: Final = struct.Struct("=16sI")
_ANCILLARY: Final = 128
_MAX_DATAGRAM: Final = 65535
_RECEIVE_BUFFER: Final = 4 << 20

Socket = socket.socket
IPV6 = socket.AF_INET6


class Datagram(NamedTuple):
    """One datagram with both its ends. `local` is the address to answer from, `interface` the index it came in on.

    `destination` is the address in the packet's header, which for a broadcast is not ours.
    """

    payload: bytes
    peer: Endpoint
    local: str
    interface: int
    destination: str


def listen(port: int, *, ipv6: bool = False, device: str | None = None) -> Socket:
    """Bind the wildcard address on `port`, on one network device if named. Raises OSError.

    SO_REUSEADDR is set after the bind: a second daemon is told EADDRINUSE, while transfer sockets that set it before
    theirs may share the port.
    """
    sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            _make_room(sock)
        else:
            prepare(sock)
        if device is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sock.bind(("::" if ipv6 else "0.0.0.0", port))  # noqa: S104 - addresses may come and go; interfaces narrow it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def prepare(sock: Socket) -> None:
    """Have receive() and send() work on an IPv4 socket, and a burst wait in it."""
    sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    _make_room(sock)


def _make_room(sock: Socket) -> None:
    """Let a burst wait in the socket, a rack after a power cut say; beyond the system's limit where we may."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def receive(sock: Socket) -> Datagram | None:
    """Take one datagram from a listen() socket; None when there is none."""
    try:
        payload, ancillary, _, sender = sock.recvmsg(_MAX_DATAGRAM, _ANCILLARY)
    except BlockingIOError:
        return None
    peer = endpoint(sender)
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            interface, local, destination = _PKTINFO.unpack_from(data)
            return Datagram(payload, peer, socket.inet_ntoa(local), interface, socket.inet_ntoa(destination))
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
            packed, interface = _PKTINFO6.unpack_from(data)
            address = socket.inet_ntop(socket.AF_INET6, packed)
            return Datagram(payload, peer, address, interface, address)
    return Datagram(payload, peer, "", 0, "")


def is_ours(address: str) -> bool:
    """Whether this host has an IPv4 address at this very moment, before netlink tells."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def send(sock: Socket, payload: bytes, peer: Endpoint, *, local: str, interface: int) -> None:
    """Send from a listen() socket, from `local` (empty: any) and out of `interface` (0: any). Raises OSError."""
    if peer.is_ipv6:
        source = socket.inet_pton(socket.AF_INET6, local or "::")
        control = (socket.IPPROTO_IPV6, _IPV6_PKTINFO, _PKTINFO6.pack(source, interface))
    else:
        source = socket.inet_aton(local or "0.0.0.0")  # noqa: S104 - the kernel chooses
        control = (socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(interface, source, bytes(4)))
    sock.sendmsg([payload], [control], 0, peer.sockaddr())


def connected(peer: Endpoint, *, local: str, port: int, device: str | None = None) -> Socket:
    """Open a socket from `local`:`port` (0: any port) to `peer` that may share its port with others. Raises OSError.

    Between bind and connect the socket takes in datagrams of other clients: drain() it right after.
    """
    sock = socket.socket(socket.AF_INET6 if peer.is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if device is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sock.bind(Endpoint(local, port, peer.scope).sockaddr() if local else ("", port))
        sock.connect(peer.sockaddr())
    except BaseException:
        sock.close()
        raise
    return sock


def connected_in(ports: PortRange, turn: int, peer: Endpoint, *, local: str, device: str | None = None) -> Socket:
    """Do connected() from one of `ports`, beginning at the `turn`-th and passing over those another program holds."""
    error: OSError | None = None
    for step in range(len(ports)):
        try:
            return connected(peer, local=local, port=ports.first + (turn + step) % len(ports), device=device)
        except OSError as refused:
            error = refused
    raise error or OSError("no data ports")


def drain(sock: Socket) -> list[tuple[bytes, Endpoint]]:
    """Take whatever a connected() socket received before it was connected."""
    taken = []
    with suppress(OSError):
        while True:
            payload, sender = sock.recvfrom(_MAX_DATAGRAM)
            taken.append((payload, endpoint(sender)))
    return taken


def mtu(sock: Socket) -> int:
    """Say the largest IP packet, bytes, that leaves a connected socket in one frame."""
    if sock.family == socket.AF_INET6:
        return sock.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
    return sock.getsockopt(socket.IPPROTO_IP, _IP_MTU)


def segment(sock: Socket, size: int) -> bool:
    """Have the kernel cut each send into datagrams of `size` bytes (UDP_SEGMENT); 0 ends it. Says whether it can."""
    try:
        sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, size)
    except OSError:
        return False
    return True
