"""`pinetboot serve`: the services, with signals, logs, the service manager, and the block that is shown at start."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from pinetboot import __version__, log, systemd
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.events import AddressMoved, DhcpHeard, Event
from pinetboot.observe.journal import Journal, client_of
from pinetboot.observe.netconsole import setting as netconsole_line
from pinetboot.services import Services
from pinetboot.settings import Source
from pinetboot.threads import Busy, Pool

# What a running daemon takes from changed settings; all else waits for a restart.
_LIVE = {
    ("server", "stop_s"),
    ("server", "address"),
    ("server", "log_level"),
    ("server", "log_format"),
    ("tftp", "max_blksize"),
    ("tftp", "max_windowsize"),
    ("tftp", "timeout_s"),
    ("tftp", "retries"),
    ("tftp", "cache_mib"),
    ("tftp", "data_ports"),
    ("tftp", "max_transfers"),
    ("tftp", "max_transfers_per_address"),
    ("dhcp", "pxe_menu"),
    ("dhcp", "rom_offers_s"),
    ("dhcp", "range"),
    ("dhcp", "lease_s"),
    ("dhcp", "router"),
    ("dhcp", "dns"),
    ("fleet", "adopt"),
    ("fleet", "default_image"),
    ("fleet", "keep_generations"),
    ("nfs", "options"),
    ("nfs", "clients"),
    ("boot_img", "key_file"),
}

_TOLD = "clients are told"
_STOPPED_S = 10  # what is to be put away when the last transfer is over
_LOOK_S: Final = 1.0


async def serve(source: Source, announce: Callable[[list[tuple[str, str]]], None]) -> None:
    """Run until SIGTERM or SIGINT. `announce` shows the start block, (label, text) a line. Raises OperatorError."""
    stamp = source.stamp()
    config, origin = source.load()
    log.configure(config.server.log_format, config.server.log_level)
    daemon = _Daemon(source, config, stamp)
    await daemon.run(origin, announce)


class _Daemon:
    def __init__(self, source: Source, config: Config, stamp: tuple[int, ...] | None) -> None:
        self._source = source
        self._stamp = stamp
        self._config = config
        self._journal = Journal()
        self._services = Services(config, self._record)
        self._stop = asyncio.Event()

    async def run(self, origin: str, announce: Callable[[list[tuple[str, str]]], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.set_exception_handler(_unexpected)
        await self._services.start()
        # What is loaded by now stays for good: no full collection need walk it, some 50 ms, while Pis wait.
        gc.freeze()
        block = start_block(self._config, self._services, origin)
        if log.is_for_people(self._config.server.log_format):
            announce(block)
            log.write("info", "ready")
        else:
            log.write("info", "ready", **_as_fields(block))
        systemd.notify("READY=1", self._status())
        beside = [asyncio.create_task(_sign_of_life()), asyncio.create_task(self._follow_settings())]
        await self._stop.wait()
        stop_s = self._config.server.stop_s
        systemd.notify("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int((stop_s + _STOPPED_S) * 1e6)}")
        log.write("info", "stopping", running_transfers_may_finish_s=stop_s)
        self._stop.clear()
        stopping = asyncio.create_task(self._services.stop(stop_s))
        impatient = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stopping, impatient}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*beside, impatient):
            task.cancel()
        if stopping.done():
            await stopping
        log.write("info", "stopped")

    async def _follow_settings(self) -> None:
        """Take a settings file that changed, once it was left alone between two looks: half of one may be valid too.

        One that is gone changes nothing. It follows links, one of which a mounted ConfigMap swaps.
        """
        # Threads of its own: a mount that hangs must not keep the process from ending.
        pool, before = Pool(threads=1), self._stamp
        while True:
            await asyncio.sleep(_LOOK_S)
            with suppress(Busy):
                now = await pool.submit("settings", self._source.stamp)
                if now is not None and now == before != self._stamp:
                    self._reload()
                before = now

    def _reload(self) -> None:
        self._stamp = self._source.stamp()
        systemd.reloading()
        try:
            config, origin = self._source.load()
        except OperatorError as error:
            log.write("error", "settings left as they were", why=str(error))
        else:
            waiting = self._take(config)
            log.write("info", "settings read again", settings=origin, **({"at_restart": waiting} if waiting else {}))
        self._services.fleet.changed()
        systemd.notify("READY=1")

    def _take(self, config: Config) -> list[str]:
        """Apply what can be applied; returns the keys that wait for a restart."""
        new, old = config.model_dump(), self._config.model_dump()
        waiting = []
        for section, values in new.items():
            for key, value in values.items():
                if value != old[section].get(key) and (section, key) not in _LIVE:
                    waiting.append(f"{section}.{key}")
        live: dict[str, dict[str, Any]] = {section: dict(values) for section, values in old.items()}
        for section, key in _LIVE:
            live[section][key] = new[section][key]
        self._config = Config.model_validate(live)
        self._services.configure(self._config)
        log.configure(self._config.server.log_format, self._config.server.log_level)
        return waiting

    def _status(self) -> str:
        if self._services.holds_address():
            return f"STATUS=Booting from {self._config.boot_root}"
        return f"STATUS=Standing by for {self._config.server.address}"

    def _record(self, event: Event) -> None:
        if isinstance(event, AddressMoved):
            systemd.notify(self._status())
        line = self._journal.line(event, time.monotonic())
        if line is None:
            return
        fields = dict(line.fields)
        client = client_of(event)
        if client is not None:
            fields = {"client": client} | self._known(client) | fields
        elif isinstance(event, DhcpHeard) and event.source not in {"", "0.0.0.0"}:  # noqa: S104 - not yet an address
            fields["client"] = event.source
        log.write(line.level, line.event, **fields)

    def _known(self, client: str) -> dict[str, object]:
        seen = self._services.fleet.sightings.of_address(client)
        if seen is None:
            return {}
        return {key: value for key, value in (("serial", seen.serial), ("mac", seen.mac)) if value}


def _unexpected(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell a fault of our own in one line, and where it is: the daemon goes on with everything else."""
    error = context.get("exception")
    frame = error.__traceback__ if isinstance(error, BaseException) else None
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f"{frame.tb_frame.f_code.co_qualname} line {frame.tb_lineno}" if frame is not None else ""
    why = f"{type(error).__name__}: {error}" if error is not None else str(context.get("message"))
    log.write("error", "unexpected fault, please report it", why=why, where=where)


