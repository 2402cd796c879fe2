"""An HTTP client: the one door to aiohttp's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that has begun: its status, its headers (case does not count), and its body in parts."""

    status: int
    reason: str
    headers: Mapping[str, str]
    parts: AsyncIterator[bytes]


async def get(
    url: str, *, local: str = "", timeout_s: float, user_agent: str, most: int = 16 << 20
) -> tuple[int, bytes]:
    """GET a URL from address `local` (empty: any); returns status and body, at most `most` bytes of it.

    Raises OSError with a sentence for everything that keeps an answer from coming.
    """
    return await _exchange("GET", url, None, local=local, timeout_s=timeout_s, user_agent=user_agent, most=most)


async def post(
    url: str, form: bytes, *, local: str = "", timeout_s: float, user_agent: str, most: int = 1 << 16
) -> tuple[int, bytes]:
    """POST a form, as it is encoded, from address `local` (empty: any); all else is get()'s."""
    return await _exchange("POST", url, form, local=local, timeout_s=timeout_s, user_agent=user_agent, most=most)


async def _exchange(
    method: str, url: str, form: bytes | None, *, local: str, timeout_s: float, user_agent: str, most: int
) -> tuple[int, bytes]:
    connector = aiohttp.TCPConnector(local_addr=(local, 0) if local else None, force_close=True)
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    headers = {"User-Agent": user_agent}
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    with _sentences(timeout_s):
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session,
            session.request(method, url, data=form) as response,
        ):
            body = bytearray()
            async for part in response.content.iter_chunked(1 << 16):
                body += part
                if len(body) > most:
                    raise OSError(f"more than {most} bytes")
            return response.status, bytes(body)


@asynccontextmanager
async def opened(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    silence_s: float,
    user_agent: str,
    proxied: bool = True,
    local: str = "",
) -> AsyncIterator[Answer]:
    """Ask for something large, to be read as it comes, as it is (no Content-Encoding is undone).

    It is asked from address `local` (empty: any).

    A server may take its time as long as it is not silent for `silence_s`. Proxies come from the environment, where it
    is `proxied`.
    Raises OSError with a sentence for everything that keeps the answer from coming to its end.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=silence_s, sock_read=silence_s)
    with _sentences(silence_s):
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(local_addr=(local, 0) if local else None, force_close=True),
                timeout=timeout,
                headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=proxied,
            ) as session,
            session.request(method, url, headers=headers, allow_redirects=True) as response,
        ):
            parts = response.content.iter_chunked(1 << 18)
            yield Answer(response.status, response.reason or "", response.headers, aiter(parts))


@contextmanager
def _sentences(timeout_s: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise OSError(f"no answer within {timeout_s:g} seconds") from None
    except (aiohttp.ClientError, ValueError) as error:
        raise OSError(str(error) or type(error).__name__) from None
