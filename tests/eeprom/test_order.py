"""BOOT_ORDER in words and back."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.eeprom import order

# Reference 4.1, and the documentation's own examples.
KNOWN = {
    "sd,usb": 0xF41,
    "usb,sd": 0xF14,
    "sd,network": 0xF21,
    "network,sd": 0xF12,
    "sd,usb,network": 0xF241,
    "nvme,usb": 0xF46,
    "network,stop": 0xE2,
    "http, Network": 0xF27,
    "sd,rpiboot": 0x31,
    "0xf21": 0xF21,
}


@pytest.mark.parametrize(("words", "value"), KNOWN.items())
def test_words_become_the_number_that_is_read_from_the_right(words: str, value: int) -> None:
    assert order.parse(words, "pi5") == value


def test_an_order_is_told_in_words() -> None:
    assert order.told(0xF142) == "network (TFTP), USB, SD card, again from the start"
    assert order.has(0xF142, "network")
    assert not order.has(0xF142, "http")


@pytest.mark.parametrize(
    ("words", "model", "why"),
    [
        ("", "pi4", "'' is nothing to boot from"),
        ("network,wifi", "pi4", "'wifi' is nothing to boot from; sd, network"),
        ("stop", "pi4", "names nothing to boot from"),
        ("stop,network", "pi4", "goes on after stop"),
        ("rpiboot,network", "pi4", "goes on after rpiboot"),
        ("sd,usb,sd,usb,sd,usb,sd,usb,sd", "pi4", "more than 8 steps"),
        ("nvme", "pi4", "a Pi 4 has no NVMe"),
        ("0xf6", "pi4", "a Pi 4 has no NVMe"),
        ("usb-bcm", "pi5", "a Pi 5 has none"),
        ("0x", "pi4", "'0x' is no number"),
        ("0xf210", "pi4", "has a 0"),
        ("0xf81", "pi4", "has the digit 8"),
        ("0xf21f41f41", "pi4", "more than 8 steps"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(words: str, model: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("(", r"\(")):
        order.parse(words, model)


@given(st.lists(st.sampled_from(["sd", "network", "usb", "http"]), min_size=1, max_size=7))
def test_each_step_is_tried_in_its_turn_and_then_all_again(words: list[str]) -> None:
    value = order.parse(",".join(words), "cm4")
    assert order.digits_of(value) == [order.DIGITS[word] for word in [*words, "restart"]]
    assert order.parse(f"0x{value:x}", "cm4") == value


@given(st.text(max_size=40))
def test_any_text_is_an_order_or_is_refused(text: str) -> None:
    with suppress(ValueError):
        assert 0 < order.parse(text, "pi4") <= 0xFFFFFFFF
