"""The HTTP server: its socket, its routes, and one event for each request.

Belongs here: aiohttp's application and runner. What an answer holds is each handler's own file.
"""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web
from aiohttp.typedefs import Handler

from pinetboot.boot import cloudinit
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.events import HttpServed
from pinetboot.net.links import Links
from pinetboot.net.listening import Listeners, tcp_sockets
from pinetboot.web import api, boot, dashboard, health, live, machines, metrics, phone, seed
from pinetboot.web.feed import Feed
from pinetboot.web.sources import SOURCES, Sources


class HttpServer:
    """Serves seeds, the boot tree, Pis and health. start() binds; stop() lets running answers finish."""

    def __init__(self, config: Config, sources: Sources) -> None:
        port = config.http.port
        self._listeners = Listeners(config.server.interfaces, lambda names: tcp_sockets(port, names, "http.port"))
        self._sites: dict[socket.socket, web.SockSite] = {}
        app = web.Application(middlewares=[_told])
        app[SOURCES] = sources
        app[live.FEED] = self._feed = Feed(sources.pis, sources.machines.seen)
        app[dashboard.PAGES] = dashboard.load()
        for name in cloudinit.SEED_FILES:
            app.router.add_get(f"/{name}", seed.get)
        app.router.add_get("/seed/{serial}/{name}", seed.get_by_serial)
        app.router.add_get("/", dashboard.page)
        app.router.add_get("/static/{version}/{name}", dashboard.static)
        app.router.add_get("/boot/{path:.+}", boot.get)
        app.router.add_get(r"/net_install/{name:boot\.(?:img|sig)}", boot.get_by_address)
        # GRUB that came over HTTP has these two at the root.
        app.router.add_get("/{folder:grub|debian-installer|installers}/{path:.+}", boot.get_below)
        app.router.add_get("/ipxe", machines.script)
        app.router.add_get("/preseed/{mac}", machines.preseed)
        app.router.add_get("/api/pis", api.all_pis)
        app.router.add_get("/api/pis/{serial}", api.one_pi)
        app.router.add_get(r"/api/pis/{serial}/boots/{number:\d{1,18}}", api.one_boot)
        app.router.add_get("/api/machines/{mac}", api.one_machine)
        app.router.add_get("/api/events", live.events, allow_head=False)
        app.router.add_post("/phone/{serial}", phone.post)
        app.router.add_get("/healthz", health.healthz)
        app.router.add_get("/readyz", health.readyz)
        app.router.add_get("/metrics", metrics.get)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=config.server.stop_s)

    async def start(self, links: Links) -> None:
        """Bind and begin. Raises OperatorError."""
        await self._runner.setup()
        faults = await self.follow(links)
        if faults:
            self._listeners.close()
            raise faults[0]

    async def follow(self, links: Links) -> list[OperatorError]:
        """Listen where the interfaces that the settings name are now; returns why some of it cannot be."""
        if self._runner.server is None:
            return []
        followed = self._listeners.follow(links)
        for sock in followed.went:
            await self._sites.pop(sock).stop()
        for sock in followed.came:
            self._sites[sock] = site = web.SockSite(self._runner, sock)
            await site.start()
        return followed.faults

    async def stop(self) -> None:
        """Take no more requests and wait for the running ones as long as the settings allow."""
        await self._feed.close()
        await self._runner.cleanup()


@web.middleware
async def _told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn faults into one sentence for the client, and every answer into an event."""
    status, sent, size = 500, 0, 0
    kind, client = _kind(request.path), seed.client_of(request)
    if kind == "boot":
        request.app[SOURCES].machines.starts(client, request.path)
    try:
        response = await handler(request)
        status = response.status
        size = 0 if request.method == "HEAD" else response.content_length or 0
    except web.HTTPException as answer:
        status = answer.status
        raise
    except (ConnectionError, asyncio.CancelledError):
        status = 499
        raise
    except Exception as error:
        # A fault of ours over a seed may have its text in it.
        what = type(error).__name__ if kind == "seed" else f"{type(error).__name__}: {error}"
        raise web.HTTPInternalServerError(text=f"{what}\n") from error
    else:
        return response
    finally:
        agent = request.headers.get("User-Agent", "")
        server, _ = seed.asked_at(request)
        # What a client got of a large file that it did not take to the end counts as well.
        sent = request.get(boot.SENT, size)
        request.app[SOURCES].sink(
            HttpServed(client, request.method, request.path, status, sent, kind, agent, server, size)
        )


def _kind(path: str) -> str:
    """Say which part of the daemon a path asks: seed, boot, health, phone, or a page for people and scripts."""
    first = path.removeprefix("/").partition("/")[0]
    if first in {"boot", "phone"}:
        return first
    if first in {"net_install", "ipxe", "grub", "debian-installer", "installers"}:
        return "boot"
    # An older cloud-init puts the name right behind an address that ends without a slash (reference 6.2).
    if first in {"seed", "preseed"} or path.endswith(cloudinit.SEED_FILES):
        return "seed"
    return "health" if first in {"healthz", "readyz"} else "page"
