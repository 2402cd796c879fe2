"""Spanning-tree frames (IEEE 802.1D clause 9, 802.1Q clause 14): what a switch's port says of itself.

Belongs here: the layout of the frame. Anyone on the LAN can send one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GROUP: Final = bytes.fromhex("0180c2000000")
_LLC: Final = bytes.fromhex("424203")
_PROTOCOL: Final = bytes(2)
_CONFIGURATION: Final = 0
_RAPID: Final = 2
_SIZE: Final = 35
_TICKS: Final = 256
_RAPID_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Bpdu:
    """What a port tells: the version (0 is the slow one, 2 and 3 are rapid), and how long it listens, then learns."""

    version: int
    forward_delay_s: float

    @property
    def rapid(self) -> bool:
        """Whether a port of its own may forward at once where nothing but a host is behind it."""
        return self.version >= _RAPID_VERSION

    @property
    def silent_s(self) -> float:
        """For how long a port that is no edge port forwards nothing after its link came up (802.1D clause 8.4)."""
        return 2 * self.forward_delay_s


def parse(body: bytes) -> Bpdu | None:
    """Read what follows the two addresses and the length of a frame; None where it is none, or a mere notification."""
    if body[:3] != _LLC or body[3:5] != _PROTOCOL or len(body) < len(_LLC) + _SIZE:
        return None
    version, kind = body[5], body[6]
    if kind not in {_CONFIGURATION, _RAPID}:
        return None
    return Bpdu(version, int.from_bytes(body[36:38], "big") / _TICKS)
