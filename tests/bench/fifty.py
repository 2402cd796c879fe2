"""How long fifty Pis take to be made from one image, and how much room.

`PYTHONPATH=tests python tests/bench/fifty.py [xfs|btrfs|ext4]`; PIS and FILES in the environment change the numbers.
Needs root, xfsprogs and btrfs-progs. The figures of the issue: 20,000 files, 30 s, 1.05 times the image plus
50 x (1 kB a file + what differs).
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bigtree import grow, mounted, used_bytes
from imagetrees import SERVED, raspios

from pinetboot import subvolume
from pinetboot.fleet import generation
from pinetboot.fleet.pi import Pi

PIS = int(os.environ.get("PIS", "50"))
FILES = int(os.environ.get("FILES", "20000"))
DIFFERS = 128 << 10  # identity, texts, and the blocks they take


def cpu_s() -> float:
    """CPU of this process and of those it waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measure(kind: str, threads: int) -> None:
    """Make them all on a file system of that kind and print what it took."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch, mounted(kind, Path(scratch), "60G") as data:
        empty = used_bytes(data)
        (data / "images" / "raspios").mkdir(parents=True)
        subvolume.make(data / "images" / "raspios" / "root", 0o755)  # as an import does
        image = raspios(data, cloud_init="25.2")
        grow(image / "root" / "usr" / "share", FILES - sum(1 for _ in image.rglob("*")))
        entries = sum(1 for _ in image.rglob("*"))
        alone = used_bytes(data) - empty

        def one(number: int) -> None:
            pi = Pi(serial=f"{number:08x}", hostname=f"node-{number}", image="raspios")
            generation.make(data, pi, image, 1, SERVED, lambda _: None, lambda: False)

        began, cpu = time.monotonic(), cpu_s()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(1, PIS + 1)))
        took_s, cpu = time.monotonic() - began, cpu_s() - cpu
        used = used_bytes(data) - empty
        most = alone * 1.05 + PIS * (entries * 1000 + DIFFERS)
        print(
            f"{kind:5} {threads} at once: {PIS} Pis x {entries} names ({alone >> 20} MiB) in {took_s:.1f} s, "
            f"CPU {cpu:.1f} s, load {os.getloadavg()[0]:.1f}; {used >> 20} MiB of {int(most) >> 20} with reflinks"
        )


if __name__ == "__main__":
    for kind in sys.argv[1:] or ["xfs", "btrfs", "ext4"]:
        for threads in (2, 4) if kind == "xfs" else (2,):
            measure(kind, threads)
