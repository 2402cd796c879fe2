"""Measure leasing: `python tests/bench/leases.py [RATE [SECONDS]]`, as root; Kea's perfdhcp does the asking.

A server and perfdhcp stand in network namespaces of their own, with a /16 range between them. Every exchange is a new
client: DISCOVER, OFFER, REQUEST, ACK, each lease on disk before its ACK. Nothing here fails over a figure.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from lab.lan import Lan

HOSTS = {"server": ("10.55.0.2/16",), "client": ("10.55.0.3/16",)}
CONFIG = """
[dhcp]
mode = "server"
range = "10.55.0.10-10.55.255.254"
allow_other_server = true
[nfs]
mode = "off"
"""
_FIGURES = re.compile(r"^(sent packets|received packets|drops|drops ratio|rate|.*delay|.*Rate).*: .*$", re.MULTILINE)


def ticks(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rate", nargs="?", type=int, default=1000)
    parser.add_argument("seconds", nargs="?", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pinetboot-leases-", dir="/var/tmp") as folder:
        lan = Lan(Path(folder), HOSTS)
        try:
            lan.build()
            daemon = lan.serve(CONFIG)
            assert daemon.process is not None
            # `ip netns exec` becomes the daemon.
            before, began = ticks(daemon.process.pid), time.monotonic()
            flags = [
                "-4",
                "-r",
                str(asked.rate),
                "-R",
                "60000",
                "-p",
                str(asked.seconds),
                "-W",
                "1000000",
                "-l",
                "eth0",
            ]
            done = lan.run("client", "perfdhcp", *flags, within_s=asked.seconds + 30)
            took = time.monotonic() - began
            used = ticks(daemon.process.pid) - before
            print(done.stdout)
            print(f"processor: {used:.1f} s in {took:.1f} s")
            print(f"leases.json: {(daemon.data / 'state' / 'leases.json').stat().st_size / 1e6:.1f} MB")
        finally:
            lan.close()


if __name__ == "__main__":
    main()
