"""Log lines: the one door to structlog. Readable on a terminal, entries with fields in systemd's journal, else JSON.

Belongs here: how lines look and where they go. Which events make a line is decided in `observe.journal`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TextIO

import structlog

from pinetboot import journald

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_READABLE: Final = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, sort_keys=False)
_JOURNAL: Final = journald.Journal()

_Fields = MutableMapping[str, Any]
_Processor = Callable[[object, str, _Fields], Any]


def is_for_people(log_format: str, stream: TextIO | None = None) -> bool:
    """Whether lines are made for reading on a terminal."""
    return log_format == "console" or (log_format == "auto" and (stream or sys.stderr).isatty())


def configure(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Set up logging; `log_format` is auto, console or json, `level` one of debug, info, warning, error."""
    stream = stream or sys.stderr
    structlog.configure(
        processors=[structlog.processors.add_log_level, *_processors(log_format, stream)],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    # Libraries that log by themselves say what a peer did wrong, with tracebacks; our own lines tell it better.
    for library in ("aiohttp", "pyroute2"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _processors(log_format: str, stream: TextIO) -> list[_Processor]:
    """What becomes of a line's fields, up to the text that is written."""
    in_journal = journald.reads(stream)
    if in_journal and log_format == "auto":
        return [_into_journal]
    console = is_for_people(log_format, stream)
    render: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=24, sort_keys=False)
        if console
        else structlog.processors.JSONRenderer()
    )
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console)
    return [stamp, _in_order, _marking(render) if in_journal else render]


def _in_order(_logger: object, _method: str, fields: _Fields) -> _Fields:
    """Put time, level and event first."""
    first = {key: fields.pop(key) for key in ("timestamp", "level", "event")}
    return {**first, **fields}


def _marking(render: _Processor) -> _Processor:
    """Write a line's level where the journal looks for it."""

    def marked(logger: object, method: str, fields: _Fields) -> str:
        level = str(fields["level"])
        return journald.marked(level, str(render(logger, method, fields)))

    return marked


def _into_journal(logger: object, method: str, fields: _Fields) -> str:
    """Hand a line to the journal, readable and with its fields; what it does not take is written as text."""
    level = str(fields.pop("level"))
    own = {journald.field(name): _text(value) for name, value in fields.items()}
    message = str(_READABLE(logger, method, fields)).rstrip()
    if _JOURNAL.send(journald.first(level, message) | own):
        raise structlog.DropEvent
    return journald.marked(level, message)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def write(level: str, event: str, /, **fields: object) -> None:
    """Write one line, unless `level` is below what is wanted."""
    structlog.get_logger().log(_LEVELS[level], event, **fields)
