"""`/user-data`, `/meta-data`, `/vendor-data`, `/network-config`: the asking machine's NoCloud seed."""

from __future__ import annotations

import asyncio

from aiohttp import web

from pinetboot.boot import cloudinit
from pinetboot.threads import Busy
from pinetboot.web.sources import SOURCES

_READ_LIMIT_S = 10.0
_MAX_SIZE = 4 << 20


async def get(request: web.Request) -> web.StreamResponse:
    """Answer with the operator's file, or with the default where there is none."""
    name = request.path.removeprefix("/")
    sources = request.app[SOURCES]
    path = sources.seed_folder / name

    def read() -> bytes | None:
        try:
            with path.open("rb") as file:
                return file.read(_MAX_SIZE + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None

    try:
        text = await asyncio.wait_for(sources.pool.submit("cloud-init", read), _READ_LIMIT_S)
    except (OSError, Busy) as error:
        why = getattr(error, "strerror", None) or "the storage does not answer"
        raise web.HTTPServiceUnavailable(text=f"{path} cannot be read: {why}\n") from None
    if text is not None and len(text) > _MAX_SIZE:
        raise web.HTTPInternalServerError(text=f"{path} is larger than the {_MAX_SIZE} bytes that a seed may have\n")
    if text is None:
        address = request.remote or ""
        text = cloudinit.default(name, serial=sources.serial_of(address), address=address).encode()
    return web.Response(body=text, content_type="text/plain", charset="utf-8")
