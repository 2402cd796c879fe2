"""Broken copies of real datagrams by the hundred thousand, the same ones for the same seed, and feeding them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

Fault = Callable[[bytearray, int, int], None]


class Mutants:
    """Whole datagrams of a corpus with one to six faults each; a protocol adds where they hurt, and ways of its own."""

    values: ClassVar[Sequence[int]] = range(256)  # what a byte is set to
    words: ClassVar[Sequence[bytes]] = ()  # what is put in place of a piece
    repeats: ClassVar[Sequence[int]] = (1, 2, 50)
    longest = 12  # bytes that a fault goes over, at most

    def __init__(self, seed: int, corpus: Sequence[bytes]) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the same packets each time, nothing to keep secret
        self.pick = self.random.choice
        self.corpus = corpus

    def __iter__(self) -> Iterator[bytes]:
        while True:
            made = bytearray(self.pick(self.corpus))
            for _ in range(self.pick((1, 1, 1, 2, 3, 6))):
                at = self.place(made)
                self.pick(self.ways())(made, at, at + self.pick(range(self.longest)))
            yield bytes(made)

    def place(self, made: bytearray) -> int:
        """Choose where a fault begins."""
        return self.pick(range(len(made) + 1))

    def ways(self) -> Sequence[Fault]:
        """List the ways to break something, the more common ones more than once."""
        return (self.bend, self.bend, self.cut, self.cut, self.mix)

    def bend(self, made: bytearray, at: int, _to: int) -> None:
        """Change one byte: one bit of it, or all."""
        if at < len(made):
            made[at] = made[at] ^ 1 << self.pick(range(8)) if self.pick(range(2)) else self.pick(self.values)

    def cut(self, made: bytearray, at: int, to: int) -> None:
        """Take the end away or a piece out, or repeat one."""
        match self.pick(("tail", "piece", "repeat")):
            case "tail":
                del made[at:]
            case "piece":
                del made[at:to]
            case "repeat":
                made[at:at] = made[at:to] * self.pick(self.repeats)

    def mix(self, made: bytearray, at: int, to: int) -> None:
        """Put noise in, go on as another datagram, or put a word in place of a piece."""
        match self.pick(("noise", "splice", "word") if self.words else ("noise", "splice")):
            case "noise":
                made[at:at] = self.random.randbytes(to - at)
            case "splice":
                made[at:] = self.pick(self.corpus)[at:]
            case "word":
                made[at:to] = self.pick(self.words)


def each(datagrams: Iterator[bytes], take: Callable[[bytes], None]) -> int:
    """Feed them one by one; what breaks is told with the datagram that did it."""
    number = 0
    for number, datagram in enumerate(datagrams, 1):
        try:
            take(datagram)
        except Exception as error:
            error.add_note(f"datagram {number}: {datagram.hex()}")
            raise
    return number
