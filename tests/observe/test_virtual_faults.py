"""Virtual Pis with faults boot from real servers, and each is told its own cause beside one that boots well."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support import free_port

from pinetboot.config import Config, Dhcp, Http, Nfs, Server, Tftp
from pinetboot.demo import tree
from pinetboot.demo.router import Router
from pinetboot.events import BootStalled, Event
from pinetboot.pi import faults
from pinetboot.pi.link import LoopbackLink
from pinetboot.pi.profiles import PROFILES
from pinetboot.rehearse import plan, rehearse
from pinetboot.services import Services

# What each has, and the stage and rule that it is told.
FAULTS = {
    "00000001": ("pi4", (), None),
    "00000002": ("pi4", ("text:Other",), ("seen", "D02")),
    "00000003": ("pi4", ("unplug:3",), ("firmware", "D19")),
    "00000004": ("pi5", ("unplug:60",), ("kernel", "D19")),
    "00000005": ("pi4", (), ("firmware", "D13")),
    "00000006": ("pi5", (), ("kernel", "D15")),
    "00000007": ("pi4", (), ("kernel", "D27")),
    "00000009": ("pi4", ("silence:1",), ("firmware", "D18")),
    "00000008": ("pi4", (), ("kernel", "D45")),
}


@asynccontextmanager
async def running(data: Path, heard: list[Event]) -> AsyncIterator[tuple[Services, Config]]:
    """Run all servers on loopback; they give a silent client up soon."""
    dhcp_port = free_port()
    config = Config(
        server=Server(data=str(data), address="127.0.0.1", interfaces=["lo"], stop_s=0),
        tftp=Tftp(port=free_port(), timeout_s=0.8, retries=2),
        dhcp=Dhcp(port=dhcp_port),
        http=Http(enabled=False),
        nfs=Nfs(mode="off"),
    )
    services = Services(config, heard.append, keeps_fleet=False)
    await services.start()
    router = Router(dhcp_port)
    router.start()
    try:
        yield services, config
    finally:
        router.stop()
        await services.stop(0)


def trees(data: Path) -> None:
    """Give each Pi a tree of its own, some of them with something missing."""
    tree.make(data, "http://127.0.0.1:1/")
    boot = data / "boot"
    for serial, (model, _, _) in FAULTS.items():
        shutil.copytree(boot / (tree.PI4 if model == "pi4" else tree.PI5), boot / serial)
    for name in ("start4.elf", "start.elf"):
        (boot / "00000005" / name).unlink(missing_ok=True)
    for path in (boot / "00000006").glob("bcm2712*.dtb"):
        path.unlink()
    for path in (boot / "00000007").glob("kernel*.img"):
        path.unlink()
    for path in (boot / "00000008").glob("*.dtb"):
        path.write_bytes(b"")


async def test_each_virtual_pi_with_a_fault_is_told_its_own_cause(tmp_path: Path) -> None:
    trees(tmp_path)
    heard: list[Event] = []
    async with running(tmp_path, heard) as (services, config):

        async def boot(serial: str) -> None:
            model, names, _ = FAULTS[serial]
            link = LoopbackLink(config.dhcp.port, "127.0.0.1")
            found = [faults.parse(name) for name in names]
            wanted = plan(
                PROFILES[model], serial, link=link, tftp_port=config.tftp.port, dhcp_timeout_s=9.0, with_faults=found
            )
            try:
                async with asyncio.timeout(15):
                    await rehearse(wanted, lambda _: None)
            except TimeoutError:
                pass  # a real one would go on for longer

        await asyncio.gather(*(boot(serial) for serial in FAULTS))
        await asyncio.sleep(6)
        late = time.monotonic() + 1000
        told = services.overview.boots.timeline.tick(late, services.overview.outlook)
        causes = {
            one.serial: (one.stage, one.cause.rule if one.cause else "") for one in told if isinstance(one, BootStalled)
        }
        wanted = {serial: told for serial, (_, _, told) in FAULTS.items()}
        assert {serial: causes.get(serial) for serial in FAULTS} == wanted | {"00000001": causes.get("00000001")}
        assert causes.get("00000001", ("kernel", "D27"))[0] in {"kernel", "linux"}
