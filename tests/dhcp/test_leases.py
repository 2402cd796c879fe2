"""The table of leases: one address is never two clients', the same client gets the same one, and how a range fills."""

from __future__ import annotations

import json
import time
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pinetboot.dhcp.lease import Lease, Range, from_kept, to_kept
from pinetboot.dhcp.leases import REST_S, Leases

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NETWORK = IPv4Network("10.55.0.0/24")
NOW = 1_800_000_000.0


def ip(last: int) -> IPv4Address:
    return NETWORK[last]


def mac(number: int) -> str:
    return f"dc:a6:32:00:{number >> 8:02x}:{number & 255:02x}"


def of_size(count: int, *, first: int = 100, taken: tuple[int, ...] = ()) -> Range:
    return Range(NETWORK, ip(first), ip(first + count - 1), frozenset(map(ip, taken)))


def lease(
    leases: Leases, number: int, now: float = NOW, lease_s: float = 100.0, reserved: IPv4Address | None = None
) -> IPv4Address | None:
    """Have a client go through DISCOVER and REQUEST."""
    offered = leases.offer(mac(number), mac(number), now, hold_s=60, reserved=reserved)
    if offered is None:
        return None
    granted = leases.claim(mac(number), mac(number), offered.address, now, lease_s=lease_s, reserved=reserved)
    assert granted is offered
    return granted.address


def test_the_same_client_gets_the_same_address_in_a_table_that_knows_nothing_of_it() -> None:
    before = {number: lease(Leases(of_size(100)), number) for number in range(50)}
    assert {number: lease(Leases(of_size(100)), number) for number in range(50)} == before
    assert len(set(before.values())) > 30


def test_a_client_keeps_its_address_through_renewals_its_end_and_a_release() -> None:
    leases = Leases(of_size(100))
    address = lease(leases, 1)
    assert address is not None
    assert lease(leases, 1, NOW + 50) == address
    assert lease(leases, 1, NOW + 5000) == address
    assert leases.release(mac(1), address, NOW + 5010) is leases.at(address)
    assert lease(leases, 1, NOW + 5020) == address


def test_every_address_of_the_range_is_leased_once_and_no_other() -> None:
    leases = Leases(of_size(20, taken=(105, 110)))
    got = [lease(leases, number) for number in range(18)]
    assert sorted(address for address in got if address) == [ip(n) for n in range(100, 120) if n not in {105, 110}]
    assert lease(leases, 18) is None
    assert leases.valid(NOW) == 18


def test_the_first_and_the_last_address_of_a_network_are_nobody_s() -> None:
    leases = Leases(Range(NETWORK, ip(0), ip(255)))
    got = {lease(leases, number) for number in range(254)}
    assert got == {ip(n) for n in range(1, 255)}
    assert lease(leases, 999) is None


def test_what_was_never_leased_goes_first_then_offers_nobody_took_then_the_lease_that_ended_first() -> None:
    leases = Leases(of_size(4))
    old, older = lease(leases, 1, NOW + 10), lease(leases, 2, NOW)
    offered = leases.offer(mac(3), mac(3), NOW, hold_s=60)
    assert offered is not None
    fresh = lease(leases, 4, NOW + 1000)
    assert fresh not in {old, older, offered.address}
    assert lease(leases, 5, NOW + 1000, lease_s=1e6) == offered.address
    assert lease(leases, 6, NOW + 1000, lease_s=1e6) == older
    assert lease(leases, 7, NOW + 1000, lease_s=1e6) == old
    assert lease(leases, 8, NOW + 1050) is None
    assert lease(leases, 8, NOW + 1101) == fresh


def test_an_offer_is_held_for_its_client_and_what_it_did_not_take_is_free_again() -> None:
    leases = Leases(of_size(1))
    offered = leases.offer(mac(1), mac(1), NOW, hold_s=60)
    assert offered is not None
    assert leases.offer(mac(2), mac(2), NOW + 59, hold_s=60) is None
    assert leases.claim(mac(2), mac(2), ip(100), NOW + 59, lease_s=9) is None
    leases.withdraw(mac(1), NOW + 59)
    assert lease(leases, 2, NOW + 59.1) == ip(100)
    assert leases.claim(mac(1), mac(1), ip(100), NOW + 60, lease_s=9) is None


