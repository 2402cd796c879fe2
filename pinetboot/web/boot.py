"""`/boot/<path>`: the TFTP tree over HTTP, with HEAD, Range and conditional requests (RFC 9110).

`/net_install/boot.img` and `boot.sig`, which a bootloader with nothing but HTTP_HOST set asks for (reference 4.4), are
those of the Pi that asks, told by its address, else those in the root of the tree.

Belongs here: one file as one answer. aiohttp's own FileResponse is not used: it takes names, not open files, and
gives a part of another version to a client that resumes with an entity tag.
"""

from __future__ import annotations

import asyncio
import mimetypes
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from aiohttp import ETag, web

from pinetboot.boot.names import BadName, normalise, place
from pinetboot.boot.reading import ContentChanged, read_exactly, read_now
from pinetboot.boot.resolver import BootFile, BootTree, Missing, NotServed, Refused
from pinetboot.threads import Busy, Pool
from pinetboot.web import seed
from pinetboot.web.sources import SOURCES

_OPEN_LIMIT_S = 10.0
_READ_LIMIT_S = 30.0
_PIECE = 256 << 10
# Bytes of a body that were handed to the connection, in the request.
SENT: Final = "sent"


async def get(request: web.Request) -> web.StreamResponse:
    """Answer GET and HEAD."""
    return await _answer(request, request.match_info["path"])


async def get_below(request: web.Request) -> web.StreamResponse:
    """Answer the same for a path whose first folder is part of the tree itself."""
    return await _answer(request, f"{request.match_info['folder']}/{request.match_info['path']}")


async def get_by_address(request: web.Request) -> web.StreamResponse:
    """Answer the same for what HTTP boot asks by default, where nothing but its address tells a Pi."""
    name = request.match_info["name"]
    serial = await request.app[SOURCES].seeds.who(seed.client_of(request))
    if serial:
        with suppress(web.HTTPNotFound):
            return await _answer(request, f"{serial}/{name}")
    return await _answer(request, name)


async def _answer(request: web.Request, asked: str) -> web.StreamResponse:
    sources = request.app[SOURCES]
    try:
        path = normalise(asked)
        file = await _open(sources.tree, sources.pool, path)
    except (BadName, Refused) as error:
        raise web.HTTPForbidden(text=f"{error}\n") from None
    except Missing as error:
        raise web.HTTPNotFound(text=f"{error}\n") from None
    except NotServed as error:
        raise web.HTTPServiceUnavailable(text=f"{error}\n") from None
    except (Busy, TimeoutError):
        raise web.HTTPServiceUnavailable(text="the storage does not answer\n") from None
    response = _head(request, file)
    part = _part(request, response, file)
    await response.prepare(request)
    if request.method != "HEAD" and part:
        try:
            await _send(request, response, file, part)
        except (ContentChanged, OSError, Busy, TimeoutError) as error:
            # The connection may keep the exception, and by its traceback would keep the file open.
            error.with_traceback(None)
            # Better a broken connection than a short file that looks whole.
            if request.transport is not None:
                request.transport.abort()
    return response


async def _open(tree: BootTree, pool: Pool, path: str) -> BootFile:
    if not tree.is_remote():
        file = tree.open_now(path)
        if file is not None:
            return file
    return await asyncio.wait_for(pool.submit(place(path), lambda: tree.open(path)), _OPEN_LIMIT_S)


def _head(request: web.Request, file: BootFile) -> web.StreamResponse:
    """Begin an answer, 304 where the client has this very version."""
    etag = f"{file.mtime_ns:x}-{file.size:x}"
    modified = datetime.fromtimestamp(file.mtime_ns // 10**9, UTC)
    if request.if_none_match is not None:
        unchanged = any(tag.value in {etag, "*"} for tag in request.if_none_match)
    else:
        unchanged = request.if_modified_since is not None and modified <= request.if_modified_since
    response = web.StreamResponse(status=304 if unchanged else 200)
    response.etag = ETag(etag)
    response.last_modified = modified
    if not unchanged:
        response.content_type = mimetypes.guess_type(file.path)[0] or "application/octet-stream"
        response.headers["Accept-Ranges"] = "bytes"
    return response


def _part(request: web.Request, response: web.StreamResponse, file: BootFile) -> range:
    """Decide which bytes to send, and set status and headers for them. Raises HTTPRequestRangeNotSatisfiable."""
    if response.status == web.HTTPNotModified.status_code:
        return range(0)
    part = range(file.size)
    if "Range" in request.headers and _same_version(request, response):
        try:
            asked = request.http_range
        except ValueError:
            asked = slice(None)  # RFC 9110 section 14.2: what is no range is as if it were not there
        if asked != slice(None, None, 1) and asked != slice(None):
            part = part[asked]
            if not part:
                raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{file.size}"})
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.size}"
    response.content_length = len(part)
    return part


def _same_version(request: web.Request, response: web.StreamResponse) -> bool:
    """Whether If-Range, if there is one, names the version that we have (RFC 9110 section 13.1.5)."""
    wanted = request.headers.get("If-Range")
    return wanted is None or wanted in {response.headers["ETag"], response.headers["Last-Modified"]}


async def _send(request: web.Request, response: web.StreamResponse, file: BootFile, part: range) -> None:
    """Send bytes of a file. Raises ContentChanged, OSError, Busy or TimeoutError."""
    pool = request.app[SOURCES].pool
    request[SENT] = 0
    buffer = memoryview(bytearray(min(_PIECE, len(part))))
    offset = part.start
    while offset < part.stop:
        piece = buffer[: min(_PIECE, part.stop - offset)]
        size = 0 if file.remote else read_now(file, [piece], offset)
        if size:
            data = bytes(piece[:size])
            if not file.unchanged():
                raise ContentChanged
        else:
            data = await asyncio.wait_for(_read(pool, file, offset, len(piece)), _READ_LIMIT_S)
        await response.write(data)
        offset += len(data)
        request[SENT] = offset - part.start


def _read(pool: Pool, file: BootFile, offset: int, size: int) -> asyncio.Future[bytes]:
    def work() -> bytes:
        data = read_exactly(file, offset, size)
        if not file.unchanged():
            raise ContentChanged
        return data

    return pool.submit(place(file.path), work)
