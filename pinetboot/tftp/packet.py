"""TFTP packets, to and from bytes (RFC 1350, 2347).

Belongs here: the layout of packets. Never here: what an option's value means, or what to answer and when.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache

from pinetboot.errors import PeerError


class Opcode(IntEnum):
    """RFC 1350 section 5; OACK is RFC 2347's."""

    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class ErrorCode(IntEnum):
    """RFC 1350 appendix; 8 is RFC 2347's."""

    NOT_DEFINED = 0
    FILE_NOT_FOUND = 1
    ACCESS_VIOLATION = 2
    DISK_FULL = 3
    ILLEGAL_OPERATION = 4
    UNKNOWN_TRANSFER_ID = 5
    FILE_EXISTS = 6
    NO_SUCH_USER = 7
    OPTION_NEGOTIATION = 8


class MalformedPacket(PeerError):
    """A datagram that breaks the protocol. `code` is what to answer, None for silence."""

    def __init__(self, message: str, code: ErrorCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """RRQ or WRQ. `filename` is raw bytes; `mode` and option names are lower case; options keep their order."""

    opcode: Opcode
    filename: bytes
    mode: str
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Data:
    """DATA: `block` as on the wire, 0 to 65535."""

    block: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """ACK: `block` as on the wire, 0 to 65535."""

    block: int


@dataclass(frozen=True, slots=True)
class Error:
    """ERROR: `code` as on the wire, which may be none that we know."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Oack:
    """OACK: the options that were granted; names are lower case."""

    options: dict[str, str]


Packet = Request | Data | Ack | Error | Oack

HEADER = struct.Struct("!HH")
HEADER_SIZE = HEADER.size
_OPCODE = struct.Struct("!H")
_REQUESTS = frozenset((_OPCODE.pack(Opcode.RRQ), _OPCODE.pack(Opcode.WRQ)))
_MAX_REQUEST = 4096  # RFC 2347 ends one at 512
_MAX_NAME = 2048
_REMEMBERED = 1024  # requests are few and come often; the options of one are never changed after it was read


def opcode(datagram: bytes) -> int:
    """Return the first two bytes as a number. Raises MalformedPacket for a datagram too short to have them."""
    if len(datagram) < _OPCODE.size:
        raise MalformedPacket(f"a datagram of {len(datagram)} bytes has no opcode")
    return int(_OPCODE.unpack_from(datagram)[0])


def parse(datagram: bytes) -> Packet:
    """Read any TFTP packet. Raises MalformedPacket."""
    if datagram[:2] in _REQUESTS:
        if len(datagram) > _MAX_REQUEST:
            raise MalformedPacket(f"a request of {len(datagram)} bytes is too long", ErrorCode.ILLEGAL_OPERATION)
        return _parse_request(datagram)
    kind = opcode(datagram)
    match kind:
        case Opcode.OACK:
            return Oack(_parse_options(_strings(datagram[2:], ErrorCode.OPTION_NEGOTIATION)))
        case Opcode.DATA | Opcode.ACK | Opcode.ERROR:
            if len(datagram) < HEADER_SIZE:
                raise MalformedPacket(f"{Opcode(kind).name} of {len(datagram)} bytes is cut short")
            number = int(HEADER.unpack_from(datagram)[1])
            if kind == Opcode.DATA:
                return Data(number, datagram[HEADER_SIZE:])
            if kind == Opcode.ACK:
                return Ack(number)
            return Error(number, datagram[HEADER_SIZE:].partition(b"\0")[0].decode("ascii", "replace"))
    raise MalformedPacket(f"opcode {kind} is unknown", ErrorCode.ILLEGAL_OPERATION)


def _strings(body: bytes, blame: ErrorCode) -> list[bytes]:
    if not body:
        return []
    if body[-1]:
        raise MalformedPacket("the last string has no end", blame)
    return body[:-1].split(b"\0")


@lru_cache(_REMEMBERED)
def _parse_request(datagram: bytes) -> Request:
    strings = _strings(datagram[2:], ErrorCode.ILLEGAL_OPERATION)
    if len(strings) < 2:  # noqa: PLR2004 - name and mode
        raise MalformedPacket("the request lacks a file name or a mode", ErrorCode.ILLEGAL_OPERATION)
    filename, mode, *rest = strings
    if len(filename) > _MAX_NAME:
        raise MalformedPacket("the file name is too long", ErrorCode.ACCESS_VIOLATION)
    return Request(Opcode(opcode(datagram)), filename, mode.decode("ascii", "replace").lower(), _parse_options(rest))


def _parse_options(strings: list[bytes]) -> dict[str, str]:
    if len(strings) % 2:
        raise MalformedPacket("an option has no value", ErrorCode.OPTION_NEGOTIATION)
    options: dict[str, str] = {}
    for name, value in zip(strings[::2], strings[1::2], strict=True):
        # RFC 2347: names are not case sensitive, and one may be given only once; the first one counts.
        options.setdefault(name.decode("ascii", "replace").lower(), value.decode("ascii", "replace"))
    return options


def encode_request(filename: bytes, mode: str, options: dict[str, str], kind: Opcode = Opcode.RRQ) -> bytes:
    """Write an RRQ (or WRQ) with options in the order given."""
    strings = [filename, mode.encode("ascii"), *_option_strings(options)]
    return _OPCODE.pack(kind) + b"\0".join(strings) + b"\0"


def encode_oack(options: dict[str, str]) -> bytes:
    """Write an OACK with options in the order given."""
    return _OPCODE.pack(Opcode.OACK) + b"".join(string + b"\0" for string in _option_strings(options))


def encode_ack(block: int) -> bytes:
    """Write an ACK; `block` may be counted on past 65535, the wire has its low 16 bits."""
    return HEADER.pack(Opcode.ACK, block & 0xFFFF)


def encode_error(code: ErrorCode, message: str) -> bytes:
    """Write an ERROR; what is not ASCII in `message` becomes a question mark."""
    return HEADER.pack(Opcode.ERROR, code) + message.encode("ascii", "replace") + b"\0"


def _option_strings(options: dict[str, str]) -> list[bytes]:
    return [string.encode("ascii") for item in options.items() for string in item]
