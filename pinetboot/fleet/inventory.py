"""The fleet as a whole: who is in it, found by serial, MAC or address, and what cannot stand side by side.

Belongs here: questions to the checked content of fleet.toml.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from pinetboot.errors import ConfigError, Problem
from pinetboot.fleet.pi import FleetFile, Machine, Pi


@dataclass(frozen=True)
class Inventory:
    """Every Pi and machine of one fleet.toml, in its order."""

    pis: tuple[Pi, ...] = ()
    machines: tuple[Machine, ...] = ()

    @cached_property
    def by_serial(self) -> dict[str, Pi]:
        """Each Pi by its serial."""
        return {pi.serial: pi for pi in self.pis}

    @cached_property
    def by_mac(self) -> dict[str, Pi]:
        """Each Pi whose MAC is written down, by that."""
        return {pi.mac: pi for pi in self.pis if pi.mac}

    @cached_property
    def machine_by_mac(self) -> dict[str, Machine]:
        """Each machine that is no Pi by its MAC."""
        return {machine.mac: machine for machine in self.machines}

    @cached_property
    def by_address(self) -> dict[str, Pi]:
        """Each Pi whose address is written down, by that."""
        return {pi.address: pi for pi in self.pis if pi.address}


def inventory(file: FleetFile, source: str) -> Inventory:
    """Take a checked fleet.toml as a whole. Raises ConfigError for what is there twice."""
    serials = [pi.serial for pi in file.pi]
    # One that is there twice is told once, not again for the name that comes of its serial.
    once = {pi.serial: pi for pi in reversed(file.pi)}
    problems = [
        *_twice("serial", serials),
        *_twice("hostname", [pi.name if pi.hostname or once[pi.serial] is pi else "" for pi in file.pi]),
        *_twice("mac", [pi.mac for pi in file.pi]),
        *_twice("address", [pi.address for pi in file.pi]),
        *_twice("mac", [machine.mac for machine in file.machine], kind="machine"),
        *(problem for number, pi in enumerate(file.pi, 1) for problem in _disks(number, pi)),
    ]
    known = {pi.mac: pi for pi in file.pi if pi.mac}
    for number, machine in enumerate(file.machine, 1):
        if machine.mac in known:
            whose = known[machine.mac].serial
            problems.append(Problem(f"machine {number}.mac", f"{machine.mac} is the MAC of the Pi {whose} as well"))
    if problems:
        raise ConfigError(source, problems)
    return Inventory(tuple(file.pi), tuple(file.machine))


def _twice(key: str, values: Iterable[str], kind: str = "pi") -> list[Problem]:
    first: dict[str, int] = {}
    problems = []
    for number, value in enumerate(values, 1):
        if value and first.setdefault(value, number) != number:
            problems.append(Problem(f"{kind} {number}.{key}", f"{value} is that of {kind} {first[value]} as well"))
    return problems


def _disks(number: int, pi: Pi) -> list[Problem]:
    mounts = [disk.mount for disk in pi.disks]
    return [
        Problem(f"pi {number}.disks", f"two disks are mounted at {mount}")
        for mount in sorted({mount for mount in mounts if mounts.count(mount) > 1})
    ]
