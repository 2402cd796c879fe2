"""What a DHCP server of its own LAN answers: RFC 2131 section 4.3, and what a Pi's firmware needs beside.

Belongs here: the decision, as an answer, as what it took note of, or as the reason for silence. Which address is whose
is `leases`'. Whoever runs at an address stays there: what fleet.toml or the settings say anew counts from the next
DISCOVER, and a renewal is refused only where the address is another's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from pinetboot.dhcp import asking, offer, pxe
from pinetboot.dhcp.lease import Lease
from pinetboot.dhcp.leases import Leases
from pinetboot.dhcp.offer import Ignored, Pi, Proxy
from pinetboot.dhcp.options import PXE_CLIENT, RASPBERRY_PI_OUIS, MessageType, Option
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, BROADCAST, ZERO, Message
from pinetboot.dhcp.pxe import Machine, NoWay, Way
from pinetboot.net.addresses import format_mac

# How long an address that was offered is held. A Pi 3 boots with what it was offered and never requests it
# (reference 2.2), until its kernel asks: its firmware takes a minute or more.
OFFER_S: Final = 60.0
PI_OFFER_S: Final = 600.0
PROBE_OFFER_S: Final = 1.0
_LONGEST_KEY: Final = 64  # octets of option 61 that are kept as they are
_HOSTNAME: Final = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._-]{0,62}")
_ETHERNET: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class Known:
    """What fleet.toml and the past say of a client: the Pi's serial, the address set aside for it, its host name."""

    serial: str = ""
    address: IPv4Address | None = None
    hostname: str = ""


@dataclass(frozen=True)
class Ground:
    """What is told to clients of one network, and by whom. `own` are all addresses of this host.

    `alone`: no other DHCP server is wanted here, so that an address which nobody knows may be refused at once.
    """

    network: IPv4Network
    address: IPv4Address
    own: frozenset[IPv4Address]
    lease_s: int
    router: IPv4Address | None
    dns: Sequence[IPv4Address]
    proxy: Proxy
    alone: bool = True

    @cached_property
    def terms(self) -> Mapping[int, bytes]:
        """The options about time: RFC 2131 section 4.4.5 has the fractions."""
        times = {
            Option.LEASE_TIME: self.lease_s,
            Option.RENEWAL_TIME: self.lease_s // 2,
            Option.REBINDING_TIME: self.lease_s * 7 // 8,
        }
        return {int(code): value.to_bytes(4, "big") for code, value in times.items()}

    @cached_property
    def network_options(self) -> Mapping[int, bytes]:
        """The options about the network; what is not set is not told."""
        options = {
            Option.SUBNET_MASK: self.network.netmask.packed,
            Option.ROUTER: self.router.packed if self.router else b"",
            Option.DNS: b"".join(server.packed for server in self.dns),
            Option.BROADCAST_ADDRESS: self.network.broadcast_address.packed,
        }
        return {int(code): value for code, value in options.items() if value}


@dataclass(frozen=True, slots=True)
class Answer:
    """Send `message`, once after each of `delays_s` (seconds from the request).

    `lease` is what it offers or grants, None for a refusal and for an answer to INFORM. `pi` is the firmware that asks,
    `machine` one of another kind that is told to boot; `lacks` is the file in the boot tree that it is not told for.
    """

    message: Message
    lease: Lease | None = None
    delays_s: Sequence[float] = (0.0,)
    pi: Pi | None = None
    machine: Machine | None = None
    lacks: str = ""

    @property
    def grants(self) -> bool:
        """Whether it makes a lease, which has to be kept before it leaves."""
        return self.lease is not None and self.message.type is MessageType.ACK

    @property
    def refuses(self) -> bool:
        """Whether it is a NAK."""
        return self.message.type is MessageType.NAK


@dataclass(frozen=True, slots=True)
class Noted:
    """A client gave back its address, or found it in use; that is not answered."""

    lease: Lease
    what: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """A message with all that its answer depends on."""

    message: Message
    leases: Leases
    ground: Ground
    now: float
    client: str
    mac: str
    pi: Pi | None
    known: Known
    way: Way | NoWay

    @property
    def to_another(self) -> IPv4Address | None:
        """The server that is spoken to where it is not this one."""
        server = self.message.address(Option.SERVER_IDENTIFIER)
        return None if server is None or server == self.ground.address or server in self.ground.own else server


