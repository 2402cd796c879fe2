"""The chunks that one transfer needs, in their order, with the next one read ahead.

Belongs here: where a chunk comes from, and one sentence when it does not come.
"""

from __future__ import annotations

import asyncio

from pinetboot.boot.reading import ContentChanged
from pinetboot.tftp.cache import ChunkCache
from pinetboot.tftp.content import Chunk, Content
from pinetboot.threads import Busy


class Unavailable(Exception):
    """The file cannot be sent on; the text is for the client and the log."""


class Supply:
    """Chunks of `content` out of `cache`; `place` is the part of the tree whose storage it depends on."""

    __slots__ = ("_cache", "_content", "_place")

    def __init__(self, content: Content, cache: ChunkCache, place: str) -> None:
        self._content = content
        self._cache = cache
        self._place = place

    def chunk(self, block: int) -> Chunk | asyncio.Future[Chunk]:
        """Give the chunk that holds `block`, or its future when the storage must be waited for. Raises Unavailable."""
        number = self._content.chunk_of(block)
        try:
            return self._cache.at_once(self._content, number) or self._cache.fetch(self._content, number, self._place)
        except (Busy, ContentChanged, OSError) as error:
            raise Unavailable(_sentence(error)) from None

    def read_ahead(self, block: int) -> None:
        """Have the chunk that holds `block` ready before it is needed; best effort, silent on faults."""
        number = self._content.chunk_of(block)
        if number >= self._content.chunks:
            return
        try:
            if self._cache.at_once(self._content, number) is None:
                self._cache.fetch(self._content, number, self._place)
        except (Busy, ContentChanged, OSError):
            return


def arrived(done: asyncio.Future[Chunk]) -> Chunk:
    """Take the chunk out of a future that is done. Raises Unavailable."""
    try:
        return done.result()
    except (ContentChanged, OSError) as error:
        raise Unavailable(_sentence(error)) from None


def _sentence(error: Exception) -> str:
    if isinstance(error, ContentChanged):
        return "the file changed while it was being sent"
    if isinstance(error, OSError):
        return f"the storage failed: {error.strerror}"
    return "the storage does not answer"
