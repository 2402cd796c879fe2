"""`/healthz` (the process lives) and `/readyz` (it can boot Pis), for service managers and load balancers."""

from __future__ import annotations

from aiohttp import web

from pinetboot.web.sources import SOURCES


async def healthz(_request: web.Request) -> web.Response:
    """Answer 200 as long as the loop turns."""
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """Answer 200 when every service that is on is bound, 503 before that and while stopping, with each one's state.

    A host that stands by for a virtual IP is ready: it can take over.
    """
    services = request.app[SOURCES].readiness()
    ready = all(state in {"ready", "off", "standby"} for state in services.values())
    standby = services.get("address") == "standby"
    return web.json_response({"ready": ready, "standby": standby, "services": services}, status=200 if ready else 503)
