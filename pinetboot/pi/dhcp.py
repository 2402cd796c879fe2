"""The firmware's DHCP, without a socket and without a clock: which messages to send, and what came of them.

Belongs here: the dialogue of each model (reference 2.1, 2.4, 2.5) and its choice of a boot server (2.7). A datagram
and the time go in, datagrams to broadcast come out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.dhcp import packet
from pinetboot.dhcp.options import (
    PXE_CLIENT,
    MessageType,
    Option,
    decode_pxe_menu,
    encode_machine,
    encode_serial_machine,
)
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, MalformedMessage, Message
from pinetboot.pi import profiles
from pinetboot.pi.profiles import Machine, Profile, Server


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

    It is over once `lease` or `cause` is set. `notes` tells, in words, what was heard. `tftp_ip` is the bootloader's
    own setting of where to boot from, for models that have one (reference 4.2).
    """

    profile: Profile
    serial: str
    mac: bytes
    xid: int
    timeout_s: float
    tftp_ip: IPv4Address | None = None
    deadline: float = 0.0
    lease: Lease | None = None
    cause: Cause | None = None
    notes: list[str] = field(default_factory=list)
    _ends_at: float = 0.0
    _asked_at: float = 0.0
    _again_at: float = 0.0
    _given: Message | None = None
    _boot_server: IPv4Address | None = None
    _name_in_66: str | None = None
    _other_menu: str = ""
    _heard_address: bool = False
    _heard_server: bool = False
    _requesting: bool = False
    _listening: bool = False

    def start(self, now: float) -> list[bytes]:
        """Begin with a DISCOVER."""
        self._ends_at = now + self.timeout_s
        if self.tftp_ip is not None and Server.TFTP_IP in self.profile.servers:
            self._boot_from(self.tftp_ip, "its TFTP_IP")
        return self._next_try(now)

    def tick(self, now: float) -> list[bytes]:
        """Try again, or end it with a cause."""
        if self.lease or self.cause or now < self.deadline:
            return []
        if now >= self._ends_at:
            self.cause = self._why_not()
            return []
        if now >= self._again_at:
            return self._next_try(now)
        self._try_is_over()
        return []

    def receive(self, datagram: bytes, source: str, now: float) -> list[bytes]:
        """Take a datagram that came to port 68 from IP address `source`; any other packet is an empty one."""
        if self.lease or self.cause or not self._listening:
            return []
        out = self._read(datagram, source, now)
        if self.profile.decides_after_s:
            self._stirred(now)
        return out

    def _next_try(self, now: float) -> list[bytes]:
        self._asked_at = now
        self._listening = True
        self._again_at = min(now + self.profile.dhcp_retry_s, self._ends_at)
        self._plan(now)
        return [self._request() if self._requesting else discover(self.profile, self.serial, self.mac, self.xid)]

    def _plan(self, now: float) -> None:
        silence_s = self.profile.silence_s
        self.deadline = min(self._again_at, now + silence_s) if silence_s else self._again_at

    def _stirred(self, now: float) -> None:
        """Let a packet, whichever it is, wake the ROM: only then it looks whether its time is up (reference 2.4)."""
        if now - self._asked_at <= self.profile.decides_after_s:
            self._plan(now)
        elif self._given is not None and self._boot_server is not None:
            self._granted(self._given)
        else:
            self._try_is_over()

    def _try_is_over(self) -> None:
        self._listening = False
        self._given = self._boot_server = None
        self.deadline = self._again_at

    def _read(self, datagram: bytes, source: str, now: float) -> list[bytes]:
        try:
            message = packet.parse(datagram)
        except MalformedMessage:
            return []
        if message.op != BOOTREPLY or message.xid != self.xid or message.mac != self.mac:
            return []
        if message.type == MessageType.OFFER and not self._requesting:
            return self._offered(message, source, now)
        if message.type == MessageType.ACK and self._requesting:
            if message.yiaddr != packet.ZERO:
                self._granted(message)
        elif message.type == MessageType.NAK and self._requesting:
            self._note(f"{source} took its offer back")
            self._requesting = False
            self._given = None
            return self._next_try(now)
        return []

    def _offered(self, offer: Message, source: str, now: float) -> list[bytes]:
        if offer.yiaddr != packet.ZERO and self._given is None:
            self._given = offer
            self._heard_address = True
            self._note(f"{source} offers {offer.yiaddr}")
        server = self._boot_server_in(offer, source)
        if server is not None and self._boot_server is None:
            self._boot_from(server, source)
        if self._given is None or self._boot_server is None or self.profile.decides_after_s:
            return []
        if not self.profile.requests:
            self._granted(self._given)
            return []
        self._requesting = True
        return self._next_try(now)

    def _boot_from(self, server: IPv4Address, source: str) -> None:
        self._boot_server = server
        self._heard_server = True
        self._note(f"{source} says to boot from {server}")

    def _boot_server_in(self, offer: Message, source: str) -> IPv4Address | None:
        """Find the boot server: option 66 by itself, siaddr and the sender with the PXE text alone (reference 2.7)."""
        found: dict[Server, IPv4Address] = {}
        for code in offer.options:
            if code == Option.TFTP_SERVER:
                named = self._named(offer.options[code]) if self._menu_counts(offer) else None
                found |= {Server.OPTION_66: named} if named else {}
            elif code == Option.VENDOR_SPECIFIC and self._has_menu(offer):
                found |= {Server.SIADDR: offer.siaddr} if offer.siaddr != packet.ZERO else {}
                found[Server.SOURCE] = IPv4Address(source)
        wanted = [server for server in self.profile.servers if server in found]
        if self.profile.last_server:
            wanted = [server for server in found if server in wanted][::-1]
        return found[wanted[0]] if wanted else None

    def _menu_counts(self, offer: Message) -> bool:
        return not self.profile.needs_menu or self._has_menu(offer)

    def _named(self, option: bytes) -> IPv4Address | None:
        text = option.rstrip(b"\0").decode("ascii", "replace")
        try:
            return IPv4Address(text)
        except AddressValueError:
            self._name_in_66 = text or self._name_in_66
            return None

    def _has_menu(self, offer: Message) -> bool:
        menu = offer.options.get(Option.VENDOR_SPECIFIC, b"")
        if self.profile.menu.encode() in menu:
            pxe = offer.options.get(Option.VENDOR_CLASS, b"").startswith(PXE_CLIENT)
            return pxe or Server.SIADDR not in self.profile.servers  # the ROM looks at no option 60
        self._other_menu = decode_pxe_menu(menu) or self._other_menu
        return False

    def _request(self) -> bytes:
        given = self._given
        if given is None:
            raise AssertionError("a request follows an offer")
        # With option 60 but in 2020, and without 55, 93 and 97 (reference 2.2).
        options = {
            int(Option.MESSAGE_TYPE): bytes([MessageType.REQUEST]),
            int(Option.REQUESTED_ADDRESS): given.yiaddr.packed,
            int(Option.SERVER_IDENTIFIER): given.options.get(Option.SERVER_IDENTIFIER, b""),
            int(Option.VENDOR_CLASS): profiles.VENDOR_CLASS if self.profile.class_in_request else b"",
        }
        return packet.encode(Message(BOOTREQUEST, self.xid, self.mac, {k: v for k, v in options.items() if v}))

    def _granted(self, by: Message) -> None:
        """Take the address of an ACK, or, for a model that confirms none, of the offer itself."""
        given, boot_server = self._given, self._boot_server
        if given is None or boot_server is None:
            return
        self.lease = lease_of(by, given, boot_server)

    def _why_not(self) -> Cause:
        if not self._heard_address:
            return causes.no_address(self._heard_server)
        if not self._heard_server:
            if self._name_in_66 is not None:
                return causes.option66_is_a_name(self._name_in_66)
            return causes.no_boot_offer(self.profile.menu, self._other_menu)
        if self.profile.decides_after_s:
            return causes.rom_asleep()
        named = self._given.address(Option.SERVER_IDENTIFIER) if self._given is not None else None
        return causes.no_ack(str(named or "the DHCP server"))

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def lease_of(by: Message, given: Message, boot_server: IPv4Address = packet.ZERO) -> Lease:
    """Read the lease that an ACK confirms; what it leaves out is as in the offer `given`."""
    mask = by.address(Option.SUBNET_MASK) or given.address(Option.SUBNET_MASK) or IPv4Address("255.255.255.0")
    server = by.address(Option.SERVER_IDENTIFIER) or given.address(Option.SERVER_IDENTIFIER) or packet.ZERO
    return Lease(by.yiaddr, int(mask).bit_count(), by.address(Option.ROUTER), server, boot_server)


