"""The virtual Pi's cloud-init: it asks for its seed over HTTP as the real one does (reference 6.2).

Belongs here: the requests for a seed and what their answers mean. Never here: what a seed should say.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from pinetboot import causes
from pinetboot.net import http
from pinetboot.pi.download import Result
from pinetboot.pi.report import FileStep

_TIMEOUT_S = 10.0
_FORBIDDEN = 403  # RFC 9110
_TOLD_TO_ANOTHER = re.compile(
    rb"the seed of ([0-9a-f]{8}) is told to ([0-9a-f.: or]+) alone, which ([0-9a-f.:]+) is not\n"  # `web.seed` says so
)
# cloud-init from 24.3 asks in this order; without the last two it goes on (reference 6.2).
_FILES = (("network-config", False), ("meta-data", True), ("user-data", True), ("vendor-data", False))


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of it, in words; `cause` where cloud-init would not get its seed."""

    what: str
    cause: causes.Cause | None = None


async def ask(url: str, local: str, told: Callable[[FileStep], None]) -> Asked:
    """Get every file of the seed below `url`, from address `local` (empty: any)."""
    url = url if url.endswith("/") or "%s" in url else url + "/"
    size = 0
    for name, needed in _FILES:
        target = url.replace("%s", name) if "%s" in url else url + name
        began = time.monotonic()
        status, body, why = await _get(target, local)
        refused = _for_another(status, body)
        if refused:
            return Asked(refused)
        ok = status == 200  # noqa: PLR2004 - HTTP
        result = Result.OK if ok else Result.MISSING if status else Result.ERROR
        told(FileStep(target, len(body), (time.monotonic() - began) * 1000, str(result), "seed"))
        if not ok and needed:
            return Asked(f"{target}: {why}", causes.no_seed(target, why))
        size += len(body)
    return Asked(f"{len(_FILES)} files, {size:,} bytes")


async def _get(url: str, local: str) -> tuple[int, bytes, str]:
    """GET one file: status (0 for no answer), body, and words for what is wrong."""
    try:
        status, body = await http.get(url, local=local, timeout_s=_TIMEOUT_S, user_agent="Cloud-Init/24.4")
    except OSError as error:
        return 0, b"", str(error)
    return status, body, f"HTTP {status}"


def _for_another(status: int, body: bytes) -> str:
    """Say why a pinetboot tells this rehearsal no seed, which says nothing of the Pi itself; empty for all else."""
    told = _TOLD_TO_ANOTHER.fullmatch(body) if status == _FORBIDDEN else None
    if told is None:
        return ""
    serial, address, own = (part.decode() for part in told.groups())
    return f"the seed of {serial} is told to {address} alone, and this rehearsal comes from {own}: not a fault"
