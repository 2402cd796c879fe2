"""The firmware's DHCP, without a socket and without a clock: which messages to send, and what came of them.

Belongs here: the dialogue of a Pi 4 or 5 (reference 2.1, 2.5) and its choice of a boot server (2.7). A datagram and
the time go in, datagrams to broadcast come out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.dhcp import packet
from pinetboot.dhcp.options import PXE_CLIENT, MessageType, Option, encode_machine
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, MalformedMessage, Message
from pinetboot.pi import profiles
from pinetboot.pi.profiles import Profile


@dataclass(frozen=True, slots=True)
class Lease:
    """What the dialogue ended in: own address, its network's prefix length, and where to boot from."""

    address: IPv4Address
    prefix: int
    router: IPv4Address | None
    dhcp_server: IPv4Address
    boot_server: IPv4Address


@dataclass(slots=True)
class DhcpDialogue:
    """One boot's DHCP. Call start(), then receive() for each datagram and tick() when `deadline` is reached.

    It is over once `lease` or `cause` is set. `notes` tells, in words, what was heard.
    """

    profile: Profile
    serial: str
    mac: bytes
    xid: int
    timeout_s: float
    deadline: float = 0.0
    lease: Lease | None = None
    cause: Cause | None = None
    notes: list[str] = field(default_factory=list)
    _began_at: float = 0.0
    _given: Message | None = None
    _boot_server: IPv4Address | None = None
    _name_in_66: str | None = None
    _requesting: bool = False

    def start(self, now: float) -> list[bytes]:
        """Begin with a DISCOVER."""
        self._began_at = now
        return self._next_try(now)

    def tick(self, now: float) -> list[bytes]:
        """Try again, or end it with a cause."""
        if self.lease or self.cause or now < self.deadline:
            return []
        if now >= self._began_at + self.timeout_s:
            self.cause = self._why_not()
            return []
        return self._next_try(now)

    def receive(self, datagram: bytes, source: str, now: float) -> list[bytes]:
        """Take a datagram that came to port 68 from IP address `source`."""
        try:
            message = packet.parse(datagram)
        except MalformedMessage:
            return []
        if message.op != BOOTREPLY or message.xid != self.xid or message.mac != self.mac or self.lease or self.cause:
            return []
        if message.type == MessageType.OFFER and not self._requesting:
            return self._offered(message, source, now)
        if message.type == MessageType.ACK and self._requesting:
            self._confirmed(message)
        elif message.type == MessageType.NAK and self._requesting:
            self.notes.append(f"{source} took its offer back")
            self._requesting = False
            self._given = None
            return self._next_try(now)
        return []

    def release(self) -> bytes:
        """Make the RELEASE that gives a rehearsal's address back (RFC 2131); a real Pi keeps its lease."""
        lease = self.lease
        if lease is None:
            raise AssertionError("there is no lease to release")
        options = {
            Option.MESSAGE_TYPE: bytes([MessageType.RELEASE]),
            Option.SERVER_IDENTIFIER: lease.dhcp_server.packed,
        }
        return packet.encode(
            Message(BOOTREQUEST, self.xid, self.mac, {int(k): v for k, v in options.items()}, ciaddr=lease.address)
        )

    def _next_try(self, now: float) -> list[bytes]:
        self.deadline = min(now + self.profile.dhcp_retry_s, self._began_at + self.timeout_s)
        return [self._request() if self._requesting else discover(self.profile, self.serial, self.mac, self.xid)]

    def _offered(self, offer: Message, source: str, now: float) -> list[bytes]:
        if offer.yiaddr != packet.ZERO and self._given is None:
            self._given = offer
            self.notes.append(f"{source} offers {offer.yiaddr}")
        server = self._boot_server_in(offer, source)
        if server is not None and self._boot_server is None:
            self._boot_server = server
            self.notes.append(f"{source} says to boot from {server}")
        if self._given is None or self._boot_server is None:
            return []
        self._requesting = True
        return self._next_try(now)

    def _boot_server_in(self, offer: Message, source: str) -> IPv4Address | None:
        """Find the boot server: option 66, then siaddr, then the sender; the last two only with the PXE text."""
        named = offer.options.get(Option.TFTP_SERVER, b"").rstrip(b"\0").decode("ascii", "replace")
        if named:
            try:
                return IPv4Address(named)
            except AddressValueError:
                self._name_in_66 = named
        pxe = offer.options.get(Option.VENDOR_CLASS, b"").startswith(PXE_CLIENT)
        if not pxe or profiles.PXE_MENU.encode() not in offer.options.get(Option.VENDOR_SPECIFIC, b""):
            return None
        return offer.siaddr if offer.siaddr != packet.ZERO else IPv4Address(source)

    def _request(self) -> bytes:
        given = self._given
        if given is None:
            raise AssertionError("a request follows an offer")
        # With option 60, without 55, 93 and 97 (reference 2.2).
        options = {
            int(Option.MESSAGE_TYPE): bytes([MessageType.REQUEST]),
            int(Option.REQUESTED_ADDRESS): given.yiaddr.packed,
            int(Option.SERVER_IDENTIFIER): given.options.get(Option.SERVER_IDENTIFIER, b""),
            int(Option.VENDOR_CLASS): profiles.VENDOR_CLASS,
        }
        return packet.encode(Message(BOOTREQUEST, self.xid, self.mac, {k: v for k, v in options.items() if v}))

    def _confirmed(self, ack: Message) -> None:
        given, boot_server = self._given, self._boot_server
        if given is None or boot_server is None or ack.yiaddr == packet.ZERO:
            return
        mask = ack.address(Option.SUBNET_MASK) or given.address(Option.SUBNET_MASK) or IPv4Address("255.255.255.0")
        server = ack.address(Option.SERVER_IDENTIFIER) or given.address(Option.SERVER_IDENTIFIER) or packet.ZERO
        self.lease = Lease(ack.yiaddr, int(mask).bit_count(), ack.address(Option.ROUTER), server, boot_server)

    def _why_not(self) -> Cause:
        if self._given is None:
            return causes.no_address(self._boot_server is not None)
        if self._boot_server is None:
            if self._name_in_66 is not None:
                return causes.option66_is_a_name(self._name_in_66)
            return causes.no_boot_offer(profiles.PXE_MENU)
        return causes.no_ack(str(self._given.address(Option.SERVER_IDENTIFIER) or "the DHCP server"))


def discover(profile: Profile, serial: str, mac: bytes, xid: int) -> bytes:
    """Make the model's DISCOVER, byte for byte (reference 2.1)."""
    options = {
        int(Option.MESSAGE_TYPE): bytes([MessageType.DISCOVER]),
        int(Option.PARAMETER_LIST): profile.parameters,
        int(Option.CLIENT_ARCHITECTURE): profiles.ARCHITECTURE,
        int(Option.CLIENT_INTERFACE): profiles.INTERFACE,
        int(Option.MACHINE_IDENTIFIER): encode_machine(profile.family, profile.revision, mac, serial),
        int(Option.VENDOR_CLASS): profiles.VENDOR_CLASS,
    }
    return packet.encode(Message(BOOTREQUEST, xid, mac, options))
