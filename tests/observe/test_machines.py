"""How far machines that are no Pi came, and that strangers cannot fill the memory."""

from __future__ import annotations

from typing import Any

from pinetboot.dhcp.events import LeaseGranted
from pinetboot.events import DhcpHeard, HttpServed, Outcome, TransferEnded
from pinetboot.fleet.pi import Machine
from pinetboot.observe.machines import MOST, Machines

MAC, OTHER = "52:54:00:12:34:56", "52:54:00:aa:aa:aa"
HERE, SERVER = "10.55.0.158", "10.55.0.2"
FLEET = {MAC: Machine(mac=MAC, boot="debian-12"), OTHER: Machine(mac=OTHER, boot="local")}


def heard(kind: str = "DISCOVER", machine: str = "BIOS PC", mac: str = MAC, **more: Any) -> DhcpHeard:
    return DhcpHeard(mac, kind, "eth0", SERVER if kind == "DISCOVER" else None, machine=machine, **more)


def sent(path: str, size: int = 100, client: str = HERE) -> TransferEnded:
    return TransferEnded(client, 2000, SERVER, path, Outcome.SENT, size)


def got(path: str, size: int = 100, status: int = 200, kind: str = "boot") -> HttpServed:
    return HttpServed(HERE, "GET", path, status, size, kind)


def one(machines: Machines, now: float, mac: str = MAC) -> dict[str, Any]:
    return next(shown for shown in machines.shown(FLEET, now) if shown["mac"] == mac)


def test_a_boot_goes_through_its_stages_with_files_and_bytes() -> None:
    machines = Machines()
    assert one(machines, 0)["state"] == "unseen"
    steps: list[tuple[Any, str]] = [
        (heard(), "seen"),
        (heard("REQUEST", requested=HERE), "seen"),
        (sent("lpxelinux.0"), "firmware"),
        (got("/boot/pxelinux.cfg/01-52", status=404), "firmware"),
        (got("/boot/menu.c32"), "firmware"),
        (got("/boot/installers/debian-12/amd64/linux", 1000), "kernel"),
        (heard(machine=""), "linux"),
        (got("/preseed/52-54-00-12-34-56", kind="seed"), "seed"),
    ]
    for at, (event, stage) in enumerate(steps, 1000):
        machines.take(event, at)
        assert one(machines, at)["stage"] == stage, event
    shown = one(machines, 1008)
    assert (shown["machine"], shown["address"], shown["boots"], shown["known"]) == ("BIOS PC", HERE, "debian-12", True)
    assert (shown["files"], shown["bytes"], shown["state"]) == (3, 1200, "booting")
    assert shown["started"] == "1970-01-01T00:16:40.000+00:00"
    assert one(machines, 9000)["state"] == "quiet"
    machines.take(heard(), 9000)
    assert (one(machines, 9000)["files"], one(machines, 9000)["stage"]) == (0, "seen")


def test_files_of_somebody_else_count_for_nobody() -> None:
    machines = Machines()
    machines.take(heard(), 1)
    machines.take(LeaseGranted(MAC, HERE, "eth0"), 2)
    machines.take(sent("5b154510/start4.elf", client="10.55.0.9"), 3)
    assert one(machines, 3)["files"] == 0
    machines.take(heard(machine="", mac="dc:a6:32:00:00:01"), 4)
    assert [shown["mac"] for shown in machines.shown(FLEET, 4)] == [MAC, OTHER]


def test_an_address_that_goes_to_another_machine_is_that_one_s() -> None:
    machines = Machines()
    for mac in (MAC, OTHER):
        machines.take(heard(mac=mac), 1)
        machines.take(heard("REQUEST", mac=mac, requested=HERE), 1)
    machines.take(sent("lpxelinux.0"), 2)
    assert (one(machines, 2)["files"], one(machines, 2, OTHER)["files"]) == (0, 1)


def test_a_flood_of_made_up_machines_is_bounded() -> None:
    machines = Machines()
    for number in range(4 * MOST):
        mac = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        machines.take(heard(mac=mac), number)
        machines.take(heard("REQUEST", mac=mac, requested=f"10.0.{number >> 8}.{number & 255}"), number)
    assert len(machines.shown({}, 0)) == MOST
    assert len(machines._at) <= MOST
