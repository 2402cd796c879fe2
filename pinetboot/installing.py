"""Installers and the machines that boot them, joined for the servers: menus kept as fleet.toml says, scripts, preseeds.

Belongs here: when the menus in the boot tree are written anew. What stands in them is `installer.menu`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from ipaddress import IPv4Address
from typing import Final

from pinetboot.config import Config
from pinetboot.dhcp.events import DhcpTold
from pinetboot.dhcp.machines import Machines as DhcpMachines
from pinetboot.dhcp.pxe import Machine as Firmware
from pinetboot.errors import OperatorError
from pinetboot.events import DhcpHeard, Event, FleetRead, Sink
from pinetboot.fleet import starting, told
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.pi import Machine, Pi
from pinetboot.fleet.starting import Start
from pinetboot.installer import beside, library, menus
from pinetboot.installer.release import LOCAL, MENU
from pinetboot.machine_overview import MachineOverview
from pinetboot.net.links import LinkWatch
from pinetboot.threads import Busy, Pool
from pinetboot.web.sources import Machines

_PLACE: Final = "installers"
PRESEEDS: Final = "preseed"


class Installing:
    """What the servers ask about machines that are no Pi. `inventory` gives the fleet as it is now."""

    def __init__(
        self, config: Config, pool: Pool, inventory: Callable[[], Inventory], watch: LinkWatch, sink: Sink
    ) -> None:
        self._config = config
        self._pool = pool
        self._inventory = inventory
        self._watch = watch
        self._sink = sink
        self._said: set[str] = set()
        self._seen = MachineOverview(lambda: inventory().machine_by_mac, beside=config.dhcp.mode != "server")
        self._read = False

    def sources(self, dhcp: DhcpMachines) -> Machines:
        """What is asked over HTTP."""
        return Machines(
            of=lambda mac: self._inventory().machine_by_mac.get(mac),  # noqa: PLW0108 - the fleet is another by then
            mac_at=partial(_mac_at, self._watch.neighbours),
            installers=partial(library.installers, self._config.boot_root),
            start=self._start,
            loader=lambda architecture: dhcp.pxe.loader(Firmware(architecture)) if dhcp.pxe else "",
            preseeds=self._config.data / PRESEEDS,
            seen=self._seen,
            starts=self._seen.starts_http,
        )

    def _start(self, mac: str) -> tuple[Pi, Start] | None:
        pi = self._inventory().by_mac.get(mac)
        found = starting.start(self._config.boot_root / pi.serial) if pi is not None else None
        return (pi, found) if pi is not None and found is not None else None

    def take(self, event: Event) -> None:
        """Note how far machines come, and write the menus anew, in a thread, where the fleet was read."""
        # One that boots as a Pi, with another firmware, is on that Pi's timeline.
        if not (isinstance(event, DhcpHeard) and event.mac in self._inventory().by_mac):
            self._seen.take(event)
        if isinstance(event, FleetRead):
            # It is told just before it counts.
            asyncio.get_running_loop().call_soon(self._write_anew)
            self._read = True

    def links_changed(self) -> None:
        """Write the menus anew where they are kept here: an address of this host stands in them."""
        if self._read:
            self._write_anew()

    def _write_anew(self) -> None:
        machines = self._inventory().machines
        links = self._watch.links
        addresses = told.offered(self._config, links)
        work = partial(self._write, machines, told.web(self._config, links), addresses)
        try:
            self._pool.submit(_PLACE, work).add_done_callback(self._written)
        except Busy:
            return  # the storage hangs, and the next look at the fleet comes again

    def _write(self, machines: tuple[Machine, ...], server: str, addresses: tuple[IPv4Address, ...]) -> list[str]:
        boot = self._config.boot_root
        there = {one.name for one in library.installers(boot)}
        menus.write(boot, machines, server)
        beside.write(boot, addresses)
        return [
            f"the machine {machine.mac} is to boot {machine.boot}, and there is no such installer"
            for machine in machines
            if machine.boot not in {MENU, LOCAL} | there
        ]

    def _written(self, done: asyncio.Future[list[str]]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            faults = [f"the menus of installers cannot be written: {getattr(error, 'strerror', None) or error}"]
        else:
            faults = done.result()
        for why in faults:
            if why not in self._said:
                self._sink(DhcpTold(well=False, what=why))
        self._said = set(faults)


async def _mac_at(table: Callable[[], Awaitable[Mapping[str, str]]], address: str) -> str:
    try:
        return (await table()).get(address, "")
    except OperatorError:
        return ""