People = Callable[[str, str], Known]


def decide(message: Message, leases: Leases, ground: Ground, people: People, now: float) -> Answer | Noted | Ignored:
    """Decide on a message heard on port 67. `people` knows a client by its MAC and by the serial that it tells."""
    if message.op != BOOTREQUEST:
        return Ignored("it is a reply")
    kind = message.type
    if kind is None:
        return Ignored("it has no message type")
    if not any(message.mac) or message.mac[0] & 1:
        return Ignored("its MAC is no client's")
    if message.giaddr != ZERO and message.giaddr not in ground.network:
        return Ignored(f"it comes through the relay {message.giaddr}, from another network than dhcp.range's")
    decided = _DECISIONS.get(kind)
    if decided is None:
        return Ignored(f"a client sends no {kind.name}")
    mac = format_mac(message.mac)
    pi = _firmware(message)
    known = people(mac, pi.serial or "" if pi else "")
    client = client_key(message, mac, known.serial)
    if pi is None and kind is MessageType.REQUEST:
        # Its first bootloader left out option 60, all leave out 97 (reference 2.2): the transaction tells.
        begun = leases.latest(client)
        if begun is not None and begun.firmware is not None and begun.firmware[0] == message.xid:
            pi = offer.recognise(_as_begun(message, begun.firmware[1]))
    way = pxe.way_of(message, None if pi else ground.proxy.pxe, ground.proxy.address)
    return decided(_Asked(message, leases, ground, now, client, mac, pi, known, way))


def client_key(message: Message, mac: str, serial: str) -> str:
    """Say whose lease it is: its MAC, for a Pi always; else what it calls itself in option 61.

    The stages of one boot of a Pi call themselves differently, and have to keep one address: its root hangs on it.
    """
    name = message.options.get(Option.CLIENT_IDENTIFIER, b"")
    if not name or name == _ETHERNET + message.mac or serial or message.mac[:3] in RASPBERRY_PI_OUIS:
        return mac
    return f"id {name.hex()}" if len(name) <= _LONGEST_KEY else f"id sha256:{sha256(name).hexdigest()}"


def _firmware(message: Message) -> Pi | None:
    """Tell the firmware of a Pi; nobody else may be told to boot (reference 2.9)."""
    if not message.options.get(Option.VENDOR_CLASS, b"").startswith(PXE_CLIENT):
        return None
    return offer.recognise(message)


def _as_begun(message: Message, machine: bytes) -> Message:
    return Message(message.op, message.xid, message.mac, {int(Option.MACHINE_IDENTIFIER): machine})


def _discover(asked: _Asked) -> Answer | Ignored:
    message, pi = asked.message, asked.pi
    lease = asked.leases.offer(
        asked.client,
        asked.mac,
        asked.now,
        hold_s=PROBE_OFFER_S if asking.is_probe(message) else PI_OFFER_S if pi else OFFER_S,
        reserved=asked.known.address,
        wanted=message.address(Option.REQUESTED_ADDRESS),
    )
    if lease is None:
        return Ignored("no address of dhcp.range is free", pi)
    _note(asked, lease)
    if pi is not None:
        lease.firmware = (message.xid, message.options.get(Option.MACHINE_IDENTIFIER, b""))
        if lease.until <= asked.now and not asking.is_probe(message):
            asked.leases.keep(lease)  # a Pi 3 boots with it as it is
    delays_s = asked.ground.proxy.rom_offers_s if pi and offer.is_rom(message) else (0.0,)
    return Answer(_reply(asked, MessageType.OFFER, lease), lease, delays_s, pi, asked.way.machine, asked.way.lacks)


def _request(asked: _Asked) -> Answer | Ignored:
    """Tell SELECTING, INIT-REBOOT, RENEWING and REBINDING apart as RFC 2131 table 4 does, and answer each."""
    message = asked.message
    address = message.address(Option.REQUESTED_ADDRESS) if message.ciaddr == ZERO else message.ciaddr
    server = asked.to_another
    if server is not None:
        asked.leases.withdraw(asked.client, asked.now)
        return Ignored(f"it takes what {server} offers", asked.pi)
    if address is None or address == ZERO:
        return Ignored("it asks for no address", asked.pi)
    lease = asked.leases.claim(
        asked.client,
        asked.mac,
        address,
        asked.now,
        lease_s=asked.ground.lease_s,
        reserved=asked.known.address,
    )
    if lease is not None:
        _note(asked, lease)
        return Answer(_reply(asked, MessageType.ACK, lease), lease, pi=asked.pi, machine=asked.way.machine)
    chosen = Option.SERVER_IDENTIFIER in message.options
    if not chosen and not asked.ground.alone and asked.leases.of(asked.client) is None:
        return Ignored(f"it asks for {address}, of which another server may know more", asked.pi)
    return Answer(_reply(asked, MessageType.NAK), pi=asked.pi)


