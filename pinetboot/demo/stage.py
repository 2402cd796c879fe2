"""The demonstration as it runs: servers up, two Pis boot side by side, and what came of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pinetboot.config import Config, Dhcp, Http, Server, Tftp
from pinetboot.demo import tree
from pinetboot.demo.router import Router
from pinetboot.errors import OperatorError
from pinetboot.events import Event
from pinetboot.pi.link import LoopbackLink
from pinetboot.pi.profiles import PROFILES
from pinetboot.pi.report import FileStep, Report, Step
from pinetboot.rehearse import plan, rehearse
from pinetboot.services import Services

PIS = ((tree.PI4, "pi4"), (tree.PI5, "pi5"))
_PORTS = range(16000, 32000, 100)


@dataclass(frozen=True, slots=True)
class Stage:
    """A running demonstration: its ports, its temporary data directory and its servers."""

    tftp_port: int
    dhcp_port: int
    http_port: int
    data: Path
    services: Services

    @property
    def url(self) -> str:
        """Where its HTTP answers."""
        return f"http://127.0.0.1:{self.http_port}/"

    async def boot(self, told: Callable[[str, Step | FileStep], None]) -> list[Report]:
        """Boot all Pis at once. `told` hears each one's steps, with its serial."""
        router = Router(self.dhcp_port)
        router.start()
        try:
            return await asyncio.gather(*(self._boot_one(serial, model, told) for serial, model in PIS))
        finally:
            router.stop()

    async def _boot_one(self, serial: str, model: str, told: Callable[[str, Step | FileStep], None]) -> Report:
        link = LoopbackLink(self.dhcp_port, "127.0.0.1")
        wanted = plan(PROFILES[model], serial, link=link, tftp_port=self.tftp_port, dhcp_timeout_s=5.0)
        return await rehearse(wanted, lambda step: told(serial, step))


@asynccontextmanager
async def set_up(sink: Callable[[Event], None]) -> AsyncIterator[Stage]:
    """Start the servers on free loopback ports over a tree of their own; all is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="pinetboot-demo-") as folder:
        stage = await _start(Path(folder), sink)
        tree.make(stage.data, stage.url)
        try:
            yield stage
        finally:
            await stage.services.stop(0)


async def _start(data: Path, sink: Callable[[Event], None]) -> Stage:
    refused: OperatorError | None = None
    for base in _PORTS:
        tftp_port, dhcp_port, http_port = base + 69, base + 67, base + 80
        config = Config(
            server=Server(data=str(data), address="127.0.0.1", interfaces=["lo"], stop_s=1),
            tftp=Tftp(port=tftp_port),
            dhcp=Dhcp(port=dhcp_port),
            http=Http(port=http_port),
        )
        services = Services(config, sink, keeps_fleet=False)
        try:
            await services.start()
        except OperatorError as error:
            refused = error
            continue
        return Stage(tftp_port, dhcp_port, http_port, data, services)
    raise refused or OperatorError("no port is free")
