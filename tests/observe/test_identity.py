"""Who is behind an address, from what the servers saw."""

from __future__ import annotations

import pytest

from pinetboot.events import DhcpHeard, Event, HttpServed, Outcome, PacketDropped, TransferEnded, TransferStarted
from pinetboot.observe.identity import Identities, Sighting

MAC = "dc:a6:32:2e:f8:ed"
SERIAL = "5b154510"
MOST = 4096


def started(client: str, path: str) -> TransferStarted:
    return TransferStarted(client, 49152, "192.168.1.10", path, 1000, 1024, 1)


def ended(client: str, path: str, outcome: Outcome = Outcome.MISSING) -> TransferEnded:
    return TransferEnded(client, 49152, "192.168.1.10", path, outcome)


def dhcp(mac: str = MAC, serial: str | None = SERIAL, model: str | None = "pi4") -> DhcpHeard:
    return DhcpHeard(mac, "DISCOVER", "eth0", None, serial=serial, model=model)


def kept(identities: Identities) -> int:
    """How many entries the largest of its tables has."""
    return max(len(table) for table in vars(identities).values())


@pytest.fixture
def identities() -> Identities:
    return Identities()


def test_nobody_is_known_at_first(identities: Identities) -> None:
    assert identities.of_address("192.168.1.101") is None


@pytest.mark.parametrize(
    "event",
    [started("192.168.1.101", f"{SERIAL}/start4.elf"), ended("192.168.1.101", f"{SERIAL}/pieeprom.sig")],
    ids=["served", "missing"],
)
def test_a_pi_tells_its_serial_by_the_folder_it_asks_for(identities: Identities, event: Event) -> None:
    identities.learn(event)
    assert identities.of_address("192.168.1.101") == Sighting(serial=SERIAL)
    assert identities.of_address("192.168.1.102") is None


def test_a_pi_tells_its_mac_by_the_folder_it_asks_for(identities: Identities) -> None:
    identities.learn(started("192.168.1.101", "dc-a6-32-2e-f8-ed/start4.elf"))
    assert identities.of_address("192.168.1.101") == Sighting(mac=MAC)


@pytest.mark.parametrize(
    "path",
    [
        "start4.elf",
        SERIAL,
        f"{SERIAL}/",
        f"{SERIAL}.sig",
        f"x{SERIAL}/start4.elf",
        f"boot/{SERIAL}/start4.elf",
        "5B154510/start4.elf",
        "5b15451/start4.elf",
        "5b154510a/start4.elf",
        "dc-a6-32-2e-f8/start4.elf",
        "dc:a6:32:2e:f8:ed/start4.elf",
        "",
    ],
)
def test_any_other_path_tells_nothing(identities: Identities, path: str) -> None:
    identities.learn(started("192.168.1.101", path))
    assert identities.of_address("192.168.1.101") is None


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.MISSING])
def test_how_a_transfer_ended_tells_nothing_that_its_start_did_not(identities: Identities, outcome: Outcome) -> None:
    identities.learn(ended("192.168.1.101", f"{SERIAL}/start4.elf", outcome))
    assert identities.of_address("192.168.1.101") is None


@pytest.mark.parametrize(
    "event",
    [
        HttpServed("192.168.1.101", "GET", f"{SERIAL}/start4.elf", 200, 10, "boot"),
        PacketDropped("tftp", "192.168.1.101", f"{SERIAL}/start4.elf"),
        dhcp(serial=None, model=None),
    ],
    ids=["http", "dropped", "dhcp of a stranger"],
)
def test_other_events_tell_nothing(identities: Identities, event: Event) -> None:
    identities.learn(event)
    assert identities.of_address("192.168.1.101") is None


def test_dhcp_and_tftp_are_joined_by_the_serial(identities: Identities) -> None:
    identities.learn(dhcp())
    identities.learn(started("192.168.1.101", f"{SERIAL}/start4.elf"))
    assert identities.of_address("192.168.1.101") == Sighting(SERIAL, MAC, "pi4")