def start_block(config: Config, services: Services, origin: str) -> list[tuple[str, str]]:
    """Say in a few lines what clients are told, what listens where, and what is off and why."""
    block = [("pinetboot", f"{__version__}, settings from {origin}")]
    block += [(_TOLD, text) for text in _told(config, services)]
    on = f" on {', '.join(config.server.interfaces)} only" if config.server.interfaces else ""
    tftp, dhcp, http = config.tftp, config.dhcp, config.http
    ports = f", transfers from {tftp.data_ports}" if tftp.data_ports else ""
    block.append(
        ("TFTP", f"udp {tftp.port}{on}{ports}, tree {config.boot_root}" if tftp.enabled else "off: tftp.enabled")
    )
    if dhcp.mode == "server":
        block.append(("DHCP", services.dhcp_port))
    else:
        proxied = dhcp.mode == "proxy"
        block.append(("ProxyDHCP", services.dhcp_port + on if proxied else f'off: dhcp.mode is "{dhcp.mode}"'))
    block.append(("HTTP", f"tcp {http.port}{on}" if http.enabled else "off: http.enabled"))
    block.append(("NFS", services.nfs.word))
    if config.netconsole.enabled:
        port = config.netconsole.port
        block.append(("netconsole", f"udp {port}{on}; in bootloaders: {netconsole_line(port, _one(services, config))}"))
    block.append(("data", str(config.data)))
    return block


def _one(services: Services, config: Config) -> str:
    """Name an address of this host for a bootloader's settings; empty where that is not one alone."""
    if config.server.address != "auto":
        return config.server.address
    primary = [link.primary for link in services.watch.links.serving(config.server.interfaces) if link.primary]
    return str(primary[0].ip) if len(primary) == 1 else ""


def _told(config: Config, services: Services) -> list[str]:
    links = services.watch.links
    if config.server.address != "auto":
        elsewhere = " (standby: it is not on this host now, and DHCP stays silent until it is)"
        return [config.server.address + ("" if services.holds_address() else elsewhere)]
    told = [f"{link.primary.ip} on {link.name}" for link in links.serving(config.server.interfaces) if link.primary]
    return told or ["nothing yet: no interface is up with an IPv4 address; it will be noticed when one comes"]


def _as_fields(block: list[tuple[str, str]]) -> dict[str, object]:
    """Shape the start block for one line of JSON; what clients are told may be more than one address."""
    fields: dict[str, object] = {label.lower(): text for label, text in block if label != _TOLD}
    return fields | {_TOLD.replace(" ", "_"): [text for label, text in block if label == _TOLD]}


async def _sign_of_life() -> None:
    every_s = systemd.watchdog_s()
    while every_s is not None:
        systemd.notify("WATCHDOG=1")
        await asyncio.sleep(every_s)