def test_a_reservation_is_for_its_client_alone_and_may_lie_outside_the_range() -> None:
    leases = Leases(of_size(2))
    leases.configure(of_size(2), [ip(100), ip(7)])
    assert lease(leases, 1, reserved=ip(7)) == ip(7)
    assert lease(leases, 2) == ip(101)
    assert lease(leases, 3) is None
    assert lease(leases, 4, reserved=ip(100)) == ip(100)
    assert leases.claim(mac(3), mac(3), ip(7), NOW + 1000, lease_s=9) is None


def test_a_client_moves_to_its_reservation_with_the_next_discover_and_not_before() -> None:
    leases = Leases(of_size(2))
    before = lease(leases, 1)
    assert before is not None
    leases.configure(of_size(2), [ip(50), before])  # and what it has is another's by now
    assert leases.claim(mac(1), mac(1), before, NOW + 50, lease_s=100, reserved=ip(50)) is not None
    assert lease(leases, 1, NOW + 60, reserved=ip(50)) == ip(50)
    found = leases.at(before)
    assert found is not None
    assert found.until <= NOW + 60


def test_a_reservation_that_somebody_else_has_leased_waits_until_that_ends() -> None:
    leases = Leases(of_size(1))
    assert lease(leases, 1) == ip(100)
    leases.configure(of_size(2), [ip(100)])
    assert lease(leases, 2, NOW + 10, reserved=ip(100)) == ip(101)
    assert lease(leases, 2, NOW + 101, reserved=ip(100)) == ip(100)
    assert lease(leases, 3, NOW + 102) == ip(101)


def test_a_declined_address_rests_and_is_only_its_client_s_to_decline() -> None:
    leases = Leases(of_size(1))
    assert lease(leases, 1) == ip(100)
    assert leases.decline(mac(2), ip(100), NOW) is None
    assert leases.decline(mac(1), ip(99), NOW) is None
    assert leases.decline(mac(1), ip(100), NOW) is not None
    assert lease(leases, 1, NOW + REST_S - 1) is None
    assert lease(leases, 1, NOW + REST_S + 1) == ip(100)


def test_an_address_that_was_found_in_use_may_be_had_by_the_one_who_uses_it() -> None:
    leases = Leases(of_size(1))
    assert leases.offer(mac(1), mac(1), NOW, hold_s=60) is not None
    leases.in_use(ip(100), mac(9), NOW)
    assert leases.offer(mac(1), mac(1), NOW, hold_s=60) is None
    assert leases.claim(mac(1), mac(1), ip(100), NOW, lease_s=100) is None
    assert leases.claim(mac(9), mac(9), ip(100), NOW, lease_s=100) is not None


def test_a_range_that_grows_or_shrinks_leaves_leases_as_they_are() -> None:
    leases = Leases(of_size(1))
    assert lease(leases, 1) == ip(100)
    leases.configure(of_size(2), [])
    assert lease(leases, 2) == ip(101)
    leases.configure(of_size(1, first=200), [])
    assert leases.claim(mac(1), mac(1), ip(100), NOW + 99, lease_s=100) is not None
    assert lease(leases, 3) == ip(200)
    assert lease(leases, 2, NOW + 5000) == ip(200)
    assert lease(leases, 1, NOW + 5000) is None


@pytest.mark.parametrize("wanted", [ip(42), ip(120), ip(107)])
def test_a_wish_counts_where_it_is_in_the_range_and_was_nobody_s(wanted: IPv4Address) -> None:
    leases = Leases(of_size(20, taken=(107,)))
    offered = leases.offer(mac(1), mac(1), NOW, hold_s=60, wanted=wanted)
    assert offered is not None
    assert offered.address != wanted
    other = leases.offer(mac(2), mac(2), NOW, hold_s=60, wanted=offered.address)
    assert other is not None
    assert other.address != offered.address
    free = next(ip(n) for n in range(100, 120) if leases.at(ip(n)) is None and n != 107)
    third = leases.offer(mac(3), mac(3), NOW, hold_s=60, wanted=free)
    assert third is not None
    assert third.address == free


