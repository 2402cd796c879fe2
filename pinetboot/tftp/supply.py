"""The chunks that one transfer needs, in their order, with the next one read ahead.

Belongs here: where a chunk comes from, and one sentence when it does not come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pinetboot.boot.reading import ContentChanged
from pinetboot.tftp.cache import ChunkCache
from pinetboot.tftp.content import Chunk, Content
from pinetboot.threads import Busy

STORAGE_LIMIT_S = 30.0  # as long as a Pi waits for a file (reference 3.2)


class Unavailable(Exception):
    """The file cannot be sent on; the text is for the client and the log."""


class Supply:
    """Chunks of `content` out of `cache`; `place` is the part of the tree whose storage it depends on."""

    __slots__ = ("_cache", "_content", "_loop", "_place", "_waiting_since")

    def __init__(self, content: Content, cache: ChunkCache, place: str) -> None:
        self._content = content
        self._cache = cache
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None

    @property
    def waiting(self) -> bool:
        """Whether chunk() waits for the storage."""
        return self._waiting_since is not None

    def silent(self, now: float) -> bool:
        """Whether the storage has not answered for too long; `now` is the loop's time."""
        return self._waiting_since is not None and now - self._waiting_since >= STORAGE_LIMIT_S

    def chunk(self, block: int, come: Callable[[Chunk | Unavailable], None]) -> Chunk | None:
        """Give the chunk that holds `block`; None when it must be waited for: `come` is given it then.

        Raises Unavailable.
        """
        number = self._content.chunk_of(block)
        try:
            chunk = self._cache.at_once(self._content, number)
            if chunk is not None:
                return chunk
            coming = self._cache.fetch(self._content, number, self._place)
        except (Busy, ContentChanged, OSError) as error:
            raise Unavailable(_sentence(error)) from None
        self._waiting_since = self._loop.time()
        coming.add_done_callback(lambda done: self._arrived(done, come))
        return None

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

    def _arrived(self, done: asyncio.Future[Chunk], come: Callable[[Chunk | Unavailable], None]) -> None:
        self._waiting_since = None
        try:
            found = done.result()
        except (ContentChanged, OSError, asyncio.CancelledError) as error:
            come(Unavailable(_sentence(error)))
        else:
            come(found)


def _sentence(error: BaseException) -> str:
    if isinstance(error, ContentChanged):
        return "the file changed while it was being sent"
    if isinstance(error, OSError):
        return f"the storage failed: {error.strerror}"
    return "the storage does not answer"
