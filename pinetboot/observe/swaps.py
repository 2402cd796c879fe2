"""Who took whose place, and who took it back: an address that two Pis use, a serial that two boards tell.

Belongs here: remembering changes, bounded because anyone on the network can make them. Time is an argument, seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_MOST: Final = 256


@dataclass(frozen=True, slots=True)
class Swap:
    """At some time `after` came where `before` was; `back`: it had been there shortly before."""

    before: str
    after: str
    at: float
    back: bool


class Swaps:
    """At most 256 places; those of the latest changes stay. A change back within `soon_s` seconds is told apart."""

    def __init__(self, soon_s: float) -> None:
        self._soon_s = soon_s
        self._last: OrderedDict[str, Swap] = OrderedDict()

    def take(self, place: str, before: str, after: str, now: float) -> None:
        """At `place` somebody is another one than before."""
        last = self._last.pop(place, None)
        back = last is not None and last.before == after and 0 <= now - last.at < self._soon_s
        self._last[place] = Swap(before, after, now, back)
        if len(self._last) > _MOST:
            self._last.popitem(last=False)

    def at(self, place: str) -> Swap | None:
        """The latest change there."""
        return self._last.get(place)

    def rival(self, who: str, now: float) -> tuple[str, str] | None:
        """Find (who else, where) takes turns with `who` at one place now."""
        for place, swap in self._last.items():
            if swap.back and now - swap.at < self._soon_s and who in {swap.before, swap.after}:
                return (swap.after if who == swap.before else swap.before), place
        return None
