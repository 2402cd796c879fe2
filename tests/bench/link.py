"""How close to the wire: many lock-step clients behind a link of 1 Gb/s, in two network namespaces. Needs root.

`python tests/bench/link.py --pis 10 36 50 100`; prints for each number of Pis the rate, its share of what the wire
carries as payload, and how the slowest Pi did beside the median.

`python tests/bench/link.py --http`: one Pi that gets a boot.img of 60 MB over HTTP, beside the same file in lock-step
TFTP, whose acknowledgements are held back by the latency of a LAN: no kernel needs netem for that, and a stream loses
no more by it than its first few round trips.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
_SIZE = 30_000_000
_BOOT_IMG = 60_000_000
_BLKSIZE = 1468
# A frame on the wire: payload, TFTP, UDP, IP, Ethernet with its checksum, preamble and gap (IEEE 802.3).
_FRAME = _BLKSIZE + 4 + 8 + 20 + 18 + 20
_SERVER, _CLIENT = "10.99.0.1", "10.99.0.2"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def two_hosts(rate: str) -> Iterator[tuple[str, str]]:
    """Two namespaces joined by a link of `rate` towards the clients."""
    server, client = f"pnb-s{os.getpid()}", f"pnb-c{os.getpid()}"
    try:
        for name in (server, client):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", "eth0", "netns", server, "type", "veth", "peer", "name", "eth0", "netns", client)
        for name, address in ((server, _SERVER), (client, _CLIENT)):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
        # What tbf calls a packet has Ethernet's header, not its checksum, preamble and gap: 24 bytes a frame more.
        shape = ["tbf", "rate", rate, "burst", "128kb", "latency", "400ms", "overhead", "24"]
        done = subprocess.run(["tc", "-n", server, "qdisc", "add", "dev", "eth0", "root", *shape], check=False)
        if done.returncode:
            subprocess.run(["tc", "-n", server, "qdisc", "add", "dev", "eth0", "root", *shape[:-2]], check=True)
        yield server, client
    finally:
        for name in (server, client):
            subprocess.run(["ip", "netns", "delete", name], check=False)


@contextmanager
def serving(base: Path, server: str) -> Iterator[None]:
    """Serve the data directory below `base` in that namespace."""
    settings = base / "pinetboot.toml"
    settings.write_text(f'[server]\ndata = "{base}/data"\n[dhcp]\nmode = "off"\n[nfs]\nmode = "off"\n')
    command = ["ip", "netns", "exec", server, sys.executable, "-m", "pinetboot", "serve", "--config", str(settings)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as daemon:
        try:
            time.sleep(3)
            yield
        finally:
            daemon.terminate()


def tftp(base: Path, client: str, pis: int, size: int, late_ms: float = 0.0) -> dict[str, float]:
    """Have so many Pis get what the script in `base` says, in lock-step, all at once; the load generator's figures."""
    load = ["ip", "netns", "exec", client, str(base / "load"), _SERVER, "69", str(base / "script")]
    load += ["-c", str(pis), "-n", str(pis), "-e", str(size), "-d", "240"]
    load += ["-a", str(late_ms)]
    figures: dict[str, float] = json.loads(subprocess.run(load, stdout=subprocess.PIPE, check=False).stdout)
    return figures


def many(base: Path, client: str, counts: list[int]) -> None:
    """Measure more and more Pis."""
    wire = 1e9 / 8 * _BLKSIZE / _FRAME / 1e6
    print("| Pis | MB/s | of the wire | p50 ms | slowest / median | retries |")
    print("|---|---|---|---|---|---|")
    for pis in counts:
        figures = tftp(base, client, pis, _SIZE)
        cells = [str(pis), f"{figures['MBps']:.1f}", f"{figures['MBps'] / wire * 100:.1f} %"]
        cells += [f"{figures['ms_p50']:.0f}", f"{figures['ms_max'] / figures['ms_p50']:.2f}"]
        print("| " + " | ".join([*cells, f"{figures['retries']:.0f}"]) + " |", flush=True)


def http(base: Path, client: str, delay_ms: float, rounds: int) -> None:
    """Measure one boot.img over HTTP and in lock-step TFTP, by turns."""
    url = f"http://{_SERVER}/boot/boot.img"
    get = ["ip", "netns", "exec", client, "curl", "-sS", "-o", "/dev/null", "-w", "%{time_total}", url]
    seconds: dict[str, list[float]] = {"lock-step TFTP": [], "HTTP": []}
    for _ in range(rounds):
        seconds["lock-step TFTP"].append(tftp(base, client, 1, _BOOT_IMG, delay_ms)["ms_p50"] / 1000)
        seconds["HTTP"].append(float(subprocess.run(get, stdout=subprocess.PIPE, check=True).stdout))
    print(f"{_BOOT_IMG / 1e6:.0f} MB, {delay_ms:g} ms, load {os.getloadavg()[0]:.1f}, median of {rounds}")
    print("| boot.img over | s | MB/s | times as fast |")
    print("|---|---|---|---|")
    slowest = statistics.median(seconds["lock-step TFTP"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        cells = [name, f"{median:.2f}", f"{_BOOT_IMG / median / 1e6:.1f}", f"{slowest / median:.1f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    arguments.add_argument("--pis", type=int, nargs="+", default=[1, 10, 36, 50, 100, 200])
    arguments.add_argument("--rate", default="1gbit")
    arguments.add_argument("--http", action="store_true", help="one boot.img over HTTP, and over TFTP")
    arguments.add_argument("--delay-ms", type=float, default=0.2)
    arguments.add_argument("--rounds", type=int, default=5)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="pinetboot-link-") as folder, two_hosts(chosen.rate) as (server, client):
        base = Path(folder)
        subprocess.run(["cc", "-O2", "-w", "-o", str(base / "load"), str(HERE / "load.c")], check=True)
        (base / "data" / "boot").mkdir(parents=True)
        name, size = ("boot.img", _BOOT_IMG) if chosen.http else ("kernel8.img", _SIZE)
        (base / "data" / "boot" / name).write_bytes(os.urandom(size))
        (base / "script").write_text(f"G {name}\n")
        with serving(base, server):
            if chosen.http:
                http(base, client, chosen.delay_ms, chosen.rounds)
            else:
                many(base, client, chosen.pis)


if __name__ == "__main__":
    main()
