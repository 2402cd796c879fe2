"""File names as clients write them, made normal: which path below the boot root a name means.

Belongs here: the lexical rules alone, with no look at any file.
Pi 5 firmware doubles slashes (reference 3.4), Windows tools send backslashes, and `..` is fine while it stays inside.
"""

from __future__ import annotations

import os
from functools import lru_cache

from pinetboot.errors import PeerError

_MAX_PATH = 1024
_REMEMBERED = 1024  # a rack of Pis asks for the same names again and again
_MAX_COMPONENT = 255  # NAME_MAX of every Linux file system


class BadName(PeerError):
    """A name that can mean no file below the boot root."""


@lru_cache(_REMEMBERED)
def normalise(name: bytes | str) -> str:
    """Make `name` a relative path without `//`, `.`, `..` or a leading slash. Raises BadName."""
    text = os.fsdecode(name).replace("\\", "/")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise BadName("the name is no text") from None
    if "\0" in text:
        raise BadName("the name holds a NUL")
    parts: list[str] = []
    for part in text.split("/"):
        if part in {"", "."}:
            continue
        if part == "..":
            if not parts:
                raise BadName("the name leads out of the boot root")
            parts.pop()
        elif len(os.fsencode(part)) > _MAX_COMPONENT:
            raise BadName("the name is too long")
        else:
            parts.append(part)
    path = "/".join(parts)
    if not path:
        raise BadName("the name is empty")
    if len(os.fsencode(path)) > _MAX_PATH:
        raise BadName("the name is too long")
    return path


def place(path: str) -> str:
    """Name the part of the tree that shares a storage's fate with a path: its top folder, empty for the root itself."""
    return path.partition("/")[0] if "/" in path else ""


@lru_cache(_REMEMBERED)
def printable(path: str) -> str:
    """Show a path on one line: what is not printable text is escaped."""
    return "".join(char if char.isprintable() else _escaped(char) for char in path)


def _escaped(char: str) -> str:
    # A byte that is no UTF-8 came in as a surrogate (PEP 383); any other lone surrogate is shown as what it is.
    a_byte = 0xDC80 <= ord(char) <= 0xDCFF  # noqa: PLR2004 - PEP 383's range
    octets = char.encode("utf-8", "surrogateescape" if a_byte else "surrogatepass")
    return octets.decode("latin-1").encode("unicode_escape").decode("ascii")
