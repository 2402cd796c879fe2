"""Who is who, from what the servers saw; kept and taken back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.dhcp.events import LeaseGranted
from pinetboot.events import (
    DhcpHeard,
    Event,
    HttpServed,
    Outcome,
    PacketDropped,
    PhonedHome,
    RootMounted,
    TransferEnded,
    TransferStarted,
)
from pinetboot.observe.seen import Seen, from_json
from pinetboot.observe.sightings import Sightings

MAC = "dc:a6:32:2e:f8:ed"
SERIAL, OTHER = "5b154510", "0badcafe"
HERE, THERE = "192.168.1.57", "192.168.1.58"
MOST, MOST_ADDRESSES = 1024, 4096


def started(path: str, client: str = HERE) -> TransferStarted:
    return TransferStarted(client, 1024, "192.168.1.10", path, 1, 1468, 1)


def ended(path: str, client: str = HERE, outcome: Outcome = Outcome.MISSING) -> TransferEnded:
    return TransferEnded(client, 1024, "192.168.1.10", path, outcome)


def dhcp(mac: str = MAC, serial: str | None = SERIAL, model: str | None = "Pi 4") -> DhcpHeard:
    return DhcpHeard(mac, "DISCOVER", "eth0", "192.168.1.10", serial=serial, model=model)


def kept(sightings: Sightings) -> int:
    """How many entries the largest of its tables has."""
    return max(len(table) for table in vars(sightings).values() if isinstance(table, dict))


@pytest.fixture
def sightings() -> Sightings:
    return Sightings()


def test_serial_mac_model_and_address_come_together(sightings: Sightings) -> None:
    assert sightings.learn(dhcp(), 100) == SERIAL
    assert sightings.learn(started("5B154510/start4.elf"), 101) == SERIAL
    assert sightings.of(SERIAL) == Seen(SERIAL, MAC, "Pi 4", HERE, 100, 101)
    assert sightings.of_address(HERE) == sightings.of(SERIAL)
    assert (sightings.serial_of(MAC), sightings.mac_of(SERIAL)) == (SERIAL, MAC)


def test_a_lease_tells_the_address_of_the_pi_with_that_mac_or_serial(sightings: Sightings) -> None:
    assert sightings.learn(LeaseGranted(MAC, HERE, "eth0"), 100) is None
    assert sightings.of_address(HERE) is None
    assert sightings.learn(LeaseGranted(MAC, HERE, "eth0", SERIAL), 100) == SERIAL
    seen = sightings.of(SERIAL)
    assert seen is not None
    assert (seen.mac, seen.address) == (MAC, HERE)
    assert sightings.learn(LeaseGranted(MAC, "10.55.0.7", "eth0", renewed=True), 109) == SERIAL
    assert sightings.of_address("10.55.0.7") == sightings.of(SERIAL)


def test_nobody_is_known_at_first(sightings: Sightings) -> None:
    assert sightings.of_address(HERE) is None
    assert sightings.of(SERIAL) is None
    assert sightings.serial_of(MAC) is None


@pytest.mark.parametrize(
    "event",
    [started(f"{SERIAL}/start4.elf"), ended(f"{SERIAL}/pieeprom.sig"), started(f"{SERIAL.upper()}/overlays/x.dtbo")],
    ids=["served", "missing", "upper case"],
)
def test_a_pi_tells_its_serial_by_the_folder_it_asks_for(sightings: Sightings, event: Event) -> None:
    assert sightings.learn(event, 5) == SERIAL
    assert sightings.of_address(HERE) == Seen(SERIAL, address=HERE, first=5, last=5)
    assert sightings.of_address(THERE) is None


def test_a_mac_folder_counts_once_its_pi_is_known(sightings: Sightings) -> None:
    assert sightings.learn(started("dc-a6-32-2e-f8-ed/start4.elf"), 1) is None
    assert sightings.of_address(HERE) == Seen("", MAC, address=HERE)
    sightings.learn(dhcp(), 2)
    found = sightings.of_address(HERE)
    assert found is not None
    assert (found.serial, found.mac, found.model) == (SERIAL, MAC, "Pi 4")
    assert sightings.learn(ended("DC-A6-32-2E-F8-ED/pieeprom.sig", "10.0.0.9"), 3) == SERIAL
    assert sightings.all()[0].address == "10.0.0.9"


def test_what_fleet_toml_says_of_a_mac_counts(sightings: Sightings) -> None:
    sightings.learn(dhcp(), 1)
    sightings.written = {MAC: OTHER}
    assert sightings.learn(started("dc-a6-32-2e-f8-ed/start4.elf", THERE), 2) == OTHER
    assert sightings.serial_of(MAC) == OTHER


@pytest.mark.parametrize(
    "path",
    [
        "start4.elf",
        SERIAL,
        f"{SERIAL}/",
        f"{SERIAL}.sig",
        f"x{SERIAL}/start4.elf",
        f"boot/{SERIAL}/start4.elf",
        "5b15451/start4.elf",
        "5b154510a/start4.elf",
        "5b15451g/start4.elf",
        "5b1 4510/start4.elf",
        "dc-a6-32-2e-f8/start4.elf",
        "dc:a6:32:2e:f8:ed/start4.elf",
        "dc-a6-32-2e-f8-eg/start4.elf",
        "dc-a6-32-2e-f8-ed/",
        "------------------/x",
        "",
        "/",
    ],
)
def test_any_other_path_tells_nothing(sightings: Sightings, path: str) -> None:
    assert sightings.learn(started(path), 1) is None
    assert sightings.of_address(HERE) is None
    assert (sightings.all(), sightings.changed) == ([], 0)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.MISSING])
def test_how_a_transfer_ended_tells_nothing_that_its_start_did_not(sightings: Sightings, outcome: Outcome) -> None:
    assert sightings.learn(ended(f"{SERIAL}/start4.elf", outcome=outcome), 1) is None
    assert sightings.of_address(HERE) is None
    sightings.learn(started(f"{SERIAL}/start4.elf"), 2)
    assert sightings.learn(ended(f"{SERIAL}/start4.elf", outcome=outcome), 5000) == SERIAL


@pytest.mark.parametrize(
    "event",
    [
        HttpServed(HERE, "GET", f"{SERIAL}/start4.elf", 200, 10, "boot"),
        PacketDropped("tftp", HERE, f"{SERIAL}/start4.elf"),
        dhcp(serial=None, model=None),
    ],
    ids=["http", "dropped", "dhcp of a stranger"],
)
def test_other_events_tell_nothing(sightings: Sightings, event: Event) -> None:
    assert sightings.learn(event, 1) is None
    assert sightings.of_address(HERE) is None
    assert sightings.all() == []


def test_what_is_asked_in_the_root_belongs_to_the_pi_that_asked_from_there_before(sightings: Sightings) -> None:
    assert sightings.learn(started("bootcode.bin"), 1) is None
    sightings.learn(ended(f"{SERIAL}/start4.elf"), 2)
    assert sightings.learn(started("start4.elf"), 3) == SERIAL
    assert sightings.learn(started("overlays/x.dtbo"), 301) == SERIAL
    assert sightings.learn(started("start4.elf", THERE), 3) is None
    assert sightings.learn(started("start4.elf"), 302.5) is None


def test_the_kernels_own_dhcp_is_of_the_pi_with_that_mac(sightings: Sightings) -> None:
    sightings.learn(dhcp(), 1)
    assert sightings.learn(dhcp(serial=None, model=None), 2) == SERIAL


def test_a_later_dhcp_message_that_knows_less_takes_nothing_away(sightings: Sightings) -> None:
    sightings.learn(dhcp(), 1)
    sightings.learn(dhcp(serial=None, model=None), 2)
    sightings.learn(dhcp(serial=None, model="Raspberry Pi"), 3)
    sightings.learn(dhcp(serial=SERIAL, model=None), 4)
    assert sightings.of(SERIAL) == Seen(SERIAL, MAC, "Pi 4", first=1, last=4)


def test_a_pi_3b_is_known_by_the_end_of_its_mac(sightings: Sightings) -> None:
    sightings.learn(dhcp("b8:27:eb:15:45:10", serial=None, model="Pi 3B"), 1)
    assert sightings.all() == []
    sightings.learn(started(f"{SERIAL}/start.elf"), 2)
    assert sightings.of(SERIAL) == Seen(SERIAL, "b8:27:eb:15:45:10", "Pi 3B", HERE, 2, 2)
    sightings.learn(started("00154511/start.elf", THERE), 3)
    assert sightings.mac_of("00154511") is None


def test_two_addresses_of_one_pi_are_one_pi(sightings: Sightings) -> None:
    sightings.learn(started("dc-a6-32-2e-f8-ed/start4.elf"), 1)
    sightings.learn(started(f"{SERIAL}/start4.elf", THERE), 2)
    sightings.learn(dhcp(), 3)
    for address in (HERE, THERE):
        found = sightings.of_address(address)
        assert found is not None
        assert (found.serial, found.mac, found.address) == (SERIAL, MAC, THERE)
    sightings.learn(started(f"{SERIAL}/config.txt"), 3.5)
    assert [seen.address for seen in sightings.all()] == [HERE]


def test_an_address_belongs_to_the_pi_that_was_seen_there_last(sightings: Sightings) -> None:
    for path in (f"{SERIAL}/start4.elf", f"{OTHER}/start4.elf", "start4.elf"):
        sightings.learn(started(path), 1)
    found = sightings.of_address(HERE)
    assert found is not None
    assert found.serial == OTHER


def test_a_network_adapter_that_moves_to_another_pi_does_not_make_one_of_the_two(sightings: Sightings) -> None:
    sightings.learn(dhcp(), 1)
    sightings.learn(started(f"{SERIAL}/start4.elf"), 2)
    sightings.learn(dhcp(serial=OTHER), 3)
    sightings.learn(started(f"{OTHER}/start4.elf", THERE), 4)
    found = [sightings.of_address(address) for address in (HERE, THERE)]
    assert [(seen.serial, seen.mac) for seen in found if seen] == [(SERIAL, ""), (OTHER, MAC)]


def test_a_pi_tells_its_host_name(sightings: Sightings) -> None:
    sightings.learn(started(f"{SERIAL}/x"), 1)
    assert sightings.learn(PhonedHome(HERE, SERIAL, "node-1"), 2) == SERIAL
    assert sightings.learn(PhonedHome(HERE, SERIAL, ""), 3) == SERIAL
    assert sightings.of(SERIAL) == Seen(SERIAL, "", "", HERE, 1, 3, "node-1")


def test_what_a_pi_says_over_http_gives_it_no_address(sightings: Sightings) -> None:
    sightings.learn(PhonedHome(THERE, SERIAL, "node-1"), 2)
    assert sightings.of_address(THERE) is None
    assert sightings.learn(RootMounted(OTHER, HERE, 1), 3) == OTHER
    assert sightings.of_address(HERE) is None


def test_only_what_is_new_is_worth_keeping(sightings: Sightings) -> None:
    sightings.learn(dhcp(), 1)
    before = sightings.changed
    sightings.learn(dhcp(), 2)
    assert sightings.changed == before
    for now in (3, 3.5, 5, 500):
        sightings.learn(started(f"{SERIAL}/x"), now)
    assert sightings.changed == before + 1
    assert sightings.all()[0].last == 500


def test_the_latest_stay() -> None:
    sightings = Sightings()
    for number in range(3 * MOST_ADDRESSES):
        serial = f"{number:08x}"
        mac = bytes.fromhex(f"dca6{number:08x}").hex(":")
        sightings.learn(dhcp(mac, serial), number)
        sightings.learn(dhcp(mac[::-1], None), number)
        sightings.learn(started(f"{serial}/start4.elf", f"address-{number}"), number)
        sightings.learn(started(f"{SERIAL}/start4.elf"), number)
    assert kept(sightings) <= MOST_ADDRESSES
    assert len(sightings.all()) == MOST
    assert [sightings.of(serial) is not None for serial in (SERIAL, "00000000", serial)] == [True, False, True]
    assert sightings.of_address("address-0") is None
    assert sightings.of_address(HERE) == sightings.of(SERIAL)


def test_one_machine_that_makes_up_names_does_not_grow_without_bound(sightings: Sightings) -> None:
    for number in range(3 * MOST_ADDRESSES):
        sightings.learn(ended(f"{number:08x}/x", "192.168.1.66"), number)
        sightings.learn(ended(f"00-00-{bytes.fromhex(f'{number:08x}').hex('-')}/x", "192.168.1.66"), number)
    assert kept(sightings) <= MOST


def test_what_was_kept_is_taken_back(sightings: Sightings) -> None:
    again = Sightings()
    sightings.learn(dhcp(), 1)
    sightings.learn(started(f"{SERIAL}/x"), 2)
    items = json.loads(json.dumps(sightings.to_json()))
    again.restore(one for item in items if (one := from_json(item)) is not None)
    assert again.all() == sightings.all()
    assert again.serial_of(MAC) == SERIAL
    assert again.of_address(HERE) == sightings.of(SERIAL)


def test_what_was_seen_since_is_not_overwritten(sightings: Sightings) -> None:
    sightings.learn(started(f"{SERIAL}/x", THERE), 50)
    sightings.restore([Seen(SERIAL, MAC, "Pi 4", HERE, 1, 2), Seen(OTHER, "", "", THERE, 1, 2)])
    assert sightings.of(SERIAL) == Seen(SERIAL, address=THERE, first=50, last=50)
    found = sightings.of_address(THERE)
    assert found is not None
    assert found.serial == SERIAL
    assert sightings.of(OTHER) is not None


@given(st.recursive(st.none() | st.text() | st.floats(), lambda x: st.dictionaries(st.text(), x) | st.lists(x)))
def test_a_spoilt_file_is_no_harm(item: Any) -> None:
    assert from_json(item) is None


@given(
    st.fixed_dictionaries(
        {"serial": st.just(SERIAL)},
        optional={name: st.none() | st.text() | st.floats() | st.integers() for name in ("mac", "address", "last")},
    )
)
def test_a_sighting_that_is_taken_is_whole(item: dict[str, Any]) -> None:
    seen = from_json(item)
    if seen is not None:
        assert all(isinstance(value, str) for value in (seen.mac, seen.model, seen.address, seen.hostname))
        assert 0 <= seen.last < 1e11


def test_a_flood_of_made_up_serials_drives_no_member_of_the_fleet_out(sightings: Sightings) -> None:
    sightings.members = {SERIAL, OTHER}
    sightings.learn(started(f"{SERIAL}/x"), 1)
    for number in range(3 * MOST):
        sightings.learn(ended(f"{number:08x}/x", "192.168.1.66"), number)
    assert sightings.of(SERIAL) is not None
    assert len(sightings.all()) == MOST + 2


def test_what_another_host_saw_later_counts_and_fills_what_is_not_known(sightings: Sightings) -> None:
    sightings.learn(dhcp(), 100)
    sightings.follow([Seen(SERIAL, MAC, "Pi 5", HERE, 1, 50), Seen(OTHER, "", "Pi 4", THERE, 1, 2)])
    assert sightings.of(SERIAL) == Seen(SERIAL, MAC, "Pi 4", HERE, 1, 100)
    assert sightings.of_address(HERE) == sightings.of(SERIAL)
    assert sightings.of_address(THERE) == sightings.of(OTHER)
    sightings.follow([Seen(SERIAL, "", "", "10.9.9.9", 1, 200, "node-1")])
    assert sightings.of(SERIAL) == Seen(SERIAL, MAC, "Pi 4", "10.9.9.9", 1, 200, "node-1")
    assert sightings.of_address("10.9.9.9") == sightings.of(SERIAL)
    assert sightings.serial_of(MAC) == SERIAL


def over_http(path: str, agent: str = "rpiboot/1.0 (d04170; version:1 timestamp:1)", kind: str = "boot") -> HttpServed:
    return HttpServed(HERE, "GET", path, 200, 10, kind, agent)


def test_a_bootloader_that_boots_over_http_is_known_by_its_folder_or_its_address(sightings: Sightings) -> None:
    assert sightings.learn(over_http("/net_install/boot.sig"), 99) is None
    assert sightings.learn(over_http(f"/boot/{SERIAL}/boot.sig"), 100) == SERIAL
    assert sightings.of(SERIAL) == Seen(SERIAL, "", "", HERE, 100, 100)
    assert sightings.learn(over_http("/net_install/boot.img"), 101) == SERIAL


def test_people_who_look_into_the_boot_tree_are_no_pi(sightings: Sightings) -> None:
    assert sightings.learn(over_http(f"/boot/{SERIAL}/boot.sig", "curl/8.5.0"), 100) is None
    assert sightings.learn(over_http(f"/seed/{SERIAL}/user-data", kind="seed"), 100) is None
    assert sightings.all() == []
