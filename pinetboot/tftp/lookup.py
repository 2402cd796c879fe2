"""Finding the file that a read request names: at once where the kernel's caches know it, else in a thread.

Belongs here: requests that wait for the storage, each answered exactly once, at the latest when the storage has been
silent for too long. What the answer becomes on the wire is the server's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pinetboot.boot.names import place
from pinetboot.boot.reading import ContentChanged
from pinetboot.boot.resolver import BootFile, BootTree, NotServed, Unreadable
from pinetboot.net.addresses import Endpoint
from pinetboot.tftp import netascii
from pinetboot.tftp.content import index_text
from pinetboot.tftp.packet import Request
from pinetboot.threads import Busy, Pool

_SILENT = "the storage does not answer"
LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """An open file; with its netascii index where that form was asked for."""

    file: BootFile
    index: netascii.Index | None = None

    @property
    def size(self) -> int:
        """Bytes as they are transferred."""
        return self.file.size if self.index is None else self.index.size


Answer = Callable[[Found | NotServed], None]


@dataclass(slots=True)
class _Waiting:
    request: Request
    answer: Answer
    timer: asyncio.TimerHandle


class Lookups:
    """At most one look-up for each client port. `len()` says how many wait."""

    def __init__(self, tree: BootTree, pool: Pool) -> None:
        self._tree = tree
        self._pool = pool
        self._remote = tree.is_remote()
        self._waiting: dict[Endpoint, _Waiting] = {}
        self._coming: dict[tuple[str, str], asyncio.Future[Found]] = {}

    def __len__(self) -> int:
        """How many requests wait for the storage."""
        return len(self._waiting)

    def at_once(self, request: Request, path: str) -> Found | None:
        """Find a file without waiting; None when that cannot be. Raises NotServed."""
        # netascii has to be read to the end before its size is known.
        if self._remote or request.mode == "netascii":
            return None
        file = self._tree.open_now(path)
        return None if file is None else Found(file)

    def waits_for(self, peer: Endpoint) -> Request | None:
        """Say what the look-up of a client port is for, if one is under way."""
        waiting = self._waiting.get(peer)
        return waiting.request if waiting else None

    def begin(self, peer: Endpoint, request: Request, path: str, answer: Answer) -> None:
        """Find a file in a thread; `answer` is called once, never from within here. Raises NotServed."""
        coming = self._coming.get((path, request.mode)) or self._look_up(path, request.mode)
        timer = asyncio.get_running_loop().call_later(LIMIT_S, self._finish, peer, request, Unreadable(_SILENT))
        self._waiting[peer] = _Waiting(request, answer, timer)
        coming.add_done_callback(lambda done: self._came(peer, request, done))

    def _look_up(self, path: str, mode: str) -> asyncio.Future[Found]:
        """Open a file in a thread, once however many ask: after a power cut a whole rack wants the same one."""

        def work() -> Found:
            file = self._tree.open(path)
            return Found(file, index_text(file) if mode == "netascii" else None)

        try:
            coming = self._pool.submit(place(path), work)
        except Busy:
            raise Unreadable(_SILENT) from None
        self._coming[path, mode] = coming
        coming.add_done_callback(lambda _: self._coming.pop((path, mode)))
        return coming

    def forget(self, peer: Endpoint) -> None:
        """Answer no more; what the thread brings is dropped."""
        waiting = self._waiting.pop(peer, None)
        if waiting is not None:
            waiting.timer.cancel()

    def forget_all(self) -> None:
        """Forget every look-up."""
        for peer in list(self._waiting):
            self.forget(peer)

    def _came(self, peer: Endpoint, request: Request, done: asyncio.Future[Found]) -> None:
        if not done.cancelled():
            self._finish(peer, request, _outcome(done))

    def _finish(self, peer: Endpoint, request: Request, found: Found | NotServed) -> None:
        waiting = self._waiting.get(peer)
        if waiting is not None and waiting.request is request:
            self.forget(peer)
            waiting.answer(found)


def _outcome(done: asyncio.Future[Found]) -> Found | NotServed:
    error = done.exception()
    if error is None:
        return done.result()
    if isinstance(error, NotServed):
        return error
    if isinstance(error, ContentChanged):
        return Unreadable("the file changed while it was being read")
    return Unreadable(f"the file could not be read: {getattr(error, 'strerror', None) or error}")
