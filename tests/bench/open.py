"""What transfers that are open cost: memory with 1,000 of them, and whether 20,000 leave anything behind.

`python tests/bench/open.py [--open 1000] [--repeat 20000]`; prints resident memory and descriptors of the daemon.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import struct
import sys
import tempfile
from pathlib import Path

from peers import Peer, Running, pinetboot, start

_SIZE = 3_000_000


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    arguments.add_argument("--open", type=int, default=1000)
    arguments.add_argument("--repeat", type=int, default=20_000)
    chosen = arguments.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (chosen.open + 512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with tempfile.TemporaryDirectory(prefix="pinetboot-open-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        for number in range(10):
            (tree / f"f{number}").write_bytes(os.urandom(_SIZE))
        (tree / "six").write_bytes(b"6 byte")
        server = start(Peer("pinetboot", pinetboot), tree, "six")
        try:
            _tell("at rest", server)
            held = [_begun(server.address, f"f{number % 10}") for number in range(chosen.open)]
            _tell(f"{len(held)} transfers open, of 10 files of {_SIZE // 1_000_000} MB", server)
            for sock, sender in held:
                sock.sendto(b"\0\5\0\0bye\0", sender)
                sock.close()
            for number in range(chosen.repeat):
                _whole(server.address)
                if (number + 1) % max(1, chosen.repeat // 4) == 0:
                    _tell(f"after {number + 1} transfers in turn", server)
        finally:
            server.stop()


def _tell(what: str, server: Running) -> None:
    status = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    resident = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
    files = sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())
    print(f"{what}: {resident:.1f} MiB resident, {files} descriptors", flush=True)


def _begun(address: tuple[str, int], name: str) -> tuple[socket.socket, tuple[str, int]]:
    """A transfer with its first hundred blocks taken, and no more asked for."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(5)
    strings = [name, "octet", "blksize", "1468", "timeout", "255"]
    sock.sendto(b"\0\1" + "".join(f"{text}\0" for text in strings).encode(), address)
    _, sender = sock.recvfrom(2048)
    for block in range(100):
        sock.sendto(struct.pack("!HH", 4, block), sender)
        sock.recvfrom(2048)
    return sock, sender


def _whole(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(b"\0\1six\0octet\0", address)
        data, sender = sock.recvfrom(2048)
        if data[4:] != b"6 byte":
            sys.exit(f"not what was asked for: {data!r}")
        sock.sendto(b"\0\4\0\1", sender)


if __name__ == "__main__":
    main()
