"""A web server with files, ranges, ETags and a bad temper: what downloads meet."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Site:
    """What is served. `dies` holds, for the next answers with a body, after how many bytes each breaks off."""

    files: dict[str, bytes] = field(default_factory=dict)
    dies: list[int] = field(default_factory=list)
    always_dies_at: int | None = None
    ranges: bool = True
    etags: bool = True
    statuses: list[int] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    sent: int = 0
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def etag(self, content: bytes) -> str:
        return f'"{hashlib.sha256(content).hexdigest()[:16]}"'

    def asked_for(self, path: str, method: str = "GET") -> list[str]:
        """List the ranges that were asked of a path."""
        return [wanted for how, name, wanted in self.asked if how == method and name == f"/{path}"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        site, headers = self.site, self.headers
        site.asked.append((self.command, self.path, headers.get("Range", "")))
        content = site.files.get(self.path.lstrip("/"))
        if content is None:
            self._plain(404)
            return
        if body and site.statuses:
            self._plain(site.statuses.pop(0))
            return
        start = self._start(headers, content)
        if start is not None and start >= len(content):
            self._plain(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if site.etags:
            self.send_header("ETag", site.etag(content))
        rest = content[start or 0 :]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if body:
            self._send(rest, start or 0)

    def _start(self, headers: Message, content: bytes) -> int | None:
        wanted = headers.get("Range", "")
        if not self.site.ranges or not wanted or headers.get("If-Range", "") != self.site.etag(content):
            return None
        return int(wanted.removeprefix("bytes=").partition("-")[0])

    def _send(self, rest: bytes, start: int) -> None:
        site = self.site
        most = site.dies.pop(0) if site.dies else None
        if site.always_dies_at is not None:
            most = max(0, site.always_dies_at - start)
        part = rest if most is None else rest[:most]
        site.sent += len(part)
        self.wfile.write(part)
        if most is not None:
            self.wfile.flush()
            self.close_connection = True

    def _plain(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving() -> Iterator[Site]:
    """Serve on a free port of loopback."""
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