def _release(asked: _Asked) -> Noted | Ignored:
    if asked.to_another is not None:
        return Ignored(f"it is for {asked.to_another}")
    lease = asked.leases.release(asked.client, asked.message.ciaddr, asked.now)
    return Noted(lease, "released") if lease else Ignored(f"{asked.message.ciaddr} is not leased to it")


def _decline(asked: _Asked) -> Noted | Ignored:
    if asked.to_another is not None:
        return Ignored(f"it is for {asked.to_another}")
    address = asked.message.address(Option.REQUESTED_ADDRESS) or ZERO
    lease = asked.leases.decline(asked.client, address, asked.now)
    return Noted(lease, "declined: somebody else uses it") if lease else Ignored(f"{address} is not leased to it")


def _inform(asked: _Asked) -> Answer | Ignored:
    address = asked.message.ciaddr
    if asked.to_another is not None:
        return Ignored(f"it is for {asked.to_another}")
    if address == ZERO or address not in asked.ground.network:
        return Ignored(f"its address {address} is none of the network of dhcp.range")
    return Answer(_reply(asked, MessageType.ACK))


_DECISIONS: Final[Mapping[MessageType, Callable[[_Asked], Answer | Noted | Ignored]]] = {
    MessageType.DISCOVER: _discover,
    MessageType.REQUEST: _request,
    MessageType.RELEASE: _release,
    MessageType.DECLINE: _decline,
    MessageType.INFORM: _inform,
}


def _note(asked: _Asked, lease: Lease) -> None:
    """Keep with a lease who it is, as far as that is known."""
    serial = asked.known.serial or (asked.pi.serial if asked.pi else None)
    if serial:
        lease.serial = serial
    name = asked.message.options.get(Option.HOST_NAME, b"").rstrip(b"\0")
    if _HOSTNAME.fullmatch(name):
        lease.hostname = name.decode("ascii")


def _reply(asked: _Asked, kind: MessageType, lease: Lease | None = None) -> Message:
    """Write an answer: RFC 2131 table 3, and RFC 6842 for option 61, which comes back."""
    message, ground = asked.message, asked.ground
    options: dict[int, bytes] = {
        int(Option.MESSAGE_TYPE): bytes([kind]),
        int(Option.SERVER_IDENTIFIER): ground.address.packed,
    }
    boots, next_server = False, False
    if kind is not MessageType.NAK:
        if lease is not None:
            options |= ground.terms
        options |= ground.network_options
        if asked.known.hostname and Option.HOST_NAME in message.options.get(Option.PARAMETER_LIST, b""):
            options[Option.HOST_NAME] = asked.known.hostname.encode("ascii")
        boots = asked.pi is not None and lease is not None
        if boots:
            options |= offer.boot_options(ground.proxy, message.options.get(Option.MACHINE_IDENTIFIER, b""))
        next_server = boots or (lease is not None and (asked.way.machine is not None or pxe.is_u_boot(message)))
        if lease is not None and isinstance(asked.way, Way):
            options |= pxe.options(asked.way, ground.proxy.address, b"", proxy=False)
    for code in (Option.CLIENT_IDENTIFIER, Option.RELAY_AGENT):
        if message.options.get(code):
            options[code] = message.options[code]
    # A firmware takes broadcasts in every stage (reference 2.1), and a client that is refused has no address.
    broadcast = boots or kind is MessageType.NAK
    return Message(
        op=BOOTREPLY,
        xid=message.xid,
        mac=message.mac,
        flags=BROADCAST if broadcast else message.flags & BROADCAST,
        ciaddr=message.ciaddr if kind is MessageType.ACK else ZERO,
        yiaddr=lease.address if lease else ZERO,
        siaddr=ground.proxy.address if next_server else ZERO,
        giaddr=message.giaddr,
        options=options,
        file=b"" if kind is MessageType.NAK else asked.way.file_field,
    )
