"""Seeing the frames that go in and out of this host (packet(7)).

Belongs here: the packet socket, the filter in front of it, and what the kernel tells of each frame. Whoever opens it
needs CAP_NET_RAW; the socket may then be handed to another process, which needs nothing to read it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from typing import Final, NamedTuple

from pinetboot.net import bpf
from pinetboot.net.bpf import Op

# Linux numbers that the socket module of Python 3.11 lacks: packet(7), socket(7), <linux/if_packet.h>.
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_PACKET_AUXDATA: Final = 8
_SO_TIMESTAMPNS: Final = 35
_SO_RCVBUFFORCE: Final = 33
_ETH_P_ALL: Final = 3
_CHECKSUM_NOT_READY: Final = 8  # TP_STATUS_CSUMNOTREADY
_OUTGOING: Final = 4  # PACKET_OUTGOING
_ETHERNET_TYPES: Final = {1, 772}  # ARPHRD_ETHER, ARPHRD_LOOPBACK: their frames begin with an Ethernet header
_LOOPBACK_TYPE: Final = 772
_NFS_PORT: Final = 2049
_IPV4, _IPV6, _TCP, _UDP, _FRAGMENT = 0x0800, 0x86DD, 6, 17, 44
_OFFSET: Final = 0x1FFF

_BUFFER: Final = 32 << 20
_MOST: Final = 1 << 18
_ANCILLARY: Final = 256
_AUX: Final = struct.Struct("=I")
_STATISTICS: Final = struct.Struct("=II")
_MOST_INTERFACES: Final = 60
_MOST_HOSTS: Final = 16


class Seen(NamedTuple):
    """A frame with an Ethernet header, made up where the link has none. `at` is seconds since 1970.

    `unfinished`: its checksum was left to the network card.
    """

    octets: bytes
    at: float
    unfinished: bool


class Wanted(NamedTuple):
    """What is let through: UDP but NFS, and TCP of `http_port`; once `addresses` or `macs` are known, theirs alone.

    What goes to or comes from `dhcp_ports` is let through in any case. No `interfaces`: all of them.
    """

    dhcp_ports: Collection[int]
    http_port: int
    interfaces: Collection[int] = ()
    addresses: Collection[str] = ()
    macs: Collection[bytes] = ()


def opened(wanted: Wanted) -> socket.socket:
    """Begin to see frames. Raises OSError, PermissionError where CAP_NET_RAW lacks."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL))
    try:
        # What came in before the filter was there goes.
        bpf.attach(sock, bpf.assembled([Op(bpf.RETURN, 0)]))
        while receive(sock) is not None:
            pass
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        bpf.attach(sock, filter_for(wanted))
    except BaseException:
        sock.close()
        raise
    return sock


def narrow(sock: socket.socket, wanted: Wanted) -> None:
    """Let through something else from now on. Raises OSError."""
    bpf.attach(sock, filter_for(wanted))


def receive(sock: socket.socket) -> Seen | None:
    """Take one frame; None when there is none. Raises OSError."""
    try:
        octets, ancillary, _, sender = sock.recvmsg(_MOST, _ANCILLARY)
    except BlockingIOError:
        return None
    _, protocol, _, hardware, *_ = sender
    at, unfinished = 0.0, False
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("=qq" if len(data) >= 16 else "=ii", data)  # noqa: PLR2004 - a timespec
            at = seconds + nanoseconds / 1e9
        elif (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            unfinished = bool(_AUX.unpack_from(data)[0] & _CHECKSUM_NOT_READY)
    if hardware not in _ETHERNET_TYPES:
        octets = bytes(12) + protocol.to_bytes(2, "big") + octets
    return Seen(octets, at, unfinished)


def lost(sock: socket.socket) -> int:
    """How many frames came since the last call, and found no room. Raises OSError."""
    return int(_STATISTICS.unpack(sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size))[1])


def filter_for(wanted: Wanted) -> bytes:
    """Write the program that lets through what is wanted.

    A frame with a VLAN tag is seen again without it, on the interface of that VLAN; on loopback each is seen twice.
    """
    program = [Op(bpf.LOAD_WORD, bpf.ABOUT + bpf.VLAN_TAGGED), Op(bpf.JUMP_IF_EQUAL, 0, "", "drop")]
    program += [Op(bpf.LOAD_WORD, bpf.ABOUT + bpf.PACKET_TYPE), Op(bpf.JUMP_IF_EQUAL, _OUTGOING, "", "inside")]
    program += [Op(bpf.LOAD_WORD, bpf.ABOUT + bpf.HARDWARE), Op(bpf.JUMP_IF_EQUAL, _LOOPBACK_TYPE, "drop")]
    if 0 < len(wanted.interfaces) <= _MOST_INTERFACES:
        program += [Op(bpf.LOAD_WORD, bpf.ABOUT + bpf.INTERFACE, label="inside")]
        program += [Op(bpf.JUMP_IF_EQUAL, index, "ours") for index in wanted.interfaces]
        program += [Op(bpf.RETURN, 0), Op(bpf.LOAD_WORD, bpf.ABOUT + bpf.PROTOCOL, label="ours")]
    else:
        program += [Op(bpf.LOAD_WORD, bpf.ABOUT + bpf.PROTOCOL, label="inside")]
    program += [Op(bpf.JUMP_IF_EQUAL, _IPV6, "ipv6"), Op(bpf.JUMP_IF_EQUAL, _IPV4, "", "drop")]
    program += _ipv4(wanted) + _hosts(wanted) + _ipv6(wanted)
    program += [Op(bpf.RETURN, 0, label="drop"), Op(bpf.RETURN, _MOST, label="take")]
    return bpf.assembled(program)


