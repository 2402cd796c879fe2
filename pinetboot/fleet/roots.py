"""What whoever changes a Pi's generations asks of whoever exports them.

Belongs here: that one agreement, so that neither needs to know the other.
"""

from __future__ import annotations

from typing import Protocol


class Roots(Protocol):
    """Who exports the Pis' trees, and knows what of them is mounted."""

    async def before_boot(self, serial: str, number: int, /) -> None:
        """Return once a generation that a Pi is about to be sent to can be mounted, or soon in any case."""

    def mounted(self, serial: str, /) -> frozenset[int] | None:
        """List the generations of a Pi that a client may have mounted; None where that is not known yet."""


class Unexported:
    """Nobody exports anything, and nothing is known to be mounted."""

    async def before_boot(self, serial: str, number: int, /) -> None:
        """Nothing is to be waited for."""

    def mounted(self, _serial: str, /) -> frozenset[int] | None:
        """Nothing."""
        return frozenset()
