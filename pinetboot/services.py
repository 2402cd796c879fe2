"""The three servers put together over one tree, one pool of threads and one sink: what `serve` and `demo` run.

Belongs here: making, starting and stopping them in the right order. Signals, logs and settings files are `daemon`'s.
"""

from __future__ import annotations

import asyncio
import errno
import resource
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from pinetboot.boot.data import prepare, seed_folder
from pinetboot.boot.generated import Served
from pinetboot.config import Config
from pinetboot.dhcp.leasing import LeaseServer
from pinetboot.dhcp.machines import Machines
from pinetboot.dhcp.people import People
from pinetboot.dhcp.server import ProxyDhcpServer
from pinetboot.errors import OperatorError
from pinetboot.events import AddressMoved, Event, PiOnline, RolledBack, Sink
from pinetboot.figures import standing
from pinetboot.fleet import store, told, trees
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.reconcile import Reconciler
from pinetboot.insight import Insight
from pinetboot.installing import Installing
from pinetboot.interfaces import Interfaces
from pinetboot.net.links import Links, LinkWatch
from pinetboot.nfs.server import NfsServer
from pinetboot.observe.lag import LagWatch
from pinetboot.observe.tally import Standing, Tally
from pinetboot.overview import Overview
from pinetboot.tftp.server import TftpServer
from pinetboot.threads import Pool
from pinetboot.trace.door import TraceDoor
from pinetboot.trace.whose import Facts
from pinetboot.tracing import facts
from pinetboot.web.metrics import exposition
from pinetboot.web.server import HttpServer
from pinetboot.web.sources import Seeded, Seeds, Sources

_FILES_BESIDE_TRANSFERS = 1024
_FILES_PER_TRANSFER = 2


