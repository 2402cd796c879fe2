"""`/api/events`: how every Pi is, and then each one that changes, as server-sent events (HTML standard, section 9.2).

Belongs here: the stream of one listener. `pis` is the whole state, which comes first, also to one that comes back:
so nothing is missed, and `Last-Event-ID` is not needed. `pi` is one that changed, `gone` one that is known no more;
`machine` and `machine-gone` are the same of machines that are no Pi. `beat` comes whenever nothing else did for a
while, so that both ends notice a connection that is dead.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from pinetboot import __version__
from pinetboot.web.feed import Feed, Listener, encoded

FEED = web.AppKey("FEED", Feed)

_BEAT_S: Final = 15.0
_LOOK_S: Final = 1.0  # how soon a listener that went away is noticed
_SLOW_S: Final = 30.0  # one that takes nothing for so long is gone
_AGAIN_MS: Final = 2000
_FULL: Final = "as many look on as may, or the daemon is about to stop\n"
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx in between would collect it
    "X-Content-Type-Options": "nosniff",
}


async def events(request: web.Request) -> web.StreamResponse:
    """Answer with a stream that ends when the client goes, the daemon stops, or nothing can be sent any more."""
    feed = request.app[FEED]

    def cut() -> None:
        if request.transport is not None:
            request.transport.abort()

    listener = feed.listen(cut)
    if listener is None:
        raise web.HTTPServiceUnavailable(text=_FULL, headers={"Retry-After": "10"})
    response = web.StreamResponse(headers=_HEADERS)
    try:
        await response.prepare(request)
        await _stream(request, response, feed, listener)
    except (ConnectionError, TimeoutError):
        cut()
    finally:
        feed.leave(listener)
    return response


async def _stream(request: web.Request, response: web.StreamResponse, feed: Feed, listener: Listener) -> None:
    texts = await feed.all()
    listener.take()
    every = f'"pis":[{",".join(texts)}],"machines":[{",".join(feed.machines())}]'
    start = f'{{"version":{encoded(__version__)},"now":{encoded(_now())},{every}}}'
    await _send(response, listener, f"retry: {_AGAIN_MS}\n{_event('pis', start)}")
    loop = asyncio.get_running_loop()
    said = loop.time()
    while not listener.closed and request.transport is not None and not request.transport.is_closing():
        await listener.wait(_LOOK_S)
        news = [_news(feed, name) for name in listener.take()]
        if not news and loop.time() - said >= _BEAT_S:
            news = [": keep-alive\n", _event("beat", encoded({"now": _now()}))]
        if news:
            await _send(response, listener, "".join(news))
            said = loop.time()


def _news(feed: Feed, name: str) -> str:
    text = feed.text(name)
    if ":" in name:  # a MAC
        return _event("machine-gone", encoded({"mac": name})) if text is None else _event("machine", text)
    return _event("gone", encoded({"serial": name})) if text is None else _event("pi", text)


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"


async def _send(response: web.StreamResponse, listener: Listener, text: str) -> None:
    """Send, and wait for one that is slow. Raises ConnectionError or TimeoutError."""
    listener.sending = True
    try:
        async with asyncio.timeout(_SLOW_S):
            await response.write(text.encode())
    finally:
        listener.sending = False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
