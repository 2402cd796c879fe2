"""A virtual Pi tells that it is up: what it sends, from where, and what the answers mean."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import pytest

from pinetboot.pi import online


@dataclass
class Ear:
    """An HTTP server on loopback that answers as told, the last answer again and again."""

    answers: list[tuple[int, str]]
    heard: list[tuple[str, str, str]] = field(default_factory=list)  # address, path, body
    url: str = ""

    def next(self) -> tuple[int, str]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def listening(*answers: tuple[int, str]) -> Iterator[Ear]:
    ear = Ear(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            ear.heard.append((self.client_address[0], self.path, body))
            status, text = ear.next()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        ear.url = f"http://127.0.0.1:{server.server_port}/phone/5b154510"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield ear
        finally:
            server.shutdown()
            thread.join()


async def test_it_posts_a_form_from_its_own_address() -> None:
    with listening((200, "ok\n")) as ear:
        told = await online.tell(ear.url, "127.3.4.5")
    assert told.ok
    ((address, path, body),) = ear.heard
    assert (address, path) == ("127.3.4.5", "/phone/5b154510")
    assert list(parse_qs(body)) == ["boot_id"]


@pytest.mark.parametrize(
    ("status", "text", "ok", "said"),
    [
        (403, "10.0.0.9 may not say that\n", True, "gave HTTP 403 (10.0.0.9 may not say that): not a fault"),
        (404, "no such page", False, "gave HTTP 404: nobody knows that it is up"),
        (403, "\x00\xff" * 500, True, "not a fault"),
    ],
)
async def test_a_refusal_is_told_and_not_tried_again(status: int, text: str, ok: bool, said: str) -> None:
    with listening((status, text)) as ear:
        told = await online.tell(ear.url, "")
    assert (told.ok, len(ear.heard)) == (ok, 1)
    assert said in told.what


async def test_a_server_that_is_not_ready_is_asked_again() -> None:
    with listening((503, "not read yet"), (200, "ok")) as ear:
        told = await online.tell(ear.url, "")
    assert told.ok
    assert len(ear.heard) == 2
