"""The chunks of files that were laid out as packets, shared by every client that asks for the same file and blksize.

Belongs here: keeping at most so many bytes, the most lately used, and reading each chunk once however many wait for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict

from pinetboot.tftp.content import Chunk, Content
from pinetboot.threads import Pool

_Key = tuple[tuple[object, ...], int]


class ChunkCache:
    """At most `limit_bytes` of chunks. Every method is called on the loop's thread.

    `chunks` counts those that were had, by where they came from: `cache` (here), `memory` (the kernel's), `storage`.
    """

    def __init__(self, limit_bytes: int, pool: Pool) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.chunks: Counter[str] = Counter()
        self._pool = pool
        self._chunks: OrderedDict[_Key, Chunk] = OrderedDict()
        self._coming: dict[_Key, asyncio.Future[Chunk]] = {}

    def at_once(self, content: Content, number: int) -> Chunk | None:
        """Return a chunk from here or from the page cache; None when a disk must be waited for.

        Raises ContentChanged, or OSError from the storage.
        """
        key = (content.key, number)
        chunk = self._chunks.get(key)
        if chunk is not None:
            self._chunks.move_to_end(key)
            self.chunks["cache"] += 1
            return chunk
        if content.file.remote or key in self._coming:
            return None
        chunk = content.build(number, wait=False)
        if chunk is not None:
            self.chunks["memory"] += 1
            self._keep(key, chunk)
        return chunk

    def fetch(self, content: Content, number: int, place: str) -> asyncio.Future[Chunk]:
        """Read a chunk in a thread. Raises Busy; the future raises ContentChanged, or OSError from the storage.

        The file must stay open until the future is done.
        """
        key = (content.key, number)
        coming = self._coming.get(key)
        if coming is None:
            coming = self._pool.submit(place, lambda: _built(content, number))
            self._coming[key] = coming
            coming.add_done_callback(lambda done: self._arrived(key, done))
        return coming

    def _arrived(self, key: _Key, done: asyncio.Future[Chunk]) -> None:
        del self._coming[key]
        if not done.cancelled() and done.exception() is None:
            self.chunks["storage"] += 1
            self._keep(key, done.result())

    def _keep(self, key: _Key, chunk: Chunk) -> None:
        before = self._chunks.pop(key, None)
        self._chunks[key] = chunk
        self.used_bytes += chunk.cost - (before.cost if before else 0)
        while self.used_bytes > self.limit_bytes and self._chunks:
            self.used_bytes -= self._chunks.popitem(last=False)[1].cost


def _built(content: Content, number: int) -> Chunk:
    chunk = content.build(number, wait=True)
    if chunk is None:
        raise AssertionError("a read that may wait always ends in a chunk or an error")
    return chunk
