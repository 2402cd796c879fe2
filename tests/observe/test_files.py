"""The files of a boot: how they are kept, and how little room they take."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from zlib import compress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.events import HttpServed, Outcome, TransferEnded
from pinetboot.observe import files as kept_files
from pinetboot.observe.files import MOST_FILES, MOST_PACKED, RESULTS, File, Files, bound, own_name
from pinetboot.observe.stages import SEED, STAGES

SERIAL = "5b154510"

files = st.builds(
    File,
    st.text(max_size=100),
    st.integers(0, len(STAGES) - 1),
    st.integers(0, 10**9).map(lambda ms: ms / 1000),
    st.integers(0, 10**6).map(lambda ms: ms / 1000),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
    st.sampled_from(sorted(set(RESULTS.values()))),
    st.integers(0, 1 << 20),
)


def ended(path: str, outcome: Outcome = Outcome.SENT, seconds: float = 1.0) -> TransferEnded:
    return TransferEnded("192.168.1.57", 2000, "192.168.1.10", path, outcome, 100, 90, seconds, 2)


@given(st.lists(files, max_size=MOST_FILES + 5))
def test_what_is_packed_comes_back_as_it_was(told: list[File]) -> None:
    made = Files()
    for one in told:
        made.add(one)
    before = made.all()
    read = kept_files.from_kept(json.loads(json.dumps(made.to_kept())))
    made.pack()
    assert made.all() == read.all() == before == told[:MOST_FILES]
    assert (made.more, made.more_size) == (read.more, read.more_size)
    assert made.more == max(0, len(told) - MOST_FILES)


def test_every_way_that_a_transfer_ends_has_a_word() -> None:
    made = Files()
    for outcome in Outcome:
        made.take(ended(f"{SERIAL}/start4.elf", outcome), SERIAL, 1, 5.0)
    assert len(made.all()) == len(Outcome)
    first = made.all()[0]
    assert (first.name, first.first, first.seconds, first.size, first.sent, first.resent) == (
        "start4.elf", 4.0, 1.0, 100, 90, 2,
    )  # fmt: skip


def test_what_an_attempt_before_began_is_left_out() -> None:
    made = Files()
    made.take(ended("x", seconds=9.0), SERIAL, 1, 3.0)
    made.take(ended("y", seconds=3.1), SERIAL, 1, 3.0)
    assert [(one.name, one.first) for one in made.all()] == [("y", 0.0)]


@pytest.mark.parametrize(("status", "result"), [(200, "ok"), (404, "missing"), (403, "refused"), (499, "aborted")])
def test_a_seed_is_a_file_as_well(status: int, result: str) -> None:
    made = Files()
    made.take_http(HttpServed("192.168.1.57", "GET", f"/seed/{SERIAL}/user-data", status, 10, "seed"), SEED, 30.0)
    assert made.all() == [File("user-data", STAGES.index("seed"), 30.0, 0.0, 10, 10, result)]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("5b154510/overlays/x.dtbo", "overlays/x.dtbo"),
        ("5B154510/x", "x"),
        ("dc-a6-32-2e-f8-ed/x", "x"),
        ("bootcode.bin", "bootcode.bin"),
        ("overlays/x.dtbo", "overlays/x.dtbo"),
        ("da591740/x", "da591740/x"),
        ("n" * 300, "n" * 99 + "…"),
    ],
)
def test_a_name_is_said_without_the_folder_of_its_pi(path: str, name: str) -> None:
    assert own_name(path, SERIAL) == name


def test_the_files_of_the_oldest_boots_give_way() -> None:
    boots = []
    for number in range(40):
        made = Files()
        for file in range(MOST_FILES):
            made.add(File(f"{number * 7919 + file * 104729:x}" * 8, 1, file, 0.1, file, file, "ok"))
        made.pack()
        boots.append(made)
    bound(reversed(boots))
    assert sum(one.packed_size for one in boots) <= MOST_PACKED
    assert [one.lost for one in boots] == sorted((one.lost for one in boots), reverse=True)
    assert boots[-1].all()
    assert not boots[0].all()


GOOD = File("x", 1, 0.5, 0.5, 1, 1, "ok", 0)


@pytest.mark.parametrize(
    "spoilt",
    [
        {0: 1}, {0: "n" * 101}, {1: 7}, {1: -1}, {1: None}, {2: "x"}, {2: 1e9}, {2: float("nan")}, {3: -1},
        {3: float("inf")}, {4: -1}, {5: 0.5}, {6: "gone"}, {6: 1}, {7: "x"},
    ],
)  # fmt: skip
def test_a_row_that_is_none_is_left_out(spoilt: dict[int, Any]) -> None:
    bad = [spoilt.get(place, value) for place, value in enumerate(GOOD)]
    packed = b64encode(compress(json.dumps([bad, GOOD]).encode())).decode()
    assert kept_files.from_kept([packed, 0, 0, False]).all() == [GOOD]


@pytest.mark.parametrize(
    "spoilt",
    [
        None, 1, [], ["", 0, 0], ["%", 0, 0, False], ["AAAA", 0, 0, False], ["A" * (1 << 20), 0, 0, False],
        [b64encode(compress(b"{}")).decode(), 0, 0, False], [b64encode(compress(b"[" * 9999)).decode(), 0, 0, False],
        [b64encode(compress(b"[" + b" " * (1 << 20))).decode(), 0, 0, False], ["", -1, 0, False], [0, 0, 0, False],
    ],
)  # fmt: skip
def test_what_was_never_kept_by_us_is_no_files(spoilt: object) -> None:
    assert kept_files.from_kept(spoilt).all() == []