def test_a_table_of_65000_leases_takes_no_longer_for_the_last_one_than_for_the_first() -> None:
    network = IPv4Network("10.0.0.0/16")
    leases = Leases(Range(network, network[1], network[-2]))
    steps = 0
    began = time.process_time()
    for number in range(65534):
        client = f"02:00:{number >> 24:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        offered = leases.offer(client, client, NOW + number / 1000, hold_s=60)
        assert offered is not None
        assert leases.claim(client, client, offered.address, NOW + number / 1000, lease_s=1000) is not None
        leases.take_changed()
        steps += 1
    assert steps == leases.valid(NOW + 66) == 65534
    assert leases.offer("one too many", "", NOW + 66, hold_s=60) is None
    # Now each of them has to be given anew: the oldest is found without a look at the others.
    for number in range(20000):
        client = f"04:00:{number:08x}"
        assert leases.offer(client, client, NOW + 2000, hold_s=60) is not None
    # Looking at all of them for each would take minutes.
    assert time.process_time() - began < 60


class Clients(RuleBasedStateMachine):
    """A small range, more clients than it has addresses, and a model of what each of them was told."""

    numbers = st.integers(0, 7)
    last = st.integers(98, 106)

    @initialize(reserve=st.booleans())
    def begin(self, reserve: bool) -> None:
        self.now = NOW
        self.range = of_size(4, taken=(101,))
        self.reserved = {0: ip(103), 1: ip(105)} if reserve else {}
        self.leases = Leases(self.range)
        self.leases.configure(self.range, self.reserved.values())
        self.held: dict[IPv4Address, tuple[int, float]] = {}
        self.kept: dict[str, bytes] = {}

    def keep(self) -> None:
        for address, one in self.leases.take_changed().items():
            self.kept[str(address)] = to_kept(one)

    @rule(number=numbers, wanted=st.none() | last)
    def discover(self, number: int, wanted: int | None) -> None:
        offered = self.leases.offer(
            mac(number),
            mac(number),
            self.now,
            hold_s=20,
            reserved=self.reserved.get(number),
            wanted=None if wanted is None else ip(wanted),
        )
        if offered is not None:
            assert self.range.allows(offered.address)
            whose = self.held.get(offered.address)
            assert whose is None or whose[0] == number or whose[1] <= self.now
            others = [address for one, address in self.reserved.items() if one != number]
            own = whose is not None and whose[0] == number
            assert own or offered.address not in others
        elif not self.reserved:
            # Nobody is turned away while an address is free.
            busy = [one for one in self.leases.all() if one.busy > self.now and one.address in self.range]
            assert len(busy) == 3

    @rule(number=numbers, last=last)
    def request(self, number: int, last: int) -> None:
        self.claim(number, ip(last))

    @rule(number=numbers)
    def request_what_was_offered(self, number: int) -> None:
        latest = self.leases.latest(mac(number))
        if latest is not None and latest.client == mac(number):
            had = latest.busy > self.now
            moved = latest.address not in self.range  # what is only offered moves with it
            assert self.claim(number, latest.address) or moved or not had

    def claim(self, number: int, address: IPv4Address) -> bool:
        granted = self.leases.claim(
            mac(number), mac(number), address, self.now, lease_s=50, reserved=self.reserved.get(number)
        )
        self.keep()
        if granted is not None:
            whose = self.held.get(address)
            assert whose is None or whose[0] == number or whose[1] <= self.now
            self.held = {one: told for one, told in self.held.items() if told[0] != number}
            self.held[address] = (number, self.now + 50)
        return granted is not None

    @rule(number=numbers)
    def renew(self, number: int) -> None:
        """Whoever has a valid lease can renew it, whatever was done about it."""
        for address, (whose, until) in list(self.held.items()):
            if whose == number and until > self.now:
                assert self.claim(number, address)

    @rule(number=numbers, last=last)
    def release(self, number: int, last: int) -> None:
        if self.leases.release(mac(number), ip(last), self.now) is not None:
            assert self.held.pop(ip(last))[0] == number
        self.keep()

    @rule(number=numbers, last=last)
    def decline(self, number: int, last: int) -> None:
        if self.leases.decline(mac(number), ip(last), self.now) is not None:
            whose = self.held.pop(ip(last), None)
            assert whose is None or whose[0] == number or whose[1] <= self.now
        self.keep()

    @rule(number=numbers)
    def take_another_server(self, number: int) -> None:
        self.leases.withdraw(mac(number), self.now)

    @rule(seconds=st.sampled_from([0.5, 10.0, 30.0, REST_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def move_the_range(self) -> None:
        self.range = of_size(4 if self.range.first == ip(102) else 3, first=100 if self.range.first == ip(102) else 102)
        self.range = Range(NETWORK, self.range.first, self.range.last, frozenset({ip(101)}))
        self.leases.configure(self.range, self.reserved.values())

    @precondition(lambda self: self.kept)
    @rule()
    def crash(self) -> None:
        self.leases = Leases(self.range)
        for line in self.kept.values():
            restored = from_kept(json.loads(line))
            assert restored is not None
            self.leases.restore(restored)
        self.leases.configure(self.range, self.reserved.values())

    @invariant()
    def every_valid_lease_is_known_as_its_client_s(self) -> None:
        for address, (number, until) in self.held.items():
            if until > self.now:
                found = self.leases.at(address)
                assert found is not None
                assert found.client == mac(number)
                assert abs(found.until - until) < 0.002


Clients.TestCase.settings = settings(
    deadline=None, max_examples=80, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
test_one_address_is_never_two_clients_and_a_lease_that_was_kept_outlives_a_crash = Clients.TestCase


@STEADY
@given(
    address=st.ip_addresses(v=4),
    client=st.text(max_size=80),
    who=st.text(max_size=30),
    until=st.floats(1, 1e10),
    held=st.floats(0, 1e10),
    names=st.tuples(st.text(max_size=30), st.text(max_size=30)),
)
def test_a_lease_comes_back_as_it_was_kept(  # noqa: PLR0917 - hypothesis gives them by name
    address: IPv4Address, client: str, who: str, until: float, held: float, names: tuple[str, str]
) -> None:
    kept = Lease(address, client, who, until, held, *names)
    line = to_kept(kept)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    found = from_kept(json.loads(line))
    assert found is not None
    assert (found.address, found.client, found.mac) == (address, client, who)
    assert (found.serial, found.hostname) == names
    assert max(until, held) <= found.busy <= max(until, held) + 0.002


GOOD = {"address": "10.55.0.100", "mac": mac(1), "client": mac(1), "state": "leased", "until": NOW}


@pytest.mark.parametrize(
    "change",
    [
        {"address": "10.55.0.300"},
        {"address": 7.5},
        {"address": None},
        {"mac": 5},
        {"client": ["x"]},
        {"client": ""},
        {"client": "x" * 1000},
        {"state": "declined"},
        {"state": "given"},
        {"state": None},
        {"until": "soon"},
        {"until": True},
        {"until": -1},
        {"until": 1e300},
        {"until": None},
        {"serial": 1},
    ],
)
def test_what_is_no_lease_is_none(change: dict[str, object]) -> None:
    assert from_kept(GOOD) is not None
    assert from_kept(GOOD | change) is None
    assert from_kept([GOOD]) is None
    assert from_kept(None) is None


@STEADY
@given(
    item=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*GOOD, "serial", "hostname"]), inner),
    )
)
def test_any_json_is_a_lease_or_none(item: object) -> None:
    found = from_kept(item)
    assert found is None or from_kept(json.loads(to_kept(found))) is not None
