"""How the DHCP of virtual Pis gets onto the wire: on a real interface, or on loopback without any privilege.

Belongs here: sockets of the DHCP phase. What is said over them is `dhcp`'s. Virtual Pis share the sockets of an
interface, as a hundred of them would else hear, and read, each other's messages; a message says whose it is.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Interface

from pinetboot.errors import OperatorError
from pinetboot.net import bpf, links, packets, udp
from pinetboot.net.addresses import Endpoint
from pinetboot.net.bpf import Op
from pinetboot.pi.dhcp import Lease

_SERVER_PORT = 67
_CLIENT_PORT = 68
_ETH_P_IP = 0x0800
_PACKET_BROADCAST = 1
_SO_NO_CHECK = 11  # socket(7) numbers that Python lacks
_SO_RCVBUFFORCE = 33
_ROOM = 4 << 20
_LENT_S = 600
_EVERYONE = "255.255.255.255"
_MAX_FRAME = 65535
_BURST = 64
_UDP = 17
_OFFSET = 0x1FFF  # of a fragment
_MAC = slice(28, 34)  # chaddr, RFC 2131

Heard = Callable[[bytes, str], None]


class Link:
    """A place where virtual Pis speak DHCP; its sockets are open as long as any of them listens."""

    def __init__(self) -> None:
        self._listening: dict[bytes, Heard] = {}

    def open(self, mac: bytes, heard: Heard) -> None:
        """Begin to listen as the Pi with that MAC. Raises OperatorError.

        `heard` is called with each datagram to it and the sender's address, and with an empty one for every other
        frame that would reach it, for these matter to a ROM.
        """
        if not self._listening:
            self._start()
        self._listening[mac] = heard

    def broadcast(self, payload: bytes, *, checksum: bool = True) -> None:
        """Send to every DHCP server, with a UDP checksum or without."""
        raise NotImplementedError

    async def take(self, lease: Lease) -> None:
        """Use the address of a lease from here on. Raises OperatorError."""

    async def close(self, mac: bytes) -> None:
        """Stop listening; the last one to do so gives all addresses back."""
        if self._listening.pop(mac, None) is not None and not self._listening:
            await self._stop()

    def _start(self) -> None:
        raise NotImplementedError

    async def _stop(self) -> None:
        raise NotImplementedError

    def _came(self, payload: bytes, source: str, *, to_all: bool) -> None:
        owner = payload[_MAC]
        for mac, heard in list(self._listening.items()):
            if mac == owner:
                heard(payload, source)
            elif to_all:
                heard(b"", "")


class LanLink(Link):
    """A real interface: sends from port 68, hears every answer, as those may go to an address it does not have yet.

    Sending goes through the host's own stack, so that a server on this very host hears it too.
    """

    def __init__(self, name: str, index: int) -> None:
        super().__init__()
        self._name = name
        self._index = index
        self._sender: socket.socket | None = None
        self._ear: socket.socket | None = None
        self._lent: set[IPv4Interface] = set()

    def broadcast(self, payload: bytes, *, checksum: bool = True) -> None:
        """Send to every DHCP server on this LAN."""
        if self._sender is not None:
            with suppress(OSError):
                self._sender.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, not checksum)
                self._sender.sendto(payload, (_EVERYONE, _SERVER_PORT))

    async def take(self, lease: Lease) -> None:
        """Put the leased address on the interface. Raises OperatorError."""
        address = IPv4Interface((lease.address, lease.prefix))
        self._lent.add(address)
        await asyncio.to_thread(links.lend, self._index, address, _LENT_S)

    def _start(self) -> None:
        try:
            self._ear = ear = _ear(self._name, self._index)
            self._sender = _client_socket(_CLIENT_PORT, self._name)
        except OSError as error:
            if self._ear is not None:
                self._ear.close()
            if isinstance(error, PermissionError):
                raise OperatorError(
                    "a rehearsal with DHCP needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_NET_BIND_SERVICE",
                    "Run it as root, or leave DHCP out with --no-dhcp --server IP.",
                ) from None
            raise OperatorError(f"DHCP cannot be spoken on {self._name}: {error.strerror}") from None
        asyncio.get_running_loop().add_reader(ear.fileno(), self._frames, ear)

    async def _stop(self) -> None:
        """Close, and take the addresses off again, all at once: with the first of a network Linux takes the others."""
        if self._ear is not None:
            asyncio.get_running_loop().remove_reader(self._ear.fileno())
            self._ear.close()
        if self._sender is not None:
            self._sender.close()
        self._ear = self._sender = None
        while self._lent:
            await asyncio.to_thread(links.take_back, self._index, self._lent.pop())

    def _frames(self, ear: socket.socket) -> None:
        with suppress(OSError):
            for _ in range(_BURST):
                frame, sender = ear.recvfrom(_MAX_FRAME)
                to_all = sender[2] == _PACKET_BROADCAST
                payload, source = dhcp_in(frame) or (b"", "")
                self._came(payload, source, to_all=to_all)


class LoopbackLink(Link):
    """The loopback interface with ports of one's own: `port` for servers and the next one for clients.

    Every 127.x.y.z is ours without asking, so that taking an address is nothing to do.
    """

    def __init__(self, port: int, source: str) -> None:
        super().__init__()
        self._port = port
        self._source = source
        self._sock: socket.socket | None = None

    def broadcast(self, payload: bytes, *, checksum: bool = True) -> None:
        """Send to every DHCP server on loopback."""
        if self._sock is not None:
            everyone = Endpoint(_EVERYONE, self._port)
            with suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, not checksum)
                udp.send(self._sock, payload, everyone, local=self._source, interface=socket.if_nametoindex("lo"))

    def _start(self) -> None:
        try:
            self._sock = sock = _client_socket(self._port + 1, None)
        except OSError as error:
            raise OperatorError(f"UDP port {self._port + 1} cannot be opened: {error.strerror}") from None
        asyncio.get_running_loop().add_reader(sock.fileno(), self._datagrams, sock)

    async def _stop(self) -> None:
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def _datagrams(self, sock: socket.socket) -> None:
        with suppress(OSError):
            for _ in range(_BURST):
                payload, (source, _) = sock.recvfrom(_MAX_FRAME)
                self._came(payload, source, to_all=True)


def _client_socket(port: int, device: str | None) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 128)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        if device is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sock.bind(("", port))
    except BaseException:
        sock.close()
        raise
    return sock


# A packet socket for payloads shows it each packet from its IP header. Without it every block of every file that the
# virtual Pis get would come here too.
_FILTER = bpf.assembled(
    (
        Op(bpf.LOAD_HALF, bpf.ABOUT + bpf.PROTOCOL),
        Op(bpf.JUMP_IF_EQUAL, _ETH_P_IP, otherwise="whom"),
        Op(bpf.LOAD_BYTE, 9),  # the protocol of the packet
        Op(bpf.JUMP_IF_EQUAL, _UDP, otherwise="whom"),
        Op(bpf.LOAD_HALF, 6),
        Op(bpf.JUMP_IF_SET, _OFFSET, then="whom"),  # a later fragment has no ports
        Op(bpf.LOAD_HEADER_SIZE, 0),
        Op(bpf.LOAD_HALF_BEHIND_X, 2),  # the destination port
        Op(bpf.JUMP_IF_EQUAL, _CLIENT_PORT, then="take"),
        Op(bpf.LOAD_BYTE, bpf.ABOUT + bpf.PACKET_TYPE, label="whom"),
        Op(bpf.JUMP_IF_EQUAL, _PACKET_BROADCAST, otherwise="leave"),
        Op(bpf.RETURN, _MAX_FRAME, label="take"),
        Op(bpf.RETURN, 0, label="leave"),
    )
)


def _ear(device: str, index: int) -> socket.socket:
    """Open a packet socket for what comes to DHCP clients, whoever they are, and for all broadcasts. Raises OSError."""
    ear = packets.overhear(device, index, _FILTER)
    try:
        ear.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    except BaseException:
        ear.close()
        raise
    return ear


def dhcp_in(packet: bytes) -> tuple[bytes, str] | None:
    """Find a datagram to the DHCP client port in an IPv4 packet: its payload and its sender."""
    carried = packets.unwrap(packet)
    if carried is None or carried.destination.port != _CLIENT_PORT:
        return None
    return carried.payload, carried.source.host
