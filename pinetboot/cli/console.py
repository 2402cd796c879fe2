"""Where listings go: a terminal, or a file and another program, for which no line is cut or folded."""

from __future__ import annotations

from typing import Final

from rich.console import Console

_AS_WIDE_AS_IT_IS: Final = 10_000


def for_tables() -> Console:
    """Give a console on stdout that is as wide as the terminal, or as what is printed."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _AS_WIDE_AS_IT_IS
    return console
