"""Where settings come from: a file, the environment, flags; a flag beats the environment, the environment the file.

Belongs here: finding and reading the settings file. What a setting may be is decided in `config`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pinetboot import config, files
from pinetboot.checking import parse
from pinetboot.config import Config
from pinetboot.errors import OperatorError

DEFAULT_FILE = Path("/etc/pinetboot/pinetboot.toml")


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that settings are made from, kept so that it can be read again.

    `flags` maps (section, key) to (value, the flag as typed).
    """

    file: Path | None = None
    flags: Mapping[tuple[str, str], tuple[Any, str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def load(self) -> tuple[Config, str]:
        """Read and check. Returns the settings and a word on where they came from; raises OperatorError."""
        path, named_by = self._path()
        text = _read(path, named_by)
        overrides = dict(self.flags)
        if "PINETBOOT_DATA" in self.environment and ("server", "data") not in overrides:
            overrides["server", "data"] = (self.environment["PINETBOOT_DATA"], "PINETBOOT_DATA")
        settings = parse(text, str(path)) if text is not None else {}
        server = settings.get("server", {})
        chosen = ("server", "data") in overrides or not isinstance(server, dict) or "data" in server
        if not chosen and os.geteuid() != 0:
            overrides["server", "data"] = (str(_own_data(self.environment)), "the default data directory")
        return config.build(settings, _told_as(path if text is not None else None), overrides), (
            str(path) if text is not None else "defaults (no settings file)"
        )

    def stamp(self) -> tuple[int, ...] | None:
        """Tell one state of the settings file from another; None while there is none."""
        return files.stamp(self._path()[0])

    def _path(self) -> tuple[Path, str | None]:
        if self.file is not None:
            return self.file, "--config"
        if self.environment.get("PINETBOOT_CONFIG"):
            return Path(self.environment["PINETBOOT_CONFIG"]), "PINETBOOT_CONFIG"
        return DEFAULT_FILE, None


def _told_as(path: Path | None) -> str:
    return str(path) if path is not None else "the command line"


def _own_data(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "pinetboot"


def _read(path: Path, named_by: str | None) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if named_by is None:
            return None
        raise OperatorError(
            f"the settings file {path} that {named_by} names does not exist", f"Create it, or leave out {named_by}."
        ) from None
    except UnicodeDecodeError as error:
        raise OperatorError(
            f"the settings file {path} is no UTF-8 text: {error.reason} at byte {error.start}"
        ) from None
    except OSError as error:
        raise OperatorError(
            f"the settings file {path} cannot be read: {error.strerror}", "Make it readable for this user."
        ) from None
