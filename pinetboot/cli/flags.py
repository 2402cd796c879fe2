"""Flags that many commands share, so that they are spelt and explained alike.

Belongs here: types for Typer's parameters. A flag of one command alone is that command's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Settings file.", envvar="PINETBOOT_CONFIG", show_default="/etc/pinetboot/pinetboot.toml"
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", help="Data directory.", show_default="/srv/pinetboot, or ~/.local/share/pinetboot if not root"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
