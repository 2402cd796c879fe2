"""Taking down what is seen: from the capture into the pcap, until somebody says that it is enough.

Belongs here: reading, choosing, and how much was lost. The kernel holds what waits, up to so many bytes; what finds no
room there is counted.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Final

from pinetboot.net import capture
from pinetboot.trace import door, frames
from pinetboot.trace.pcap import Pcap
from pinetboot.trace.whose import Facts, Whose

_LOOK_S: Final = 0.25
_BURST: Final = 512


@dataclass(slots=True)
class Limits:
    """When it is enough, by itself; None for never."""

    seconds: float | None = None
    packets: int | None = None


class Taking:
    """Takes down what `facts` tell of, until stop(). `lost` counts frames that came faster than they were read."""

    def __init__(self, facts: Facts, seeing: socket.socket, pcap: Pcap) -> None:
        self.lost = 0
        self._facts = facts
        self._seeing = seeing
        self._pcap = pcap
        self._whose = Whose(facts)
        self._known = 0
        self._stopping = False

    def stop(self) -> None:
        """Have run() return before long; a handler of signals may call it."""
        self._stopping = True

    def run(self, limits: Limits) -> None:
        """Go on until a limit is reached, or stop() was called. Raises OSError of the file."""
        until = None if limits.seconds is None else time.monotonic() + limits.seconds
        self._narrow()
        while not self._stopping and not self._is_enough(limits):
            left = _LOOK_S if until is None else min(_LOOK_S, until - time.monotonic())
            if left <= 0:
                break
            select.select([self._seeing], [], [], left)
            self._take(limits, inf)
            self._pcap.flush()
            self._narrow()

    def finish(self, limits: Limits) -> None:
        """Take what was seen by now, and count what was lost. Raises OSError of the file."""
        until = time.time()
        while self._take(limits, until):
            pass
        with suppress(OSError):
            self.lost += capture.lost(self._seeing)
        self._pcap.close()

    def _is_enough(self, limits: Limits) -> bool:
        return limits.packets is not None and self._pcap.written >= limits.packets

    def _take(self, limits: Limits, until: float) -> bool:
        """Take some of what was seen until a time; says whether there may be more."""
        for _ in range(_BURST):
            if self._is_enough(limits):
                return False
            try:
                seen = capture.receive(self._seeing)
            except OSError:
                continue  # an interface went down
            if seen is None or seen.at > until:
                return False
            frame = frames.parse(seen.octets)
            if frame is not None and self._whose.takes(frame):
                for octets in frames.as_sent(frame, self._whose.stride(frame), unfinished=seen.unfinished):
                    if not self._is_enough(limits):
                        self._pcap.add(octets, seen.at)
        return True

    def _narrow(self) -> None:
        """Have the kernel leave out what others send, as soon as it is known who the Pi is."""
        known = len(self._whose.addresses) + len(self._whose.macs)
        if self._facts.serial and self._whose.addresses and known != self._known:
            self._known = known
            with suppress(OSError, ValueError):  # it is chosen here all the same
                capture.narrow(self._seeing, door.wanted(self._facts, self._whose.addresses, self._whose.macs))
