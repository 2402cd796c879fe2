"""`/ipxe`, the script for the machine that asks, and `/preseed/<mac>`, the answers for its installer.

A preseed may hold secrets as a seed may: it is told to its own machine alone, known by the MAC that this host's kernel
has for the address that asks, and nobody on the way may keep it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final
from urllib.parse import quote

from aiohttp import web

from pinetboot.boot import seeds
from pinetboot.boot.template import TemplateFault
from pinetboot.dhcp.events import DhcpTold
from pinetboot.events import FleetFault, PacketDropped
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.starting import Start
from pinetboot.installer import menu
from pinetboot.net.addresses import format_mac, parse_mac
from pinetboot.threads import Busy
from pinetboot.web import seed
from pinetboot.web.sources import SOURCES

_LIMIT_S: Final = 10.0
_KEPT_BY_NOBODY: Final = {"Cache-Control": "no-store"}
_HTTP: Final = 80
_BIOS: Final = 0
# What runs on the processors of iPXE's architectures (RFC 4578, section 2.1).
_RUNS: Final = {11: ("arm64",), 6: ("i386",), _BIOS: ("amd64", "i386")}
_DOES_NOT_ANSWER: Final = "the storage does not answer\n"


async def script(request: web.Request) -> web.Response:
    """Answer iPXE: `mac` and `arch` say who asks, as our DHCP put them there."""
    sources = request.app[SOURCES]
    known = sources.machines
    mac = _mac(request.query.get("mac", "")) or await known.mac_at(seed.client_of(request))
    told = request.query.get("arch", "")
    architecture = int(told) if told.isdecimal() and len(told) < 6 else _BIOS  # noqa: PLR2004 - sixteen bits
    try:
        looking = sources.pool.submit("installers", lambda: (known.installers(), known.start(mac)))
        found, started = await asyncio.wait_for(looking, _LIMIT_S)
    except (OSError, Busy, TimeoutError):
        raise web.HTTPServiceUnavailable(text=_DOES_NOT_ANSWER) from None
    here = _here(request)
    runs = _RUNS.get(architecture, ("amd64",))
    own = [one for one in found if one.architecture in runs]
    name = known.loader(architecture)
    base = f"http://{here}/boot/"
    host = here.rpartition(":")[0] or here
    # Debian's shim, started by Debian's iPXE, finds no GRUB.
    loader = f"tftp://{host}/{name}" if name and architecture == _BIOS else ""
    root = _root(*started, base) if started else None
    if root is not None and not root.sayable:
        root = None
        why = f"iPXE at {mac} is not offered its root: its cmdline.txt, or a name in its config.txt, has a word that no"
        sources.sink(
            DhcpTold(well=False, what=f"{why} script of iPXE can say (with ${{, or # before it, or not ASCII)")
        )
    text = menu.ipxe(own, menu.choice(known.of(mac), own, here), base, loader, root)
    return web.Response(text=text, content_type="text/plain", headers=_KEPT_BY_NOBODY)


def _root(pi: Pi, start: Start, base: str) -> menu.Root:
    folder = f"{base}{pi.serial}/"
    kernel, *initramfs = (folder + quote(name) for name in (start.kernel, *start.initramfs))
    return menu.Root(f"Boot {pi.name} ({pi.image})", kernel, tuple(initramfs), start.cmdline)


async def preseed(request: web.Request) -> web.Response:
    """Answer Debian's installer."""
    sources = request.app[SOURCES]
    known, client = sources.machines, seed.client_of(request)
    mac = _mac(request.match_info["mac"])
    machine = known.of(mac)
    if machine is None or not machine.preseed:
        raise web.HTTPNotFound(text="fleet.toml names no preseed for a machine of that MAC\n")
    if await known.mac_at(client) != mac:
        why = f"the preseed of {mac} is told to that machine alone, which {client} is not seen to be"
        sources.sink(PacketDropped("http", client, why))
        raise web.HTTPForbidden(text=f"{why}\n", headers=_KEPT_BY_NOBODY)
    server, port = seed.asked_at(request)
    values = {
        "pi": {"mac": mac, "address": client, **({"hostname": machine.hostname} if machine.hostname else {})},
        "data": machine.data,
        "server": {"address": server, "http_port": port},
        "seed": machine.preseed,
    }
    try:
        making = sources.pool.submit("preseed", partial(seeds.preseed, known.preseeds, machine.preseed, values))
        text = await asyncio.wait_for(making, _LIMIT_S)
    except TemplateFault as fault:
        why = str(fault)
    except (OSError, Busy, TimeoutError):
        raise web.HTTPServiceUnavailable(text=_DOES_NOT_ANSWER, headers=_KEPT_BY_NOBODY) from None
    else:
        return web.Response(body=text, content_type="text/plain", charset="utf-8", headers=_KEPT_BY_NOBODY)
    sources.sink(FleetFault(mac, why))
    raise web.HTTPInternalServerError(text=f"{why}\n", headers=_KEPT_BY_NOBODY)


def _mac(text: str) -> str:
    try:
        return format_mac(parse_mac(text))
    except ValueError:
        return ""


def _here(request: web.Request) -> str:
    """Give our own end of the connection as it stands in a URL."""
    server, port = seed.asked_at(request)
    host = f"[{server}]" if ":" in server else server
    return host if port == _HTTP else f"{host}:{port}"