def test_dhcp_and_tftp_are_joined_by_the_mac(identities: Identities) -> None:
    identities.learn(dhcp())
    identities.learn(started("192.168.1.101", "dc-a6-32-2e-f8-ed/start4.elf"))
    assert identities.of_address("192.168.1.101") == Sighting(SERIAL, MAC, "pi4")


@pytest.mark.parametrize("folder", [SERIAL, "dc-a6-32-2e-f8-ed"])
def test_what_dhcp_tells_later_is_joined_too(identities: Identities, folder: str) -> None:
    identities.learn(started("192.168.1.101", f"{folder}/start4.elf"))
    identities.learn(dhcp())
    assert identities.of_address("192.168.1.101") == Sighting(SERIAL, MAC, "pi4")


def test_two_addresses_of_one_pi_are_joined_by_what_dhcp_tells(identities: Identities) -> None:
    identities.learn(started("192.168.1.101", "dc-a6-32-2e-f8-ed/start4.elf"))
    identities.learn(started("192.168.1.102", f"{SERIAL}/start4.elf"))
    identities.learn(dhcp())
    for address in ("192.168.1.101", "192.168.1.102"):
        assert identities.of_address(address) == Sighting(SERIAL, MAC, "pi4")


def test_a_later_dhcp_message_that_knows_less_takes_nothing_away(identities: Identities) -> None:
    identities.learn(dhcp())
    identities.learn(dhcp(serial=None, model=None))
    identities.learn(dhcp(serial=None, model="pi4"))
    identities.learn(dhcp(serial=SERIAL, model=None))
    identities.learn(started("192.168.1.101", f"{SERIAL}/start4.elf"))
    assert identities.of_address("192.168.1.101") == Sighting(SERIAL, MAC, "pi4")


def test_an_address_belongs_to_the_pi_that_was_seen_there_last(identities: Identities) -> None:
    identities.learn(started("192.168.1.101", f"{SERIAL}/start4.elf"))
    identities.learn(started("192.168.1.101", "0badcafe/start4.elf"))
    identities.learn(started("192.168.1.101", "start4.elf"))
    assert identities.of_address("192.168.1.101") == Sighting(serial="0badcafe")


def test_a_network_adapter_that_moves_to_another_pi_does_not_make_one_of_the_two(identities: Identities) -> None:
    identities.learn(dhcp(serial=SERIAL))
    identities.learn(started("192.168.1.101", f"{SERIAL}/start4.elf"))
    identities.learn(dhcp(serial="0badcafe"))
    identities.learn(started("192.168.1.102", "0badcafe/start4.elf"))
    serials = [
        sighting and sighting.serial for sighting in map(identities.of_address, ("192.168.1.101", "192.168.1.102"))
    ]
    assert serials == [SERIAL, "0badcafe"]


def test_at_most_so_many_are_kept_and_those_seen_last_stay(identities: Identities) -> None:
    for number in range(3 * MOST):
        serial = f"{number:08x}"
        mac = bytes.fromhex(f"dca6{number:08x}").hex(":")
        identities.learn(dhcp(mac, serial))
        identities.learn(started(f"address-{number}", f"{serial}/start4.elf"))
        identities.learn(started("192.168.1.101", f"{SERIAL}/start4.elf"))
    assert kept(identities) <= MOST
    assert identities.of_address("192.168.1.101") == Sighting(serial=SERIAL)
    assert identities.of_address("address-0") is None
    newest = identities.of_address(f"address-{3 * MOST - 1}")
    assert newest is not None
    assert newest.serial == f"{3 * MOST - 1:08x}"


def test_one_machine_that_makes_up_names_does_not_grow_without_bound(identities: Identities) -> None:
    for number in range(3 * MOST):
        identities.learn(ended("192.168.1.66", f"{number:08x}/x"))
    assert kept(identities) <= MOST
