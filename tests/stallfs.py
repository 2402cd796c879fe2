"""A file system whose storage stops answering when a test says so: FUSE by the kernel's own protocol (fuse(4)).

It runs in a process of its own, because the one that asks is held up. A file `NAME-SIZE` exists as soon as somebody
looks for it, SIZE bytes long; everything else is missing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import subprocess
import sys
from collections import Counter
from enum import IntEnum
from pathlib import Path

import pytest

_MNT_FORCE = 1
_MNT_DETACH = 2
_MS_NOSUID_NODEV = 6
_MAX_REQUEST = 1 << 20
_ROOT_NODE = 1
_DIRECT_IO = 1  # FOPEN_DIRECT_IO: every read of the file is a request to us
_IN_HEADER = struct.Struct("=IIQQIIIHH")
_OUT_HEADER = struct.Struct("=IiQ")
_INIT_OUT = struct.Struct("=IIIIHHIIHHI28x")
_ENTRY_OUT = struct.Struct("=QQQQII")
_ATTR_OUT = struct.Struct("=QII")
_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
_OPEN_OUT = struct.Struct("=QII")
_READ_IN = struct.Struct("=QQI")
_STATFS_OUT = struct.Struct("=QQQQQIIII24x")

libc = ctypes.CDLL(None, use_errno=True)


class Op(IntEnum):
    """What the kernel asks for; the numbers are linux/fuse.h's."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    OPEN = 14
    READ = 15
    STATFS = 17
    RELEASE = 18
    FLUSH = 25
    INIT = 26
    INTERRUPT = 36
    BATCH_FORGET = 42


_UNANSWERED = {Op.FORGET, Op.INTERRUPT, Op.BATCH_FORGET}


