"""Faults by name: how they are read, which datagrams they hit, and what a profile becomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.pi.faults import KINDS, LATE_S, Fault, Meddler, Way, applied, of_pi, parse
from pinetboot.pi.profiles import PROFILES
from pinetboot.tftp import packet

OACK = packet.encode_oack({"tsize": "1"})
DATA = b"\0\3\0\1data"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("drop", Fault("drop", "10")),
        ("drop:7", Fault("drop", "7")),
        ("drop:7@3", Fault("drop", "7", 3)),
        ("drop@3", Fault("drop", "10", 3)),
        ("overlap", Fault("overlap")),
        ("text:Some: Menu", Fault("text", "Some: Menu")),
        ("text:a@b@12", Fault("text", "a@b", 12)),
    ],
)
def test_a_fault_is_a_name_an_argument_and_which_pi(text: str, fault: Fault) -> None:
    assert parse(text) == fault


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no fault; there are drop,"),
        ("nosuch", "is no fault; there are drop,"),
        ("drop:0", "drop takes a number from 1 on"),
        ("drop:x", "drop takes a number from 1 on"),
        ("drop@0", "is no fault"),
        ("overlap:1", "overlap takes no argument"),
        ("text:\u00fc", "ASCII"),
        ("blksize:7", "a block has 8 to 65464 bytes"),
    ],
)
def test_what_is_none_is_refused_in_words(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse(text)


@given(
    st.text(max_size=20)
    | st.sampled_from(sorted(KINDS)).flatmap(lambda name: st.text(max_size=6).map(f"{name}:".__add__))
)
def test_any_text_is_a_fault_or_refused(text: str) -> None:
    try:
        fault = parse(text)
    except ValueError:
        return
    Meddler([fault]).fate(Way.TFTP_HEARD, OACK)
    assert applied(PROFILES["pi4"], [fault]).model == "pi4"
    assert parse(str(fault)) == Fault(fault.name, fault.argument)


@pytest.mark.parametrize("name", KINDS)
def test_each_changes_datagrams_or_the_profile(name: str) -> None:
    fault = parse(name)
    kind = KINDS[name]
    assert (kind.rule is None) != (kind.changes is None)
    before = PROFILES["pi3bp"]
    after = applied(before, [fault])
    assert (after != before) is (kind.changes is not None)
    if kind.changes is not None:
        # What a Pi loads has it as well: bootcode.bin, say.
        assert after.speaking(1) != before.speaking(1)


def test_the_nth_datagram_of_its_way_is_hit_and_no_other() -> None:
    cases = {"drop:3": (), "delay:3": (LATE_S,), "duplicate:3": (0.0, 0.0)}
    for text, fate in cases.items():
        meddler = Meddler([parse(text)])
        assert [meddler.fate(Way.DHCP_HEARD, DATA) for _ in range(5)] == [(0.0,)] * 5
        assert [meddler.fate(Way.TFTP_HEARD, DATA) for _ in range(5)] == [(0.0,)] * 2 + [fate] + [(0.0,)] * 2
    meddler = Meddler([parse("drop-sent:1")])
    assert [meddler.fate(Way.TFTP_SENT, DATA) for _ in range(2)] == [(), (0.0,)]


def test_from_the_nth_on_all_are_hit() -> None:
    meddler = Meddler([parse("silence:2"), parse("unplug:3")])
    assert [meddler.fate(Way.TFTP_HEARD, DATA) for _ in range(4)] == [(0.0,), (), (), ()]
    assert [meddler.fate(Way.TFTP_SENT, DATA) for _ in range(4)] == [(0.0,), (0.0,), (), ()]


def test_every_oack_comes_twice_and_nothing_else() -> None:
    meddler = Meddler([parse("duplicate-oack")])
    assert [len(meddler.fate(Way.TFTP_HEARD, one)) for one in (OACK, DATA, OACK, b"")] == [2, 1, 2, 1]


def test_of_several_a_loss_counts_most() -> None:
    assert Meddler([parse("delay:1"), parse("drop:1"), parse("duplicate:1")]).fate(Way.TFTP_HEARD, DATA) == ()


def test_a_fault_may_be_for_one_pi_of_many() -> None:
    faults = [parse("drop"), parse("overlap@2"), parse("rollover@3")]
    assert of_pi(faults, 1) == (faults[0],)
    assert of_pi(faults, 2) == tuple(faults[:2])
