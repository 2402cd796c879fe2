"""What this process may do, and whether the clock can be believed.

Belongs here: capabilities(7), and adjtimex(2), which Python has no name for.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final

_UNPRIVILEGED_PORTS: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_STATUS: Final = Path("/proc/self/status")
_USUAL_START: Final = 1024
_TIME_ERROR: Final = 5
_TIMEX_SIZE: Final = 512  # more than struct timex has anywhere
_CAPABILITY_VERSION: Final = 0x20080522  # capget(2): two words for each of the three sets
_CAPABILITY_SETS: Final = "=6I"


class Capability(IntEnum):
    """Numbers of linux/capability.h."""

    NET_BIND_SERVICE = 10
    NET_RAW = 13


def capabilities() -> frozenset[int]:
    """Those in effect for this process."""
    with suppress(OSError, ValueError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("CapEff:"):
                mask = int(line.split()[1], 16)
                return frozenset(number for number in range(64) if mask >> number & 1)
    return frozenset()


def put_in_effect(wanted: Iterable[Capability]) -> None:
    """Have this thread, and those that it starts, use what it is permitted to; what it is not stays away.

    So a file's capabilities need not be effective by themselves (setcap's `=p`): one that is not granted, as in a
    container without it, would keep the file from being run at all (capabilities(7)).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    sets = ctypes.create_string_buffer(struct.calcsize(_CAPABILITY_SETS))
    if libc.capget(header, sets):
        return
    effective, permitted, inheritable, *others = struct.unpack(_CAPABILITY_SETS, sets.raw)
    more = sum(1 << one for one in wanted) & permitted
    if effective | more != effective:
        libc.capset(header, struct.pack(_CAPABILITY_SETS, effective | more, permitted, inheritable, *others))


def first_free_port() -> int:
    """The first port that needs no privilege (ip(7))."""
    with suppress(OSError, ValueError):
        return int(_UNPRIVILEGED_PORTS.read_text())
    return _USUAL_START


def is_synchronised() -> bool | None:
    """Whether something keeps the clock right, by NTP say; None where the kernel does not tell."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE))
    return None if state < 0 else state != _TIME_ERROR
