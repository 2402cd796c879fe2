"""How close to the wire: many lock-step clients behind a link of 1 Gb/s, in two network namespaces. Needs root.

`python tests/bench/link.py --pis 10 36 50 100`; prints for each number of Pis the rate, its share of what the wire
carries as payload, and how the slowest Pi did beside the median.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
_SIZE = 30_000_000
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


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    arguments.add_argument("--pis", type=int, nargs="+", default=[1, 10, 36, 50, 100, 200])
    arguments.add_argument("--rate", default="1gbit")
    chosen = arguments.parse_args()
    wire = 1e9 / 8 * _BLKSIZE / _FRAME / 1e6
    with tempfile.TemporaryDirectory(prefix="pinetboot-link-") as folder, two_hosts(chosen.rate) as (server, client):
        base = Path(folder)
        generator = base / "load"
        subprocess.run(["cc", "-O2", "-w", "-o", str(generator), str(HERE / "load.c")], check=True)
        (base / "data" / "boot").mkdir(parents=True)
        (base / "data" / "boot" / "kernel8.img").write_bytes(os.urandom(_SIZE))
        (base / "script").write_text("G kernel8.img\n")
        settings = base / "pinetboot.toml"
        settings.write_text(f'[server]\ndata = "{base}/data"\n[dhcp]\nmode = "off"\n[http]\nenabled = false\n')
        serve = ["ip", "netns", "exec", server, sys.executable, "-m", "pinetboot", "serve", "--config", str(settings)]
        with subprocess.Popen(serve, stderr=subprocess.DEVNULL) as daemon:
            try:
                time.sleep(2)
                print("| Pis | MB/s | of the wire | p50 ms | slowest / median | retries |")
                print("|---|---|---|---|---|---|")
                for pis in chosen.pis:
                    load = ["ip", "netns", "exec", client, str(generator), _SERVER, "69", str(base / "script")]
                    load += ["-c", str(pis), "-n", str(pis), "-e", str(_SIZE), "-d", "240"]
                    figures = json.loads(subprocess.run(load, stdout=subprocess.PIPE, check=False).stdout)
                    cells = [str(pis), f"{figures['MBps']:.1f}", f"{figures['MBps'] / wire * 100:.1f} %"]
                    cells += [f"{figures['ms_p50']:.0f}", f"{figures['ms_max'] / figures['ms_p50']:.2f}"]
                    print("| " + " | ".join([*cells, f"{figures['retries']:.0f}"]) + " |", flush=True)
            finally:
                daemon.terminate()


if __name__ == "__main__":
    main()
