"""Updates of bootloaders on disk: in every boot tree or in none, and never somebody else's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import pytest

from pinetboot.eeprom import signature
from pinetboot.eeprom.update import Came
from pinetboot.errors import OperatorError
from pinetboot.events import BootloaderUpdate, Event, Outcome, TransferEnded, TransferStarted
from pinetboot.fleet import flashing, made
from pinetboot.fleet.fence import ALONE, Lost
from pinetboot.fleet.flashing import Record, Update
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.known import Known
from pinetboot.fleet.made import Made
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.updates import Updates

T = TypeVar("T")

SERIAL = "5b154510"
CLIENT, SERVER = "192.168.1.101", "192.168.1.10"


def make(content: bytes, timestamp: int = 5) -> Update:
    digest = sha256(content).digest()
    sig = signature.to_text(digest, timestamp).encode()
    told = signature.parse(sig)
    assert told is not None
    return Update(content, sig, told)


FIRST, SECOND = make(b"first" * 1000), make(b"second" * 1000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A Pi with two generations."""
    for number in (1, 2):
        own = tmp_path / "pis" / SERIAL / str(number)
        (own / "boot").mkdir(parents=True)
        (own / made.NAME).write_text(made.to_text(Made("a", "x", "2026-01-01T00:00:00+00:00", "none")))
    return tmp_path


def boot(data: Path, number: int) -> Path:
    return data / "pis" / SERIAL / str(number) / "boot"


def served(data: Path) -> dict[str, bytes]:
    """What lies in the boot trees, by number and name."""
    found: dict[str, bytes] = {}
    for number in (1, 2):
        found |= {f"{number}/{path.name}": path.read_bytes() for path in boot(data, number).iterdir()}
    return found


def both(update: Update, *numbers: int) -> dict[str, bytes]:
    return {
        f"{number}/{name}": content
        for number in numbers
        for name, content in (("pieeprom.upd", update.content), ("pieeprom.sig", update.sig))
    }


def want(data: Path, update: Update) -> None:
    flashing.want(data, SERIAL, update.content, update.sig)


def test_what_is_asked_for_is_read_back_once_it_is_all_there(data: Path) -> None:
    assert flashing.wanted(data, SERIAL) is None
    want(data, FIRST)
    assert flashing.wanted(data, SERIAL) == FIRST
    assert flashing.is_wanted(data, SERIAL, FIRST.told.digest.hex())
    (data / "state" / "eeprom" / f"{SERIAL}.upd").write_bytes(SECOND.content)  # a newer one is being written
    assert flashing.wanted(data, SERIAL) is None
    assert flashing.forget(data, SERIAL)
    assert not flashing.forget(data, SERIAL)


def test_it_is_put_into_a_tree_and_taken_out_of_all(data: Path) -> None:
    assert flashing.put(data, SERIAL, 1, FIRST, ALONE)
    assert not flashing.put(data, SERIAL, 1, FIRST, ALONE)
    assert flashing.put(data, SERIAL, 2, FIRST, ALONE)
    assert served(data) == both(FIRST, 1, 2)
    flashing.clear(data, SERIAL, SECOND.told.digest.hex(), ALONE)
    assert served(data) == both(FIRST, 1, 2)
    flashing.clear(data, SERIAL, FIRST.told.digest.hex(), ALONE)
    assert not served(data)


def test_somebody_elses_is_neither_replaced_nor_taken_away(data: Path) -> None:
    theirs = both(SECOND, 1)
    for name, content in theirs.items():
        (boot(data, 1).parent.parent / name[:1] / "boot" / name[2:]).write_bytes(content)
    with pytest.raises(OperatorError, match="which is not pinetboot's"):
        flashing.put(data, SERIAL, 1, FIRST, ALONE)
    flashing.clear(data, SERIAL, FIRST.told.digest.hex(), ALONE)
    assert served(data) == theirs
    assert flashing.others(boot(data, 1), None)
    assert not flashing.others(boot(data, 2), None)
    # Our own, which a newer request takes the place of, is replaced.
    flashing.keep(data, SERIAL, Record(SECOND.told.digest.hex(), 5, Came.OFFERED, 1.0), ALONE)
    assert not flashing.others(boot(data, 1), flashing.record(data, SERIAL))
    assert flashing.put(data, SERIAL, 1, FIRST, ALONE)
    assert served(data) == both(FIRST, 1)


def test_a_link_that_a_pi_planted_is_not_followed(data: Path) -> None:
    outside = data / "outside"
    outside.write_bytes(b"mine")
    for name in ("pieeprom.upd", "pieeprom.sig"):
        (boot(data, 1) / name).symlink_to("../../../../outside")
    flashing.put(data, SERIAL, 1, FIRST, ALONE)
    assert served(data) == both(FIRST, 1)
    assert outside.read_bytes() == b"mine"


class _Going:
    """A claim that is lost after so many uses."""

    mark, lost = "", False

    def __init__(self, uses: int) -> None:
        self.uses = uses

    def check(self) -> None:
        self.uses -= 1
        if self.uses < 0:
            raise Lost

    @contextmanager
    def held(self) -> Iterator[None]:
        self.check()
        yield


