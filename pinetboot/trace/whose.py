"""Whose a frame is: what belongs to the DHCP, TFTP and HTTP of one Pi, or of all.

Belongs here: the choice, and what is learned on the way: a Pi's MAC from its DHCP, its address from the answer to that,
from its TFTP path or from its frames. Bounded: anyone on the network can add to it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from pinetboot.boot.names import BadName, normalise
from pinetboot.dhcp import packet as dhcp
from pinetboot.dhcp.options import MessageType, Option, decode_machine
from pinetboot.dhcp.packet import ZERO, MalformedMessage
from pinetboot.net.addresses import format_mac
from pinetboot.tftp import packet as tftp
from pinetboot.tftp.packet import MalformedPacket, Oack, Request
from pinetboot.trace.frames import TCP, UDP, Frame

_MOST_TRANSFERS: Final = 4096
_MOST_FRAGMENTED: Final = 1024
_MOST_OF_A_PI: Final = 8
_NOBODY: Final = "0.0.0.0"  # noqa: S104 - whoever has no address yet
_REQUESTS: Final = (b"\0\1", b"\0\2")  # RFC 1350
_DIGITS: Final = 5
_BLKSIZE: Final = 512  # likewise, where no other is granted
_OACK: Final = b"\0\6"  # RFC 2347


@dataclass(frozen=True, slots=True)
class Facts:
    """What the daemon knows of what is to be taken down. `serial` is empty for all Pis; MACs are `dc:a6:32:…`.

    `http_port` is 0 where there is none. `interfaces` are the indices to look at, none for all; `transfers` those under
    way: the client's address and port, and the blksize in bytes.
    """

    serial: str
    macs: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    dhcp_ports: tuple[int, ...] = (67, 68)
    tftp_port: int = 69
    http_port: int = 80
    interfaces: tuple[int, ...] = ()
    transfers: tuple[tuple[str, int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The shape in which a daemon tells it."""
        return asdict(self)


def from_json(item: Mapping[str, Any]) -> Facts:
    """Read it back. Raises KeyError, TypeError or ValueError."""
    return Facts(
        serial=str(item["serial"]),
        macs=tuple(str(mac) for mac in item["macs"]),
        addresses=tuple(str(address) for address in item["addresses"]),
        dhcp_ports=tuple(int(port) for port in item["dhcp_ports"]),
        tftp_port=int(item["tftp_port"]),
        http_port=int(item["http_port"]),
        interfaces=tuple(int(index) for index in item["interfaces"]),
        transfers=tuple((str(host), int(port), int(blksize)) for host, port, blksize in item["transfers"]),
    )


class Whose:
    """Chooses frames in the order in which they came. `macs` and `addresses` are those of the one Pi."""

    def __init__(self, facts: Facts) -> None:
        self.macs = {bytes.fromhex(mac.replace(":", "")) for mac in facts.macs}
        self.addresses = set(facts.addresses)
        self._facts = facts
        self._all = not facts.serial
        # The blksize by the client's end, and packets that come in parts.
        self._transfers = OrderedDict(((host, port), blksize) for host, port, blksize in facts.transfers)
        self._fragmented: OrderedDict[tuple[str, str, int], bool] = OrderedDict()

    def takes(self, frame: Frame) -> bool:
        """Whether a frame belongs to it."""
        if not frame.begins:
            return frame.packet in self._fragmented
        taken = self._is_http(frame) if frame.protocol == TCP else self._is_wanted_udp(frame)
        if taken and not frame.ends:
            _put(self._fragmented, frame.packet, True, _MOST_FRAGMENTED)
        return taken

    def stride(self, frame: Frame) -> int:
        """How large a whole DATA packet of this transfer is; 0 for what belongs to none."""
        blksize = self._transfers.get((frame.destination, frame.destination_port), 0)
        return blksize + tftp.HEADER_SIZE if blksize else 0

    def _is_http(self, frame: Frame) -> bool:
        return self._facts.http_port in {frame.source_port, frame.destination_port} and self._is_own(frame)

    def _is_wanted_udp(self, frame: Frame) -> bool:
        if frame.protocol != UDP:
            return False
        sender, receiver = (frame.source, frame.source_port), (frame.destination, frame.destination_port)
        if frame.destination_port == self._facts.tftp_port and frame.payload[:2] in _REQUESTS:
            if not self._is_own(frame) and not self._names_it(frame.payload):
                return False
            self._learn(frame.source)
            _put(self._transfers, sender, _BLKSIZE, _MOST_TRANSFERS)
            return True
        if sender in self._transfers or receiver in self._transfers:
            if receiver in self._transfers and frame.payload[:2] == _OACK:
                self._transfers[receiver] = _granted(frame.payload)
            return True
        ports = self._facts.dhcp_ports
        return (sender[1] in ports or receiver[1] in ports) and self._is_its_dhcp(frame)

    def _is_its_dhcp(self, frame: Frame) -> bool:
        """Take a DHCP message, broken ones as well where they come from it."""
        try:
            message = dhcp.parse(frame.payload)
        except MalformedMessage:
            return self._is_own(frame)
        machine = decode_machine(message.options.get(Option.MACHINE_IDENTIFIER, b""))
        if machine is not None and machine.serial and machine.serial == self._facts.serial:
            self._learn_mac(message.mac)
        if not self._all and message.mac not in self.macs:
            return False
        if message.type is MessageType.ACK and message.yiaddr != ZERO:
            self._learn(str(message.yiaddr))
        return True

    def _is_own(self, frame: Frame) -> bool:
        if self._all or frame.source in self.addresses or frame.destination in self.addresses:
            return True
        if frame.source_mac in self.macs:
            self._learn(frame.source)
            return True
        return frame.destination_mac in self.macs

    def _names_it(self, request: bytes) -> bool:
        """Whether a request's path begins with its serial, or with its MAC (reference 3.4)."""
        try:
            asked = tftp.parse(request)
            folder = normalise(asked.filename).partition("/")[0] if isinstance(asked, Request) else ""
        except (MalformedPacket, BadName):
            return False
        named = folder.lower()
        return named == self._facts.serial or named in {format_mac(mac).replace(":", "-") for mac in self.macs}

    def _learn(self, address: str) -> None:
        if not self._all and address != _NOBODY and len(self.addresses) < _MOST_OF_A_PI:
            self.addresses.add(address)

    def _learn_mac(self, mac: bytes) -> None:
        if len(self.macs) < _MOST_OF_A_PI:
            self.macs.add(mac)


def _granted(oack: bytes) -> int:
    """Read the blksize (RFC 2348) that a server grants."""
    try:
        found = tftp.parse(oack)
    except MalformedPacket:
        return _BLKSIZE
    text = found.options.get("blksize", "") if isinstance(found, Oack) else ""
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else _BLKSIZE


_V = TypeVar("_V")


def _put(kept: OrderedDict[tuple[Any, ...], _V], key: tuple[Any, ...], value: _V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
