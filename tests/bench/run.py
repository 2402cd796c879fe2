"""Measure TFTP servers side by side: `python tests/bench/run.py`. Peers are those installed; a C compiler helps.

Every load is run against every server in turn, round after round, and medians are printed: MB/s, processor seconds
per GB, the 99th percentile of transfer times, retries, peak memory. Nothing here fails over a figure.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from peers import Peer, Running, all_peers, observed, start

HERE = Path(__file__).parent
MB = 1_000_000
BIG, BIG_SIZE = "f50", 50 * MB
MIDDLE, MIDDLE_SIZE = "f10", 10 * MB  # for many clients, whose times are compared with each other

# What a Pi 4 asks for in one boot (P: size only, M: missing), 40 MB in all.
_PI4 = """P start4.elf
G config.txt
M pieeprom.sig
M recover4.elf
M recovery.elf
G start4.elf
G fixup4.dat
M recovery.elf
G config.txt
M dt-blob.bin
M recovery.elf
G config.txt
M bootcfg.txt
P initramfs8
G initramfs8
P bcm2711-rpi-4-b.dtb
G bcm2711-rpi-4-b.dtb
G overlay_map.dtb
G config.txt
G cmdline.txt
M recovery8.img
M recovery.img
P kernel8.img
M armstub8-gic.bin
G kernel8.img
"""
_PI4_FILES = {
    "start4.elf": 2_253_000,
    "fixup4.dat": 5_430,
    "config.txt": 1_200,
    "cmdline.txt": 180,
    "bcm2711-rpi-4-b.dtb": 56_000,
    "overlay_map.dtb": 5_255,
    "initramfs8": 14_000_000,
    "kernel8.img": 23_680_000,
}


@dataclass(frozen=True)
class Load:
    """One load: `clients` run a script `runs` times, `rate` a second (0: at once); `expected` bytes each."""

    name: str
    script: str
    clients: int
    runs: int
    windowsize: int = 1
    blksize: int = 1468
    expected: int = BIG_SIZE
    deadline_s: int = 120
    rate: int = 0


LOADS = [
    Load("lock-step, 1 client", f"G {BIG}\n", 1, 1),
    Load("lock-step, 16 clients", f"G {BIG}\n", 16, 16),
    Load("lock-step, 24 clients", f"G {BIG}\n", 24, 24),
    Load("lock-step, 100 clients", f"G {MIDDLE}\n", 100, 100, expected=MIDDLE_SIZE),
    Load("lock-step, 200 clients", f"G {MIDDLE}\n", 200, 200, expected=MIDDLE_SIZE),
    Load("window 8, 1 client", f"G {BIG}\n", 1, 4, 8),
    Load("window 16, 1 client", f"G {BIG}\n", 1, 4, 16),
    Load("window 64, 1 client", f"G {BIG}\n", 1, 8, 64),
    Load("window 64, 8 clients", f"G {BIG}\n", 8, 32, 64),
    Load("missing file, 100 clients", "M nothing-here\n", 100, 20_000, expected=0),
    Load("missing file, 500 clients", "M nothing-here\n", 500, 20_000, expected=0),
    Load("missing file, 500 clients, 5,000 a second", "M nothing-here\n", 500, 20_000, expected=0, rate=5_000),
    Load("6-byte file, 24 clients", "G six\n", 24, 5_000, expected=6),
]
_BOOT_BYTES = sum(_PI4_FILES[line[2:]] for line in _PI4.splitlines() if line[0] == "G")
STORMS = [
    Load("boot storm, 200 Pis of 40 MB", _PI4.replace(" ", " pi%d/"), 200, 200, expected=_BOOT_BYTES, deadline_s=240)
]
# Each client is a Pi by its serial, so that whoever keeps timelines has something to keep.
OBSERVED = [
    Load("lock-step, 24 Pis", f"G %08d/{MIDDLE}\n", 24, 24, expected=MIDDLE_SIZE),
    Load("window 16, 24 Pis", f"G %08d/{MIDDLE}\n", 24, 48, 16, expected=MIDDLE_SIZE),
    Load("missing file, 100 Pis", "M %08d/nothing-here\n", 100, 20_000, expected=0),
    Load("6-byte file, 24 Pis", "G %08d/six\n", 24, 5_000, expected=6),
    Load("boot storm, 100 Pis", _PI4.replace(" ", " %08d/"), 100, 100, expected=_BOOT_BYTES, deadline_s=240),
]
MANY = [Load("lock-step, 500 clients", f"G {MIDDLE}\n", 500, 500, expected=MIDDLE_SIZE)]


def main() -> None:
    """Run the loads that were asked for and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--only", help="loads whose name holds this")
    arguments.add_argument("--peer", action="append", help="servers whose name holds this; may be given again")
    arguments.add_argument("--storm", action="store_true", help="also 500 clients, and 200 Pis at once")
    arguments.add_argument("--observed", action="store_true", help="pinetboot alone, with and without timelines")
    arguments.add_argument("--busy", action="store_true", help="keep one core busy meanwhile")
    arguments.add_argument("--json", action="store_true", help="print every round's figures")
    chosen = arguments.parse_args()
    loads = OBSERVED if chosen.observed else LOADS + (MANY + STORMS if chosen.storm else [])
    loads = [load for load in loads if (chosen.only or "") in load.name]
    with tempfile.TemporaryDirectory(prefix="pinetboot-bench-") as folder:
        tree, generator = _prepare(Path(folder))
        servers = _start_all(tree, observed() if chosen.observed else all_peers(), chosen.peer)
        hog = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if chosen.busy else None
        try:
            figures = _measure(loads, servers, generator, chosen.rounds)
        finally:
            for server in servers:
                server.stop()
            if hog is not None:
                hog.kill()
                hog.wait()
    if chosen.json:
        print(json.dumps(figures, indent=1))
    else:
        _print(loads, servers, figures)