def test_whoever_lost_the_claim_puts_and_takes_nothing(data: Path) -> None:
    with pytest.raises(Lost):
        flashing.put(data, SERIAL, 1, FIRST, _Going(0))
    assert not served(data)
    flashing.put(data, SERIAL, 1, FIRST, ALONE)
    with pytest.raises(Lost):
        flashing.clear(data, SERIAL, FIRST.told.digest.hex(), _Going(0))
    assert served(data) == both(FIRST, 1)


def test_what_became_of_it_is_kept_and_spoilt_files_say_nothing(data: Path) -> None:
    one = Record("ab", 5, Came.FLASHED, 1.5, 2)
    flashing.keep(data, SERIAL, one, ALONE)
    assert flashing.records(data) == {SERIAL: one}
    path = data / "state" / "eeprom" / f"{SERIAL}.json"
    good = json.loads(path.read_text())
    for spoilt in (
        "",
        "[]",
        "nothing",
        *(json.dumps(good | change) for change in ({"came": "?"}, {"at": -1}, {"digest": 1})),
    ):
        path.write_text(spoilt)
        assert flashing.record(data, SERIAL) is None


class House:
    """Updates over a data directory, with the events that they tell."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.told: list[Event] = []
        self.known = Known()
        self.known.inventory = Inventory((Pi(serial=SERIAL, hostname="node-1"),))
        self.updates = Updates(data, self.known, self._now, self.told.append)
        self.fence = _Going(10_000)

    @staticmethod
    async def _now(_place: str, work: Callable[[], T]) -> T:
        return work()

    def offer(self, number: int = 1) -> None:
        asyncio.run(self.updates.offer(Pi(serial=SERIAL), number, self.fence))

    def look(self) -> None:
        asyncio.run(self.updates.look(self.fence))

    def sees(self, *names: str, client: str = CLIENT) -> None:
        """S: it was sent all of it; else it is not there."""
        for name in names:
            path = f"{SERIAL}/{name.removeprefix('S ')}"
            if name.startswith("S "):
                self.updates.take(TransferStarted(client, 1, SERVER, path, 9, 512, 1), SERIAL)
            outcome = Outcome.SENT if name.startswith("S ") else Outcome.MISSING
            self.updates.take(TransferEnded(client, 1, SERVER, path, outcome), SERIAL)

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.told if isinstance(event, BootloaderUpdate)]


TAKES = ("S config.txt", "S pieeprom.sig", "S pieeprom.upd")
GOES_ON = ("S config.txt", "S pieeprom.sig", "recover4.elf")


def test_an_update_goes_from_being_asked_for_to_being_gone(data: Path) -> None:
    house = House(data)
    house.offer()
    assert not house.told
    want(data, FIRST)
    house.offer()
    house.offer()
    assert served(data) == both(FIRST, 1)
    house.sees(*TAKES)
    house.look()
    assert served(data) == both(FIRST, 1)
    house.offer(2)  # a new generation was made meanwhile
    house.sees(*GOES_ON)
    house.look()
    assert not served(data)
    assert not flashing.is_wanted(data, SERIAL, FIRST.told.digest.hex())
    assert house.states == ["offered", "flashed"]
    shown = house.updates.shown(SERIAL)
    assert shown is not None
    assert shown["state"] == "flashed"
    # The same one once more is another request.
    want(data, make(FIRST.content, timestamp=6))
    house.offer()
    assert house.states[2:] == ["offered"]


def test_another_daemon_goes_on_where_one_left_off(data: Path) -> None:
    want(data, FIRST)
    house = House(data)
    house.offer()
    house.sees(*TAKES)
    house.look()
    again = House(data)
    again.look()
    again.sees(*GOES_ON)
    again.look()
    assert again.states == ["flashed"]
    assert not served(data)


def test_a_newer_request_takes_the_place_of_one_that_waits(data: Path) -> None:
    house = House(data)
    want(data, FIRST)
    house.offer()
    house.sees(*TAKES)
    want(data, SECOND)
    house.look()
    house.offer()
    assert served(data) == both(SECOND, 1)
    house.sees(*GOES_ON)  # it says nothing of this one that the Pi took the other
    house.look()
    assert house.states == ["offered", "offered", "declined"]
    assert not served(data)


def test_what_others_fetch_says_nothing_of_the_pi(data: Path) -> None:
    house = House(data)
    house.known.inventory = Inventory((Pi(serial=SERIAL, address=CLIENT),))
    want(data, FIRST)
    house.offer()
    for client in ("127.0.0.1", SERVER, "192.168.1.50"):
        house.sees(*TAKES, *GOES_ON, client=client)
    house.look()
    assert house.states == ["offered"]
    house.sees(*TAKES, *GOES_ON)
    house.look()
    assert house.states == ["offered", "flashed"]


def test_one_that_cannot_be_put_there_is_tried_again(data: Path) -> None:
    house = House(data)
    want(data, FIRST)
    (boot(data, 1) / "pieeprom.sig").write_bytes(SECOND.sig)
    with pytest.raises(OperatorError):
        house.offer()
    house.look()
    assert not house.told
    (boot(data, 1) / "pieeprom.sig").unlink()
    house.offer()
    assert (house.states, served(data)) == (["offered"], both(FIRST, 1))


def test_one_that_is_taken_back_goes(data: Path) -> None:
    house = House(data)
    want(data, FIRST)
    house.offer()
    flashing.forget(data, SERIAL)
    house.look()
    assert (house.states, served(data)) == (["offered", "cancelled"], {})
