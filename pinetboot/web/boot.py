"""`/boot/<path>`: the TFTP tree over HTTP, with HEAD, Range and conditional requests."""

from __future__ import annotations

import asyncio
import mimetypes

from aiohttp import web

from pinetboot.boot.names import BadName, normalise, place
from pinetboot.boot.resolver import BootFile, BootTree, Missing, NotServed, Refused
from pinetboot.threads import Busy, Pool
from pinetboot.web.sources import KIND, SOURCES

_OPEN_LIMIT_S = 10.0


async def get(request: web.Request) -> web.StreamResponse:
    """Answer GET and HEAD."""
    request[KIND] = "boot"
    try:
        path = normalise(request.match_info["path"])
        sources = request.app[SOURCES]
        file = await _open(sources.tree, sources.pool, path)
    except (BadName, Refused) as error:
        raise web.HTTPForbidden(text=f"{error}\n") from None
    except Missing as error:
        raise web.HTTPNotFound(text=f"{error}\n") from None
    except NotServed as error:
        raise web.HTTPServiceUnavailable(text=f"{error}\n") from None
    except (Busy, TimeoutError):
        raise web.HTTPServiceUnavailable(text="the storage does not answer\n") from None
    content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    # The descriptor, not the name: between our look at the path and another a Pi may have changed what it means.
    response = web.FileResponse(f"/proc/self/fd/{file.fd}", headers={"Content-Type": content_type})
    await response.prepare(request)
    if not file.unchanged() and request.transport is not None:
        # Cut short in place: better a broken connection than a short file that looks whole.
        request.transport.abort()
    return response


async def _open(tree: BootTree, pool: Pool, path: str) -> BootFile:
    if not tree.is_remote():
        file = tree.open_now(path)
        if file is not None:
            return file
    coming = pool.submit(place(path), lambda: tree.open(path))
    return await asyncio.wait_for(coming, _OPEN_LIMIT_S)
