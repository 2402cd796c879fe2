"""`fleet.toml` on disk: read, and edited so that comments, order and formatting survive. The one door to tomlkit.

Belongs here: the file, wherever the settings say that it lies. What may stand in it is decided in `fleet.pi`, what fits
together in `fleet.inventory`. Every edit is made under a lock in the data directory, checked as a whole before it is
written, and written at once or not at all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Array, InlineTable, Table

from pinetboot import checking
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.files import write
from pinetboot.fleet import pi as fleet_pi
from pinetboot.fleet.inventory import Inventory, inventory

_MAX_BYTES = 16 << 20
_HEADER = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_.\"' -]+?)\s*\]\]?\s*(#.*)?$")


# What a write is refused with where others may write: a mounted ConfigMap, a checkout of another user.
_NOT_HERE = {errno.EROFS, errno.EACCES, errno.EPERM}


def read(config: Config) -> Inventory:
    """Read and check; a fleet that is not written down is empty. Raises OperatorError, ConfigError for its content."""
    return _checked(_text(config), config.fleet_file)


def add(config: Config, entry: Mapping[str, Any]) -> Inventory:
    """Write one more Pi at the end. Raises OperatorError."""
    return _edit(config, lambda text: _appended(text, entry))


def change(config: Config, serial: str, values: Mapping[str, Any]) -> Inventory:
    """Give a Pi's keys new values; None takes a key out, a table adds to what is there. Raises OperatorError."""
    return _edit(config, lambda text: _changed(text, serial, values))


def drop(config: Config, serial: str) -> Inventory:
    """Take a Pi out. Raises OperatorError."""
    return _edit(config, lambda text: _without(text, serial))


def _text(config: Config) -> str:
    path = config.fleet_file
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        if config.fleet.file:
            # Taken for an empty fleet, a misspelt name would be the end of every export.
            raise OperatorError(
                f"{path}, which fleet.file names, does not exist", "Create it, empty if there is no Pi yet."
            ) from None
        return ""
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}", "Make it readable for this user.") from None
    if len(content) > _MAX_BYTES:
        raise OperatorError(f"{path} is larger than {_MAX_BYTES >> 20} MiB", "That is no list of Pis.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise OperatorError(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}") from None


def _checked(text: str, path: Path) -> Inventory:
    return inventory(fleet_pi.build(checking.parse(text, str(path)), str(path)), str(path))


def _edit(config: Config, work: Callable[[str], str]) -> Inventory:
    path = config.fleet_file
    with _locked(config.data):
        before = _text(config)
        _checked(before, path)
        try:
            after = work(before)
        except TOMLKitError as error:
            raise OperatorError(f"{path} cannot be edited: {error}", "Edit it by hand.") from None
        found = _checked(after, path)
        if after != before:
            # A link (a checkout, a mounted ConfigMap) stays one: what it names is what gets replaced.
            try:
                write(Path(os.path.realpath(path)), after.encode(), mode=0o600)
            except OSError as error:
                raise _unwritten(config, error) from None
        return found


