"""What the one who keeps the exports learns and answers, before there is anything to export."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from pinetboot.config import build
from pinetboot.events import DhcpHeard, Event, HttpServed, Outcome, TransferEnded, TransferStarted
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.pi import Pi
from pinetboot.nfs.server import NfsServer
from pinetboot.observe.seen import Seen
from pinetboot.observe.sightings import Sightings
from pinetboot.threads import Pool

SERIAL = "5b154510"
SERVER = "10.55.0.2"


@dataclass
class Fleet:
    inventory: Inventory = field(default_factory=lambda: Inventory((Pi(serial=SERIAL),)))
    sightings: Sightings = field(default_factory=Sightings)
    read: bool = True
    booted: dict[str, int] = field(default_factory=dict)
    kept: bool = True


def server(data: Path, fleet: Fleet, mode: str = "exports") -> NfsServer:
    external = {"address": "10.0.0.9", "path": "/export"} if mode == "external" else {}
    config = build({"server": {"data": str(data)}, "nfs": {"mode": mode, **external}}, "test")
    return NfsServer(config, Pool(), fleet, lambda _: None)


def started(client: str, server: str = SERVER) -> Event:
    return TransferStarted(client, 49152, server, f"{SERIAL}/config.txt", 100, 1468, 1)


def heard(requested: str) -> Event:
    return DhcpHeard("dc:a6:32:2e:f8:ed", "REQUEST", "eth0", None, requested=requested)


async def test_where_a_pi_is_shows_in_its_tftp_and_in_the_address_that_it_asks_dhcp_for(tmp_path: Path) -> None:
    found = server(tmp_path, Fleet())
    now = asyncio.get_running_loop().time()
    assert found._addresses(SERIAL, now) == ()
    found.take(started("10.55.0.5"), SERIAL)
    # Linux may be given another address than the firmware was.
    found.take(heard("10.55.0.6"), SERIAL)
    assert found._addresses(SERIAL, now) == ("10.55.0.6", "10.55.0.5")
    assert found._own() == {"10.55.0.5": SERIAL, "10.55.0.6": SERIAL}


async def test_where_a_pi_is_shows_in_its_http_boot_as_well(tmp_path: Path) -> None:
    found = server(tmp_path, Fleet())
    found.take(
        HttpServed("10.55.0.5", "GET", f"/boot/{SERIAL}/boot.sig", 200, 1, "boot", "rpiboot/1.0", SERVER), SERIAL
    )
    assert found._addresses(SERIAL, asyncio.get_running_loop().time()) == ("10.55.0.5",)


async def test_what_is_no_pi_is_exported_nothing(tmp_path: Path) -> None:
    found = server(tmp_path, Fleet())
    missing = TransferEnded("10.55.0.7", 1, SERVER, f"{SERIAL}/x", Outcome.MISSING)
    for event in (started("127.0.0.1"), started(SERVER), started("fe80::1"), heard(""), heard("0.0.0.0"), missing):
        found.take(event, SERIAL)
    assert found._addresses(SERIAL, asyncio.get_running_loop().time()) == ()


async def test_a_pi_that_was_not_seen_since_our_start_is_where_it_was_before(tmp_path: Path) -> None:
    fleet = Fleet()
    fleet.sightings.restore([Seen(SERIAL, address="10.55.0.5")])
    found = server(tmp_path, fleet)
    now = asyncio.get_running_loop().time()
    assert found._addresses(SERIAL, now) == ("10.55.0.5",)
    assert found._addresses(SERIAL, now + 1e6) == ("10.55.0.5",)


async def test_a_pi_is_sent_to_a_generation_at_once_where_nothing_can_be_exported(tmp_path: Path) -> None:
    began = time.monotonic()
    await server(tmp_path, Fleet()).before_boot(SERIAL, 2)
    assert (
        time.monotonic() - began < 4
    )  # which is no speed: it waits for 5 seconds where there is something to wait for


async def test_what_is_mounted_is_not_known_before_somebody_looked(tmp_path: Path) -> None:
    assert server(tmp_path, Fleet()).mounted(SERIAL) is None
    assert server(tmp_path, Fleet(), "off").mounted(SERIAL) == frozenset()
    found = server(tmp_path, Fleet(), "external")
    await found.start()
    try:
        for _ in range(500):
            await asyncio.sleep(0.01)
            if found.mounted(SERIAL) is not None:
                break
        assert found.mounted(SERIAL) == frozenset()
    finally:
        await found.stop()
