"""The virtual Pi's Linux, without a socket and without a clock: what its command line has it do on the network.

Belongs here: the kernel's own DHCP client (`ip=dhcp`, reference 2.9), and where it tells that it is up. A datagram and
the time go in, datagrams to broadcast come out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final
from urllib.parse import urlsplit

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.dhcp import packet
from pinetboot.dhcp.options import MessageType, Option
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, MalformedMessage, Message
from pinetboot.pi import config_txt
from pinetboot.pi.dhcp import Lease, lease_of

_ASKED: Final = bytes([1, 3, 6, 12, 15, 17, 26, 40])
# What comes first is 2 to 3 s, each further wait 7/4 of the one before (reference 2.9).
_WAITS_S: Final = tuple(min(30.0, 2.5 * 1.75**number) for number in range(6))
_OPENS: Final = 2
# The kernel's Documentation/admin-guide/nfs/nfsroot.rst: `ip=` with one word, or with autoconf as its seventh field.
_AUTOMATIC: Final = frozenset({"dhcp", "on", "any", "both"})
_AUTOCONF: Final = 6


def asks_for_address(cmdline: bytes) -> bool:
    """Whether a kernel with that command line speaks DHCP itself; the last `ip=` counts."""
    words = cmdline.decode("utf-8", "replace").split()
    fields = next((word[3:].split(":") for word in reversed(words) if word.startswith("ip=")), [""])
    return (fields[_AUTOCONF] if len(fields) > _AUTOCONF else fields[0]) in _AUTOMATIC


def phone_url(cmdline: bytes, serial: str, server: str) -> str:
    """Say where a Pi tells that it is up: at the host of its seed, else at the server that it booted from."""
    try:
        seed = urlsplit(config_txt.seed_url(cmdline) or "")
    except ValueError:
        seed = urlsplit("")
    host = seed.netloc if seed.scheme == "http" and seed.netloc else server
    return f"http://{host}/phone/{serial}"


@dataclass(slots=True)
class LinuxDialogue:
    """The kernel's DHCP. Call start(), then receive() for each datagram and tick() when `deadline` is reached.

    It is over once `lease` or `cause` is set; `timeout_s` None is the kernel's own patience. `notes` tells, in words,
    what was heard.
    """

    mac: bytes
    xid: int
    timeout_s: float | None = None
    deadline: float = 0.0
    lease: Lease | None = None
    cause: Cause | None = None
    notes: list[str] = field(default_factory=list)
    _began: float = 0.0
    _sends: int = 0
    _offer: Message | None = None
    _source: str = ""

    def start(self, now: float) -> list[bytes]:
        """Begin with a DISCOVER, which says nothing of PXE."""
        self._began = now
        return self._next_try(now)

    def tick(self, now: float) -> list[bytes]:
        """Try again, or end it with a cause."""
        if self.lease or self.cause or now < self.deadline:
            return []
        late = self.timeout_s is not None and now >= self._began + self.timeout_s
        if late or self._sends == _OPENS * len(_WAITS_S):
            self.cause = self._why_not()
            return []
        return self._next_try(now)

    def receive(self, datagram: bytes, source: str, now: float) -> list[bytes]:
        """Take a datagram that came to port 68 from IP address `source`."""
        if self.lease or self.cause:
            return []
        try:
            message = packet.parse(datagram)
        except MalformedMessage:
            return []
        if message.op != BOOTREPLY or message.xid != self.xid or message.mac != self.mac:
            return []
        if message.type == MessageType.OFFER and self._offer is None:
            # The first one counts, and nobody looks whether there is an address in it (reference 2.9).
            self._offer, self._source = message, source
            self.notes.append(f"{source} offers {message.yiaddr}")
            return [self._message(now)]
        if message.type == MessageType.NAK and self._offer is not None:
            self.notes.append(f"{source} took its offer back")
            self._offer = None
        elif message.type == MessageType.ACK and self._offer is not None and message.yiaddr != packet.ZERO:
            self.lease = lease_of(message, self._offer)
        return []

    def _next_try(self, now: float) -> list[bytes]:
        number = self._sends % len(_WAITS_S)
        if number == 0:
            self._offer = None
        self._sends += 1
        self.deadline = now + _WAITS_S[number]
        if self.timeout_s is not None:
            self.deadline = min(self.deadline, self._began + self.timeout_s)
        return [self._message(now)]

    def _message(self, now: float) -> bytes:
        """Write a DISCOVER, or the REQUEST for what was offered."""
        kind = MessageType.DISCOVER if self._offer is None else MessageType.REQUEST
        options = {int(Option.MESSAGE_TYPE): bytes([kind])}
        if self._offer is not None:
            server = self._offer.options.get(Option.SERVER_IDENTIFIER, IPv4Address(self._source).packed)
            options |= {
                int(Option.SERVER_IDENTIFIER): server,
                int(Option.REQUESTED_ADDRESS): self._offer.yiaddr.packed,
            }
        options[int(Option.PARAMETER_LIST)] = _ASKED
        return packet.encode(Message(BOOTREQUEST, self.xid, self.mac, options, secs=int(now - self._began) & 0xFFFF))

    def _why_not(self) -> Cause:
        if self._offer is None:
            return causes.no_address(boot_offer=False)
        if self._offer.yiaddr == packet.ZERO:
            return causes.unaddressed(self._source)
        return causes.no_ack(self._source)