def _unwritten(config: Config, error: OSError) -> OperatorError:
    path = config.fleet_file
    if error.errno in _NOT_HERE and (config.fleet.file or path.is_symlink()):
        what = f"{path} is read-only here, and kept elsewhere"
        return OperatorError(what, "Change it where it comes from, in git say; the daemon takes it up by itself.")
    return OperatorError(f"{path} cannot be written: {error.strerror}", "Nothing was changed.")


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    folder = data / "state"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(folder / "fleet.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperatorError(
            f"{folder} cannot be written: {error.strerror}", "Run it as the user that the daemon runs as."
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _appended(text: str, entry: Mapping[str, Any]) -> str:
    document = tomlkit.parse(text)
    pis = document.get("pi")
    if isinstance(pis, Array):  # pi = [{ serial = "…" }]
        pis.append(_inline(entry))
        return document.as_string()
    table = tomlkit.table()
    for key, value in entry.items():
        table.append(key, _item(value))
    # Text after text: nothing that stands there already can change its form.
    rendered = tomlkit.document()
    tables = tomlkit.aot()
    tables.append(table)
    rendered.append("pi", tables)
    gap = "" if not text.strip() else "\n" if text.endswith("\n") else "\n\n"
    return text + gap + rendered.as_string()


def _item(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        array = tomlkit.array()
        for part in value:
            array.append(_inline(part))
        return array
    if isinstance(value, dict):
        return _inline(value)
    return value


def _inline(entry: Mapping[str, Any]) -> InlineTable:
    table = tomlkit.inline_table()
    for key, value in entry.items():
        table.append(key, _item(value))
    return table


def _changed(text: str, serial: str, values: Mapping[str, Any]) -> str:
    document = tomlkit.parse(text)
    table = _entry(document, serial)
    tail = _take_tail(table) if isinstance(table, Table) else []
    for key, value in values.items():
        if value is None:
            table.pop(key, None)
        elif isinstance(value, dict) and isinstance(table.get(key), Table | InlineTable):
            inner = table[key]
            below = _take_tail(inner) if isinstance(inner, Table) else []
            for name, part in value.items():
                inner[name] = _item(part)
            if isinstance(inner, Table):
                inner.value.body.extend(below)
        else:
            table[key] = _item(value)
    if isinstance(table, Table):
        table.value.body.extend(tail)
    return document.as_string()


def _take_tail(table: Table) -> list[Any]:
    """Take off the blank lines and comments at a table's end: what they stand above comes after the table."""
    body = table.value.body
    at = len(body)
    while at and body[at - 1][0] is None:
        at -= 1
    tail = body[at:]
    del body[at:]
    return tail


def _entry(document: tomlkit.TOMLDocument, serial: str) -> Any:
    pis = document.get("pi")
    for entry in pis if isinstance(pis, AoT | Array) else ():
        if _serial_of(entry) == serial:
            return entry
    raise OperatorError(f"the Pi {serial} is not in fleet.toml", f"Add it with `pinetboot pi add {serial}`.")


def _serial_of(entry: Any) -> str:
    try:
        return fleet_pi.parse_serial(str(entry.get("serial")))
    except ValueError:
        return ""


def _without(text: str, serial: str) -> str:
    document = tomlkit.parse(text)
    _entry(document, serial)
    pis: Any = document["pi"]
    at = next(number for number, entry in enumerate(pis) if _serial_of(entry) == serial)
    wanted = document.unwrap()
    del wanted["pi"][at]
    if isinstance(pis, AoT):
        cut = _cut(text, at)
        with suppress(TOMLKitError):
            if tomlkit.parse(cut).unwrap() in (wanted, {key: value for key, value in wanted.items() if value}):
                return cut
    del pis[at]
    return document.as_string()


def _cut(text: str, at: int) -> str:
    """Cut out the lines of the entry `at`, with the comment right above it; what stands above the next one stays.

    Goes by lines that look like headers, one of which may lie in a text of several lines: the caller compares.
    """
    lines = text.splitlines(keepends=True)
    headers = [(number, found[1]) for number, line in enumerate(lines) if (found := _HEADER.match(line))]
    own = [number for number, name in headers if name == "pi"]
    start = own[at]
    end = next((n for n, name in headers if n > start and not name.startswith("pi.")), len(lines))
    begin, end = _with_comment(lines, start), _with_comment(lines, end)
    kept = lines[:begin] + lines[end:]
    return "".join(kept) if end < len(lines) else "".join(kept).rstrip("\n") + "\n"


def _with_comment(lines: list[str], at: int) -> int:
    """Go up over the comment that stands right above a line, unless it is what the file begins with."""
    up = at
    while up and lines[up - 1].lstrip().startswith("#"):
        up -= 1
    return up or at
