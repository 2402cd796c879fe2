"""The bootloader's log over UDP: whose a line is, which lines name a cause, and the last of them (reference 4.5).

Belongs here: reading lines, and keeping them, bounded, for anyone on the network can send some. They are shown as text
and trusted in nothing but what `cause` says. Time is an argument, seconds that only rise.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pinetboot import causes
from pinetboot.causes import Cause

MOST_LINES: Final = 200  # a Pi
LONGEST: Final = 500  # bytes a line
_MOST_BYTES: Final = 8 << 20
_PORT: Final = 6666
_SETTING: Final = 32  # characters
_MOST_SENDERS: Final = 256
_MOST_SERVERS: Final = 16
# Two that send from one address within this time cannot be told apart.
_SHARED_S: Final = 120.0

_SERIAL: Final = re.compile(r"\bserial ([0-9a-f]{8})\b")
_ASKED: Final = re.compile(r"\bTFTP_GET: [0-9a-f:]{17} [0-9.]+ /*([0-9a-f]{8})/")
_MAC: Final = re.compile(r"\bNETWORK: ([0-9a-f]{2}(?::[0-9a-f]{2}){5}) ")
_BEGINS: Final = re.compile(r"^(?:RPi: BOOTLOADER release|Boot mode: )")
_DATED: Final = re.compile(r"^RPi: BOOTLOADER release .*\bDATE: ([0-9]{4}/[0-9]{2}/[0-9]{2})\b")
_SERVER: Final = re.compile(r"\bDHCP src: [0-9a-f:]{17} ((?:[0-9]{1,3}\.){3}[0-9]{1,3})\b")
_DECIDED: Final = re.compile(r"\bNET (?:[0-9.]{7,15}) .*\btftp ((?:[0-9]{1,3}\.){3}[0-9]{1,3})\b")
_TIMEOUTS: Final = re.compile(r"\bTFTP: disconnect: timeouts ([0-9]{1,4})\b")
_NO_TREE: Final = re.compile(r"\bDevice-tree file \"?'?([A-Za-z0-9._/-]{1,100}?)'?\"? not found")
# Where a log comes from while its Pi has no address: the documentation's own example (reference 4.5).
LINK_LOCAL: Final = "169.254.1.1"
# What bootloaders did wrong until the day they were mended, of the models that had it (reference 4.7, section 7).
_MENDED: Final = (
    ("Pi 4", "2020/06/12", causes.says_old_breaks_network),
    ("Pi 4", "2022/04/22", causes.says_old_after_reboot),
    ("Pi 5", "2023/10/18", causes.says_old_after_reboot),
)
_NOT_SET: Final = "0.0.0.0"  # noqa: S104 - what the bootloader prints


def setting(port: int, server: str = "", own: str = LINK_LOCAL) -> str:
    """Write the line for a bootloader's settings: to `server`, or to everybody on its LAN; `own` is the Pi's address.

    The bootloader takes 32 characters (reference 4.5): ports that it would take by itself are left out for them, and
    where that is not enough the log goes to everybody.
    """
    plain = "" if port == _PORT else port
    ways = [f"6665@{own}/,{port}@{server}/", f"@{own}/,{port}@{server}/", f"@{own}/,{plain}@{server}/"]
    ways.append(f"6665@{own}/,{port}@/")
    return "NETCONSOLE=" + next(way for way in ways if len(way) <= _SETTING or way == ways[-1])


def lines_of(datagram: bytes) -> list[str]:
    """Read what came: whole or part lines, at most 500 bytes each, without control characters."""
    found = []
    for raw in datagram.splitlines():
        text = raw[:LONGEST].decode("ascii", "replace")
        shown = "".join(char if char.isprintable() else " " for char in text).strip()
        if shown:
            found.append(shown)
    return found


def whose(text: str, serial_of: Callable[[str], str | None]) -> str | None:
    """Say whose log a line is in, where it says so by serial, or by a MAC that `serial_of` knows."""
    for told in (_SERIAL, _ASKED):
        found = told.search(text)
        if found:
            return found[1]
    mac = _MAC.search(text)
    return serial_of(mac[1]) if mac else None


@dataclass(slots=True)
class _Log:
    """What one Pi says: (when, text) of its last lines, and of this start what tells why it stops."""

    lines: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    size: int = 0
    servers: set[str] = field(default_factory=set)
    boots_from: str = ""
    stops: str = ""
    dated: str = ""

    def take(self, text: str, now: float) -> None:
        if len(self.lines) == MOST_LINES:
            self.size -= len(self.lines[0][1])
        self.lines.append((now, text))
        self.size += len(text)
        if _BEGINS.search(text):
            self.servers, self.boots_from, self.stops = set(), "", ""
        dated = _DATED.search(text)
        if dated:
            self.dated = dated[1]
        answered, decided = _SERVER.search(text), _DECIDED.search(text)
        if answered and len(self.servers) < _MOST_SERVERS:
            self.servers.add(answered[1])
        elif decided and decided[1] != _NOT_SET:
            self.boots_from = decided[1]
        elif any(sign in text for sign in _STOPS) or _TIMEOUTS.search(text) or _NO_TREE.search(text):
            self.stops = text


_SIGNS: Final[Mapping[str, Callable[[], Cause]]] = {
    "does not indicate support": causes.says_no_support,
    "command line is too long": causes.says_line_too_long,
    "not found or is not compatible": causes.says_incompatible,
}
_NO_FIRMWARE: Final = "Firmware (start"
_NO_NETBOOT: Final = "NETBOOT init failed"
_STOPS: Final = (*_SIGNS, _NO_FIRMWARE, _NO_NETBOOT)


@dataclass(slots=True)
class _Sender:
    serial: str
    at: float
    shared_until: float = float("-inf")


class Logs:
    """The logs of all Pis, 200 lines each and 8 MiB in all; those that were heard last stay."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, _Log] = OrderedDict()
        self._senders: OrderedDict[str, _Sender] = OrderedDict()
        self._size = 0

    def take(self, client: str, text: str, told: str | None, known: str | None, now: float) -> str | None:
        """Take a line. `told` is whose it says that it is, `known` whose the address is; returns whose it is taken for.

        An address that is known counts more than what anybody may write.

        What nobody can be told for is kept by its address, until a line from there says whose it is.
        """
        serial = self._sender(client, told, known, now)
        key = serial or f"from {client}"
        log = self._of.setdefault(key, _Log())
        self._of.move_to_end(key)
        self._size -= log.size
        log.take(text, now)
        self._size += log.size
        while len(self._of) > 1 and (self._size > _MOST_BYTES or len(self._of) > _MOST_SENDERS * 4):
            self._size -= self._of.popitem(last=False)[1].size
        return serial

    def lines(self, serial: str, since: float = float("-inf")) -> list[tuple[float, str]]:
        """Give (when, text) of the last lines of a Pi."""
        log = self._of.get(serial)
        return [line for line in log.lines if line[0] >= since] if log else []

    def cause(self, serial: str, own: Iterable[str]) -> Cause | None:
        """Say why a boot stops, as far as its bootloader does; `own` are this host's addresses."""
        log = self._of.get(serial)
        if log is None:
            return None
        if log.boots_from and log.boots_from not in own:
            return causes.says_other_server(log.boots_from)
        return _cause(log, serial)

    def old(self, serial: str, model: str) -> Cause | None:
        """Say what is wrong with a Pi's bootloader of the day that its log tells; `model` as the network shows it."""
        log = self._of.get(serial)
        dated = log.dated if log else ""
        for family, mended, told in _MENDED:
            if dated and model.startswith(family) and dated < mended:
                return told(dated, mended)
        return None

    def _sender(self, client: str, told: str | None, known: str | None, now: float) -> str | None:
        """Say who sends from an address; nobody where two take turns there."""
        sender = self._senders.get(client)
        if known is not None:
            if sender is None:
                self._name(client, known)
            return known
        if told is None:
            return sender.serial if sender is not None and now >= sender.shared_until else None
        if sender is None:
            sender = self._senders[client] = _Sender(told, now)
            if len(self._senders) > _MOST_SENDERS:
                self._senders.popitem(last=False)
            self._name(client, told)
        elif sender.serial != told:
            if now - sender.at < _SHARED_S:
                sender.shared_until = now + _SHARED_S
            sender.serial = told
        sender.at = now
        self._senders.move_to_end(client)
        return told

    def _name(self, client: str, serial: str) -> None:
        """Give the lines that came before anybody said whose they are to that Pi."""
        log = self._of.pop(f"from {client}", None)
        if log is not None:
            before = self._of.pop(serial, None)
            self._size -= before.size if before else 0
            self._of[serial] = log


def _cause(log: _Log, serial: str) -> Cause | None:
    text = log.stops
    timeouts, tree = _TIMEOUTS.search(text), _NO_TREE.search(text)
    if timeouts:
        return causes.says_timeouts(int(timeouts[1]))
    if tree:
        return causes.file_missing(tree[1], "the firmware needs the device tree of its board")
    for sign, told in _SIGNS.items():
        if sign in text:
            return told()
    if _NO_FIRMWARE in text:
        return causes.no_loader(["start4.elf"], f"{serial}/")
    # With two servers it has an address and a boot offer; why it takes neither, this line does not say.
    alone = _NO_NETBOOT in text and len(log.servers) <= 1
    return causes.no_address(boot_offer=bool(log.servers)) if alone else None