def _prepare(folder: Path) -> tuple[Path, list[str]]:
    generator = _generator(folder)
    tree = folder / "tree"
    tree.mkdir()
    folder.chmod(0o755)
    (tree / BIG).write_bytes(os.urandom(BIG_SIZE))
    (tree / MIDDLE).write_bytes(os.urandom(MIDDLE_SIZE))
    (tree / "six").write_bytes(b"6 byte")
    for name, size in _PI4_FILES.items():
        (tree / name).write_bytes(os.urandom(size))
    for number in range(200):
        for own in (tree / f"pi{number}", tree / f"{number:08d}"):
            own.mkdir()
            for name in (*_PI4_FILES, MIDDLE, "six"):
                (own / name).hardlink_to(tree / name)
    return tree, generator


def _generator(folder: Path) -> list[str]:
    """The load generator: in C where there is a compiler, which makes the clients cheap, else in Python."""
    if shutil.which("cc") is None:
        print("no C compiler: the load comes from Python, and rates are its own", file=sys.stderr)
        return [sys.executable, str(HERE / "load.py")]
    program = folder / "load"
    subprocess.run(["cc", "-O2", "-w", "-o", str(program), str(HERE / "load.c")], check=True)
    return [str(program)]


def _start_all(tree: Path, peers: list[Peer], wanted: list[str] | None) -> list[Running]:
    servers = []
    for peer in peers:
        if wanted and not any(word in peer.name for word in wanted):
            continue
        if peer.command is None:
            print(f"not installed, left out: {peer.name}", file=sys.stderr)
            continue
        try:
            servers.append(start(peer, tree, "six"))
        except RuntimeError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not servers:
        sys.exit("none of the servers could be started")
    return servers


def _measure(loads: list[Load], servers: list[Running], generator: list[str], rounds: int) -> list[dict[str, object]]:
    figures: list[dict[str, object]] = []
    order = random.Random(rounds)  # noqa: S311 - no secret, and the same each time
    for turn in range(rounds):
        for load in loads:
            # In another order each time, so that none always comes after the same one, with its children still at it.
            for server in order.sample(servers, len(servers)):
                figure = _one(load, server, generator)
                figures.append({"round": turn, "load": load.name, "server": server.peer.name, **figure})
                print(f"round {turn + 1}: {load.name}: {server.peer.name}: {figure['MBps']} MB/s", file=sys.stderr)
    return figures


def _one(load: Load, server: Running, generator: list[str]) -> dict[str, float]:
    script = server.tree.parent / "script"
    script.write_text(load.script)
    command = [*generator, server.address[0], str(server.address[1]), str(script)]
    for flag, value in (
        ("-c", load.clients),
        ("-n", load.runs),
        ("-b", load.blksize),
        ("-w", load.windowsize),
        ("-e", load.expected),
        ("-d", load.deadline_s),
        ("-r", load.rate),
    ):
        command += [flag, str(value)]
    before = server.cpu_s()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    cpu_s = server.cpu_s() - before
    figure: dict[str, float] = json.loads(done.stdout)
    figure["cpu_s"] = cpu_s
    figure["cpu_s_per_GB"] = cpu_s / (figure["bytes"] / 1e9) if figure["bytes"] else 0.0
    figure["peak_MiB"] = server.peak_mib()
    return figure


def _print(loads: list[Load], servers: list[Running], figures: list[dict[str, object]]) -> None:
    heads = ["load", "server", "MB/s", "blocks/s", "answers/s", "CPU s", "CPU s/GB", "p50 ms", "p99 ms", "max ms"]
    print("| " + " | ".join([*heads, "retries", "failed", "peak MiB"]) + " |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for load in loads:
        for server in servers:
            own = [f for f in figures if f["load"] == load.name and f["server"] == server.peer.name]

            def median(key: str, own: list[dict[str, object]] = own) -> float:
                return statistics.median(float(str(figure[key])) for figure in own)

            cells = [load.name, server.peer.name, f"{median('MBps'):.1f}", f"{median('blocks_per_s'):.0f}"]
            cells += [f"{median('answers_per_s'):.0f}", f"{median('cpu_s'):.2f}", f"{median('cpu_s_per_GB'):.2f}"]
            cells.append(f"{median('ms_p50'):.1f}")
            cells += [f"{median('ms_p99'):.1f}", f"{median('ms_max'):.1f}", f"{median('retries'):.0f}"]
            cells += [f"{median('failed'):.0f}", f"{median('peak_MiB'):.0f}"]
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
