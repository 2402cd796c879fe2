"""A tree stays what it is from a Pi's first request to its kernel, at most two minutes."""

from __future__ import annotations

from pinetboot.fleet.boots import HELD_S, Boots


def test_a_boot_holds_its_tree_for_two_minutes_from_its_first_request() -> None:
    boots = Boots()
    assert boots.held_s("5b154510", 0) == 0
    boots.asked("5b154510", 10)
    boots.asked("5b154510", 100)
    assert boots.held_s("5b154510", 100) == HELD_S - 90
    assert boots.held_s("5b154510", 130) == 0
    assert boots.held_s("5b154511", 100) == 0


def test_it_is_free_once_the_kernel_runs() -> None:
    boots = Boots()
    boots.asked("5b154510", 10)
    boots.in_linux("5b154510")
    assert boots.held_s("5b154510", 11) == 0


def test_the_next_boot_holds_again() -> None:
    boots = Boots()
    boots.asked("5b154510", 10)
    boots.asked("5b154510", 10 + HELD_S)
    assert boots.held_s("5b154510", 11 + HELD_S) == HELD_S - 1


def test_what_is_remembered_is_bounded() -> None:
    boots = Boots()
    for number in range(5000):
        boots.asked(f"{number:08x}", 0)
    assert boots.held_s(f"{0:08x}", 1) == 0
    assert boots.held_s(f"{4999:08x}", 1) > 0


def test_whoever_comes_new_takes_every_pi_for_one_that_boots() -> None:
    boots = Boots()
    boots.blind(10)
    assert boots.held_s("5b154510", 40) == HELD_S - 30
    assert boots.held_s("5b154510", 10 + HELD_S) == 0
