"""Who is who where what was asked does not tell: the kernel's neighbour table, and addresses that change hands."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping

import pytest
from support import require, require_root

from pinetboot.errors import OperatorError
from pinetboot.events import (
    DhcpHeard,
    Event,
    HttpServed,
    Outcome,
    PhonedHome,
    RootMounted,
    TransferEnded,
    TransferStarted,
)
from pinetboot.observe.identity import Identity
from pinetboot.observe.sightings import Sightings
from pinetboot.observe.swaps import Swaps

SERIAL, OTHER = "5b154510", "da591740"
MAC, OTHERS_MAC, ROUTERS_MAC = "dc:a6:32:2e:f8:ed", "d8:3a:dd:59:17:40", "00:11:22:33:44:55"
HERE, THERE, SERVER, ROUTER = "192.168.1.57", "192.168.1.58", "192.168.1.10", "192.168.1.1"


def discover(mac: str = MAC, serial: str | None = SERIAL, model: str | None = "Pi 4") -> DhcpHeard:
    return DhcpHeard(mac, "DISCOVER", "eth0", SERVER, serial=serial, model=model)


def request(address: str, mac: str = MAC) -> DhcpHeard:
    return DhcpHeard(mac, "REQUEST", "eth0", None, requested=address, server=ROUTER)


def asks(path: str, client: str = HERE) -> TransferStarted:
    return TransferStarted(client, 49152, SERVER, path, 100, 1468, 1)


def whose(sightings: Sightings, address: str) -> str:
    seen = sightings.of_address(address)
    return seen.serial if seen else ""


# Joining


def test_linux_that_gets_another_address_is_the_same_pi() -> None:
    sightings = Sightings()
    sightings.learn(discover(), 1)
    sightings.learn(asks(f"{SERIAL}/start4.elf"), 2)
    assert sightings.learn(request(THERE), 20) == SERIAL
    assert (whose(sightings, HERE), whose(sightings, THERE)) == (SERIAL, SERIAL)
    seen = sightings.of(SERIAL)
    assert seen is not None
    assert seen.address == HERE  # as long as nothing came from there
    sightings.learn(PhonedHome(THERE, SERIAL), 60)
    seen = sightings.of(SERIAL)
    assert seen is not None
    assert seen.address == THERE


def test_a_request_takes_no_address_away_from_a_pi_that_asks_from_there() -> None:
    sightings = Sightings()
    sightings.learn(asks(f"{OTHER}/config.txt", THERE), 1)
    sightings.learn(discover(), 2)
    sightings.learn(request(THERE), 3)
    assert whose(sightings, THERE) == OTHER


def test_an_address_that_another_pi_requested_is_in_doubt_until_the_table_was_read() -> None:
    sightings = Sightings()
    sightings.learn(asks(f"{OTHER}/config.txt", THERE), 1)
    sightings.learn(discover(OTHERS_MAC, OTHER), 2)
    sightings.learn(discover(), 3)
    assert sightings.is_clear(THERE)
    sightings.learn(request(THERE), 4)
    assert not sightings.is_clear(THERE)
    sightings.neighbours({THERE: OTHERS_MAC})
    assert (sightings.is_clear(THERE), whose(sightings, THERE)) == (True, OTHER)
    sightings.learn(request(THERE), 5)
    sightings.neighbours({THERE: MAC})
    assert (sightings.is_clear(THERE), whose(sightings, THERE)) == (True, SERIAL)


def test_the_neighbour_table_says_who_is_at_an_address() -> None:
    sightings = Sightings()
    sightings.learn(discover(), 1)
    sightings.neighbours({THERE: MAC, ROUTER: ROUTERS_MAC})
    assert (whose(sightings, THERE), whose(sightings, ROUTER)) == (SERIAL, "")
    assert sightings.neighbour(SERIAL) == THERE
    assert sightings.learn(asks("bootcode.bin", THERE), 2) == SERIAL


def test_a_pi_that_was_replaced_behind_its_address_is_another_one() -> None:
    sightings = Sightings()
    sightings.learn(discover(), 1)
    sightings.learn(asks(f"{SERIAL}/start4.elf"), 2)
    sightings.learn(discover(OTHERS_MAC, OTHER), 100)
    sightings.neighbours({HERE: OTHERS_MAC})
    assert whose(sightings, HERE) == OTHER
    before = sightings.of(SERIAL)
    assert before is not None
    assert before.address == ""


def test_an_address_that_moves_to_another_pi_is_no_more_the_first_ones() -> None:
    sightings = Sightings()
    sightings.learn(asks(f"{SERIAL}/start4.elf"), 1)
    sightings.learn(asks(f"{OTHER}/config.txt"), 5000)
    assert [(seen.serial, seen.address) for seen in sightings.all()] == [(SERIAL, ""), (OTHER, HERE)]
    assert sightings.addresses.rival(OTHER, 5000) is None


def test_two_pis_that_take_turns_at_one_address_are_rivals() -> None:
    sightings = Sightings()
    for now, serial in enumerate((SERIAL, OTHER, SERIAL)):
        sightings.learn(asks(f"{serial}/config.txt"), now * 10)
    assert sightings.addresses.rival(SERIAL, 25) == (OTHER, HERE)
    assert sightings.addresses.rival(OTHER, 25) == (SERIAL, HERE)
    assert sightings.addresses.rival(OTHER, 5000) is None


def test_a_mac_that_is_not_known_is_learned_from_the_table_unless_it_is_a_routers() -> None:
    sightings = Sightings()
    sightings.learn(asks(f"{SERIAL}/start4.elf"), 1)
    sightings.neighbours({HERE: MAC})
    assert (sightings.mac_of(SERIAL), sightings.serial_of(MAC)) == (SERIAL and MAC, SERIAL)
    sightings = Sightings()
    sightings.learn(asks(f"{SERIAL}/start4.elf"), 1)
    sightings.learn(asks(f"{OTHER}/start4.elf", THERE), 1)
    sightings.neighbours({HERE: ROUTERS_MAC, THERE: ROUTERS_MAC})
    assert (sightings.mac_of(SERIAL), sightings.mac_of(OTHER)) == (None, None)


def test_two_boards_with_one_serial_are_told_from_one_whose_mac_changed() -> None:
    sightings = Sightings()
    for now, mac in enumerate((MAC, OTHERS_MAC)):
        sightings.learn(discover(mac), now)
    swap = sightings.macs.at(SERIAL)
    assert swap is not None
    assert (swap.before, swap.after, swap.back) == (MAC, OTHERS_MAC, False)
    sightings.learn(discover(MAC), 5)
    swap = sightings.macs.at(SERIAL)
    assert swap is not None
    assert swap.back


def test_what_says_less_of_a_model_takes_nothing_away() -> None:
    sightings = Sightings()
    sightings.learn(discover("b8:27:eb:15:45:10", None, "Pi 3B"), 1)
    sightings.learn(asks(f"{SERIAL}/start.elf"), 2)
    sightings.learn(discover("b8:27:eb:15:45:10", SERIAL, "Pi 3B+ or earlier"), 3)
    seen = sightings.of(SERIAL)
    assert seen is not None
    assert seen.model == "Pi 3B"


def test_a_server_that_gives_addresses_is_known_for_a_while() -> None:
    sightings = Sightings()
    assert sightings.giver(1) == ""
    sightings.learn(request(THERE, "00:00:00:00:00:01"), 1)
    assert (sightings.giver(800), sightings.giver(5000)) == (ROUTER, "")


def test_changes_are_bounded() -> None:
    swaps = Swaps(60)
    for number in range(5000):
        swaps.take(f"place {number}", "a", "b", number)
    assert sum(swaps.at(f"place {number}") is not None for number in range(5000)) == 256


# Asking the table


class Table:
    """A neighbour table; None is one that cannot be read."""

    def __init__(self, table: Mapping[str, str] | None) -> None:
        self.table = table
        self.read = 0

    async def __call__(self) -> Mapping[str, str]:
        self.read += 1
        if self.table is None:
            raise OperatorError("it cannot be read")
        return self.table


STRANGE = [
    asks("bootcode.bin"),
    TransferEnded(HERE, 49152, SERVER, "bootcode.bin", Outcome.MISSING),
    RootMounted(SERIAL, HERE, 1),
    HttpServed(HERE, "GET", "/user-data", 200, 10, "seed"),
]


@pytest.mark.parametrize("event", STRANGE, ids=lambda event: type(event).__name__)
async def test_what_a_stranger_did_is_told_again_once_it_is_known_who_that_is(event: Event) -> None:
    sightings, again = Sightings(), list[Event]()
    sightings.learn(discover(), 1)
    identity = Identity(Table({HERE: MAC}), sightings, again.append)
    identity.strange(event)
    await identity.look()
    assert again == [event]
    assert whose(sightings, HERE) == SERIAL
    identity.stop()


async def test_nobody_is_looked_for_on_loopback_nor_for_what_tells_nothing() -> None:
    table = Table({})
    identity = Identity(table, Sightings(), lambda _: None)
    identity.strange(asks("bootcode.bin", "127.0.0.1"))
    identity.strange(HttpServed(HERE, "GET", "/", 200, 10, "page"))
    identity.strange(TransferEnded(HERE, 1, SERVER, "x", Outcome.SENT))
    await identity.meet("127.0.0.1")
    await asyncio.sleep(0)
    assert table.read == 0


async def test_the_table_is_read_for_those_who_are_not_known_and_not_over_and_over() -> None:
    sightings, table = Sightings(), Table({HERE: MAC})
    sightings.learn(discover(), 1)
    identity = Identity(table, sightings, lambda _: None)
    await asyncio.gather(*(identity.meet(HERE) for _ in range(20)))
    assert table.read == 1
    await identity.meet(HERE)
    assert table.read == 1
    for _ in range(50):
        identity.strange(asks("x", THERE))
    await asyncio.sleep(0.1)
    assert table.read == 1
    identity.stop()


async def test_a_machine_that_is_no_pi_waits_once_for_all_files_of_a_seed() -> None:
    table = Table({HERE: ROUTERS_MAC})
    identity = Identity(table, Sightings(), lambda _: None)
    for _ in range(4):
        await identity.meet(HERE)
    assert table.read == 1
    identity.stop()


async def test_a_table_that_cannot_be_read_is_no_harm() -> None:
    identity = Identity(Table(None), Sightings(), lambda _: None)
    await identity.meet(HERE)
    identity.stop()


def test_the_kernels_own_table_is_read() -> None:
    require_root()
    require("unshare", "ip")
    script = f"""
        ip link add d0 type veth peer name d1 && ip link set d1 up
        ip address add 10.9.9.1/24 dev d0 && ip link set d0 up
        ip neighbour add 10.9.9.2 lladdr {MAC} dev d0 nud stale
        ip neighbour add 10.9.9.3 dev d0 nud incomplete
        exec {sys.executable} -c 'from pinetboot.net import links; print(links.neighbours())'
    """
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stdout.strip() == str({"10.9.9.2": MAC}), done.stderr
