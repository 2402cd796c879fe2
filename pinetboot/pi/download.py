"""The firmware's TFTP client for one file, without a socket and without a clock.

Belongs here: the state machine of the reference's section 8. A datagram, its sender's port and the time go in,
datagrams and the port to send them to come out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pinetboot.pi.profiles import Duplicates, Profile
from pinetboot.tftp import packet
from pinetboot.tftp.options import DEFAULT_BLKSIZE, number
from pinetboot.tftp.packet import ErrorCode, MalformedPacket

_KEPT = 64 << 10  # config.txt and cmdline.txt are read; of larger files the size is enough
_WHOLE = 4 << 20  # more than any EEPROM holds


class Result(StrEnum):
    """How a request ended; the words of `rehearse --json`."""

    OK = "ok"
    MISSING = "missing"
    ERROR = "error"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A finished request. `content` is kept for small files; `message` is the server's where it sent an error.

    `blocks` is how many came, `answered` whether anything came at all, `oack` whether the options were acknowledged,
    `foreign` an address other than the server's that answered instead, `doubled` that it was lost to a second OACK.
    """

    name: str
    result: Result
    size: int = 0
    content: bytes = b""
    message: str = ""
    blocks: int = 0
    answered: bool = True
    oack: bool = True
    foreign: str = ""
    doubled: bool = False


@dataclass(frozen=True, slots=True)
class Out:
    """A datagram to send; `port` None is the server's listening port."""

    payload: bytes
    port: int | None


@dataclass(slots=True)
class Download:
    """One RRQ and what follows. Call start(), receive() and tick() until `done` is set.

    With `probe` the transfer is ended at the OACK with "Early terminate", as the firmware asks for sizes. A profile
    that `overlaps` is done at the OACK all the same, and ends the transfer only at the first block: while `lingers`,
    receive() is to be called still. `whole` keeps all that comes.
    """

    name: str
    profile: Profile
    probe: bool = False
    duplicates: Duplicates = Duplicates.ACKED_AGAIN
    done: Fetched | None = None
    lingers: bool = False
    deadline: float = 0.0
    _heard_at: float = 0.0
    _asked_at: float = 0.0
    _port: int | None = None
    _blksize: int = DEFAULT_BLKSIZE
    _size: int | None = None
    _oack: bool = False
    _block: int = 0
    _bytes: int = 0
    _stalled: bool = False
    whole: bool = False
    _kept: bytearray = field(default_factory=bytearray)

    def start(self, now: float) -> list[Out]:
        """Send the read request."""
        self._heard_at = now
        return self._ask(now)

    def tick(self, now: float) -> list[Out]:
        """Repeat an unanswered request; give up when nothing came for as long as the firmware waits."""
        if self.done or now < self.deadline:
            return []
        if now >= self._heard_at + self.profile.file_timeout_s:
            self._end(Result.TIMEOUT, answered=self._port is not None)
            return []
        if self._port is None and now >= self._asked_at + self.profile.rrq_retry_s:
            return self._ask(now)
        self._plan(now)
        return []

    def receive(self, datagram: bytes, port: int, now: float) -> list[Out]:
        """Take a datagram of the server's, sent from its `port`."""
        if self.lingers and port == self._port:
            self.lingers = False
            return [_early_terminate(port)]
        if self.done or self._port not in {None, port}:
            return []
        try:
            heard = packet.parse(datagram)
        except MalformedPacket:
            return []
        match heard:
            case packet.Error(code, message):
                missing = code == ErrorCode.FILE_NOT_FOUND
                self._end(Result.MISSING if missing else Result.ERROR, message=message)
            case packet.Oack(options) if self._block == 0:
                return self._acknowledged(options, port, now)
            case packet.Data(block, payload):
                return self._data(block, payload, port, now)
        return []

    def _acknowledged(self, options: dict[str, str], port: int, now: float) -> list[Out]:
        if self._oack and self.profile.one_oack:
            self._end(Result.ERROR, message="the OACK came twice", doubled=True)
            return []
        self._port = port
        self._oack = True
        self._heard(now)
        self._blksize = number(options.get("blksize", "")) or DEFAULT_BLKSIZE
        self._size = number(options.get("tsize", ""))
        if self.probe:
            self._end(Result.OK)
            self.lingers = self.profile.overlaps
        return [_early_terminate(port) if self.probe and not self.lingers else Out(packet.encode_ack(0), port)]

    def _data(self, wire_block: int, payload: bytes, port: int, now: float) -> list[Out]:
        if self._port is None:
            self._port = port
        if self.probe:
            self._end(Result.OK)
            return [_early_terminate(port)]
        if self._stalled:
            return []
        if wire_block != (self._block + 1) & 0xFFFF:
            return self._unexpected(wire_block, port)
        if self.profile.max_blocks is not None and self._block >= self.profile.max_blocks:
            return []  # the counter does not roll over: the client goes silent (reference 3.5)
        self._heard(now)
        self._block += 1
        self._bytes += len(payload)
        if len(self._kept) < (_WHOLE if self.whole else _KEPT):
            self._kept += payload
        if len(payload) < self._blksize:
            self._end(Result.OK)
        return [Out(packet.encode_ack(self._block), port)]

    def _unexpected(self, wire_block: int, port: int) -> list[Out]:
        if wire_block != self._block & 0xFFFF or self._block == 0 or self.duplicates is Duplicates.IGNORED:
            return []
        if self.duplicates is Duplicates.STALLS:
            self._stalled = True
            return [Out(packet.encode_ack(self._block + 1), port)]
        return [Out(packet.encode_ack(self._block), port)]

    def _ask(self, now: float) -> list[Out]:
        self._asked_at = now
        self._plan(now)
        request = packet.encode_request(self.name.encode(), "octet", dict(self.profile.tftp_options))
        return [Out(request, None)]

    def _heard(self, now: float) -> None:
        self._heard_at = now
        self._plan(now)

    def _plan(self, now: float) -> None:
        ends_at = self._heard_at + self.profile.file_timeout_s
        self.deadline = ends_at if self._port is not None else min(ends_at, now + self.profile.rrq_retry_s)

    def _end(self, result: Result, *, message: str = "", answered: bool = True, doubled: bool = False) -> None:
        whole = result is Result.OK and not self.probe
        size = self._bytes if whole or self._size is None else self._size
        self.done = Fetched(
            name=self.name,
            result=result,
            size=size,
            content=bytes(self._kept) if self._bytes <= (_WHOLE if self.whole else _KEPT) else b"",
            message=message,
            blocks=self._block,
            answered=answered,
            oack=self._oack or not self.profile.tftp_options,
            doubled=doubled,
        )


def _early_terminate(port: int) -> Out:
    return Out(packet.encode_error(ErrorCode.NOT_DEFINED, "Early terminate"), port)
