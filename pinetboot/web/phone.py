"""`POST /phone/<serial>`: a Pi is up. The one write over HTTP, and all that it touches is the timeline.

Taken from that Pi's own address alone, by the rule that seeds are told by, and at most 16 KiB. It comes from
`pinetboot-online.service` at each boot, and from cloud-init's phone_home once an instance (reference 6.3); both send a
form, of which the host name is read. What it says is no proof of anything.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final
from urllib.parse import parse_qs

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from pinetboot.events import PacketDropped, PhonedHome
from pinetboot.fleet.pi import parse_serial
from pinetboot.web.seed import client_of, is_its_own
from pinetboot.web.sources import SOURCES, Sources

_MOST: Final = 16 << 10
_LIMIT_S: Final = 10.0
_MOST_FIELDS: Final = 100
_HOSTNAME: Final = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.-]{0,251}[0-9A-Za-z])?")
_UNREAD: Final = "fleet.toml was not read yet, so that nobody knows whose address this is\n"


async def post(request: web.Request) -> web.Response:
    """Answer 200 where it is believed, 403 to any other address, 404 for a Pi that nobody knows."""
    sources = request.app[SOURCES]
    try:
        serial = parse_serial(request.match_info["serial"])
    except ValueError:
        raise web.HTTPNotFound(text="a serial is eight hex digits, 5b154510 say\n") from None
    if not sources.seeds.known():
        raise web.HTTPServiceUnavailable(text=_UNREAD, headers={"Retry-After": "2"})
    client = client_of(request)
    if not _may_speak_for(sources, serial, client, await sources.seeds.who(client)):
        why = f"{client} may not say that {serial} is up: that is for the Pi's own address alone"
        sources.sink(PacketDropped("http", client, why))
        raise web.HTTPForbidden(text=f"{why}\n")
    sources.sink(PhonedHome(client, serial, _hostname(await _body(request))))
    return web.Response(text="ok\n")


def _may_speak_for(sources: Sources, serial: str, client: str, whose: str | None) -> bool:
    """Whether an address is that Pi's, being `whose`. Raises HTTPNotFound for a Pi that nobody knows."""
    seeded = sources.seeds.seed_of(serial)
    if seeded is not None:
        return is_its_own(seeded, client, whose)
    if not sources.pis.knows(serial):
        raise web.HTTPNotFound(text=f"{serial} is not in fleet.toml, and was never seen\n")
    return whose == serial


async def _body(request: web.Request) -> bytes:
    """Read what was sent, and no more than it may be."""
    if (request.content_length or 0) > _MOST:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(_LIMIT_S):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > _MOST:
                    raise _too_large()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"it took longer than {_LIMIT_S:g} seconds to come\n") from None
    except (ClientError, HttpProcessingError):
        raise web.HTTPBadRequest(text="the body cannot be read\n") from None
    return bytes(body)


def _too_large() -> web.HTTPRequestEntityTooLarge:
    return web.HTTPRequestEntityTooLarge(_MOST, _MOST + 1, text=f"at most {_MOST} bytes are taken\n")


def _hostname(body: bytes) -> str:
    """Read `hostname` of a form; empty where there is none that could be one (RFC 1123)."""
    try:
        found = parse_qs(body.decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS).get("hostname", [""])[0]
    except ValueError:
        return ""
    return found.lower() if _HOSTNAME.fullmatch(found) else ""
