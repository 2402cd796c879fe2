"""`/api/pis`, `/api/machines` and below: how far each boot is, for scripts (design 2.7). Nothing secret is told."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from pinetboot.fleet.pi import parse_serial
from pinetboot.net.addresses import format_mac, parse_mac
from pinetboot.web.feed import encoded
from pinetboot.web.live import FEED
from pinetboot.web.sources import SOURCES

# It is another a second later.
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def all_pis(request: web.Request) -> web.Response:
    """Answer with all Pis, and with the machines that are none."""
    feed = request.app[FEED]
    pis = await feed.all()
    return _json(f'{{"pis":[{",".join(pis)}],"machines":[{",".join(feed.machines())}]}}')


async def one_pi(request: web.Request) -> web.Response:
    """Answer with one Pi, the files of its latest boot and its past boots, the serial in either case."""
    serial = _serial(request)
    shown = request.app[SOURCES].pis.one(serial)
    if shown is None:
        raise web.HTTPNotFound(text=f"{serial} is not in fleet.toml, and was never seen\n")
    return _json(encoded(shown))


async def one_boot(request: web.Request) -> web.Response:
    """Answer with one boot of a Pi and its files, by its number."""
    serial = _serial(request)
    shown = request.app[SOURCES].pis.boot(serial, int(request.match_info["number"]))
    if shown is None:
        raise web.HTTPNotFound(text=f"no such boot of {serial} is known; the last 20 are\n")
    return _json(encoded(shown))


async def one_machine(request: web.Request) -> web.Response:
    """Answer with one machine that is no Pi and the files of its present boot, its MAC in any way to write it."""
    try:
        mac = format_mac(parse_mac(request.match_info["mac"]))
    except ValueError:
        raise web.HTTPNotFound(text="a MAC is six pairs of hex digits, 52:54:00:12:34:56 say\n") from None
    seen = request.app[SOURCES].machines.seen
    shown = seen.one(mac) if seen else None
    if shown is None:
        raise web.HTTPNotFound(text=f"{mac} is no machine of fleet.toml, and was never seen to boot\n")
    return _json(encoded(shown))


def _serial(request: web.Request) -> str:
    try:
        return parse_serial(request.match_info["serial"])
    except ValueError:
        raise web.HTTPNotFound(text="a serial is eight hex digits, 5b154510 say\n") from None


def _json(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json", headers=_HEADERS)