class Services:
    """TFTP, ProxyDHCP and HTTP as `config` asks for them. Events go on to `sink` after the fleet learned."""

    def __init__(self, config: Config, sink: Sink, *, keeps_fleet: bool = True) -> None:
        self.config = config
        self.keeps_fleet = keeps_fleet
        self.tally = Tally()
        self._lag = LagWatch(self.tally.lag)
        self._door = TraceDoor(config.data, self._facts)
        self._told = sink
        self._sink = sink = self._tell
        self._pool = Pool()
        self.fleet = Reconciler(config, self._pool, self._served, sink)
        self.fleet.turned = self._turned
        self._held = True
        self.overview = Overview(config, self._pool, self.fleet, lambda: self._dhcp is not None, sink)
        # After a standby the timeline is another one.
        self.tally.latest = lambda serial: self.overview.boots.timeline.latest(serial)  # noqa: PLW0108
        self.nfs = NfsServer(config, self._pool, self.fleet, self._take)
        self.watch = LinkWatch(self._links_changed)
        self._installing = Installing(config, self._pool, lambda: self.fleet.inventory, self.watch, sink)
        self.insight = Insight(config, self._pool, self.overview, self.watch, take=self._take, again=self._again)
        self._interfaces = Interfaces(config.server.interfaces, sink)
        self._following: set[asyncio.Task[None]] = set()
        self._state: dict[str, str] = {}
        self._tftp: TftpServer | None = None
        self._dhcp: ProxyDhcpServer | LeaseServer | None = None
        self._http: HttpServer | None = None

    async def start(self) -> None:
        """Bind everything; on any fault nothing is left bound. Raises OperatorError."""
        config = self.config
        raise_file_limit(config.tftp.max_transfers * _FILES_PER_TRANSFER + _FILES_BESIDE_TRANSFERS)
        tree = prepare(config, self.fleet.names)
        try:
            await self.watch.start()
            await self.overview.boots.start()
            self._held = self.holds_address()
            if not self._held:
                self.overview.boots.forget()
            self._interfaces.take(self.watch.links)
            self.insight.start()
            if config.tftp.enabled:
                self._tftp = TftpServer(config, tree, self._pool, self._take)
                self._tftp.start(self.watch.links)
            machines = Machines(config, tree, self._pool, lambda: self.fleet.inventory, self._take)
            if config.dhcp.mode == "proxy":
                self._dhcp = ProxyDhcpServer(config, lambda: self.watch.links, machines, self._take)
                self._dhcp.start()
            elif config.dhcp.mode == "server":
                self._dhcp = await self._lease_server(machines)
                await self._dhcp.start()
            if config.http.enabled:
                metrics = exposition(self.tally, self._standing)
                seeds, ready, others = self._seeds(), self.readiness, self._installing.sources(machines)
                sources = Sources(tree, seeds, self.overview, self._pool, ready, self._take, metrics, others)
                self._http = HttpServer(config, sources)
                await self._http.start(self.watch.links)
        except BaseException:
            await self.stop(0)
            raise
        self._lag.start()
        self._door.start()
        if self.keeps_fleet:
            await self.nfs.start()
            self.fleet.roots = self.nfs
            self.fleet.tenure.want(self._held, others=config.server.address != "auto")
            self.fleet.start()
        self._state = {
            "tftp": "ready" if self._tftp else "off",
            "dhcp": "ready" if self._dhcp else "off",
            "http": "ready" if self._http else "off",
        }

    def configure(self, config: Config) -> None:
        """Take settings that may change while running; the caller knows which may not."""
        self.config = config
        if self._tftp is not None:
            self._tftp.configure(config.tftp)
        if self._dhcp is not None:
            self._dhcp.configure(config)
        self.fleet.config = config
        self.nfs.configure(config)
        self._stand()

    @property
    def dhcp_port(self) -> str:
        """What to tell people of the DHCP server's port; empty where none runs."""
        return self._dhcp.how if self._dhcp is not None else ""

    def readiness(self) -> dict[str, str]:
        """Each service's state by name: ready, off, standby, or stopping; `address` is that of a set one."""
        found = dict(self._state)
        if "ready" in found.values() and self.config.server.address != "auto":
            found["address"] = "ready" if self._held else "standby"
            if not self._held and found["dhcp"] == "ready":
                found["dhcp"] = "standby"
        return found or {"all": "starting"}

    def holds_address(self) -> bool:
        """Whether the address that clients are told is on this host; always so where it is any of ours."""
        address = self.config.server.address
        return address == "auto" or self.watch.links.holds(IPv4Address(address))

    async def stop(self, within_s: float) -> None:
        """Take nothing new, let what runs finish for at most `within_s` seconds, and free every socket."""
        self._state = dict.fromkeys(self._state, "stopping")
        self._lag.stop()
        self._door.stop()
        if self._dhcp is not None:
            self._dhcp.stop()
        ending = [server.stop(within_s) for server in (self._tftp,) if server is not None]
        if self._http is not None:
            ending.append(self._http.stop())
        await asyncio.gather(*ending, self.fleet.stop(), self.nfs.stop())
        await self.insight.stop()
        await self.overview.boots.stop()
        self.watch.close()
        self._pool.close()

    def _links_changed(self, links: Links) -> None:
        following = asyncio.get_running_loop().create_task(self._interfaces.follow(links, self._tftp, self._http))
        self._following.add(following)
        following.add_done_callback(self._following.discard)
        self.insight.follow(links)
        if isinstance(self._dhcp, LeaseServer):
            self._dhcp.look()
        self.fleet.changed()
        self._installing.links_changed()
        self._stand()

    def _stand(self) -> None:
        """Stand by for a virtual IP that is elsewhere: DHCP is silent by itself, the fleet is its holder's."""
        held = self.holds_address()
        if held == self._held:
            return
        self._held = held
        self._sink(AddressMoved(self.config.server.address, held))
        self.fleet.tenure.want(held, others=self.config.server.address != "auto")
        if not held and not self.fleet.kept:
            self.overview.boots.forget()

    async def _turned(self, kept: bool) -> None:
        boots = self.overview.boots
        if kept:
            await boots.restore()
            return
        await boots.save()
        if not self._held:
            boots.forget()

    async def _lease_server(self, machines: Machines) -> LeaseServer:
        """Make it, with the reservations as fleet.toml has them now, until the fleet's own first look is through."""
        try:
            first = await self._pool.submit("fleet/read", partial(store.read, self.config))
        except OperatorError:
            first = Inventory()  # the fleet's own look tells what is wrong
        people = People(lambda: self.fleet.inventory if self.fleet.read else first, self.fleet.sightings.serial_of)
        links, take = lambda: self.watch.links, self._take
        may = self._may_lease
        return LeaseServer(self.config, links, self._pool, people, take, machines=machines, may_write=may)

    def _may_lease(self) -> None:
        if self.keeps_fleet and not self.fleet.kept:
            raise OSError(errno.EBUSY, "another daemon keeps this data directory, or none can")

    def _facts(self, serial: str) -> Facts:
        under_way = self._tftp.under_way() if self._tftp else ()
        return facts(self.config, self.watch.links, self.fleet, under_way, serial)

    def _standing(self) -> Standing:
        return standing(self.fleet, self.overview, self._tftp, self.readiness())

    def _take(self, event: Event) -> None:
        serial = self.fleet.take(event)
        if serial is not None:
            self.nfs.take(event, serial)
            self.fleet.fallbacks.take(event, serial)
        if self._held:  # else it boots from another host, and what is heard of it is not the half
            self.overview.boots.take(event, serial)
            self.insight.take(event, serial)
        self._sink(event)

    def _again(self, event: Event) -> None:
        """Take what was seen of somebody unknown once more; it was told before."""
        serial = self.fleet.take(event)
        if self._held:
            self.overview.boots.take(event, serial)

    def _tell(self, event: Event) -> None:
        """Hand an event on, and to whoever here goes by what others found out."""
        self.tally.take(event)
        self._installing.take(event)
        if isinstance(event, PiOnline):
            self.fleet.fallbacks.online(event.serial)
        elif isinstance(event, RolledBack):
            self.overview.boots.went_back(event.serial, event.to)
        self._told(event)

    def _served(self, pi: Pi, learned: str) -> Served | None:
        return told.served(self.config, self.watch.links, pi, learned)

    def _seeds(self) -> Seeds:
        unread = self.fleet.inventory
        return Seeds(
            folder_of=partial(seed_folder, self.config),
            serial_of=self.overview.serial_of,
            seed_of=self._seed_of,
            generation_of=partial(_generation_of, self.config.data),
            known=lambda: not self.keeps_fleet or self.fleet.inventory is not unread,
            told=lambda: self.config.server.address,
            meet=self.insight.identity.meet,
        )

    def _seed_of(self, serial: str) -> Seeded | None:
        pi = self.fleet.inventory.by_serial.get(serial)
        if pi is None:
            return None
        seen = self.fleet.sightings.of(serial)
        if seen is not None and seen.mac and not pi.mac:
            pi = pi.model_copy(update={"mac": seen.mac})
        address = pi.address or (seen.address if seen else "")
        return Seeded(pi, frozenset({address} if address else ()))


def _generation_of(data: Path, serial: str) -> str:
    number = trees.current(data, serial)
    return "" if number is None else str(number)


def raise_file_limit(wanted: int) -> None:
    """Raise this process's own limit on open files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    for most in (max(wanted, hard), hard):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), most))
            return
