"""What the handlers ask: files, threads to read them in, who an address is, how the daemon is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from pinetboot.boot.resolver import BootTree
from pinetboot.events import Sink
from pinetboot.threads import Pool


@dataclass(frozen=True, slots=True)
class Sources:
    """Handed to every handler in the application. `readiness` gives each service's state by name."""

    tree: BootTree
    seed_folder: Path
    pool: Pool
    serial_of: Callable[[str], str | None]
    readiness: Callable[[], dict[str, str]]
    sink: Sink


SOURCES = web.AppKey("SOURCES", Sources)
