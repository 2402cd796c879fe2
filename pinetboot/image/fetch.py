"""Downloading an image: it goes on where it stopped, in this run or the next.

Belongs here: files under `state/downloads`, and what is asked of the web server. A part is kept only with the name that
the server gave the whole (ETag, else Last-Modified): without it nobody knows whether the rest still fits.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit, urlunsplit

from pinetboot import __version__
from pinetboot.errors import OperatorError
from pinetboot.image import space
from pinetboot.image.catalogue import sublists
from pinetboot.image.sums import sum_of
from pinetboot.image.watch import Watch
from pinetboot.net import http

PAUSES_S = (0.5, 2.0, 5.0, 10.0)  # before each try that follows one which brought nothing new
_SILENCE_S = 60.0
_USER_AGENT = f"pinetboot/{__version__}"
_MOST_TEXT = 1 << 20
_MOST_LIST = 64 << 20
_MOST_LISTS = 32
_STALE_S = 7 * 86400
_TRY_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_ASK_AGAIN = "Run the same command again; it goes on where this stopped."


def is_url(source: str) -> bool:
    """Tell a URL from a path or a name."""
    return source.lower().startswith(("http://", "https://"))


@dataclass
class _Part:
    """A file that is not whole yet, and beside it what the server said of it."""

    path: Path
    url: str
    version: str = ""

    @property
    def _note(self) -> Path:
        return self.path.with_suffix(".from")

    def begun(self) -> int:
        """Say how many bytes are there to build on."""
        with suppress(OSError, ValueError):
            note = json.loads(self._note.read_text())
            if note["url"] == self.url and note["version"]:
                self.version = str(note["version"])
                return self.path.stat().st_size
        return 0

    def note(self, version: str) -> None:
        self.version = version
        self._note.write_text(json.dumps({"url": self.url, "version": version}))

    def drop(self) -> None:
        for path in (self._note, self.path):
            path.unlink(missing_ok=True)


class _Refused(Exception):
    """The server's answer is final."""


class _BrokeOff(Exception):
    """Worth another try."""


