"""What is learned of a Pi from its requests, kept and taken back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pinetboot.events import DhcpHeard, Outcome, TransferEnded, TransferStarted
from pinetboot.observe.sightings import Seen, Sightings, from_json

MAC = "dc:a6:32:2e:f8:ed"
DISCOVER = DhcpHeard(MAC, "DISCOVER", "eth0", "192.168.1.10", serial="5b154510", model="pi4")


def started(path: str, client: str = "192.168.1.57") -> TransferStarted:
    return TransferStarted(client, 1024, "192.168.1.10", path, 1, 1468, 1)


def test_a_pi_is_known_by_what_it_asked() -> None:
    sightings = Sightings()
    assert sightings.learn(DISCOVER, 100) == "5b154510"
    assert sightings.learn(started("5B154510/start4.elf"), 101) == "5b154510"
    assert sightings.of("5b154510") == Seen("5b154510", MAC, "pi4", "192.168.1.57", 100, 101)
    assert (sightings.serial_of(MAC), sightings.mac_of("5b154510")) == ("5b154510", MAC)


def test_a_folder_by_mac_is_that_pis_once_its_serial_is_known() -> None:
    sightings = Sightings()
    assert sightings.learn(started("dc-a6-32-2e-f8-ed/start4.elf"), 1) is None
    sightings.learn(DISCOVER, 2)
    missing = TransferEnded("10.0.0.9", 1, "10.0.0.1", "DC-A6-32-2E-F8-ED/recovery.elf", Outcome.MISSING)
    assert sightings.learn(missing, 3) == "5b154510"
    assert sightings.all()[0].address == "10.0.0.9"


def test_what_names_no_pi_teaches_nothing() -> None:
    sightings = Sightings()
    assert sightings.learn(started("bootcode.bin"), 1) is None
    assert sightings.learn(DhcpHeard(MAC, "DISCOVER", "eth0", None), 1) is None
    assert sightings.all() == []
    assert sightings.changed == 0


def test_only_news_counts_as_a_change() -> None:
    sightings = Sightings()
    sightings.learn(DISCOVER, 1)
    before = sightings.changed
    sightings.learn(DISCOVER, 2)
    assert sightings.changed == before
    sightings.learn(started("5b154510/x"), 3)
    assert sightings.changed == before + 1


def test_at_most_so_many_are_remembered() -> None:
    sightings = Sightings()
    for number in range(3000):
        sightings.learn(started(f"{number:08x}/x"), number)
    assert len(sightings.all()) == 1024
    assert sightings.of(f"{2999:08x}") is not None


def test_what_was_kept_is_taken_back() -> None:
    sightings, again = Sightings(), Sightings()
    sightings.learn(DISCOVER, 1)
    again.restore(item for item in (Seen(**one) for one in json.loads(json.dumps(sightings.to_json()))))
    assert again.all() == sightings.all()
    assert again.serial_of(MAC) == "5b154510"


@given(st.recursive(st.none() | st.text() | st.floats(), lambda x: st.dictionaries(st.text(), x) | st.lists(x)))
def test_a_spoilt_file_is_no_harm(item: Any) -> None:
    assert from_json(item) is None
