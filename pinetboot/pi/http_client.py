"""The virtual Pi's HTTP client: one connection a request, and on with the rest where one breaks (reference 4.4).

Belongs here: the requests as a bootloader makes them, and keeping what comes off the heap. Which are made is
`http_boot`'s.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import re
import tempfile
from collections.abc import Mapping
from typing import IO, Any, Final

from pinetboot.net import http
from pinetboot.net.http import Answer
from pinetboot.pi.asking import Ask
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.http_boot import FetchedImage
from pinetboot.pi.profiles import Profile

_SILENCE_S: Final = 10.0
_TRIES: Final = 5
_PAUSE_S: Final = 0.5
_MOST: Final = 512 << 20
_KEPT: Final = 64 << 10
_OK, _PART, _MISSING = 200, 206, 404  # RFC 9110
_PLACE: Final = re.compile(r"bytes ([0-9]{1,15})-[0-9]{1,15}/(?:[0-9]{1,15}|\*)")


class HttpClient:
    """Asks for URLs, from `local` (empty: any address)."""

    def __init__(self, profile: Profile, local: str = "") -> None:
        # As a Pi 4 was seen to call itself (rpi-eeprom#433).
        self._agent = f"rpiboot/1.0 ({profile.revision:06x}; version:00000000 timestamp:0)"
        self._local = local

    async def fetch(self, ask: Ask) -> Fetched:
        """Do one request to its end, whatever that is; `probe` asks for its size alone."""
        if ask.probe:
            return await self._size(ask.name)
        with tempfile.TemporaryFile() as file:
            coming = _Coming(ask.name, file)
            return await self._whole(coming)

    def close(self) -> None:
        """Nothing is open between requests."""

    async def _size(self, url: str) -> Fetched:
        try:
            async with self._opened(url, "HEAD", {}) as answer:
                if answer.status != _OK:
                    return _refused(url, answer)
                return Fetched(url, Result.OK, _number(answer.headers.get("Content-Length")))
        except OSError as error:
            return Fetched(url, Result.TIMEOUT, message=str(error))

    async def _whole(self, coming: _Coming) -> Fetched:
        tries = _TRIES
        while True:
            before = coming.size
            why = await self._some(coming)
            if isinstance(why, Fetched):
                return why
            if not why:
                return coming.done()
            tries = _TRIES if coming.size > before else tries - 1
            if not tries:
                return Fetched(coming.name, Result.TIMEOUT, coming.size, message=why)
            await asyncio.sleep(_PAUSE_S)

    async def _some(self, coming: _Coming) -> str | Fetched:
        """Get the rest, as much as comes over one connection: empty where it is whole, else why it is not."""
        part = {"Range": f"bytes={coming.size}-"} if coming.size else {}
        try:
            async with self._opened(coming.name, "GET", part) as answer:
                if answer.status == _OK:
                    coming.restart()
                elif answer.status != _PART or _place(answer.headers.get("Content-Range")) != coming.size:
                    return _refused(coming.name, answer)
                left = _number(answer.headers.get("Content-Length"))
                async for piece in answer.parts:
                    coming.take(piece)
                    left -= len(piece)
                    if coming.size > _MOST:
                        return Fetched(coming.name, Result.ERROR, coming.size, message="there is no end to it")
                return "" if left <= 0 else "it ended before its end"
        except OSError as error:
            return str(error)

    def _opened(self, url: str, method: str, headers: Mapping[str, str]) -> Any:
        headers = {"Connection": "close", **headers}
        return http.opened(
            url,
            method=method,
            headers=headers,
            silence_s=_SILENCE_S,
            user_agent=self._agent,
            proxied=False,
            local=self._local,
        )


class _Coming:
    """A file that is being fetched, in a file without a name."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self.name = name
        self.size = 0
        self._file = file
        self._sum = hashlib.sha256()

    def restart(self) -> None:
        self.size = 0
        self._file.seek(0)
        self._file.truncate()
        self._sum = hashlib.sha256()

    def take(self, piece: bytes) -> None:
        self._file.write(piece)
        self._sum.update(piece)
        self.size += len(piece)

    def done(self) -> Fetched:
        self._file.flush()
        # Its own file, which nobody else can cut off, so that a rack of Pis need not be in memory.
        whole = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
        body = memoryview(whole)
        content = bytes(body) if self.size <= _KEPT else b""
        return FetchedImage(self.name, Result.OK, self.size, content, sha256=self._sum.digest(), body=body)


def _refused(url: str, answer: Answer) -> Fetched:
    result = Result.MISSING if answer.status == _MISSING else Result.ERROR
    return Fetched(url, result, message=f"HTTP {answer.status} {answer.reason}")


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0


def _place(text: str | None) -> int:
    """Say where a part begins; -1 where that is not told."""
    found = _PLACE.fullmatch(text or "")
    return int(found[1]) if found else -1
