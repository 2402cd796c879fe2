"""Log lines: the one door to structlog. Readable on a terminal, JSON otherwise; one line an event.

Belongs here: how lines look and where they go. Which events make a line is decided in `observe.journal`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def is_for_people(log_format: str, stream: TextIO | None = None) -> bool:
    """Whether lines are made for reading on a terminal; JSON otherwise."""
    return log_format == "console" or (log_format == "auto" and (stream or sys.stderr).isatty())


def configure(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Set up logging; `log_format` is auto, console or json, `level` one of debug, info, warning, error."""
    stream = stream or sys.stderr
    console = is_for_people(log_format, stream)
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=24, sort_keys=False)
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
            _in_order,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    # Libraries that log by themselves say what a peer did wrong, with tracebacks; our own lines tell it better.
    for library in ("aiohttp", "pyroute2"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _in_order(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put time, level and event first."""
    first = {key: fields.pop(key) for key in ("timestamp", "level", "event")}
    return {**first, **fields}


def write(level: str, event: str, /, **fields: object) -> None:
    """Write one line, unless `level` is below what is wanted."""
    structlog.get_logger().log(_LEVELS[level], event, **fields)
