"""What a Pi makes of an update of its bootloader, told by the files that it is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.eeprom.update import MOST, WORDS, Came, Watched

# S: it was sent all of it. What stands alone it asked for, there or not.
PI4_START = ["start4.elf", "config.txt", "S config.txt", "vl805.sig"]
PI4_ON = ["recover4.elf", "recovery.elf", "start4.elf", "S start4.elf", "fixup4.dat", "S fixup4.dat"]
PI5_START = ["config.txt", "S config.txt"]
PI5_ON = ["bcm2712-rpi-5-b.dtb", "S bcm2712-rpi-5-b.dtb", "kernel_2712.img"]
LOOKS = ["pieeprom.sig", "S pieeprom.sig"]
TAKES = ["pieeprom.upd", "S pieeprom.upd"]
STARTS = {"Pi 4": (PI4_START, PI4_ON), "Pi 5": (PI5_START, PI5_ON)}


def watch(*names: str, fetched: int = 0) -> Watched:
    watched = Watched(fetched)
    for name in names:
        watched.sent(name[2:]) if name.startswith("S ") else watched.asked(name)
    return watched


@pytest.mark.parametrize("model", STARTS)
def test_a_pi_that_takes_it_starts_over_and_goes_on_was_flashed(model: str) -> None:
    start, on = STARTS[model]
    under_way = watch(*start, *LOOKS, *TAKES, *start)
    assert (under_way.came, under_way.fetched) == (Came.OFFERED, 1)
    assert watch(*start, *LOOKS, *TAKES, *start, *LOOKS).came is Came.OFFERED
    assert watch(*start, *LOOKS, *TAKES, *start, *LOOKS, *on).came is Came.FLASHED


@pytest.mark.parametrize("model", STARTS)
def test_one_that_took_it_before_the_daemon_was_started_anew_was_flashed_too(model: str) -> None:
    start, on = STARTS[model]
    assert watch(*start, *LOOKS, *on, fetched=1).came is Came.FLASHED


@pytest.mark.parametrize("model", STARTS)
def test_one_that_looks_and_goes_on_has_declined(model: str) -> None:
    start, on = STARTS[model]
    assert watch(*start, *LOOKS, *on).came is Came.DECLINED


@pytest.mark.parametrize("model", STARTS)
def test_one_that_takes_it_and_goes_on_has_it_already(model: str) -> None:
    start, on = STARTS[model]
    assert watch(*start, *LOOKS, *TAKES, *on).came is Came.SAME


@pytest.mark.parametrize("model", STARTS)
def test_one_that_takes_it_again_and_again_is_in_a_loop(model: str) -> None:
    start, _ = STARTS[model]
    loop = [*start, *LOOKS, *TAKES]
    assert watch(*loop * MOST).came is Came.OFFERED
    assert watch(*loop * MOST, *start, *LOOKS).came is Came.LOOP


@pytest.mark.parametrize("model", STARTS)
def test_a_boot_that_began_before_the_update_was_there_tells_nothing(model: str) -> None:
    _, on = STARTS[model]
    assert watch("pieeprom.sig", *on).came is Came.OFFERED
    assert watch("pieeprom.sig", *on, *STARTS[model][0]).came is Came.OFFERED


def test_what_has_come_of_it_stays() -> None:
    declined = watch(*PI5_START, *LOOKS, *PI5_ON, *PI5_START, *LOOKS, *TAKES, *PI5_ON)
    assert declined.came is Came.DECLINED


@given(st.lists(st.sampled_from([*PI4_START, *PI4_ON, *LOOKS, *TAKES]), max_size=40))
def test_nothing_comes_of_it_before_the_signature_was_sent(names: list[str]) -> None:
    watched = Watched()
    seen = False
    for name in names:
        watched.sent(name[2:]) if name.startswith("S ") else watched.asked(name)
        seen |= name == "S pieeprom.sig"
        assert seen or watched.came is Came.OFFERED
    assert watched.came in WORDS
