"""Who a client is: by the serial that it tells, by its MAC, and by what was seen before."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from pinetboot.dhcp.lease import Lease
from pinetboot.dhcp.people import People
from pinetboot.dhcp.serving import Known
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.pi import Pi

NETWORK = IPv4Network("10.55.0.0/24")
ONE = Pi(serial="5b154510", mac="dc:a6:32:2e:f8:ed", hostname="node-1", address="10.55.0.50")
TWO = Pi(serial="6c265621")
FAR = Pi(serial="7d376732", address="192.168.1.5")
FLEET = Inventory((ONE, TWO, FAR))
SEEN = {"dc:a6:32:00:00:02": "6c265621", "dc:a6:32:00:00:09": "99999999"}


@pytest.fixture
def people() -> People:
    return People(lambda: FLEET, SEEN.get)


@pytest.mark.parametrize(
    ("mac", "serial", "known"),
    [
        (ONE.mac, "", Known("5b154510", IPv4Address("10.55.0.50"), "node-1")),
        ("02:00:00:00:00:01", "5b154510", Known("5b154510", IPv4Address("10.55.0.50"), "node-1")),
        (ONE.mac, "6c265621", Known("6c265621", None, "pi-6c265621")),  # the board was swapped
        ("dc:a6:32:00:00:02", "", Known("6c265621", None, "pi-6c265621")),
        ("dc:a6:32:00:00:09", "", Known("99999999")),
        ("02:00:00:00:00:01", "12345678", Known("12345678")),
        ("02:00:00:00:00:01", "", Known()),
    ],
)
def test_a_client_is_known_by_its_serial_its_mac_or_what_was_seen(
    people: People, mac: str, serial: str, known: Known
) -> None:
    assert people.known(mac, serial) == known


def test_reservations_are_those_of_the_network(people: People) -> None:
    assert people.reserved(NETWORK) == [IPv4Address("10.55.0.50")]


def test_a_change_of_the_fleet_is_seen_once() -> None:
    fleets = [FLEET, FLEET, Inventory(), Inventory()]
    people = People(lambda: fleets[0], SEEN.get)
    seen = []
    while fleets:
        seen.append(people.changed())
        fleets.pop(0)
    assert seen == [True, False, True, True]


def test_a_pi_that_gets_another_address_than_its_own_is_told_once(people: People) -> None:
    lease = Lease(NETWORK[100], "x", "x", serial="5b154510")
    told = people.missed(lease, NETWORK)
    assert told is not None
    assert told.serial == "5b154510"
    assert "it is given 10.55.0.100: 10.55.0.50, which fleet.toml says, is in use" in told.why
    assert people.missed(lease, NETWORK) is None
    assert people.missed(Lease(NETWORK[50], "x", "x", serial="5b154510"), NETWORK) is None
    assert people.missed(lease, NETWORK) is not None
    far = people.missed(Lease(NETWORK[101], "y", "y", serial="7d376732"), NETWORK)
    assert far is not None
    assert "192.168.1.5, which fleet.toml says, is none of 10.55.0.0/24" in far.why
    assert people.missed(Lease(NETWORK[102], "z", "z", serial="6c265621"), NETWORK) is None
    assert people.missed(Lease(NETWORK[103], "w", "w"), NETWORK) is None
