"""Boots as the servers would tell of them, for whoever shows boots: a day of them is told in a moment."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from support import free_port

from pinetboot.config import Config, Dhcp, Http, Server, Tftp
from pinetboot.events import DhcpHeard, Event, HttpServed, Outcome, PhonedHome, RootMounted, TransferEnded
from pinetboot.events import TransferStarted as Started
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.pi import Machine, Pi
from pinetboot.services import Services

SERVER = "192.168.1.10"
Told = tuple[float, Event]  # seconds into the boot, and what was seen

# The files of a Pi 4 in the order of its firmware (reference 3.6); bytes, None for what is not there.
PI4_FIRMWARE: tuple[tuple[str, int | None], ...] = (
    ("pieeprom.sig", None),
    ("recover4.elf", None),
    ("recovery.elf", None),
    ("config.txt", 1_204),
    ("start4.elf", 2_253_472),
    ("fixup4.dat", 5_430),
    ("dt-blob.bin", None),
    ("bootcfg.txt", None),
)
PI4_KERNEL: tuple[tuple[str, int | None], ...] = (
    ("recovery8.img", None),
    ("recovery8-32.img", None),
    ("bcm2711-rpi-4-b.dtb", 56_314),
    ("overlays/overlay_map.dtb", 5_255),
    ("config.txt", 1_204),
    ("overlays/vc4-kms-v3d-pi4.dtbo", 3_912),
    ("overlays/disable-bt.dtbo", 1_073),
    ("cmdline.txt", 214),
    ("initramfs8", 11_246_592),
    ("armstub8-gic.bin", None),
    ("kernel8.img", 9_612_345),
)
PI5_FIRMWARE: tuple[tuple[str, int | None], ...] = (("config.txt", 1_204), ("pieeprom.sig", None))
PI5_KERNEL: tuple[tuple[str, int | None], ...] = (
    ("bcm2712-rpi-5-b.dtb", 78_214),
    ("overlays/overlay_map.dtb", 5_255),
    ("overlays/bcm2712d0.dtbo", 1_342),
    ("overlays/vc4-kms-v3d-pi5.dtbo", 3_912),
    ("cmdline.txt", 214),
    ("armstub8-2712.bin", None),
    ("initramfs_2712", 11_311_104),
    ("kernel_2712.img", 9_801_216),
)
SEED = ("network-config", "meta-data", "user-data", "vendor-data")
RATE = 4_100_000.0  # bytes a second of one Pi at windowsize 1


@dataclass(frozen=True)
class Someone:
    """One Pi on the LAN."""

    serial: str
    address: str
    model: str = "Pi 4"

    @property
    def mac(self) -> str:
        return "d8:3a:dd:" + ":".join(self.serial[at : at + 2] for at in (2, 4, 6))


@dataclass
class Story:
    """One boot, told step by step; `lacks` are files that are not there, `resends` those that lose packets."""

    pi: Someone
    lacks: frozenset[str] = frozenset()
    resends: frozenset[str] = frozenset()
    seed: int = 0
    pace: float = 1.0

    def told(self, upto: str = "online", generation: int = 1) -> list[Told]:
        """Give all of it, up to a stage."""
        steps = list(self._steps(generation))
        last = {"seen": "seen", "firmware": "firmware", "kernel": "kernel"}.get(upto, upto)
        order = ("seen", "firmware", "kernel", "linux", "root", "seed", "online")
        wanted = order[: order.index(last) + 1]
        return [(at * self.pace, event) for stage, at, event in steps if stage in wanted]

    def _steps(self, generation: int) -> Iterator[tuple[str, float, Event]]:
        pi, chance = self.pi, random.Random(f"{self.pi.serial}{self.seed}")  # noqa: S311 - an example
        five = pi.model.startswith("Pi 5")
        yield "seen", 0.0, self._dhcp("DISCOVER", firmware=True)
        yield "seen", 1.1, self._dhcp("REQUEST", firmware=True)
        at = 1.4 + chance.random() * 0.6
        for stage, files in (
            ("firmware", PI5_FIRMWARE if five else PI4_FIRMWARE),
            ("kernel", PI5_KERNEL if five else PI4_KERNEL),
        ):
            for name, size in files:
                at += 0.03 + chance.random() * 0.05
                for end, event in self._file(name, size, at, chance):
                    yield stage, end, event
                    at = max(at, end)
            at += 0.9 + chance.random()
        at += 3.5 + chance.random() * 2
        yield "linux", at, self._dhcp("DISCOVER", firmware=False)
        yield "linux", at + 0.4, self._dhcp("REQUEST", firmware=False)
        at += 2.2 + chance.random()
        yield "root", at, RootMounted(pi.serial, pi.address, generation)
        at += 6.5 + chance.random() * 3
        for name in SEED:
            at += 0.05
            yield "seed", at, HttpServed(pi.address, "GET", f"/seed/{pi.serial}/{name}", 200, 312, "seed")
        at += 5 + chance.random() * 4
        yield "online", at, PhonedHome(pi.address, pi.serial)

    def _file(self, name: str, size: int | None, at: float, chance: random.Random) -> Iterable[Told]:
        pi, path = self.pi, f"{self.pi.serial}/{name}"
        if size is None or name in self.lacks:
            yield at, TransferEnded(pi.address, 1024, SERVER, path, Outcome.MISSING)
            return
        resent = 1 + chance.randrange(6) if name in self.resends else 0
        took = 0.004 + size / (RATE * (0.85 + chance.random() * 0.3)) + resent * 0.35
        port = 2000 + chance.randrange(40_000)
        yield at, Started(pi.address, port, SERVER, path, size, 1468, 1)
        yield (
            at + took,
            TransferEnded(
                pi.address, port, SERVER, path, Outcome.SENT, size, size, seconds=took, retransmissions=resent
            ),
        )

    def _dhcp(self, kind: str, *, firmware: bool) -> DhcpHeard:
        pi = self.pi
        answered = SERVER if firmware and kind == "DISCOVER" else None
        serial, model = (pi.serial, pi.model) if firmware else (None, None)
        return DhcpHeard(pi.mac, kind, "eth0", answered, serial=serial, model=model)


def pc(mac: str, address: str, files: Iterable[str], kind: str = "UEFI x64 PC") -> list[Told]:
    """Tell the boot of a PC whose address is another server's: a file a second, over TFTP or by its URL's path."""
    told: list[Told] = [
        (0.0, DhcpHeard(mac, "DISCOVER", "eth0", SERVER, machine=kind)),
        (0.5, DhcpHeard(mac, "REQUEST", "eth0", None, machine=kind, requested=address, server="192.168.1.1")),
    ]
    for at, name in enumerate(files, 1):
        sizes = (1_500_000, 1_500_000)
        if name.startswith("/"):
            told.append((at, HttpServed(address, "GET", name, 200, *sizes[:1], "boot", size=sizes[0])))
        else:
            told.append((at, TransferEnded(address, 2000, SERVER, name, Outcome.SENT, *sizes, seconds=0.4)))
    return told


@dataclass
class House:
    """Running servers that hear what is told here, over HTTP at `url`."""

    services: Services
    url: str

    def tell(self, story: Iterable[Told], ago_s: float) -> None:
        """Tell a boot that began so long ago; what lies in the future of it is left out."""
        began, now, wall = time.monotonic() - ago_s, time.monotonic(), time.time()
        for at, event in story:
            if began + at > now:
                break
            serial = self.services.fleet.sightings.learn(event, wall - ago_s + at)
            if isinstance(event, HttpServed):
                serial = self.services.overview.serial_of(event.client)
            if serial is not None:
                self.services.overview.boots.timeline.take(event, serial, began + at)

    def tell_of_machine(self, story: Iterable[Told], ago_s: float) -> None:
        """Tell a boot of a machine that is no Pi, which began so long ago."""
        for at, event in story:
            self.services._installing._seen._seen.take(event, time.time() - ago_s + at)

    def has(self, pis: Iterable[Pi], generation: int = 1, machines: Iterable[Machine] = ()) -> None:
        """Have a fleet of these, all of them made."""
        inventory = Inventory(tuple(pis), tuple(machines))
        self.services.fleet.inventory = inventory
        self.services.fleet.generations = dict.fromkeys(inventory.by_serial, generation)


@asynccontextmanager
async def house(data: Path, http_port: int = 0) -> AsyncIterator[House]:
    """Run servers on loopback whose fleet is what a test says; at a free port, or the one that is given."""
    tftp_port, http_port = free_port(), http_port or free_port(socket.SOCK_STREAM)
    config = Config(
        server=Server(data=str(data), address="127.0.0.1", interfaces=["lo"], stop_s=2),
        tftp=Tftp(port=tftp_port),
        dhcp=Dhcp(mode="off"),
        http=Http(port=http_port),
    )
    services = Services(config, lambda _: None, keeps_fleet=False)
    await services.start()
    try:
        yield House(services, f"http://127.0.0.1:{http_port}/")
    finally:
        await services.stop(1)
