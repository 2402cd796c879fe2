"""Raspberry Pi's public list of images, as its Imager reads it, and finding in it what a person means.

Belongs here: the list's shape, and matching names. Never here: fetching it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pinetboot.image.sums import parse_sum

_MOST_NEAR = 8
_DEEPEST = 16
_SAME = (
    (re.compile(r"raspberry\s*pi\s*os|raspbian"), "raspios"),
    (re.compile(r"64[\s_-]*bit"), "arm64"),
    (re.compile(r"32[\s_-]*bit"), "armhf"),
)
_PACKED = re.compile(r"(\.(img|iso|raw|wic|xz|gz|zst|zstd|zip|tar))+$")


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of the list. Sums are empty and sizes 0 where the list does not tell."""

    name: str
    url: str
    sha256: str
    size: int
    image_sha256: str
    image_size: int

    @property
    def slug(self) -> str:
        """A name to ask for it by."""
        return "-".join(_words(self.name))


class NotOneEntry(LookupError):
    """The name means no entry, or several; `near` are slugs that it may have meant."""

    def __init__(self, near: list[str], *, several: bool) -> None:
        super().__init__()
        self.near = near
        self.several = several


def entries(content: Any) -> list[Entry]:
    """Read the list: every image once, in its order. What is no image is passed over."""
    found: dict[str, Entry] = {}
    for item in _items(content):
        entry = _entry(item)
        if entry is not None:
            found.setdefault(entry.url, entry)
    return list(found.values())


def sublists(content: Any) -> list[str]:
    """List the URLs of further lists that this one names."""
    urls = (item.get("subitems_url") for item in _items(content))
    return list(dict.fromkeys(url for url in urls if isinstance(url, str) and url.startswith(("http://", "https://"))))


def match(found: list[Entry], asked: str) -> Entry:
    """Find the entry that `asked` means: `raspios-lite-arm64`, "Raspberry Pi OS Lite (64-bit)". Raises NotOneEntry.

    The words count, not their order. An entry that has just these words, in its name or in a part of its URL, wins over
    those that have more.
    """
    words = set(_words(asked))
    exact = [entry for entry in found if any(words == set(label) for label in _labels(entry))]
    wider = [entry for entry in found if words <= {word for label in _labels(entry) for word in label}]
    for candidates in (exact, wider):
        if words and len(candidates) == 1:
            return candidates[0]
        if words and candidates:
            raise NotOneEntry(_slugs(candidates)[:_MOST_NEAR], several=True)
    slugs = _slugs(found)
    near = difflib.get_close_matches("-".join(_words(asked)), slugs, n=_MOST_NEAR, cutoff=0.5)
    near += [slug for slug in slugs if words & set(slug.split("-")) and slug not in near]
    raise NotOneEntry(near[:_MOST_NEAR], several=False)


def stem(path: str) -> str:
    """Say what a file is called without what tells its format: `raspios-lite` of `/a/raspios-lite.img.xz`."""
    return _PACKED.sub("", path.rpartition("/")[2])


def _items(content: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    listed = content.get("os_list", content.get("subitems")) if isinstance(content, dict) else content
    if not isinstance(listed, list) or depth > _DEEPEST:
        return
    for item in listed:
        if isinstance(item, dict):
            yield item
            yield from _items({"subitems": item.get("subitems")}, depth + 1)


def _entry(item: dict[str, Any]) -> Entry | None:
    name, url = item.get("name"), item.get("url")
    if not isinstance(name, str) or not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return None
    return Entry(
        name,
        url,
        _sum(item.get("image_download_sha256")),
        _size(item.get("image_download_size")),
        _sum(item.get("extract_sha256")),
        _size(item.get("extract_size")),
    )


def _sum(value: Any) -> str:
    try:
        return parse_sum(value) if isinstance(value, str) else ""
    except ValueError:
        return ""


def _size(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _labels(entry: Entry) -> list[list[str]]:
    parts = entry.url.split("://", 1)[-1].split("/")[1:]
    return [_words(entry.name), *(_words(stem(part)) for part in parts if part)]


def _slugs(found: list[Entry]) -> list[str]:
    return list(dict.fromkeys(entry.slug for entry in found))


def _words(text: str) -> list[str]:
    text = text.lower()
    for pattern, word in _SAME:
        text = pattern.sub(f" {word} ", text)
    return re.findall(r"[a-z0-9]+(?:\.[0-9]+)*", text)
