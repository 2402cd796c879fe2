"""What an installer is: its name, its release, and for which processors it is there.

Belongs here: the record of one installer of one architecture, its text, and reading what Debian writes beside its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationError

from pinetboot.checking import Section, parse, problems
from pinetboot.errors import ConfigError
from pinetboot.fleet.pi import parse_name

Architecture = Literal["amd64", "arm64", "i386"]
ARCHITECTURES: Final[tuple[Architecture, ...]] = ("amd64", "arm64", "i386")
# What a machine's `boot` says beside installers' names.
MENU: Final = "menu"
LOCAL: Final = "local"
KERNEL: Final = "linux"
INITRD: Final = "initrd.gz"
RECORD: Final = "installer.toml"

_VERSION: Final = re.compile(r"^Debian version:\s*([0-9A-Za-z.]+)\s*(?:\(([a-z]+)\))?", re.MULTILINE)
_BUILD: Final = re.compile(r"^Installer build:\s*(\S+)", re.MULTILINE)


def parse_installer_name(text: str) -> str:
    """Check the name of an installer, which becomes a folder. Raises ValueError."""
    if text in {MENU, LOCAL}:
        raise ValueError(f'"{text}" is what a machine boots without an installer; choose another name')
    return parse_name(text)


class Installer(Section):
    """An installer for one architecture. `title` is for menus, `build` Debian's own, `sha256` of kernel and initrd."""

    name: Annotated[str, AfterValidator(parse_installer_name)]
    architecture: Architecture
    title: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[ -~]+$")]
    build: str = ""
    source: str = ""
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    added: str = ""
    bytes: Annotated[int, Field(ge=0)] = 0

    @property
    def folder(self) -> str:
        """Where it lies in the boot tree."""
        return f"{FOLDER}/{self.name}/{self.architecture}"


FOLDER: Final = "installers"


def told(version_info: str) -> tuple[str, str, str]:
    """Read Debian's version.info: (name, title, build), each empty where it is not told."""
    version, build = _VERSION.search(version_info), _BUILD.search(version_info)
    if version is None:
        return "", "", build[1] if build else ""
    title = f"Debian {version[1]}" + (f" ({version[2]})" if version[2] else "")
    return f"debian-{version[1].lower()}", title, build[1] if build else ""


def to_text(installer: Installer) -> str:
    """Write a record as TOML."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in installer.model_dump().items()]
    return "# Written by `pinetboot installer add`.\n" + "\n".join(lines) + "\n"


def from_text(text: str, source: str) -> Installer:
    """Read a record. Raises ConfigError."""
    return build(parse(text, source), source)


def build(content: Mapping[str, Any], source: str) -> Installer:
    """Check what a record is to hold. Raises ConfigError."""
    try:
        return Installer.model_validate(content)
    except ValidationError as error:
        raise ConfigError(source, problems(error, Installer)) from None
