"""What the unit says on a given host, and whose a unit is that stands there already.

Belongs here: the text alone. The unit as it comes with pinetboot, `pinetboot.service` beside this file, is one that
works as it is where everything lies in its usual place; the lines that name places are written anew for others.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pinetboot.errors import OperatorError

NAME: Final = "pinetboot.service"
_SIGNATURE: Final = "# Of pinetboot "
_HEADER: Final = (
    "# Written by `pinetboot systemd install`. Lines of your own belong into a drop-in, which stays: "
    "`systemctl edit pinetboot`."
)
_HOMES: Final = ("/home", "/root", "/run/user")  # what ProtectHome= is about (systemd.exec(5))
_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108 - and PrivateTmp=
_UNNAMEABLE: Final = {"Cc", "Cs"}  # a control character, a byte that is no UTF-8
_WRITTEN: Final = (Path("/etc/exports.d"), Path("/var/lib/nfs"))

Whose = Literal["ours", "changed"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where things lie on a host, as absolute paths: the program, its data, and what is read beside the data.

    `parts` are what the program needs in other places: its interpreter, a package that is installed as a link.
    """

    program: Path
    data: Path
    reads: tuple[Path, ...] = ()
    parts: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.program, self.data, *self.reads, *self.parts)


USUAL: Final = Place(Path("/opt/pinetboot/bin/pinetboot"), Path("/srv/pinetboot"))


def render(text: str, place: Place) -> str:
    """Write the unit for a place. Raises OperatorError for one that no unit can have."""
    for path in place.paths:
        _must_be_possible(path)
    written = (place.data, *_WRITTEN)
    lines = {
        "RequiresMountsFor": _quoted(place.data, *place.reads),
        "ExecStartPre": f"+mkdir -p {_quoted(*written)}",
        "ExecStart": f"{_quoted(place.program)} serve",
        "ReadWritePaths": _quoted(*written, before="-"),
        "ProtectHome": "read-only" if in_homes(place) else "yes",
    }
    return "".join(_lines(text, lines))


def in_homes(place: Place) -> list[Path]:
    """List what lies where a service usually sees nothing."""
    return [path for path in place.paths if _within(path, _HOMES)]


def signed(text: str, version: str) -> str:
    """Write a unit down with whose it is, so that it can be told from one that somebody changed."""
    return f"{_HEADER}\n{_SIGNATURE}{version}, {_digest(text)}.\n{text}"


def whose(standing: str, text: str) -> Whose:
    """Say whether a unit that stands is as we wrote it, this version or another, or `text` as it comes."""
    if standing == text:
        return "ours"
    header, _, rest = standing.partition("\n")
    signature, _, body = rest.partition("\n")
    is_ours = header == _HEADER and signature.startswith(_SIGNATURE) and signature.endswith(f", {_digest(body)}.")
    return "ours" if is_ours else "changed"


def _lines(text: str, new: dict[str, str]) -> Iterator[str]:
    for line in text.splitlines(keepends=True):
        key, sign, _ = line.partition("=")
        yield f"{key}={new[key]}\n" if sign and key in new else line


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _must_be_possible(path: Path) -> None:
    text = str(path)
    if any(unicodedata.category(letter) in _UNNAMEABLE for letter in text):
        raise OperatorError(f"{text!r} cannot be named in a unit", "Take another name for it, of printable characters.")
    if _within(path, _TEMPORARY):
        raise OperatorError(
            f"{path} is no place for a service: it is emptied, and a service has a {path.parts[1]} of its own",
            "Put it elsewhere; pinetboot itself belongs into /opt/pinetboot, its data into /srv/pinetboot.",
        )


def _within(path: Path, places: Iterable[str]) -> bool:
    return any(path.is_relative_to(place) for place in places)


def _quoted(*paths: Path, before: str = "") -> str:
    """Write paths so that systemd reads them as they are: no specifiers, no words, no variables (systemd.syntax(7))."""
    return " ".join(_one(f"{before}{path}") for path in paths)


def _one(path: str) -> str:
    text = path.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return text if text == path and not set(path) & set(" ';$") else f'"{text}"'
