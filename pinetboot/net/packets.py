"""UDP below the socket layer: hearing a port that another program holds, and reaching a host that has no address yet.

Belongs here: raw sockets, the filter in front of them, and IPv4 and UDP headers with their checksums (RFC 791, 768).
A raw IP socket gets its own copy of what the kernel takes in for this host, after VLAN tags, bridges, bonds and
fragments are dealt with, whoever holds the port; a packet socket would have to undo all of these itself.
Never here: what the bytes mean. Every socket here needs CAP_NET_RAW.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

from pinetboot.net import bpf, udp
from pinetboot.net.addresses import Endpoint
from pinetboot.net.bpf import Op

# Numbers of packet(7).
_ETH_P_ALL: Final = 0x0003
_ETH_P_IP: Final = 0x0800
_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_MR_PROMISC: Final = 1
_ARPHRD_ETHER: Final = 1
_UDP: Final = 17
_IPV4: Final = 4
_TTL: Final = 64
_FRAGMENTED: Final = 0x3FFF  # the flag "more fragments", and the offset
_ALL_ONES: Final = 0xFFFF
_MAX_PACKET: Final = 65535
_MOST_SKIPPED: Final = 64

_IP: Final = struct.Struct("!BBHHHBBH4s4s")
_PORTS: Final = struct.Struct("!HHHH")
_MEMBERSHIP: Final = struct.Struct("=iHH8s")


class Carried(NamedTuple):
    """A UDP datagram as it was found in an IPv4 packet."""

    source: Endpoint
    destination: Endpoint
    payload: bytes


def listen(port: int) -> udp.Socket:
    """Hear what comes to this host's UDP `port` on any interface, beside whoever holds it. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP)
    try:
        bpf.attach(sock, filter_for(port))
        udp.prepare(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def filter_for(port: int) -> bytes:
    """Write the program that lets UDP packets to `port` through; a raw socket shows it each packet from its IP header.

    Fragments are put together before, and other protocols never get here.
    """
    return bpf.assembled(
        (
            Op(bpf.LOAD_HEADER_SIZE, 0),  # X = 4 * (byte 0 & 15): where the UDP header begins
            Op(bpf.LOAD_HALF_BEHIND_X, 2),  # A = two bytes at X + 2: the destination port; a short packet ends here
            Op(bpf.JUMP_IF_EQUAL, port, otherwise="other"),
            Op(bpf.RETURN, _MAX_PACKET),
            Op(bpf.RETURN, 0, label="other"),
        )
    )


def overhear(device: str, index: int, program: bytes) -> udp.Socket:
    """Open a packet socket for what passes on a device, as far as a filter lets it through, each from its IP header.

    Both ways and for whomever: one for IPv4 alone would not be given what this host sends. Raises OSError.
    """
    # Without a protocol nothing comes in before the filter is there.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    try:
        bpf.attach(sock, program)
        sock.bind((device, _ETH_P_ALL))
        membership = _MEMBERSHIP.pack(index, _PACKET_MR_PROMISC, 0, b"")
        sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
    except BaseException:
        sock.close()
        raise
    return sock


def receive(sock: udp.Socket, port: int) -> udp.Datagram | None:
    """Take one datagram to `port` from a listen() socket; None when there is none. Raises OSError."""
    for _ in range(_MOST_SKIPPED):
        taken = udp.receive(sock)
        if taken is None:
            return None
        carried = unwrap(taken.payload)
        # What came between the socket and its filter may be for any port.
        if carried is not None and carried.destination.port == port:
            return taken._replace(payload=carried.payload, peer=carried.source, destination=carried.destination.host)
    return None


def send(sock: udp.Socket, payload: bytes, peer: Endpoint, *, port: int, local: str, interface: int) -> None:
    """Send from `local`:`port` through a listen() socket, out of `interface` (0: any). Raises OSError."""
    datagram = _datagram(payload, Endpoint(local, port), peer)
    udp.send(sock, datagram, Endpoint(peer.host, 0), local=local, interface=interface)


def sender() -> udp.Socket:
    """Open a packet socket that only sends. Raises OSError."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)


def send_to_mac(sock: udp.Socket, packet: bytes, mac: bytes, *, device: str) -> None:
    """Send a whole IPv4 packet to a MAC address through a sender() socket; nobody is asked by ARP. Raises OSError."""
    sock.sendto(packet, (device, _ETH_P_IP, 0, _ARPHRD_ETHER, mac))


def wrap(payload: bytes, source: Endpoint, destination: Endpoint) -> bytes:
    """Write the IPv4 packet that carries `payload` as UDP."""
    datagram = _datagram(payload, source, destination)
    ends = socket.inet_aton(source.host), socket.inet_aton(destination.host)
    fields = (0x45, 0, _IP.size + len(datagram), 0, 0, _TTL, _UDP)
    return _IP.pack(*fields, _ALL_ONES - _sum(_IP.pack(*fields, 0, *ends)), *ends) + datagram


def unwrap(packet: bytes) -> Carried | None:
    """Find the UDP datagram in an IPv4 packet; None where there is none, not all of it, or a damaged one.

    A packet from this very host may hold a sum over its addresses alone, left for a network card to finish.
    """
    if len(packet) < _IP.size or packet[0] >> 4 != _IPV4 or packet[9] != _UDP:
        return None
    at = (packet[0] & 15) * 4
    whole, fragment = int.from_bytes(packet[2:4], "big"), int.from_bytes(packet[6:8], "big")
    if at < _IP.size or fragment & _FRAGMENTED or not at + _PORTS.size <= whole <= len(packet):
        return None
    from_port, to_port, size, checksum = _PORTS.unpack_from(packet, at)
    if not _PORTS.size <= size <= whole - at:
        return None
    datagram, ends = packet[at : at + size], packet[12:20]
    if checksum and checksum != _sum(_pseudo(ends, size)) and _sum(_pseudo(ends, size) + datagram) != _ALL_ONES:
        return None
    source, destination = socket.inet_ntoa(ends[:4]), socket.inet_ntoa(ends[4:])
    return Carried(Endpoint(source, from_port), Endpoint(destination, to_port), datagram[_PORTS.size :])


def _datagram(payload: bytes, source: Endpoint, destination: Endpoint) -> bytes:
    size = _PORTS.size + len(payload)
    ends = socket.inet_aton(source.host) + socket.inet_aton(destination.host)
    bare = _PORTS.pack(source.port, destination.port, size, 0) + payload
    # RFC 768: a sum that comes out as zero is sent as all ones, for zero says that there is none.
    checksum = _ALL_ONES - _sum(_pseudo(ends, size) + bare) or _ALL_ONES
    return _PORTS.pack(source.port, destination.port, size, checksum) + payload


def _pseudo(ends: bytes, size: int) -> bytes:
    """What the UDP checksum is over beside the datagram itself (RFC 768)."""
    return ends + struct.pack("!HH", _UDP, size)


def _sum(octets: bytes) -> int:
    """Add up 16-bit words in ones' complement (RFC 1071)."""
    if len(octets) % 2:
        octets += b"\0"
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > _ALL_ONES:
        total = (total & _ALL_ONES) + (total >> 16)
    return total
