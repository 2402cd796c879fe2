"""What is written down of an image when it is brought in: `image.toml`, as values that have been checked.

Belongs here: the record's keys, its text, and reading it. Never here: where images lie, or how one is made.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from pinetboot.checking import Section, parse, problems
from pinetboot.errors import ConfigError
from pinetboot.fleet.pi import parse_name

Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Count = Annotated[int, Field(ge=0)]


class ImageRecord(Section):
    """One image.

    `sha256` is of the source as it came (for a pair of directories, of the list of their files), `image_sha256` of the
    disk image within, empty where there is none. `version` is what the web server called the file (its ETag, say).
    `identity` is of this very import, never used again; `added` is RFC 3339. `files` and `bytes` count boot and root.
    `without_root` says why there is no root tree although the source has one. `boot_img`: Pis made from it get a
    boot.img.
    """

    name: Annotated[str, AfterValidator(parse_name)]
    source: str
    sha256: Sha256
    image_sha256: Sha256 = ""
    version: str = ""
    kind: Literal["disk", "directories", "tars"] = "disk"
    identity: Annotated[str, Field(min_length=1)]
    added: Annotated[str, Field(min_length=1)]
    has_root: bool
    without_root: str = ""
    files: Count
    bytes: Count
    models: list[str] = []
    boot_img: bool = False


def to_text(record: ImageRecord) -> str:
    """Write a record as TOML."""
    lines = [f"{key} = {_value(value)}" for key, value in record.model_dump().items()]
    return "# Written by `pinetboot image add`; a change here changes nothing else.\n" + "\n".join(lines) + "\n"


def from_text(text: str, source: str) -> ImageRecord:
    """Read a record. Raises ConfigError, which names `source` and all that is wrong."""
    try:
        return ImageRecord.model_validate(parse(text, source))
    except ValidationError as error:
        raise ConfigError(source, problems(error, ImageRecord)) from None


def _value(value: Any) -> str:
    # TOML's basic strings, whole numbers, truth values and lists of these are written as JSON writes them,
    # but for the one control character that JSON leaves alone and for halves of surrogate pairs, which no TOML holds.
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return text.encode("utf-8", "replace").decode()
