"""How far machines that are no Pi came, and that strangers cannot fill the memory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.dhcp.events import LeaseGranted
from pinetboot.events import DhcpHeard, Event, HttpServed, Outcome, TransferEnded, TransferStarted
from pinetboot.fleet.pi import Machine
from pinetboot.observe.machine_boot import MOST_FILES
from pinetboot.observe.machine_causes import STILL_S
from pinetboot.observe.machines import MOST, Machines

MAC, OTHER = "52:54:00:12:34:56", "52:54:00:aa:aa:aa"
HERE, SERVER = "10.55.0.158", "10.55.0.2"
FLEET = {MAC: Machine(mac=MAC, boot="debian-12"), OTHER: Machine(mac=OTHER, boot="local")}


def heard(kind: str = "DISCOVER", machine: str = "BIOS PC", mac: str = MAC, **more: Any) -> DhcpHeard:
    return DhcpHeard(mac, kind, "eth0", SERVER if kind == "DISCOVER" else None, machine=machine, **more)


def sent(path: str, size: int = 100, client: str = HERE) -> TransferEnded:
    return TransferEnded(client, 2000, SERVER, path, Outcome.SENT, size)


def missing(path: str) -> TransferEnded:
    return TransferEnded(HERE, 2000, SERVER, path, Outcome.MISSING)


def got(path: str, size: int = 100, status: int = 200, kind: str = "boot") -> HttpServed:
    return HttpServed(HERE, "GET", path, status, size, kind)


def told(events: Iterable[Event], machine: str = "UEFI x64 PC", *, beside: bool = True) -> Machines:
    """Have a machine seen that got an address of another server, and then a second apart what is told of it."""
    machines = Machines(beside=beside)
    machines.take(heard(machine=machine), 0)
    machines.take(DhcpHeard(MAC, "REQUEST", "eth0", None, machine=machine, requested=HERE, server="10.55.0.1"), 0)
    for at, event in enumerate(events, 1):
        machines.take(event, at)
    return machines


def one(machines: Machines, now: float, mac: str = MAC) -> dict[str, Any]:
    return machines.shown(mac, FLEET, now)


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
    assert machines.macs(FLEET) == [MAC, OTHER]
    assert machines.macs({}) == [MAC]


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
    assert len(machines.macs({})) == MOST
    assert len(machines._at) <= MOST


def test_its_boot_is_shown_as_a_pi_s_with_its_stages_and_files() -> None:
    kernel = "/boot/installers/debian-12/amd64/linux"
    machines = told(
        [
            missing("revocations.efi"),
            TransferStarted(HERE, 2000, SERVER, "bootx64.efi", 900, 1468, 4),
            TransferEnded(HERE, 2000, SERVER, "bootx64.efi", Outcome.SENT, 900, 900, seconds=1, retransmissions=2),
            HttpServed(HERE, "HEAD", kernel, 200, 0, "boot"),
            got("/boot/x\x1b[31m\n", 0, 404),
        ]
    )
    machines.starts_http(HERE, kernel, 6)
    running = machines.one(MAC, FLEET, 7)
    assert running is not None
    assert running["boot"]["files"][-1] == {
        "name": "installers/debian-12/amd64/linux", "stage": "kernel", "at": 6.0, "seconds": None, "bytes": 0,
        "sent_bytes": 0, "result": "running", "retransmissions": 0, "by": "http",
    }  # fmt: skip
    machines.take(HttpServed(HERE, "GET", kernel, 200, 4000, "boot", size=5000), 8)
    machines.take(HttpServed(HERE, "GET", kernel, 206, 1000, "boot", size=1000), 9)
    shown = machines.one(MAC, FLEET, 9)
    assert shown is not None
    boot = shown["boot"]
    assert [(file["name"], file["by"], file["result"], file["bytes"]) for file in boot["files"]] == [
        ("revocations.efi", "tftp", "missing", 0),
        ("bootx64.efi", "tftp", "ok", 900),
        ("installers/debian-12/amd64/linux", "http", "probed", 0),
        (r"x\x1b[31m\n", "http", "missing", 0),
        ("installers/debian-12/amd64/linux", "http", "aborted", 5000),
        ("installers/debian-12/amd64/linux", "http", "ok", 1000),
    ]
    assert [(file["at"], file["seconds"]) for file in boot["files"]][4] == (6.0, 2.0)
    stages = [(one["name"], one["first"][17:23], one["last"][17:23], one["bytes"]) for one in boot["stages"]]
    assert stages == [
        ("seen", "00.000", "00.000", 0),
        ("firmware", "01.000", "05.000", 900),
        ("kernel", "04.000", "09.000", 1000),
    ]
    assert (shown["installer"], shown["files"], shown["bytes"], boot["retransmissions"]) == ("debian-12", 2, 1900, 2)
    assert boot["more_files"] == {"files": 0, "bytes": 0}
    # In the list there are no files, and one that was never seen has no boot.
    assert "files" not in machines.shown(MAC, FLEET, 9)["boot"]
    assert machines.shown(OTHER, FLEET, 9)["boot"] is None
    assert machines.one("02:00:00:00:00:00", FLEET, 9) is None


def test_files_are_bounded_and_the_rest_are_counted() -> None:
    machines = told(got(f"/boot/{'n' * 300}{number}", 7) for number in range(MOST_FILES + 5))
    boot = machines.one(MAC, FLEET, 100)
    assert boot is not None
    assert len(boot["boot"]["files"]) == MOST_FILES
    assert all(len(file["name"]) <= 100 for file in boot["boot"]["files"])
    assert boot["boot"]["more_files"] == {"files": 5, "bytes": 35}
    assert boot["files"] == MOST_FILES + 5
    for number in range(1000):
        machines.take(TransferStarted(HERE, number, SERVER, "a", 1, 512, 1), 200)
    shown = machines.one(MAC, FLEET, 200)
    assert shown is not None
    assert len(shown["boot"]["files"]) == 2 * MOST_FILES


SHIM, GRUB, MENU = sent("bootx64.efi"), sent("grubx64.efi"), sent("grub/grub.cfg")
KERNEL, INITRD = (got(f"/installers/debian-12/amd64/{name}") for name in ("linux", "initrd.gz"))
NO_OWN = missing(f"grub/machines/{MAC}.cfg")
PXELINUX, NO_CFG = sent("lpxelinux.0"), got("/boot/pxelinux.cfg/default", 0, 404)


@pytest.mark.parametrize(
    ("events", "beside", "what", "why"),
    [
        ([SHIM], True, "it fetched bootx64.efi, and asked for nothing more", "Secure Boot"),
        ([SHIM, missing("revocations.efi"), GRUB], True, "grubx64.efi, and asked for no menu here", "10.55.0.1"),
        ([SHIM, GRUB], False, "it fetched grubx64.efi, and asked for nothing more", "Secure Boot"),
        ([sent("beside/10.55.0.2/bootx64.efi"), sent("beside/10.55.0.2/grubx64.efi")], True, "no menu", "not signed"),
        ([sent("snponly.efi")], True, "it fetched snponly.efi, and iPXE was not heard of", "not signed"),
        ([sent("beside/10.55.0.2/bootx64.img")], True, "bootx64.img, and asked for nothing more", "Secure Boot"),
        ([missing("pxelinux.0")], True, "pxelinux.0, the first file that it asked for, is not there", "told it"),
        ([SHIM, missing("grubx64.efi")], False, "grubx64.efi is not there", "needs"),
        ([SHIM, GRUB, missing("grub/grub.cfg")], False, "GRUB found no menu: grub/grub.cfg", "installer"),
        ([PXELINUX, sent("ldlinux.c32"), NO_CFG], True, "PXELINUX found no menu: pxelinux.cfg/default", "installer"),
        ([PXELINUX, missing("ldlinux.c32"), missing("boot/ldlinux.c32")], True, "ldlinux.c32 is not there", "needs"),
        ([MENU, KERNEL], True, "linux, and never asked for initrd.gz", "both"),
        ([MENU, INITRD], True, "initrd.gz, and never asked for linux", "both"),
        ([MENU, KERNEL, missing("installers/debian-12/amd64/initrd.gz")], True, "initrd.gz is not there", "needs"),
        ([MENU, KERNEL, got("/installers/debian-12/amd64/initrd.gz", 7, 499)], True, "stopped at 7 bytes", "memory"),
        ([TransferEnded(HERE, 1, SERVER, "a.bin", Outcome.TIMED_OUT, 9000, 512)], True, "512 of 9,000 bytes", "cable"),
        ([TransferEnded(HERE, 1, SERVER, "bootx64.efi", Outcome.REFUSED)], True, "bootx64.efi was refused", "read"),
    ],
)  # fmt: skip
def test_one_that_stands_still_says_why(events: list[Event], beside: bool, what: str, why: str) -> None:
    machines = told(events, beside=beside)
    last = len(events)
    assert one(machines, last + STILL_S - 1)["state"] == "booting"
    assert one(machines, last + STILL_S - 1)["boot"]["cause"] is None
    shown = one(machines, last + STILL_S)
    assert shown["state"] == "stalled"
    cause = shown["boot"]["cause"]
    assert what in cause["what"]
    assert why in cause["why"]
    # Nobody says when it is over: it is quiet then, and why it came no further stays true.
    later = one(machines, last + 600)
    assert (later["state"], later["boot"]["cause"]) == ("quiet", cause)
    # Whatever is heard of it again may be what was waited for.
    machines.take(sent("something"), last + 601)
    assert one(machines, last + 601)["state"] == "booting"
    assert one(machines, last + 601)["boot"]["cause"] is None


@pytest.mark.parametrize(
    "events",
    [
        [],
        [SHIM, GRUB, MENU, NO_OWN],
        [SHIM, GRUB, missing("grub/grub.cfg-01-52"), MENU, NO_OWN, KERNEL, INITRD],
        [SHIM, GRUB, got("/grub/x86_64-efi/command.lst", 0, 404), MENU],
        [PXELINUX, sent("ldlinux.c32"), missing("pxelinux.cfg/01-52"), got("/boot/pxelinux.cfg/default")],
        [PXELINUX, sent("ldlinux.c32"), NO_CFG, got("/boot/menu.c32"), got("/boot/pxelinux.cfg/default")],
        [got("/ipxe")],
        [sent("snponly.efi"), heard(machine="UEFI x64 PC, iPXE")],
        [got("/ipxe"), INITRD, KERNEL],
        [sent("vmlinuz"), sent("board.dtb")],
        [MENU, KERNEL, heard(machine="")],
        [SHIM, TransferStarted(HERE, 9, SERVER, "grubx64.efi", 900, 1468, 1)],
        [TransferEnded(HERE, 1, SERVER, "bootx64.efi", Outcome.PROBED, 900)],
        [SHIM, TransferEnded(HERE, 1, SERVER, "grub/unicode.pf2", Outcome.ABORTED, 9000, 512)],
    ],
)
def test_one_that_waits_before_a_menu_or_goes_on_is_not_said_to_stand(events: list[Event]) -> None:
    shown = one(told(events), len(events) + STILL_S)
    assert (shown["state"], shown["boot"]["cause"]) == ("booting", None)


def test_a_file_on_its_way_over_http_is_waited_for() -> None:
    machines = told([MENU, KERNEL])
    machines.starts_http(HERE, "/installers/debian-12/amd64/initrd.gz", 4)
    assert one(machines, 300)["state"] == "booting"
    machines.take(INITRD, 301)
    assert one(machines, 400)["boot"]["cause"] is None


def test_one_whose_own_system_is_heard_boots_no_more() -> None:
    machines = told([SHIM])
    machines.take(heard(machine=""), 10)
    assert one(machines, 10)["state"] == "quiet"
    assert "bootx64.efi" in one(machines, 80)["boot"]["cause"]["what"]
    machines.take(heard(machine="UEFI x64 PC"), 90)
    assert (one(machines, 90)["state"], one(machines, 90)["stage"]) == ("booting", "seen")


def test_firmware_that_begins_again_boots_anew_and_ipxe_behind_it_does_not() -> None:
    machines = told([sent("snponly.efi"), heard(machine="UEFI x64 PC, iPXE"), got("/ipxe")])
    assert one(machines, 5)["files"] == 2
    machines.take(TransferStarted(HERE, 9, SERVER, "grub/grub.cfg", 900, 1468, 1), 5)
    machines.take(heard(machine="UEFI x64 PC"), 20)
    # What a transfer of the boot before came to is no file of this one.
    machines.take(TransferEnded(HERE, 9, SERVER, "grub/grub.cfg", Outcome.TIMED_OUT, 900, 1, seconds=16), 21)
    shown = machines.one(MAC, FLEET, 21)
    assert shown is not None
    assert (shown["files"], shown["stage"], shown["boot"]["files"]) == (0, "seen", [])


def test_a_mark_changes_with_whatever_is_shown() -> None:
    machines = Machines()
    before = (machines.mark(MAC, FLEET, 0), machines.shown(MAC, FLEET, 0))
    script: list[tuple[Event | None, float]] = [
        (heard(), 1), (heard("REQUEST", requested=HERE), 2), (SHIM, 3), (None, 62), (None, 63), (None, 603),
        (GRUB, 604), (heard(machine=""), 605), (heard(), 2000), (LeaseGranted(MAC, "10.55.0.9", "eth0"), 2000),
    ]  # fmt: skip
    for event, at in script:
        if event is not None:
            machines.take(event, at)
        now = (machines.mark(MAC, FLEET, at), machines.shown(MAC, FLEET, at))
        assert (now[0] == before[0]) == (now[1] == before[1]), (event, at)
        before = now
    assert machines.mark(MAC, {}, 2000) != before[0]


@given(
    st.lists(
        st.one_of(
            st.builds(
                TransferEnded, st.just(HERE), st.integers(0, 3), st.just(SERVER), st.text(), st.sampled_from(Outcome),
                st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.floats(0, 100),
            ),
            st.builds(
                TransferStarted, st.just(HERE), st.integers(0, 3), st.just(SERVER), st.text(), st.integers(0, 99),
                st.just(512), st.just(1),
            ),
            st.builds(
                HttpServed, st.just(HERE), st.sampled_from(["GET", "HEAD"]), st.text(), st.integers(100, 599),
                st.integers(0, 99), st.sampled_from(["boot", "seed", "page"]), st.text(), st.text(), st.integers(0, 99),
            ),
            st.builds(heard, st.sampled_from(["DISCOVER", "REQUEST"]), st.text(), requested=st.just(HERE)),
        ),
        max_size=20,
    )
)  # fmt: skip
def test_whatever_is_seen_can_be_shown(events: list[Event]) -> None:
    machines = told(events)
    for now in (0, len(events), len(events) + STILL_S, 1000):
        json.dumps(machines.one(MAC, FLEET, now))
