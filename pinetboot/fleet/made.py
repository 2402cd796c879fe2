"""What is written down of a generation when it is made: `generation.toml`.

Belongs here: its keys, its text, and reading it. It lies beside the trees, where the Pi cannot reach it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from pinetboot import checking
from pinetboot.errors import ConfigError
from pinetboot.fleet.pi import Pi

NAME: Final = "generation.toml"


@dataclass(frozen=True, slots=True)
class Made:
    """One generation. `identity` is its image's at the time, `made` RFC 3339, `root` as in fleet.toml.

    `added` are the words of fleet.toml's `cmdline` that the Pi's cmdline.txt has from there; `ssh` and `userconf` (a
    digest) are the settings that its boot files were last written for, `cmdlines` the image's own texts by their names.
    """

    image: str
    identity: str
    made: str
    root: str
    added: list[str] = field(default_factory=list)
    ssh: bool = False
    userconf: str = ""
    cmdlines: dict[str, str] = field(default_factory=dict)


def digest(pi: Pi) -> str:
    """Name the userconf of a Pi without telling it; empty where it has none."""
    return sha256(pi.userconf.encode()).hexdigest() if pi.userconf else ""


def to_text(made: Made) -> str:
    """Write it as TOML."""
    lines = [
        f"{key} = {_value(getattr(made, key))}"
        for key in ("image", "identity", "made", "root", "added", "ssh", "userconf")
    ]
    table = [f"{_value(name)} = {_value(text)}" for name, text in made.cmdlines.items()]
    return "\n".join(["# Written by pinetboot.", *lines, "", "[cmdlines]", *table]) + "\n"


def read(generation: Path) -> Made | None:
    """Read it; None where it is missing or cannot be read."""
    path = generation / NAME
    try:
        told = checking.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, ConfigError):
        return None
    texts, added = told.get("cmdlines"), told.get("added")
    return Made(
        image=str(told.get("image", "")),
        identity=str(told.get("identity", "")),
        made=str(told.get("made", "")),
        root=str(told.get("root", "nfs")),
        added=[str(word) for word in added] if isinstance(added, list) else [],
        ssh=told.get("ssh") is True,
        userconf=str(told.get("userconf", "")),
        cmdlines={name: str(text) for name, text in texts.items()} if isinstance(texts, dict) else {},
    )


def _value(value: Any) -> str:
    # TOML's strings, truth values and lists are written as JSON writes them, but for the one control character that
    # JSON leaves alone and for halves of surrogate pairs, which no TOML holds.
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return text.encode("utf-8", "replace").decode()
