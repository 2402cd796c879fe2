"""An HTTP client: the one door to aiohttp's."""

from __future__ import annotations

import aiohttp


async def get(
    url: str, *, local: str = "", timeout_s: float, user_agent: str, most: int = 16 << 20
) -> tuple[int, bytes]:
    """GET a URL from address `local` (empty: any); returns status and body, at most `most` bytes of it.

    Raises OSError with a sentence for everything that keeps an answer from coming.
    """
    connector = aiohttp.TCPConnector(local_addr=(local, 0) if local else None, force_close=True)
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"User-Agent": user_agent}) as session,
            session.get(url) as response,
        ):
            body = bytearray()
            async for part in response.content.iter_chunked(1 << 16):
                body += part
                if len(body) > most:
                    raise OSError(f"more than {most} bytes")
            return response.status, bytes(body)
    except TimeoutError:
        raise OSError(f"no answer within {timeout_s:g} seconds") from None
    except (aiohttp.ClientError, ValueError) as error:
        raise OSError(str(error) or type(error).__name__) from None
