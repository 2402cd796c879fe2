"""Faults to try a LAN, a server and a Pi with: what is done to which datagram, and what a Pi does otherwise.

Belongs here: the faults of the reference's section 8 that a client can produce, by their names on the command line.
Never here: sockets, time. A datagram goes in; what of it goes on, and how much later, comes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from pinetboot.dhcp import packet as dhcp_packet
from pinetboot.dhcp.options import MessageType
from pinetboot.dhcp.packet import MalformedMessage
from pinetboot.pi.profiles import STRICT_MENU, Profile
from pinetboot.tftp.packet import Opcode

LATE_S = 2.5  # longer than the firmware waits before it repeats a request (reference 2.8)


class Way(Enum):
    """Which datagrams: those of TFTP or of DHCP, that come to the Pi or that it sends."""

    TFTP_HEARD = auto()
    TFTP_SENT = auto()
    DHCP_HEARD = auto()
    DHCP_SENT = auto()


# What becomes of a datagram: the seconds after which it goes on, once for each.
AsIs = tuple[float, ...]
_ON: AsIs = (0.0,)
_LOST: AsIs = ()
_LATE: AsIs = (LATE_S,)
_TWICE: AsIs = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Rule:
    """To datagrams of that way that `hits` (their number, from 1, and their bytes) `fate` happens."""

    way: Way
    hits: Callable[[int, bytes], bool]
    fate: AsIs


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by its name, with its argument; `pi` is which Pi of many has it, from 1, None for all."""

    name: str
    argument: str = ""
    pi: int | None = None

    def __str__(self) -> str:
        """Write it as on the command line, but for which Pi has it."""
        return f"{self.name}:{self.argument}" if self.argument else self.name


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault that there is: in words, with its argument by default, and what it does to datagrams or to a profile."""

    words: str
    argument: str = ""
    rule: Callable[[str], Rule] | None = None
    changes: Callable[[str], dict[str, Any]] | None = None


def _nth(way: Way, fate: AsIs) -> Callable[[str], Rule]:
    return lambda argument: Rule(way, lambda number, _: number == int(argument), fate)


def _from_nth(way: Way, fate: AsIs) -> Callable[[str], Rule]:
    return lambda argument: Rule(way, lambda number, _: number >= int(argument), fate)


def _is_oack(_: int, datagram: bytes) -> bool:
    return datagram[:2] == Opcode.OACK.to_bytes(2, "big")


def _is_request(_: int, datagram: bytes) -> bool:
    try:
        return dhcp_packet.parse(datagram).type is MessageType.REQUEST
    except MalformedMessage:
        return False


def _always(_number: int, _datagram: bytes) -> bool:
    return True


def _menu(text: str) -> dict[str, Any]:
    return {"menu": text, "needs_menu": True}


def _block_size(argument: str) -> dict[str, Any]:
    return {"tftp_options": (("tsize", "0"), ("blksize", argument))}


def _file_timeout(argument: str) -> dict[str, Any]:
    return {"file_timeout_s": float(argument)}


KINDS: dict[str, Kind] = {
    "drop": Kind("the K-th TFTP packet that comes is lost", "10", _nth(Way.TFTP_HEARD, _LOST)),
    "drop-sent": Kind("the K-th TFTP packet that it sends is lost", "10", _nth(Way.TFTP_SENT, _LOST)),
    "drop-dhcp": Kind("the K-th DHCP answer that comes is lost", "1", _nth(Way.DHCP_HEARD, _LOST)),
    "delay": Kind(f"the K-th TFTP packet that comes is {LATE_S} s late", "10", _nth(Way.TFTP_HEARD, _LATE)),
    "delay-dhcp": Kind(f"every DHCP answer is {LATE_S} s late", rule=lambda _: Rule(Way.DHCP_HEARD, _always, _LATE)),
    "duplicate": Kind("the K-th TFTP packet that comes comes twice", "10", _nth(Way.TFTP_HEARD, _TWICE)),
    "duplicate-sent": Kind("the K-th TFTP packet that it sends is sent twice", "10", _nth(Way.TFTP_SENT, _TWICE)),
    "duplicate-oack": Kind("every OACK comes twice", rule=lambda _: Rule(Way.TFTP_HEARD, _is_oack, _TWICE)),
    "silence": Kind("from the K-th TFTP packet on none comes any more", "100", _from_nth(Way.TFTP_HEARD, _LOST)),
    "unplug": Kind(
        "from the K-th TFTP packet on none that it sends gets anywhere", "100", _from_nth(Way.TFTP_SENT, _LOST)
    ),
    "no-request": Kind("its DHCP REQUESTs are lost", rule=lambda _: Rule(Way.DHCP_SENT, _is_request, _LOST)),
    "text": Kind("it looks for this text in option 43 (PXE_OPTION43)", "Other", changes=_menu),
    "strict-text": Kind("it wants three spaces behind the text in option 43", changes=lambda _: _menu(STRICT_MENU)),
    "overlap": Kind("its size probes end when the file is asked for already", changes=lambda _: {"overlaps": True}),
    "double-slash": Kind("it asks for SERIAL//name", changes=lambda _: {"double_slash": True}),
    "rollover": Kind("a bootloader of 2025-09-23 or later", changes=lambda _: {"max_blocks": None}),
    "no-options": Kind("it asks without TFTP options", changes=lambda _: {"tftp_options": ()}),
    "write-protected": Kind("its EEPROM keeps no update", changes=lambda _: {"writable": False}),
    "file-timeout": Kind("it waits so many seconds for a file (TFTP_FILE_TIMEOUT)", "5", changes=_file_timeout),
    "blksize": Kind("it asks for blocks of this size", "512", changes=_block_size),
}

_TEXT = re.compile(r"([a-z-]+)(?::(.*?))?(?:@([1-9][0-9]{0,5}))?", re.DOTALL)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_BLKSIZE = range(8, 65465)  # RFC 2348


def parse(text: str) -> Fault:
    """Read `NAME`, `NAME:ARGUMENT` or either with `@N` for the N-th Pi alone. Raises ValueError with what is right."""
    found = _TEXT.fullmatch(text)
    kind = KINDS.get(found[1]) if found else None
    if found is None or kind is None:
        raise ValueError(f"{text!r} is no fault; there are {', '.join(KINDS)}")
    name, argument = found[1], found[2] or kind.argument
    if found[2] and not kind.argument:
        raise ValueError(f"{text!r}: {name} takes no argument")
    if name == "text":
        if not argument.isascii() or not argument.isprintable():
            raise ValueError(f"{text!r}: the text has ASCII characters only")
    elif argument and not _NUMBER.fullmatch(argument):
        raise ValueError(f"{text!r}: {name} takes a number from 1 on")
    elif name == "blksize" and int(argument) not in _BLKSIZE:
        raise ValueError(f"{text!r}: a block has {_BLKSIZE[0]} to {_BLKSIZE[-1]} bytes")
    return Fault(name, argument, int(found[3]) if found[3] else None)


def of_pi(faults: Sequence[Fault], number: int) -> tuple[Fault, ...]:
    """Those that the `number`-th Pi has, counted from 1."""
    return tuple(fault for fault in faults if fault.pi in {None, number})


def applied(profile: Profile, faults: Sequence[Fault]) -> Profile:
    """Give the profile as the faults change it."""
    for fault in faults:
        changes = KINDS[fault.name].changes
        if changes is not None:
            made = changes(fault.argument)
            loads = replace(profile.loads, **made) if profile.loads is not None else None
            profile = replace(profile, **made, loads=loads)
    return profile


@dataclass(slots=True)
class Meddler:
    """What happens to the datagrams of one Pi; each way is counted for the whole boot."""

    faults: Sequence[Fault]
    _rules: list[Rule] = field(init=False)
    _counts: dict[Way, int] = field(default_factory=lambda: dict.fromkeys(Way, 0))

    def __post_init__(self) -> None:
        made = ((KINDS[fault.name].rule, fault.argument) for fault in self.faults)
        self._rules = [rule(argument) for rule, argument in made if rule is not None]

    def fate(self, way: Way, datagram: bytes) -> AsIs:
        """Say after how many seconds the datagram goes on, once for each; none where it is lost."""
        self._counts[way] = number = self._counts[way] + 1
        hits = [rule.fate for rule in self._rules if rule.way is way and rule.hits(number, datagram)]
        if not hits:
            return _ON
        # Of several a loss counts most.
        return _LOST if _LOST in hits else max(hits)
