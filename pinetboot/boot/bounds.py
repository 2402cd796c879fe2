"""What one rendering of a template may take, hold and say: steps counted, sizes bounded, values never in a sentence.

Belongs here: limits, and the values that a template sees. Nothing of Jinja2, which is `template`'s alone.
The bounds are for mistakes, since templates are the operator's own. They count steps, not seconds: a rule has no clock.
They do matter: one number of a billion digits would hold Python's lock, and with it every boot, for hours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, time
from typing import Any, NoReturn

VARIABLES = ("pi", "data", "server", "seed")
MAX_SIZE = 4 << 20
TOO_MUCH = "an expression makes more than a seed may hold"
TAG = re.compile(r"\{[{%#]")

_MAX_TEMPLATE = 1 << 20
_MAX_TAGS = 10_000
_MAX_STEPS = 250_000
_MAX_ITEMS = 100_000
_MAX_BITS = 4096
_CHARACTERS_PER_STEP = 32

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,63}", re.ASCII)
_FILE = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._-]{0,254}")
_WIDE = re.compile(r"%[^a-zA-Z%]*(?:\*|\d{5,})")
_WIDE_BRACES = re.compile(r"\d{5,}")
_SIZED_TYPES = (str, list, tuple)

Read = Callable[[str], str | None]


class Refused(Exception):
    """Something that a template may not do, in words that may be shown."""


class Rendering:
    """One rendering: where it reads, what it has read, and how many steps it has left."""

    def __init__(self, read: Read, texts: Mapping[str, str] | None = None) -> None:
        self._read = read
        self.texts = {**(texts or {})}
        self.left = _MAX_STEPS

    def text(self, name: str) -> str | None:
        """Give a file's text, which it is only read for once. Raises Refused."""
        if name not in self.texts and _FILE.fullmatch(name):
            text = self._read(name)
            if text is None:
                return None
            if len(text) > _MAX_TEMPLATE or sum(1 for _ in TAG.finditer(text)) > _MAX_TAGS:
                raise Refused(
                    f"{name} is too long for a template, which has at most {_MAX_TEMPLATE} bytes and {_MAX_TAGS} tags"
                )
            self.texts[name] = text
        return self.texts.get(name)


_current: ContextVar[Rendering | None] = ContextVar("rendering", default=None)


@contextmanager
def rendering(one: Rendering) -> Iterator[None]:
    """Have everything below go by this rendering, in this thread."""
    token = _current.set(one)
    try:
        yield
    finally:
        _current.reset(token)


def text_of(name: str) -> str | None:
    """Give the text of a file beside the template that is being filled in. Raises Refused."""
    current = _current.get()
    return current.text(name) if current else None


def spend(steps: int) -> None:
    """Take steps of those that a rendering has. Raises Refused."""
    current = _current.get()
    if current is not None:
        current.left -= steps
        if current.left < 0:
            raise Refused(f"it takes more than the {_MAX_STEPS} steps that a seed may take")


def spend_on(text: str) -> None:
    """Take the steps that writing a text costs. Raises Refused."""
    spend(len(text) // _CHARACTERS_PER_STEP)


def shown(name: object) -> str:
    """Give a name as it stands in a template; one that an expression made might be a secret."""
    current = _current.get()
    texts = current.texts.values() if current else ()
    known = isinstance(name, str) and _NAME.fullmatch(name) and any(name in text for text in texts)
    return str(name) if known else "what an expression names"


def no_such_name(name: str) -> str:
    """Say that a name stands for nothing."""
    return f"{name} is unknown; there are {', '.join(VARIABLES[:-1])} and {VARIABLES[-1]}"


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Let an operator's result be no larger than a seed. Raises Refused."""
    spend(1)
    large = False
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        large = bits > _MAX_BITS
    elif operator == "%":
        large = isinstance(left, str) and _WIDE.search(left) is not None
    elif operator == "+" and isinstance(left, _SIZED_TYPES) and isinstance(right, _SIZED_TYPES):
        large = len(left) + len(right) > _most(left)
    elif operator == "*":
        pairs = ((left, right), (right, left))
        large = any(
            isinstance(one, _SIZED_TYPES) and isinstance(times, int) and len(one) * times > _most(one)
            for one, times in pairs
        )
    if large:
        refuse_size()


def check_numbers(given: tuple[Any, ...]) -> None:
    """Let no width or count be larger than a seed. Raises Refused."""
    if any(isinstance(one, int) and one > _MAX_ITEMS for one in given):
        refuse_size()


def check_format(text: object, *, braces: bool) -> None:
    """Let a format, `%08d` or with `braces` `{:08}`, ask for no such width. Raises Refused."""
    if isinstance(text, str) and (_WIDE_BRACES if braces else _WIDE).search(text):
        refuse_size()


def refuse_size() -> NoReturn:
    """Say that something would be too large."""
    raise Refused(TOO_MUCH)


def _most(value: object) -> int:
    return MAX_SIZE if isinstance(value, str) else _MAX_ITEMS


class Table(dict[str, Any]):
    """A mapping that knows by what name a template reaches it."""

    def __init__(self, path: str, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.path = path


def named(path: str, value: Any) -> Any:
    """Have every table of plain values know its path."""
    if isinstance(value, dict):
        return Table(path, {key: named(f"{path}.{key}", one) for key, one in value.items()})
    return [named(f"{path}[{place}]", one) for place, one in enumerate(value)] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Give what TOML holds in the types that YAML and JSON have too: times and dates are text."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, date | time) else value
