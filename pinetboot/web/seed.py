"""`/user-data`, `/meta-data`, `/vendor-data`, `/network-config`: the asking machine's NoCloud seed.

The same by serial below `/seed/<serial>/`. A Pi of the fleet gets its seed at its own address alone, once that is
known: the one in fleet.toml, else where it was seen. A serial that is in no fleet gets the default seed, as its
address would: trees made by hand need no fleet.toml, and nothing is told that the root paths do not tell anyone.

Seeds may hold secrets: no text of one goes into an event, a log or a sentence, and nobody on the way may keep one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from ipaddress import IPv6Address

from aiohttp import web

from pinetboot.boot import cloudinit, seeds
from pinetboot.boot.template import TemplateFault
from pinetboot.events import FleetFault, PacketDropped
from pinetboot.fleet.pi import parse_serial
from pinetboot.net.addresses import parse_address
from pinetboot.threads import Busy
from pinetboot.web.sources import SOURCES, Seeded, Seeds, Sources

_LIMIT_S = 10.0
_FLEET_LIMIT_S = 2.0
_FLEET_LOOK_S = 0.02
_KEPT_BY_NOBODY = {"Cache-Control": "no-store"}
_UNREAD = (
    "fleet.toml is not read yet or cannot be used as it is, so that nobody is told a seed; "
    "the log and `pinetboot check` say what is wrong with it\n"
)


async def get(request: web.Request) -> web.StreamResponse:
    """Answer whoever asks at the root, told by the address."""
    sources = request.app[SOURCES]
    return await _answer(request, request.path.removeprefix("/"), await sources.seeds.who(client_of(request)))


async def get_by_serial(request: web.Request) -> web.StreamResponse:
    """Answer below /seed/<serial>/, the serial in either case."""
    name = request.match_info["name"]
    if name not in cloudinit.SEED_FILES:
        raise web.HTTPNotFound(text=f"a seed has the files {', '.join(cloudinit.SEED_FILES)}\n")
    try:
        serial = parse_serial(request.match_info["serial"])
    except ValueError:
        raise web.HTTPNotFound(text="a serial is eight hex digits, 5b154510 say\n") from None
    return await _answer(request, name, serial)


def client_of(request: web.Request) -> str:
    """Give the address that asks; an IPv4 address that comes through an IPv6 socket is that IPv4 address."""
    return plain_address(request.remote or "")


def plain_address(text: str) -> str:
    """Give an address as all of pinetboot writes it: no zone, and no IPv4 inside of IPv6."""
    try:
        address = parse_address(text.partition("%")[0])
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


async def _answer(request: web.Request, name: str, serial: str | None) -> web.StreamResponse:
    sources = request.app[SOURCES]
    known = sources.seeds
    client = client_of(request)
    await _fleet_read(known)
    seeded = known.seed_of(serial) if serial else None
    if serial and seeded and not is_its_own(seeded, client, await known.who(client)):
        why = f"the seed of {serial} is told to {_addresses(seeded)} alone, which {client} is not"
        sources.sink(PacketDropped("http", client, why))
        raise web.HTTPForbidden(text=f"{why}\n", headers=_KEPT_BY_NOBODY)
    server, port = asked_at(request)
    told = known.told()
    asker = cloudinit.Asker(
        client, serial, seeded.pi if seeded else None, server=server if told == "auto" else told, http_port=port
    )
    text = await _made(sources, name, asker)
    return web.Response(body=text, content_type="text/plain", charset="utf-8", headers=_KEPT_BY_NOBODY)


async def _fleet_read(known: Seeds) -> None:
    """Wait until the fleet was read: a Pi that got the default seed in place of its own would take it for good."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _FLEET_LIMIT_S
    while not known.known():
        if loop.time() > end:
            raise web.HTTPServiceUnavailable(text=_UNREAD, headers=_KEPT_BY_NOBODY | {"Retry-After": "2"})
        await asyncio.sleep(_FLEET_LOOK_S)


def is_its_own(seeded: Seeded, client: str, serial: str | None) -> bool:
    """Whether an address may speak for a Pi: known as its own, or as good as any while none is known."""
    if not seeded.addresses or client in seeded.addresses:
        return True
    # What fleet.toml says is final; what was learned may be more than one, for a Pi may get another lease.
    return not seeded.pi.address and serial == seeded.pi.serial


def _addresses(seeded: Seeded) -> str:
    return " or ".join(sorted(seeded.addresses))


def asked_at(request: web.Request) -> tuple[str, int]:
    """Give our own end of the connection: address and port, an empty one where it is gone."""
    own = request.transport.get_extra_info("sockname") if request.transport else None
    return (plain_address(own[0]), own[1]) if own else ("", 0)


async def _made(sources: Sources, name: str, asker: cloudinit.Asker) -> bytes:
    """Make the file in a thread, or answer why not."""
    place = f"cloud-init/{asker.seed}"
    try:
        return await asyncio.wait_for(sources.pool.submit(place, partial(_make, sources, name, asker)), _LIMIT_S)
    except TemplateFault as fault:
        why = str(fault)
    except (OSError, Busy) as error:
        told = getattr(error, "strerror", None) or "the storage does not answer"
        raise web.HTTPServiceUnavailable(
            text=f"{place}/{name} cannot be read: {told}\n", headers=_KEPT_BY_NOBODY
        ) from None
    sources.sink(FleetFault(asker.serial or asker.address, why))
    raise web.HTTPInternalServerError(text=f"{why}\n", headers=_KEPT_BY_NOBODY)


def _make(sources: Sources, name: str, asker: cloudinit.Asker) -> bytes:
    generation = sources.seeds.generation_of(asker.serial) if asker.serial and asker.pi else ""
    return seeds.make(sources.seeds.folder_of(asker.seed), name, replace(asker, generation=generation))