def content(size: int) -> bytes:
    """What a file of that size holds."""
    return b"".join(b"%015d\n" % line for line in range(size // 16 + 1))[:size]


class StallFs:
    """A mounted file system. Raises nothing at close(): it is gone afterwards, whatever was held."""

    def __init__(self, point: Path, *, names_are_cached: bool = False) -> None:
        if os.geteuid() != 0:
            pytest.skip("mounting needs root")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("this kernel has no FUSE")
        point.mkdir(parents=True, exist_ok=True)
        self.point = point
        command = [sys.executable, __file__, str(point), "3600" if names_are_cached else "0"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self._said()
        if said != "mounted":
            self.close()
            pytest.skip(f"FUSE cannot be mounted here: {said}")

    def stall(self, *ops: Op, reads_from: int = 0) -> None:
        """Answer no such request any more, reads only those at `reads_from` or behind it."""
        self._tell(f"stall {reads_from} {' '.join(op.name for op in ops)}")

    def go(self, *ops: Op) -> None:
        """Answer again, all that was held among it; only requests of these kinds if some are named."""
        self._tell(f"go {' '.join(op.name for op in ops)}")

    def held(self, op: Op) -> int:
        """How many requests of that kind wait for an answer."""
        return int(self._tell(f"held {op.name}"))

    def seen(self, op: Op) -> int:
        """How many requests of that kind there were."""
        return int(self._tell(f"seen {op.name}"))

    def close(self) -> None:
        # Closing /dev/fuse ends all requests that are held, so nobody stays behind in the kernel.
        self._process.kill()
        self._process.communicate()
        libc.umount2(os.fsencode(self.point), _MNT_FORCE | _MNT_DETACH)

    def _tell(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")


class _Server:
    def __init__(self, device: int, valid_s: int) -> None:
        self._device = device
        self._valid_s = valid_s
        self._nodes: dict[str, int] = {}
        self._sizes: dict[int, int] = {}
        self._stalled: set[Op] = set()
        self._reads_from = 0
        self._held: list[tuple[Op, int, bytes]] = []
        self._seen: Counter[Op] = Counter()

    def serve(self) -> None:
        while True:
            for ready in select.select([self._device, sys.stdin.fileno()], [], [])[0]:
                if ready == self._device:
                    self._request(os.read(self._device, _MAX_REQUEST))
                    continue
                # One read is one command: whoever writes waits for the answer.
                command = os.read(ready, 4096).decode()
                if not command:
                    return
                sys.stdout.write(self._command(*command.split()) + "\n")
                sys.stdout.flush()

    def _command(self, verb: str, *words: str) -> str:
        match verb:
            case "stall":
                self._reads_from = int(words[0])
                self._stalled = {Op[word] for word in words[1:]}
            case "go":
                free = {Op[word] for word in words} or set(Op)
                self._stalled -= free
                held, self._held = self._held, []
                for op, node, request in held:
                    if op in free:
                        self._answer(op, node, request)
                    else:
                        self._held.append((op, node, request))
            case "held":
                return str(sum(op == Op[words[0]] for op, _, _ in self._held))
            case "seen":
                return str(self._seen[Op[words[0]]])
        return "done"

    def _request(self, request: bytes) -> None:
        _, number, unique, node, *_ = _IN_HEADER.unpack_from(request)
        if number not in set(Op):
            self._reply(unique, -errno.ENOSYS)
            return
        op = Op(number)
        self._seen[op] += 1
        if op in _UNANSWERED:
            return
        behind = op != Op.READ or _READ_IN.unpack_from(request, _IN_HEADER.size)[1] >= self._reads_from
        if op in self._stalled and behind:
            self._held.append((op, node, request))
        else:
            self._answer(op, node, request)

    def _answer(self, op: Op, node: int, request: bytes) -> None:
        unique = _IN_HEADER.unpack_from(request)[2]
        body = request[_IN_HEADER.size :]
        match op:
            case Op.INIT:
                major, minor, read_ahead, _ = struct.unpack_from("=IIII", body)
                self._reply(
                    unique, 0, _INIT_OUT.pack(major, min(minor, 31), read_ahead, 0, 64, 48, 1 << 17, 1, 0, 0, 0)
                )
            case Op.LOOKUP:
                found = self._look_up(body.rstrip(b"\0").decode())
                if found is None:
                    self._reply(unique, -errno.ENOENT)
                else:
                    entry = _ENTRY_OUT.pack(found, 0, self._valid_s, self._valid_s, 0, 0)
                    self._reply(unique, 0, entry + self._attributes(found))
            case Op.GETATTR:
                self._reply(unique, 0, _ATTR_OUT.pack(self._valid_s, 0, 0) + self._attributes(node))
            case Op.OPEN:
                self._reply(unique, 0, _OPEN_OUT.pack(0, _DIRECT_IO, 0))
            case Op.READ:
                _, offset, size = _READ_IN.unpack_from(body)
                self._reply(unique, 0, content(self._sizes[node])[offset : offset + size])
            case Op.STATFS:
                self._reply(unique, 0, _STATFS_OUT.pack(0, 0, 0, 0, 0, 4096, 255, 4096, 0))
            case _:
                self._reply(unique, 0)

    def _look_up(self, name: str) -> int | None:
        size = name.rpartition("-")[2]
        if not size.isdigit():
            return None
        node = self._nodes.setdefault(name, len(self._nodes) + _ROOT_NODE + 1)
        self._sizes[node] = int(size)
        return node

    def _attributes(self, node: int) -> bytes:
        size = self._sizes.get(node, 0)
        mode = stat.S_IFDIR | 0o755 if node == _ROOT_NODE else stat.S_IFREG | 0o644
        return _ATTR.pack(node, size, 0, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _reply(self, unique: int, error: int, body: bytes = b"") -> None:
        try:
            os.write(self._device, _OUT_HEADER.pack(_OUT_HEADER.size + len(body), error, unique) + body)
        except FileNotFoundError:  # the one who asked was killed meanwhile
            return


def _main(point: str, valid_s: int) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"stallfs", os.fsencode(point), b"fuse", _MS_NOSUID_NODEV, options):
        sys.stdout.write(os.strerror(ctypes.get_errno()) + "\n")
        return
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    try:
        _Server(device, valid_s).serve()
    finally:
        libc.umount2(os.fsencode(point), _MNT_FORCE | _MNT_DETACH)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