def release(lease: Lease, mac: bytes, xid: int) -> bytes:
    """Make the RELEASE that gives a rehearsal's address back (RFC 2131); a real Pi keeps its lease."""
    options = {
        int(Option.MESSAGE_TYPE): bytes([MessageType.RELEASE]),
        int(Option.SERVER_IDENTIFIER): lease.dhcp_server.packed,
    }
    return packet.encode(Message(BOOTREQUEST, xid, mac, options, ciaddr=lease.address))


def discover(profile: Profile, serial: str, mac: bytes, xid: int) -> bytes:
    """Make the model's DISCOVER, byte for byte (reference 2.1)."""
    options = {
        int(Option.MESSAGE_TYPE): bytes([MessageType.DISCOVER]),
        int(Option.PARAMETER_LIST): profile.parameters,
        int(Option.CLIENT_ARCHITECTURE): profiles.ARCHITECTURE,
        int(Option.CLIENT_INTERFACE): profiles.INTERFACE,
        int(Option.MACHINE_IDENTIFIER): _machine(profile, serial, mac),
        int(Option.VENDOR_CLASS): profiles.VENDOR_CLASS,
    }
    return packet.encode(Message(BOOTREQUEST, xid, mac, options))


def _machine(profile: Profile, serial: str, mac: bytes) -> bytes:
    match profile.machine:
        case Machine.ROM:
            return profiles.ROM_MACHINE
        case Machine.SERIAL:
            return encode_serial_machine(serial)
        case Machine.BOARD:
            return encode_machine(profile.family, profile.revision, mac, serial)
