"""`/` and `/static/`: the dashboard, plain files that come with the package and are kept in memory.

Belongs here: how a browser gets them, and what it may do with them. What they show comes from `/api`.
Everything but the page itself lies below a path that names its content, so that it may be kept for good.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final

from aiohttp import ETag, web

from pinetboot import __version__

_CONTENT_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_PAGE: Final = "index.html"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FOR_GOOD: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Pages:
    """The files by name, and what the path to them names: a hash over all of them."""

    files: dict[str, bytes]
    version: str


PAGES = web.AppKey("PAGES", Pages)


def load() -> Pages:
    """Read the files of the package."""
    folder = resources.files("pinetboot.web") / "static"
    files = {
        file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _CONTENT_TYPES
    }
    version = hashlib.sha256(repr((__version__, sorted(files.items()))).encode()).hexdigest()[:16]
    page = files[_PAGE].decode().replace("@VERSION@", version).replace("@RELEASE@", __version__)
    return Pages(files | {_PAGE: page.encode()}, version)


async def page(request: web.Request) -> web.Response:
    """Answer with the page, 304 where the browser has it."""
    pages = request.app[PAGES]
    known = request.if_none_match or ()
    if any(tag.value in {pages.version, "*"} for tag in known):
        response = web.Response(status=304, headers=_HEADERS)
    else:
        response = _response(pages, _PAGE)
    response.etag = ETag(pages.version)
    response.headers["Cache-Control"] = "no-cache"
    return response


async def static(request: web.Request) -> web.Response:
    """Answer with a file that the page names. Those of another version are not here."""
    pages, name = request.app[PAGES], request.match_info["name"]
    if request.match_info["version"] != pages.version or name not in pages.files or name == _PAGE:
        raise web.HTTPNotFound(text="no such file in this version of the dashboard; load it anew\n")
    response = _response(pages, name)
    response.headers["Cache-Control"] = _FOR_GOOD
    return response


def _response(pages: Pages, name: str) -> web.Response:
    kind = _CONTENT_TYPES[name.rpartition(".")[2]]
    return web.Response(body=pages.files[name], content_type=kind, charset="utf-8", headers=_HEADERS)
