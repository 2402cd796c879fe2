"""`bootconf.txt`: the settings that a Pi is to have, each line explained, and putting them into one that stands.

Belongs here: which lines there are and why, and their text. What a setting may be is `keys`'.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pinetboot.eeprom import keys, order

NAME: Final = "bootconf.txt"
_SECTION: Final = re.compile(r"\s*\[([^\]]*)\]\s*")
_SETTING: Final = re.compile(r"\s*([A-Za-z0-9_]+)\s*=(.*)")
_CONFIG_TXT: Final = "config.txt"  # from here to the end it is config.txt's (reference 4.2)
_OURS: Final = "# By pinetboot."
_NO_DHCP: Final = "with it no DHCP server is asked"


@dataclass(frozen=True, slots=True)
class Line:
    """One setting with its value, and why it is there."""

    key: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Static:
    """An address of its own, for a Pi that asks no DHCP server; `gateway` is empty where none is needed."""

    address: str
    mask: str
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a Pi's bootloader is to do. `order` is BOOT_ORDER; times are milliseconds.

    `server` is where it asks for files, empty where DHCP is to say so. `prefix` is serial, mac, or a folder; without
    `netconsole` there is no log. `http` is host, port and path of HTTP boot. `more` are further settings, as given.
    """

    model: str
    serial: str
    order: int
    server: str = ""
    prefix: str = "serial"
    netconsole: str = ""
    static: Static | None = None
    http: tuple[str, int, str] | None = None
    dhcp_timeout: int = 45_000
    file_timeout: int = 30_000
    more: Sequence[tuple[str, str]] = field(default=())


def lines(wanted: Wanted) -> list[Line]:
    """Choose the settings. Raises ValueError with every fault, a line each."""
    made = [
        Line("BOOT_ORDER", f"0x{wanted.order:x}", f"tried in this order: {order.told(wanted.order)}"),
        *_server(wanted),
        *_folder(wanted),
        *_http(wanted),
        Line("DHCP_TIMEOUT", str(wanted.dhcp_timeout), "ms until DHCP is given up"),
        Line("TFTP_FILE_TIMEOUT", str(wanted.file_timeout), "ms until a file is given up; it counts as not there then"),
    ]
    if wanted.netconsole:
        made.append(Line("NETCONSOLE", wanted.netconsole, "its log goes here, and is shown by `pinetboot status`"))
    made.append(Line("ENABLE_SELF_UPDATE", "1", "takes pieeprom.upd from its boot tree, as `pinetboot eeprom` puts it"))
    given = dict(wanted.more)
    made = [line for line in made if line.key not in given]
    made += [Line(name, value, "as given with --set") for name, value in given.items()]
    faults = keys.problems(((line.key, line.value) for line in made), wanted.model)
    if faults:
        raise ValueError("\n".join(faults))
    return made


def _server(wanted: Wanted) -> list[Line]:
    found = []
    if wanted.server:
        found.append(Line("TFTP_IP", wanted.server, "where it asks for files, whatever DHCP says"))
    if wanted.static is not None:
        found.append(Line("CLIENT_IP", wanted.static.address, f"its own address; {_NO_DHCP}"))
        found.append(Line("SUBNET", wanted.static.mask, "the mask of its network"))
        if wanted.static.gateway:
            found.append(Line("GATEWAY", wanted.static.gateway, "the way to the server"))
    return found


def _folder(wanted: Wanted) -> list[Line]:
    if wanted.prefix == "serial":
        return [Line("TFTP_PREFIX", "0", f"its files are in {wanted.serial}/, named by its serial")]
    if wanted.prefix == "mac":
        return [Line("TFTP_PREFIX", "2", "its files are in a folder named by its MAC")]
    folder = wanted.prefix if wanted.prefix.endswith("/") else f"{wanted.prefix}/"
    return [
        Line("TFTP_PREFIX", "1", "its files are in the folder of the next line"),
        Line("TFTP_PREFIX_STR", folder, "with the slash, which belongs to it"),
    ]


def _http(wanted: Wanted) -> list[Line]:
    if wanted.http is None:
        return []
    host, port, path = wanted.http
    return [
        Line("HTTP_HOST", host, "where it gets boot.img and boot.sig, over plain HTTP"),
        Line("HTTP_PORT", str(port), "the port there"),
        Line("HTTP_PATH", path, f"so that it asks for http://{host}:{port}/{path}/boot.sig"),
    ]


def text(made: Iterable[Line], *, explained: bool = True) -> str:
    """Write them down, each with its reason above it if `explained`."""
    parts = [(f"# {line.why}\n" if explained else "") + f"{line.key}={line.value}\n" for line in made]
    return "[all]\n" + "".join(parts)


def settings(content: str) -> dict[str, str]:
    """Read what holds for every board: what stands in no section or in [all]; the last one counts."""
    found: dict[str, str] = {}
    section = "all"
    for line in content.splitlines():
        section = _section(line, section)
        if section == _CONFIG_TXT:
            break
        setting = _SETTING.fullmatch(line.partition("#")[0])
        if setting and section == "all":
            found[setting[1]] = setting[2].strip()
    return found


def merged(content: str, made: Sequence[Line]) -> str:
    """Put settings into a bootconf.txt: they take the place of what it says of them for all boards, all else stays."""
    names = {line.key for line in made}
    before: list[str] = []
    after: list[str] = []
    section = "all"
    for line in content.replace("\r\n", "\n").rstrip("\0").splitlines():
        section = _section(line, section)
        setting = _SETTING.fullmatch(line.partition("#")[0])
        ours = section == "all" and ((setting and setting[1] in names) or line == _OURS)
        if section == _CONFIG_TXT:
            after.append(line)
        elif not ours:
            before.append(line)
    while before and before[-1].strip().lower() in {"", "[all]"}:
        before.pop()  # a section of its own follows
    block = ["[all]", _OURS, *(f"{line.key}={line.value}" for line in made)]
    return "".join(f"{line}\n" for line in [*before, *block, *after])


def _section(line: str, section: str) -> str:
    found = _SECTION.fullmatch(line)
    if section == _CONFIG_TXT or found is None:
        return section
    return found[1].strip().lower()
