"""This host's firewall, as nft lists it.

Belongs here: having it listed. Whether a packet comes through is `filtering`'s to say.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pinetboot import run

_LIMIT_S: Final = 3.0
_LEGACY: Final = Path("/proc/net/ip_tables_names")


def ruleset() -> list[dict[str, Any]] | None:
    """List everything that nftables does (libnftables-json(5)); None where that cannot be seen."""
    try:
        listed = json.loads(run.run(["nft", "--json", "list", "ruleset"], timeout_s=_LIMIT_S).out)
        items = listed["nftables"]
    except (run.ProgramMissing, run.ProgramFailed, ValueError, KeyError, TypeError, RecursionError):
        return None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else None


def is_legacy() -> bool:
    """Whether iptables of the old kind filters here, which nft does not list."""
    with suppress(OSError):
        return "filter" in _LEGACY.read_text().split()
    return False
