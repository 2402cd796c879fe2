"""Where an image comes from: a file, a URL, or a name out of Raspberry Pi's list.

Belongs here: telling these apart, and what is known of the source before it is had. Never here: getting it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pinetboot import loop
from pinetboot.errors import OperatorError
from pinetboot.fleet.pi import parse_name
from pinetboot.image import catalogue, fetch
from pinetboot.image.catalogue import Entry, NotOneEntry, stem

_LIKE_A_PATH = re.compile(r"/|\.(img|xz|gz|zst|zip|tar|raw|iso)$")
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Origin:
    """A source of a disk image: either `path` or `url` is set. `told` is how it is recorded and named in sentences.

    Sums are empty and sizes 0 where nobody knows them beforehand.
    """

    told: str
    name: str
    path: Path | None = None
    url: str = ""
    sha256: str = ""
    image_sha256: str = ""
    size: int = 0
    image_size: int = 0

    @property
    def sums(self) -> set[str]:
        """The sums that are known of it."""
        return {self.sha256, self.image_sha256} - {""}


def origin(source: str, list_url: str) -> Origin:
    """Find out what a person means. Raises OperatorError, which for a name lists near ones."""
    if fetch.is_url(source):
        try:
            parts = urlsplit(source)
            host = parts.hostname
        except ValueError:
            host = None
        if not host:
            raise OperatorError(f"{source} is no URL", "https://host/path, say, is.")
        return Origin(source, as_name(stem(unquote(parts.path))), url=source)
    path = Path(source).expanduser()
    if path.is_dir():
        raise OperatorError(f"{source} is a directory", "Give directories as --boot and --root.")
    if path.exists():
        if not path.is_file():
            raise OperatorError(f"{source} is no regular file", "Copy it into one first.")
        return Origin(str(path.absolute()), as_name(stem(path.name)), path=path.absolute())
    if _LIKE_A_PATH.search(source):
        raise OperatorError(f"there is no file {source}", "Name a file, a URL, or an image of Raspberry Pi's list.")
    return _listed(source, list_url)


def as_name(text: str) -> str:
    """Make a name for an image of any text; empty where there is nothing to make it of."""
    return re.sub(r"[^0-9A-Za-z._-]+", "-", text).strip("-._")[:_LONGEST_NAME]


def checked_name(text: str) -> str:
    """Check a name that a person gave. Raises OperatorError."""
    try:
        return parse_name(text)
    except ValueError as error:
        raise OperatorError(str(error), "Name the image with --name.") from None


def _listed(asked: str, list_url: str) -> Origin:
    found: list[Entry] = []
    for content in loop.run(fetch.lists(list_url)):
        found += catalogue.entries(content)
    try:
        entry = catalogue.match(found, asked)
    except NotOneEntry as error:
        what = "means several images" if error.several else "is neither a file here nor an image"
        near = f"Name one of these: {', '.join(error.near)}." if error.near else "Name a file or a URL."
        raise OperatorError(f"{asked} {what} of the list at {list_url}", near) from None
    return Origin(
        entry.url,
        as_name(asked.lower()),
        url=entry.url,
        sha256=entry.sha256,
        image_sha256=entry.image_sha256,
        size=entry.size,
        image_size=entry.image_size,
    )
