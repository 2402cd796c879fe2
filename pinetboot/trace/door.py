"""The local door at which a running daemon lends out what it sees: a socket of this host's network, not HTTP.

Belongs here: asking and answering over it. The daemon opens the capture, for which it has the privilege and knows the
ports, and hands over that very socket: from then on the asking process reads it, and the daemon has nothing to do with
it, however much comes. It is lent to root and to the daemon's own user alone, as the kernel vouches for either end.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from pinetboot.errors import OperatorError
from pinetboot.net import capture
from pinetboot.net.capture import Wanted
from pinetboot.trace import whose
from pinetboot.trace.whose import Facts

_SCM_CREDENTIALS: Final = 2  # unix(7)
_CREDENTIALS: Final = struct.Struct("=iII")  # process, user, group
_NAME: Final = "\0pinetboot/trace/"
_ANCILLARY: Final = 256
_LONGEST_REQUEST: Final = 256
_LONGEST_ANSWER: Final = 1 << 17
_LIMIT_S: Final = 5.0
_BURST: Final = 16


class NoDaemon(Exception):
    """Nobody answers for this data directory on this host."""


class _Letter(NamedTuple):
    content: bytes
    user: int | None
    fd: int | None
    sender: Any


class TraceDoor:
    """Answers for the data directory `data`. `facts` are those of a Pi by its serial, of all by an empty one."""

    def __init__(self, data: Path, facts: Callable[[str], Facts]) -> None:
        self._data = data
        self._facts = facts
        self._sock: socket.socket | None = None

    def start(self) -> None:
        """Begin to answer. Where another daemon of this network does so for the same directory, it stays the one."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            sock.bind(_name(self._data))
        except OSError:
            sock.close()
            return
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable, sock)

    def stop(self) -> None:
        """Answer no more."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                letter = _take(sock, _LONGEST_REQUEST)
            except OSError:
                return
            if letter.fd is not None:
                os.close(letter.fd)
            if letter.sender:
                with suppress(OSError):  # whoever asked is gone, or takes nothing
                    self._answer(sock, letter)

    def _answer(self, sock: socket.socket, letter: _Letter) -> None:
        if letter.user not in {0, os.geteuid()}:
            _send(
                sock, letter.sender, {"what": "this daemon is another user's", "do": "Run it as root, or as that user."}
            )
            return
        facts = self._facts(letter.content.decode("ascii", "replace"))
        try:
            seeing = capture.opened(wanted(facts))
        except OSError as error:
            _send(sock, letter.sender, _refusal(error))
            return
        with seeing:
            _send(sock, letter.sender, {"facts": facts.to_json()}, seeing)


def wanted(facts: Facts, addresses: set[str] | None = None, macs: set[bytes] | None = None) -> Wanted:
    """Say what the kernel is to let through; a Pi that is not known yet is looked for in all that there is."""
    return Wanted(facts.dhcp_ports, facts.http_port, facts.interfaces, addresses or (), macs or ())


def borrow(data: Path, serial: str) -> tuple[Facts, socket.socket]:
    """Ask the daemon of `data` for what it sees of a Pi, or with an empty serial of all.

    Raises NoDaemon, and OperatorError with the daemon's reason.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.settimeout(_LIMIT_S)
        try:
            sock.bind("")  # the kernel finds a name
            sock.connect(_name(data))
            sock.send(serial.encode())
            letter = _take(sock, _LONGEST_ANSWER)
            owner = data.stat().st_uid
        except OSError:
            raise NoDaemon from None
    lent = socket.socket(fileno=letter.fd) if letter.fd is not None else None
    try:
        facts = _told(letter, owner)
        if lent is None:
            raise NoDaemon  # noqa: TRY301 - the socket that may be there is closed below
    except BaseException:
        if lent is not None:
            lent.close()
        raise
    return facts, lent


def _told(letter: _Letter, owner: int) -> Facts:
    if letter.user not in {0, owner}:
        raise NoDaemon
    try:
        told = json.loads(letter.content)
        refused = "facts" not in told
        if not refused:
            return whose.from_json(told["facts"])
        what, do = str(told["what"]), str(told["do"])
    except (KeyError, TypeError, ValueError):
        raise NoDaemon from None
    raise OperatorError(what, do)


def _refusal(error: OSError) -> dict[str, str]:
    if isinstance(error, PermissionError):
        return {
            "what": "the daemon may not see what goes over the wire: it runs without the capability CAP_NET_RAW",
            "do": "Give it that capability, or run it as root.",
        }
    return {"what": f"the daemon cannot see what goes over the wire: {error.strerror}", "do": "Look at its log."}


def _name(data: Path) -> str:
    """Name the door by the directory itself: by whatever path, in a container as well, it is the same one."""
    found = data.stat()
    return f"{_NAME}{found.st_dev:x}-{found.st_ino:x}"


def _take(sock: socket.socket, most: int) -> _Letter:
    content, ancillary, _, sender = sock.recvmsg(most, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
    user: int | None = None
    fds = array("i")
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _SCM_CREDENTIALS:
            user = int(_CREDENTIALS.unpack_from(value)[1])
        elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(value[: len(value) - len(value) % fds.itemsize])
    for fd in fds[1:]:
        os.close(fd)
    return _Letter(content, user, fds[0] if fds else None, sender)


def _send(sock: socket.socket, to: Any, told: dict[str, Any], lent: socket.socket | None = None) -> None:
    handed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [lent.fileno()]))] if lent is not None else []
    sock.sendmsg([json.dumps(told).encode()], handed, 0, to)