async def fetch(url: str, data: Path, watch: Watch, pauses_s: Sequence[float] | None = None) -> tuple[Path, str]:
    """Download a file; returns where it is and what the server calls it. drop() it when it is done with.

    After a try that brought nothing new comes a pause; after the last one it gives up. Raises OperatorError.
    """
    part = _Part(_downloads(data) / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.part", url)
    furthest, tries = part.begun(), 0
    pauses_s = PAUSES_S if pauses_s is None else pauses_s
    while True:
        try:
            await _go_on(part, watch)
        except _Refused as refused:
            part.drop()
            raise OperatorError(f"{url} cannot be had: {refused}", "Check the address.") from None
        except _BrokeOff as broke:
            there = part.path.stat().st_size if part.path.exists() else 0
            if there > furthest:
                furthest, tries = there, 0
            elif tries == len(pauses_s):
                if not part.version:
                    part.drop()
                raise OperatorError(
                    f"{url} cannot be had: {broke}, after {there:,} bytes and {tries + 1} tries", _ASK_AGAIN
                ) from None
            await asyncio.sleep(pauses_s[min(tries, len(pauses_s) - 1)])
            tries += 1
        else:
            return part.path, part.version


def drop(path: Path) -> None:
    """Delete a download."""
    _Part(path, "").drop()


async def version(url: str) -> str:
    """Ask what the server calls the file now (its ETag or Last-Modified); empty where it does not tell."""
    with suppress(OSError):
        async with http.opened(url, method="HEAD", silence_s=_SILENCE_S, user_agent=_USER_AGENT) as answer:
            return _version(answer.headers) if answer.status == HTTPStatus.OK else ""
    return ""


async def sum_beside(url: str) -> str:
    """Look for `<URL>.sha256`; empty where there is none. Raises OperatorError where nobody answers."""
    parts = urlsplit(url)
    beside = urlunsplit(parts._replace(path=f"{parts.path}.sha256"))
    status, body = await _small(beside)
    found = sum_of(body.decode("utf-8", "replace"), parts.path.rpartition("/")[2])
    return found or "" if status == HTTPStatus.OK else ""


async def lists(url: str) -> list[Any]:
    """Get the list of images at `url` and those that it names. Raises OperatorError."""
    found: list[Any] = []
    todo = [url]
    for asked in todo:
        try:
            content = await _list(asked)
        except (OperatorError, ValueError, RecursionError) as error:
            if asked != url:
                continue  # one of the further lists: what it has is not found, that is all
            why = error.what if isinstance(error, OperatorError) else f"{url} is no such list: {error}"
            raise OperatorError(
                f"the list of images is out of reach: {why}", "Name a URL or a file, or set images.list_url."
            ) from None
        found.append(content)
        todo += [more for more in sublists(content) if more not in todo][: _MOST_LISTS - len(todo)]
    return found


async def _list(url: str) -> Any:
    status, body = await _small(url, _MOST_LIST)
    if status != HTTPStatus.OK:
        raise OperatorError(f"{url} cannot be had: the server answers {status}")
    return json.loads(body)


async def _small(url: str, most: int = _MOST_TEXT) -> tuple[int, bytes]:
    try:
        async with http.opened(url, silence_s=_SILENCE_S, user_agent=_USER_AGENT) as answer:
            body = bytearray()
            async for part in answer.parts:
                body += part
                if len(body) > most:
                    return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b""
            return answer.status, bytes(body)
    except OSError as error:
        raise OperatorError(f"{url} cannot be had: {error}", "Check the address and this host's network.") from None


async def _go_on(part: _Part, watch: Watch) -> None:
    start = part.begun()
    ask = {"Range": f"bytes={start}-", "If-Range": part.version} if start else {}
    try:
        async with http.opened(part.url, headers=ask, silence_s=_SILENCE_S, user_agent=_USER_AGENT) as answer:
            if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                if answer.headers.get("Content-Range", "") == f"bytes */{start}":
                    return  # it was whole
                part.drop()
                raise _BrokeOff("the file there has changed")
            if answer.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                said = f"the server answers {answer.status} {answer.reason}".rstrip()
                late = answer.status in _TRY_LATER or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
                raise _BrokeOff(said) if late else _Refused(said)
            if answer.status == HTTPStatus.OK:
                start = 0
            elif not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                part.drop()
                raise _BrokeOff("the server sends another part than was asked for")
            await _take(part, answer, start, watch)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            part.drop()
            raise space.ran_out(part.path.parent, "while downloading") from None
        raise _BrokeOff(str(error)) from None


async def _take(part: _Part, answer: http.Answer, start: int, watch: Watch) -> None:
    length = answer.headers.get("Content-Length", "")
    rest = int(length) if length.isdecimal() else None
    if rest is not None:
        space.need(part.path.parent, rest, "the download")
    with part.path.open("r+b" if start else "wb") as file:
        part.note(_version(answer.headers))
        file.seek(start)
        watch.stage("downloading", None if rest is None else start + rest)
        watch.at(start)
        await _copy(answer, file, watch)
        file.truncate()
        if rest is not None and file.tell() != start + rest:
            raise _BrokeOff("the connection ended early")


async def _copy(answer: http.Answer, file: BinaryIO, watch: Watch) -> None:
    try:
        async for some in answer.parts:
            file.write(some)
            watch.at(file.tell())
    finally:
        file.flush()


def _version(headers: Mapping[str, str]) -> str:
    """Give what If-Range may name: a strong ETag, else the date (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")


def _downloads(data: Path) -> Path:
    folder = data / "state" / "downloads"
    try:
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        for old in folder.iterdir():
            if time.time() - old.stat().st_mtime > _STALE_S:
                old.unlink()
    except OSError as error:
        raise OperatorError(
            f"{folder} cannot be written: {error.strerror}", "Run this as the user that the daemon runs as."
        ) from None
    if not os.access(folder, os.W_OK):
        raise OperatorError(f"{folder} cannot be written", "Run this as the user that the daemon runs as.")
    return folder
