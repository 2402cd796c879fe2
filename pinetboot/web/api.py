"""`/api/pis` and `/api/pis/<serial>`: every Pi and how far its boot is, for scripts (design 2.7). Nothing secret."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from pinetboot.fleet.pi import parse_serial
from pinetboot.web.sources import SOURCES

# It is another a second later.
_HEADERS: Final = {"Cache-Control": "no-store"}


async def all_pis(request: web.Request) -> web.Response:
    """Answer with all Pis."""
    return web.json_response({"pis": request.app[SOURCES].pis.all()}, headers=_HEADERS)


async def one_pi(request: web.Request) -> web.Response:
    """Answer with one Pi and its past boots, the serial in either case."""
    try:
        serial = parse_serial(request.match_info["serial"])
    except ValueError:
        raise web.HTTPNotFound(text="a serial is eight hex digits, 5b154510 say\n") from None
    shown = request.app[SOURCES].pis.one(serial)
    if shown is None:
        raise web.HTTPNotFound(text=f"{serial} is not in fleet.toml, and was never seen\n")
    return web.json_response(shown, headers=_HEADERS)
