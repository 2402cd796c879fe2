"""The virtual Pi tells that it is up, as `pinetboot-online.service` does on a real one.

Belongs here: the POST and what its answers mean. Where it goes to is `linux`'s to say.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Final

from pinetboot.net import http

_TIMEOUT_S: Final = 10.0
_PAUSES_S: Final = (0.0, 1.0, 2.0, 4.0)  # a real one goes on for two minutes
_OK: Final = 200
_FORBIDDEN: Final = 403
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of it, in words; `ok` where nothing is wrong with that."""

    what: str
    ok: bool


async def tell(url: str, local: str) -> Answered:
    """POST to `url` from address `local` (empty: any)."""
    body = f"boot_id={uuid.uuid4()}".encode()  # without a host name, for it has none
    why = ""
    for pause_s in _PAUSES_S:
        await asyncio.sleep(pause_s)
        try:
            status, text = await http.post(url, body, local=local, timeout_s=_TIMEOUT_S, user_agent="pinetboot-online")
        except OSError as error:
            why = str(error)
            continue
        if status == _OK:
            return Answered(f"{url} knows that it is up", ok=True)
        if status == _FORBIDDEN:
            # A Pi with that serial is known at another address: the rehearsal does not speak for it.
            said = text[:200].decode("ascii", "replace").strip()
            return Answered(f"{url} gave HTTP {status} ({said}): not a fault", ok=True)
        why = f"HTTP {status}"
        if status < _SERVER_ERROR:
            break
    return Answered(f"{url} gave {why}: nobody knows that it is up", ok=False)