def _ipv4(wanted: Wanted) -> list[Op]:
    """Choose by ports; what is left goes on to _hosts()."""
    program = [
        Op(bpf.LOAD_HEADER_SIZE, bpf.NETWORK),
        Op(bpf.LOAD_BYTE, bpf.NETWORK + 9),
        Op(bpf.JUMP_IF_EQUAL, _UDP, "udp"),
        Op(bpf.JUMP_IF_EQUAL, _TCP, "", "drop"),
        Op(bpf.LOAD_HALF, bpf.NETWORK + 6),
        Op(bpf.JUMP_IF_SET, _OFFSET, "drop"),
        Op(bpf.LOAD_HALF_BEHIND_X, bpf.NETWORK),
        Op(bpf.JUMP_IF_EQUAL, wanted.http_port, "hosts"),
        Op(bpf.LOAD_HALF_BEHIND_X, bpf.NETWORK + 2),
        Op(bpf.JUMP_IF_EQUAL, wanted.http_port, "hosts", "drop"),
        Op(bpf.LOAD_HALF, bpf.NETWORK + 6, label="udp"),
        Op(bpf.JUMP_IF_SET, _OFFSET, "hosts"),  # a later fragment has no ports
    ]
    for at in (0, 2):
        program.append(Op(bpf.LOAD_HALF_BEHIND_X, bpf.NETWORK + at))
        program += [Op(bpf.JUMP_IF_EQUAL, port, "take") for port in wanted.dhcp_ports]
        program.append(Op(bpf.JUMP_IF_EQUAL, _NFS_PORT, "drop"))
    return program


def _hosts(wanted: Wanted) -> list[Op]:
    program = [Op(bpf.LOAD_WORD, bpf.NETWORK + 12, label="hosts")]
    addresses = [int.from_bytes(socket.inet_aton(one), "big") for one in wanted.addresses if ":" not in one]
    macs = list(wanted.macs)
    if (not addresses and not macs) or len(addresses) + len(macs) > _MOST_HOSTS:
        return [*program, Op(bpf.RETURN, _MOST)]
    program += [Op(bpf.JUMP_IF_EQUAL, address, "take") for address in addresses]
    program.append(Op(bpf.LOAD_WORD, bpf.NETWORK + 16))
    program += [Op(bpf.JUMP_IF_EQUAL, address, "take") for address in addresses]
    if macs:
        program += [Op(bpf.LOAD_WORD, bpf.ABOUT + bpf.HARDWARE), Op(bpf.JUMP_IF_EQUAL, 1, "", "drop")]
        # The last four octets of a MAC are enough here.
        for at in (2, 8):
            program.append(Op(bpf.LOAD_WORD, bpf.LINK + at))
            program += [Op(bpf.JUMP_IF_EQUAL, int.from_bytes(mac[2:], "big"), "take") for mac in macs]
    return [*program, Op(bpf.RETURN, 0)]


def _ipv6(wanted: Wanted) -> list[Op]:
    return [
        Op(bpf.LOAD_BYTE, bpf.NETWORK + 6, label="ipv6"),
        Op(bpf.JUMP_IF_EQUAL, _FRAGMENT, "take"),
        Op(bpf.JUMP_IF_EQUAL, _UDP, "udp6"),
        Op(bpf.JUMP_IF_EQUAL, _TCP, "", "drop"),
        Op(bpf.LOAD_HALF, bpf.NETWORK + 40),
        Op(bpf.JUMP_IF_EQUAL, wanted.http_port, "take"),
        Op(bpf.LOAD_HALF, bpf.NETWORK + 42),
        Op(bpf.JUMP_IF_EQUAL, wanted.http_port, "take", "drop"),
        Op(bpf.LOAD_HALF, bpf.NETWORK + 40, label="udp6"),
        Op(bpf.JUMP_IF_EQUAL, _NFS_PORT, "drop"),
        Op(bpf.LOAD_HALF, bpf.NETWORK + 42),
        Op(bpf.JUMP_IF_EQUAL, _NFS_PORT, "drop", "take"),
    ]
