"""What whoever changes a fleet's trees asks of whoever says that it may, where several hosts share a data directory.

Belongs here: that one agreement, and the fence of those who are alone. How a claim is won is `fleet.keeper`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Lost(Exception):
    """The claim to the fleet is another's by now, or was given up: nothing visible may be changed any more."""


class Fence(Protocol):
    """A claim to a fleet. `mark` begins the names of what is half made under it, and differs from all others'."""

    @property
    def mark(self) -> str:
        """Text for file names, empty or ending in a dash."""

    @property
    def lost(self) -> bool:
        """Whether it is known to be lost; False proves nothing."""

    def check(self) -> None:
        """Make sure that it holds. Raises Lost, and OSError where that cannot be seen."""

    def held(self) -> AbstractContextManager[None]:
        """Make sure that it holds, and give nothing up in this process before the block is through. Raises as check().

        For the one call that makes a change visible, a rename say; nothing that takes long belongs in it.
        """


class Unfenced:
    """The fence of whoever is alone with a data directory."""

    mark = ""
    lost = False

    def check(self) -> None:
        """Nobody else is there."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else is there."""
        yield


ALONE = Unfenced()
