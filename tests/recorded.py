"""Boots as they were recorded, event by event, and a timeline with a clock of its own that hears them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pinetboot.events import (
    BootStalled,
    DhcpHeard,
    Event,
    HttpServed,
    Outcome,
    PhonedHome,
    PiOnline,
    RootMounted,
    TransferEnded,
    TransferStarted,
)
from pinetboot.observe.boot import Boot
from pinetboot.observe.outlook import Outlook
from pinetboot.observe.stages import STAGES
from pinetboot.observe.timeline import Timeline

SERIAL, OTHER = "5b154510", "da591740"
MAC = "dc:a6:32:2e:f8:ed"
HERE, SERVER = "192.168.1.57", "192.168.1.10"

PI4_FIRMWARE = ("start4.elf", "config.txt", "fixup4.dat")
PI4_MISSING = ("pieeprom.sig", "recover4.elf", "recovery.elf", "dt-blob.bin", "bootcfg.txt")
PI4_KERNEL = (
    "bcm2711-rpi-4-b.dtb",
    "overlays/overlay_map.dtb",
    "config.txt",
    "cmdline.txt",
    "initramfs8",
    "kernel8.img",
)
PI4_NO_KERNEL = ("recovery8.img", "recovery8-32.img", "recovery7l.img", "armstub8-gic.bin")


@dataclass
class House:
    """A timeline with a clock of its own, and one Pi in it."""

    timeline: Timeline = field(default_factory=Timeline)
    now: float = 1000.0
    known: dict[str, Outlook] = field(default_factory=dict)
    told: list[PiOnline | BootStalled] = field(default_factory=list)

    def take(self, *events: Event, serial: str = SERIAL, each_s: float = 0.1) -> None:
        for event in events:
            self.now += each_s
            told = self.timeline.take(event, serial, self.now)
            self.told += [told] if told else []

    def wait(self, seconds: float) -> None:
        """Let time pass, with a look a second."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1)
            self.told += self.timeline.tick(self.now, lambda serial: self.known.get(serial, Outlook()))

    @property
    def boot(self) -> Boot:
        found = self.timeline.latest(SERIAL)
        assert found is not None
        return found

    @property
    def stage(self) -> str:
        return STAGES[self.boot.stage]

    @property
    def count(self) -> int:
        return len(self.timeline.boots(SERIAL))

    def stalls(self) -> list[tuple[str, str]]:
        """Stage and rule of every stall that was told."""
        return [(one.stage, one.cause.rule if one.cause else "") for one in self.told if isinstance(one, BootStalled)]

    def online(self) -> int:
        return sum(isinstance(one, PiOnline) for one in self.told)

    def boots(self, *stages: str) -> None:
        """Go through stages of a healthy boot."""
        for stage in stages:
            self.take(*HEALTHY[stage])


def started(name: str, port: int = 49152) -> TransferStarted:
    return TransferStarted(HERE, port, SERVER, f"{SERIAL}/{name}", 100, 1468, 1)


def ended(name: str, outcome: Outcome = Outcome.SENT, port: int = 49152, **more: Any) -> TransferEnded:
    return TransferEnded(HERE, port, SERVER, f"{SERIAL}/{name}", outcome, size=100, **more)


def missing(name: str) -> TransferEnded:
    return TransferEnded(HERE, 49152, SERVER, f"{SERIAL}/{name}", Outcome.MISSING)


def sent(*names: str) -> list[Event]:
    return [event for name in names for event in (started(name), ended(name))]


def probed(*names: str) -> list[Event]:
    return [event for name in names for event in (started(name), ended(name, Outcome.PROBED))]


def heard(kind: str = "DISCOVER", *, firmware: bool = True, answered: bool = True, **more: Any) -> DhcpHeard:
    answer = SERVER if answered and firmware and kind == "DISCOVER" else None
    who = {"serial": SERIAL, "model": "Pi 4"} if firmware else {}
    return DhcpHeard(**{"mac": MAC, "kind": kind, "interface": "eth0", "answered": answer, **who, **more})


def seed(status: int = 200, name: str = "user-data") -> HttpServed:
    return HttpServed(HERE, "GET", f"/seed/{SERIAL}/{name}", status, 10, "seed")


PHONE = PhonedHome(HERE, SERIAL, "node-1")
MOUNT = RootMounted(SERIAL, HERE, 3)
LINUX_DHCP = (heard(firmware=False), heard("REQUEST", firmware=False))
HEALTHY: dict[str, list[Event]] = {
    "seen": [heard(), heard("REQUEST")],
    "firmware": [*probed("start4.elf"), *sent(*PI4_FIRMWARE), *(missing(name) for name in PI4_MISSING)],
    "kernel": [*(missing(name) for name in PI4_NO_KERNEL), *probed("kernel8.img"), *sent(*PI4_KERNEL)],
    "linux": list(LINUX_DHCP),
    "root": [MOUNT],
    "seed": [seed(name=name) for name in ("network-config", "meta-data", "user-data", "vendor-data")],
    "online": [PHONE],
}
