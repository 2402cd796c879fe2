"""When a new generation has proved itself, and when its Pi goes back."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pinetboot.fleet import trial
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.trial import Back, Fallback, Stuck, Trials, wish

SERIAL = "5b154510"
AFTER_S = 300.0
FILES = 5


def boots(trials: Trials, generation: int, at: float, files: int = FILES) -> None:
    for number in range(files):
        trials.asked(SERIAL, generation, at + number)


def proved(generation: int) -> Trials:
    trials = Trials()
    boots(trials, generation, 0.0)
    trials.mounted(SERIAL, generation)
    assert trials.online(SERIAL)
    return trials


def sent_back() -> Trials:
    trials = proved(1)
    boots(trials, 2, 1000.0)
    assert trials.judged(SERIAL, 2, {1, 2}) == Back(2, 1)
    trials.fallen[SERIAL] = Fallback(2, 1, 0.0, AFTER_S, "")
    return trials


def test_a_new_generation_that_is_late_gives_way_to_the_last_good_one() -> None:
    trials = proved(3)
    boots(trials, 5, 1000.0)
    assert trials.late(1000.0 + AFTER_S - 1, AFTER_S) == []
    assert trials.late(1000.0 + AFTER_S, AFTER_S) == [SERIAL]
    assert trials.judged(SERIAL, 5, {3, 4, 5}) == Back(5, 3)
    assert trials.late(9999.0, AFTER_S) == []


def test_a_boot_that_is_repeated_counts_from_its_first_attempt() -> None:
    trials = proved(1)
    for at in range(1000, 1300, 60):
        boots(trials, 2, at)
    assert trials.late(1000.0 + AFTER_S, AFTER_S) == [SERIAL]


def test_one_that_comes_online_is_the_good_one_from_then_on() -> None:
    trials = proved(1)
    boots(trials, 2, 1000.0)
    assert trials.online(SERIAL)
    assert trials.good == {SERIAL: 2}
    assert trials.late(1e6, AFTER_S) == []
    boots(trials, 2, 2000.0)  # a good one that boots again is on no trial
    assert not trials.online(SERIAL)
    assert trials.late(1e6, AFTER_S) == []


def test_a_root_that_is_mounted_is_waited_for_until_the_pi_boots_anew() -> None:
    trials = proved(1)
    boots(trials, 2, 1000.0)
    trials.mounted(SERIAL, 2)
    assert trials.late(5000.0, AFTER_S) == []
    boots(trials, 2, 6000.0)
    assert trials.late(6001.0, AFTER_S) == [SERIAL]


def test_the_root_of_another_generation_proves_nothing() -> None:
    trials = proved(1)
    boots(trials, 2, 1000.0)
    trials.mounted(SERIAL, 1)
    assert trials.late(1000.0 + AFTER_S, AFTER_S) == [SERIAL]


def test_without_a_good_one_nothing_is_changed() -> None:
    trials = Trials()
    boots(trials, 1, 0.0)
    assert trials.late(1e6, AFTER_S) == [SERIAL]
    assert trials.judged(SERIAL, 1, {1}) is None
    trials = proved(1)
    boots(trials, 3, 1000.0)
    assert trials.judged(SERIAL, 3, {2, 3}) is None  # the good one was removed


def test_where_something_else_is_booted_by_now_nothing_is_changed() -> None:
    trials = proved(1)
    boots(trials, 2, 1000.0)
    assert trials.judged(SERIAL, 3, {1, 2, 3}) is None
    assert trials.judged(SERIAL, None, {1, 2}) is None


def test_somebody_who_looks_at_a_file_or_two_begins_no_trial() -> None:
    trials = proved(1)
    boots(trials, 2, 1000.0, files=2)
    assert trials.late(1e6, AFTER_S) == []
    assert not trials.online(SERIAL)
    assert trials.good == {SERIAL: 1}


def test_it_is_off_where_no_time_is_set() -> None:
    trials = proved(1)
    boots(trials, 2, 1000.0)
    assert trials.late(1e6, 0) == []


def test_when_the_older_one_fails_as_well_it_is_said_once_and_nothing_more_changes() -> None:
    trials = sent_back()
    boots(trials, 1, 2000.0)
    assert trials.late(2000.0 + AFTER_S, AFTER_S) == [SERIAL]
    assert trials.judged(SERIAL, 1, {1, 2}) == Stuck(1)
    boots(trials, 1, 3000.0)
    assert trials.late(1e6, AFTER_S) == []


def test_when_the_older_one_comes_online_it_stays() -> None:
    trials = sent_back()
    boots(trials, 1, 2000.0)
    trials.online(SERIAL)
    assert trials.late(1e6, AFTER_S) == []
    assert trials.good == {SERIAL: 1}


def test_what_another_host_came_to_know_counts_and_its_trials_begin_anew() -> None:
    trials = proved(1)
    boots(trials, 2, 1000.0)
    trials.forget({SERIAL: 2}, {})
    assert trials.late(1e6, AFTER_S) == []
    assert trials.good == {SERIAL: 2}


def test_a_wish_is_another_when_anything_is_said_of_the_pi() -> None:
    pi = Pi(serial=SERIAL)
    assert wish(pi, "a") == wish(Pi(serial=SERIAL), "a")
    others = [wish(pi, "b"), wish(Pi(serial=SERIAL, cmdline="x"), "a"), wish(Pi(serial=SERIAL, data={"k": 1}), "a")]
    assert wish(pi, "a") not in others


def test_a_fallback_comes_back_as_it_was_kept() -> None:
    one = Fallback(2, 1, 1.7e9, 300.0, "abc")
    assert trial.from_json(json.loads(json.dumps(one.to_json()))) == one


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(),
        lambda inner: st.dictionaries(st.sampled_from(["fled", "to", "at", "after_s", "wanted"]), inner),
    )
)
def test_what_is_no_fallback_is_none(item: object) -> None:
    found = trial.from_json(item)
    assert found is None or isinstance(found, Fallback)


_STEPS = st.lists(
    st.tuples(st.sampled_from(["asked", "mounted", "online", "late"]), st.integers(1, 4), st.floats(0, 400)),
    max_size=80,
)


@given(_STEPS)
def test_whatever_happens_no_generation_is_fled_twice_and_none_is_fled_to_that_was_not_good(
    steps: list[tuple[str, int, float]],
) -> None:
    trials = Trials()
    now, current, fled, good = 0.0, 1, set(), set()
    for what, generation, later in steps:
        now += later
        if what == "asked":
            # A generation that was fled is not booted any more; what fleet.toml asks for next has a new number.
            current = generation if SERIAL not in trials.fallen and generation not in fled else current
            trials.asked(SERIAL, current, now)
        elif what == "mounted":
            trials.mounted(SERIAL, generation)
        elif what == "online" and trials.online(SERIAL):
            good.add(current)
        for _ in trials.late(now, AFTER_S):
            found = trials.judged(SERIAL, current, {1, 2, 3, 4})
            if isinstance(found, Back):
                assert found.fled == current
                assert found.fled not in fled
                assert found.to in good
                fled.add(current)
                current = found.to
                trials.fallen[SERIAL] = Fallback(found.fled, found.to, now, AFTER_S, "")
