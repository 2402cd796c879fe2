"""Asking ONC RPC services over TCP: is it there, what is registered, what is exported.

Belongs here: the sockets, each with a time limit. Every function waits and belongs in a thread. No program is needed
for it: rpcinfo and showmount are not installed wherever pinetboot is.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from typing import Final

from pinetboot.nfs import onc
from pinetboot.nfs.onc import Malformed, Mapping

LOCALHOST: Final = "127.0.0.1"
PORTMAPPER_PORT: Final = 111
NFS_PORT: Final = 2049
_LIMIT_S: Final = 2.0
_MOST_BYTES: Final = 4 << 20
_MARK: Final = 4
_SET, _DUMP, _EXPORT = 1, 4, 5
_PORTMAPPER_VERSION: Final = 2
_MOUNT_VERSION: Final = 3
# rpcbind lets only who can bind a port below 1024 register a program (RFC 1833 leaves that to the implementation).
_PRIVILEGED: Final = range(1023, 600, -1)


class Unanswered(Exception):
    """A service gave no good answer; the text says why."""


def ask(address: str, port: int, program: int, version: int, *, procedure: int = 0) -> bytes:
    """Call a procedure, by default the one that every program has and that does nothing. Raises Unanswered."""
    try:
        with socket.create_connection((address, port), _LIMIT_S) as sock:
            return _ask(sock, program, version, procedure)
    except (OSError, Malformed) as error:
        raise Unanswered(_why(error)) from None


def answers(address: str, port: int, program: int, version: int) -> bool:
    """Whether a program is there."""
    try:
        ask(address, port, program, version)
    except Unanswered:
        return False
    return True


def registered(address: str = LOCALHOST) -> list[Mapping]:
    """List what a host's port mapper knows. Raises Unanswered."""
    results = ask(address, PORTMAPPER_PORT, onc.PORTMAPPER, _PORTMAPPER_VERSION, procedure=_DUMP)
    try:
        return onc.mappings(results)
    except Malformed as error:
        raise Unanswered(str(error)) from None


def exported(address: str) -> list[tuple[str, tuple[str, ...]]]:
    """List what a host's mountd exports, path and clients, as showmount -e does. Raises Unanswered."""
    wanted = (onc.MOUNT, _MOUNT_VERSION, onc.TCP)
    port = next((one.port for one in registered(address) if (one.program, one.version, one.protocol) == wanted), 0)
    if not port:
        raise Unanswered("no mountd is registered there")
    results = ask(address, port, onc.MOUNT, _MOUNT_VERSION, procedure=_EXPORT)
    try:
        return onc.exported(results)
    except Malformed as error:
        raise Unanswered(str(error)) from None


def register(mapping: Mapping) -> None:
    """Have this host's port mapper know a program; root alone may. Raises Unanswered."""
    arguments = struct.pack(">4I", mapping.program, mapping.version, mapping.protocol, mapping.port)
    try:
        with _privileged() as sock:
            sock.settimeout(_LIMIT_S)
            sock.connect((LOCALHOST, PORTMAPPER_PORT))
            results = _ask(sock, onc.PORTMAPPER, _PORTMAPPER_VERSION, _SET, arguments)
    except (OSError, Malformed) as error:
        raise Unanswered(_why(error)) from None
    if results != struct.pack(">I", 1):
        raise Unanswered("the port mapper refuses it")


def _privileged() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    for port in _PRIVILEGED:
        try:
            sock.bind((LOCALHOST, port))
        except PermissionError:
            sock.close()
            raise
        except OSError:
            continue
        return sock
    sock.close()
    raise OSError(0, "no port below 1024 is free")


def _ask(sock: socket.socket, program: int, version: int, procedure: int, arguments: bytes = b"") -> bytes:
    xid = secrets.randbits(32)
    end = time.monotonic() + _LIMIT_S
    sock.sendall(onc.call(xid, program, version, procedure, arguments))
    reply, last = b"", False
    while not last:
        length, last = onc.mark(_read(sock, _MARK, end))
        if len(reply) + length > _MOST_BYTES:
            raise Malformed("the answer is too long")
        reply += _read(sock, length, end)
    return onc.answer(xid, reply)


def _read(sock: socket.socket, length: int, end: float) -> bytes:
    parts, left = [], length
    while left:
        sock.settimeout(max(0.001, end - time.monotonic()))
        part = sock.recv(min(left, 1 << 16))
        if not part:
            raise Malformed("the connection was closed")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _why(error: OSError | Malformed) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came within {_LIMIT_S:g} s"
    return str(error) if isinstance(error, Malformed) else error.strerror or str(error)
