"""`/`: what is to be had here, for a person who opens the address in a browser."""

from __future__ import annotations

from aiohttp import web

from pinetboot import __version__
from pinetboot.boot import cloudinit

_PAGES = (
    *((f"/{name}", "the NoCloud seed of the machine that asks") for name in cloudinit.SEED_FILES),
    ("/api/pis", "every Pi and how far its boot is, as JSON"),
    ("/readyz", "whether Pis can boot from here"),
)
_ROWS = "".join(f'<li><a href="{path}">{path}</a>: {what}</li>' for path, what in _PAGES)
_PAGE = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>pinetboot</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}}</style>
<h1>pinetboot {__version__}</h1>
<p>This host boots Raspberry Pis over the network.</p>
<ul>{_ROWS}<li><code>/boot/…</code>: every file of the boot tree, as over TFTP</li></ul>
</html>
"""


async def get(_request: web.Request) -> web.Response:
    """Answer with the page."""
    return web.Response(text=_PAGE, content_type="text/html")
