"""Whoever looks on while an image is brought in.

Belongs here: what there is to be told, as a shape. How it is shown to a person is the command line's affair.
"""

from __future__ import annotations

from typing import Protocol


class Watch(Protocol):
    """Told of stages, one after the other, and of how far the running one is."""

    def stage(self, what: str, total: int | None) -> None:
        """Begin a stage of `total` bytes; None where nobody knows."""

    def at(self, done: int) -> None:
        """Say how many bytes of the running stage are done; it may fall, where a download starts over."""

    def say(self, text: str) -> None:
        """Say one thing, a sentence."""


class Unwatched:
    """Nobody looks on."""

    def stage(self, what: str, total: int | None) -> None:
        """Tell nobody."""

    def at(self, done: int) -> None:
        """Tell nobody."""

    def say(self, text: str) -> None:
        """Tell nobody."""
