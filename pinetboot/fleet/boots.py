"""Which Pis are in the middle of a boot, so that no boot mixes two generations.

Belongs here: from a Pi's first request to its kernel's own DHCP, at most 120 s. Time is an argument, seconds that rise.
"""

from __future__ import annotations

HELD_S = 120.0
_MOST = 4096


class Boots:
    """At most 4096 Pis; those that asked last stay."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._blind_until = float("-inf")

    def asked(self, serial: str, now: float) -> None:
        """A Pi's firmware asked for a file."""
        began = self._began.get(serial)
        if began is None or now - began >= HELD_S:
            self._began.pop(serial, None)
            self._began[serial] = now
            if len(self._began) > _MOST:
                del self._began[next(iter(self._began))]

    def blind(self, now: float) -> None:
        """Until now nobody was looking: any Pi may be in the middle of a boot."""
        self._blind_until = now + HELD_S

    def in_linux(self, serial: str) -> None:
        """The Pi's kernel asked for an address: the firmware is through with the boot tree."""
        self._began.pop(serial, None)

    def held_s(self, serial: str, now: float) -> float:
        """For how many seconds more a Pi's tree has to stay what it is; 0 when it may change."""
        began = self._began.get(serial)
        return max(0.0, self._blind_until - now, began + HELD_S - now if began is not None else 0.0)
