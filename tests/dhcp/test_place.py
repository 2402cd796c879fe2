"""Where a DHCP server stands: settings and interfaces that fit, and one sentence for each way in which they do not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

import pytest

from pinetboot.config import Config, Dhcp, Server
from pinetboot.dhcp import place
from pinetboot.errors import OperatorError
from pinetboot.net.links import Link, Links


def link(index: int, name: str, *addresses: str, up: bool = True) -> Link:
    return Link(index, name, "02:00:00:00:00:01", 1500, up, False, tuple(map(IPv4Interface, addresses)))


LINKS = Links(
    {
        one.index: one
        for one in (
            link(2, "eth0", "192.168.1.10/24"),
            link(3, "eth1", "172.16.0.1/16", "10.55.0.2/24", "10.55.0.9/32"),
            link(4, "eth2", "10.66.0.1/24", up=False),
        )
    }
)


def config(
    range_: str = "10.55.0.100-10.55.0.199", *, address: str = "auto", interfaces: str = "", **more: object
) -> Config:
    dhcp = Dhcp.model_validate({"mode": "server", "range": range_, **more})
    return Config(server=Server(address=address, interfaces=interfaces.split()), dhcp=dhcp)


def test_it_is_the_interface_whose_network_holds_the_range() -> None:
    found = place.find(config(router="10.55.0.1", dns=["9.9.9.9", "10.55.0.120"], lease_s=77), LINKS)
    assert found.link.name == "eth1"
    ground = found.ground
    assert (str(ground.network), ground.address, ground.lease_s) == ("10.55.0.0/24", IPv4Address("10.55.0.2"), 77)
    assert (ground.router, ground.alone) == (IPv4Address("10.55.0.1"), True)
    assert IPv4Address("192.168.1.10") in ground.own
    assert IPv4Address("10.55.0.121") in found.range
    for taken in ("10.55.0.120", "10.55.0.99", "10.55.0.200"):
        assert IPv4Address(taken) not in found.range
    for nobodys in ("10.55.0.1", "10.55.0.2", "10.55.0.9", "10.55.0.0", "10.55.0.255", "10.55.0.120"):
        assert not found.range.allows(IPv4Address(nobodys))


def test_clients_are_told_the_address_that_is_set() -> None:
    ground = place.find(config(address="10.55.0.9", allow_other_server=True), LINKS).ground
    assert (ground.address, ground.proxy.address, ground.alone) == (*(IPv4Address("10.55.0.9"),) * 2, False)


def test_a_whole_network_may_be_the_range_but_for_what_this_host_has() -> None:
    with pytest.raises(OperatorError, match=r"holds 172\.16\.0\.1, an address of this host"):
        place.find(config("172.16.0.0-172.16.255.255"), LINKS)
    assert place.find(config("172.16.0.2-172.16.255.255"), LINKS).link.name == "eth1"


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (config("10.77.0.1-10.77.0.9"), r"no network of this host holds dhcp\.range 10\.77\.0\.1-10\.77\.0\.9"),
        (config("10.66.0.5-10.66.0.9"), r"no network of this host holds dhcp\.range"),
        (config(interfaces="eth0"), r"no network of eth0 holds dhcp\.range 10\.55\.0\.100-10\.55\.0\.199"),
        (config("10.55.0.9-10.55.1.9"), r"goes beyond 10\.55\.0\.0/24, the network of eth1"),
        (config("10.55.0.1-10.55.0.5"), r"holds 10\.55\.0\.2, an address of this host"),
        (config(router="10.55.1.1"), r"dhcp\.router 10\.55\.1\.1 is not in 10\.55\.0\.0/24, the network of eth1"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_what_to_do(settings: Config, what: str) -> None:
    with pytest.raises(OperatorError, match=what) as caught:
        place.find(settings, LINKS)
    assert caught.value.do.endswith(".")
