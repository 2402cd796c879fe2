"""The three servers put together over one tree, one pool of threads and one sink: what `serve` and `demo` run.

Belongs here: making, starting and stopping them in the right order. Signals, logs and settings files are `daemon`'s.
"""

from __future__ import annotations

import asyncio
import resource
from contextlib import suppress
from functools import partial
from pathlib import Path

from pinetboot.boot.data import prepare, seed_folder
from pinetboot.boot.generated import Served
from pinetboot.config import Config
from pinetboot.dhcp.server import ProxyDhcpServer
from pinetboot.errors import OperatorError
from pinetboot.events import Event, Sink
from pinetboot.fleet import told, trees
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.reconcile import Reconciler
from pinetboot.net.links import LinkWatch
from pinetboot.nfs.server import NfsServer
from pinetboot.overview import Overview
from pinetboot.tftp.server import TftpServer
from pinetboot.threads import Pool
from pinetboot.web.server import HttpServer
from pinetboot.web.sources import Pis, Seeded, Seeds, Sources

_FILES_BESIDE_TRANSFERS = 1024
_FILES_PER_TRANSFER = 2


class Services:
    """TFTP, ProxyDHCP and HTTP as `config` asks for them. Events go on to `sink` after the fleet learned."""

    def __init__(self, config: Config, sink: Sink, *, keeps_fleet: bool = True) -> None:
        self.config = config
        self.keeps_fleet = keeps_fleet
        self._sink = sink
        self._pool = Pool()
        self.fleet = Reconciler(config, self._pool, self._served, sink)
        self.overview = Overview(config, self._pool, self.fleet, lambda: self._dhcp is not None, sink)
        self.nfs = NfsServer(config, self._pool, self.fleet, self._take)
        self.watch = LinkWatch(lambda _: self.fleet.changed())
        self._state: dict[str, str] = {}
        self._tftp: TftpServer | None = None
        self._dhcp: ProxyDhcpServer | None = None
        self._http: HttpServer | None = None

    async def start(self) -> None:
        """Bind everything; on any fault nothing is left bound. Raises OperatorError."""
        config = self.config
        if config.dhcp.mode == "server":
            raise OperatorError(
                'dhcp.mode "server" is not part of this version',
                'Use "proxy" beside the DHCP server of your LAN, or "off".',
            )
        raise_file_limit(config.tftp.max_transfers * _FILES_PER_TRANSFER + _FILES_BESIDE_TRANSFERS)
        tree = prepare(config, self.fleet.names)
        try:
            await self.watch.start()
            await self.overview.boots.start()
            _check_interfaces(config, self.watch)
            if config.tftp.enabled:
                self._tftp = TftpServer(config, tree, self._pool, self._take)
                self._tftp.start()
            if config.dhcp.mode == "proxy":
                self._dhcp = ProxyDhcpServer(config, lambda: self.watch.links, self._take)
                self._dhcp.start()
            if config.http.enabled:
                pis = Pis(self.overview.all, self.overview.one)
                sources = Sources(tree, self._seeds(), pis, self._pool, self.readiness, self._take)
                self._http = HttpServer(config, sources)
                await self._http.start()
        except BaseException:
            await self.stop(0)
            raise
        if self.keeps_fleet:
            await self.nfs.start()
            self.fleet.roots = self.nfs
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

    def readiness(self) -> dict[str, str]:
        """Each service's state by name: ready, off, or stopping; empty before start() is through."""
        return self._state or {"all": "starting"}

    async def stop(self, within_s: float) -> None:
        """Take nothing new, let what runs finish for at most `within_s` seconds, and free every socket."""
        self._state = dict.fromkeys(self._state, "stopping")
        if self._dhcp is not None:
            self._dhcp.stop()
        ending = [server.stop(within_s) for server in (self._tftp,) if server is not None]
        if self._http is not None:
            ending.append(self._http.stop())
        await asyncio.gather(*ending, self.fleet.stop(), self.nfs.stop())
        await self.overview.boots.stop()
        self.watch.close()
        self._pool.close()

    def _take(self, event: Event) -> None:
        serial = self.fleet.take(event)
        if serial is not None:
            self.nfs.take(event, serial)
        self.overview.boots.take(event, serial)
        self._sink(event)

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


def _check_interfaces(config: Config, watch: LinkWatch) -> None:
    known = {link.name for link in watch.links.by_index.values()}
    for name in config.server.interfaces:
        if name not in known:
            raise OperatorError(
                f"there is no network interface {name}",
                f"Name one of {', '.join(sorted(known))} in server.interfaces or with --interface.",
            )


def raise_file_limit(wanted: int) -> None:
    """Raise this process's own limit on open files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    for most in (max(wanted, hard), hard):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), most))
            return
