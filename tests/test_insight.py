"""What is found out about a Pi whose boot stands still: its trees, its command line, and who shares what with it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from recorded import HEALTHY, HERE, LINUX_DHCP, MAC, OTHER, SERIAL, heard
from support import free_port

from pinetboot.config import Config, Dhcp, Http, Nfs, Server, Tftp
from pinetboot.events import BootStalled, DhcpHeard, Event, RootMounted, TransferStarted
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.pi import Pi
from pinetboot.services import Services


@asynccontextmanager
async def services(data: Path) -> AsyncIterator[Services]:
    """Run services over a data directory, on loopback, without DHCP or NFS."""
    config = Config(
        server=Server(data=str(data), address="127.0.0.1", stop_s=0),
        tftp=Tftp(port=free_port()),
        dhcp=Dhcp(mode="off"),
        http=Http(port=free_port(socket.SOCK_STREAM)),
        nfs=Nfs(mode="off"),
    )
    found = Services(config, lambda _: None, keeps_fleet=False)
    await found.start()
    try:
        yield found
    finally:
        await found.stop(0)


def tree(data: Path, serial: str, cmdline: str) -> None:
    """Make a boot tree by hand, that a Pi 4 gets as far as Linux with."""
    boot = data / "boot" / serial
    (boot / "overlays").mkdir(parents=True)
    for name in ("start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb", "kernel8.img", "overlays/overlay_map.dtb"):
        (boot / name).write_bytes(b"x" * 100)
    (boot / "config.txt").write_text("arm_64bit=1\n")
    (boot / "cmdline.txt").write_text(cmdline)


def known(found: Services, *pis: Pi) -> None:
    """Have a fleet of these."""
    (found.config.data / "fleet.toml").write_text("".join(f'[[pi]]\nserial = "{pi.serial}"\n' for pi in pis))
    found.fleet.inventory = Inventory(pis)
    found.fleet.generations = {pi.serial: 1 for pi in pis}


@pytest.mark.parametrize(
    ("cmdline", "rule"),
    [
        ("root=/dev/nfs nfsroot=127.0.0.1:/srv/x,vers=3,proto=tcp rw\n", "D28"),
        ("root=/dev/nfs nfsroot=127.0.0.1:/srv/x,vers=3,udp rw ip=dhcp\n", "D30"),
        ("root=/dev/nfs nfsroot=127.0.0.1:/srv/x,vers=3,proto=tcp rw ip=dhcp\n", "D29"),
    ],
)
async def test_a_fault_of_its_command_line_is_the_cause(tmp_path: Path, cmdline: str, rule: str) -> None:
    tree(tmp_path, SERIAL, cmdline)
    async with services(tmp_path) as found:
        known(found, Pi(serial=SERIAL))
        timeline, sightings = found.overview.boots.timeline, found.fleet.sightings
        for event in (*HEALTHY["seen"], *HEALTHY["firmware"], *HEALTHY["kernel"], *LINUX_DHCP):
            serial = sightings.learn(event, 1.0)
            timeline.take(event, serial or SERIAL, 1.0)
        assert timeline.due(1000.0) == [SERIAL]
        await found.insight.examine([SERIAL])
        (told,) = timeline.tick(1000.0, found.overview.outlook)
        assert isinstance(told, BootStalled)
        assert told.cause is not None
        assert told.cause.rule == rule


async def test_a_pi_that_is_in_no_fleet_is_looked_at_too_and_one_without_anything_is_no_harm(tmp_path: Path) -> None:
    tree(tmp_path, SERIAL, "root=/dev/nfs nfsroot=127.0.0.1:/srv/x,vers=3 rw\n")
    async with services(tmp_path) as found:
        await found.insight.examine([SERIAL, OTHER])
        assert "D28" in [one.rule for one in found.overview.found[SERIAL]]
        assert found.overview.found[OTHER] == ()


async def test_a_root_that_the_wrong_pi_mounts_is_told_of_that_one(tmp_path: Path) -> None:
    async with services(tmp_path) as found:
        for event in (*HEALTHY["seen"], *HEALTHY["firmware"], *HEALTHY["kernel"], *LINUX_DHCP):
            found._take(event)
        found._take(RootMounted(OTHER, HERE, 1))
        timeline = found.overview.boots.timeline
        assert timeline.latest(OTHER) is None
        boot = timeline.latest(SERIAL)
        assert boot is not None
        assert boot.evidence.mounts == (OTHER, HERE)


async def test_what_two_pis_share_is_told_of_both(tmp_path: Path) -> None:
    for serial in (SERIAL, OTHER):
        identity = tmp_path / "pis" / serial / "identity"
        identity.mkdir(parents=True)
        (identity / "machine-id").write_text("0" * 31 + "1\n")
        (identity / "ssh_host_ed25519_key.pub").write_text(f"ssh-ed25519 {serial} root@x\n")
    async with services(tmp_path) as found:
        known(found, Pi(serial=SERIAL), Pi(serial=OTHER))
        async with asyncio.timeout(10):
            while not found.overview.shared:  # noqa: ASYNC110 - it looks by itself
                await asyncio.sleep(0.05)
        for serial, other in ((SERIAL, OTHER), (OTHER, SERIAL)):
            (told,) = found.overview.shared[serial]
            assert told.what == f"it has the same machine-id as {other}"
        shown = found.overview.one(SERIAL)
        assert shown is not None
        assert [cause["rule"] for cause in shown["warnings"]] == ["", "D01"]


async def test_a_mac_that_is_not_the_one_written_down_is_told(tmp_path: Path) -> None:
    async with services(tmp_path) as found:
        known(found, Pi(serial=SERIAL, mac="dc:a6:32:00:00:01"))
        found._take(heard())
        (told,) = found.overview.warnings(SERIAL)
        assert (told.rule, MAC in told.what) == ("D44", True)
        found._take(DhcpHeard("dc:a6:32:00:00:02", "DISCOVER", "eth0", None, serial=SERIAL, model="Pi 4"))
        found._take(heard())
        (told,) = found.overview.warnings(SERIAL)
        assert "come in turn with this serial" in told.what


async def test_two_that_use_one_address_are_rivals_in_the_outlook(tmp_path: Path) -> None:
    def asks(serial: str) -> Event:
        return TransferStarted(HERE, 49152, "127.0.0.1", f"{serial}/config.txt", 1, 1468, 1)

    async with services(tmp_path) as found:
        for serial in (SERIAL, OTHER, SERIAL):
            found._take(asks(serial))
        assert found.overview.outlook(SERIAL).rival == (OTHER, HERE)
