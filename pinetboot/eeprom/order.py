"""BOOT_ORDER in words: `network,usb,sd` for 0xf142, and back (reference 4.1).

Belongs here: the digits, and which of them a model knows. Never here: any other setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_RPIBOOT, _STOP, _RESTART = 0x3, 0xE, 0xF
DIGITS: Final[Mapping[str, int]] = {
    "sd": 0x1,
    "network": 0x2,
    "rpiboot": _RPIBOOT,
    "usb": 0x4,
    "usb-bcm": 0x5,
    "nvme": 0x6,
    "http": 0x7,
    "stop": _STOP,
    "restart": _RESTART,
}
_TOLD: Final[Mapping[int, str]] = {
    0x1: "SD card",
    0x2: "network (TFTP)",
    _RPIBOOT: "rpiboot",
    0x4: "USB",
    0x5: "USB of the chip itself",
    0x6: "NVMe",
    0x7: "HTTP",
    _STOP: "stop",
    _RESTART: "again from the start",
}
_MOST_DIGITS: Final = 8
_LAST: Final = frozenset({_RPIBOOT, _STOP, _RESTART})  # nothing is tried after these
# What a family does not have, and why.
_LACKS: Final[Mapping[tuple[str, int], str]] = {
    ("pi5", 0x5): "usb-bcm is the USB port of the chip of a Pi 4; a Pi 5 has none",
    ("pi4", 0x6): "a Pi 4 has no NVMe; a Compute Module 4 has (--model cm4)",
}


def parse(text: str, model: str) -> int:
    """Read words between commas, or a number such as 0xf21, for a model. Raises ValueError with what is right.

    Where the words end without `restart`, `stop` or `rpiboot`, the order begins again at its end.
    """
    digits = _of_number(text) if text.lower().startswith("0x") else _of_words(text)
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"{text!r} has more than {_MOST_DIGITS} steps, which BOOT_ORDER has room for")
    early = next((digit for digit in digits[:-1] if digit in _LAST), None)
    if early is not None:
        raise ValueError(f"{text!r} goes on after {_word(early)}, which nothing is tried after; put it last")
    if not set(digits) - {_STOP, _RESTART}:
        raise ValueError(f"{text!r} names nothing to boot from; network, usb or sd, say, would")
    for digit in digits:
        why = _LACKS.get((model, digit))
        if why is not None:
            raise ValueError(f"{text!r} cannot be: {why}")
    return sum(digit << 4 * place for place, digit in enumerate(digits))


def digits_of(value: int) -> list[int]:
    """Give the digits in the order in which they are tried: from the right (reference 4.1)."""
    return [int(digit, 16) for digit in reversed(f"{value:x}")]


def told(value: int) -> str:
    """Put an order into words for people."""
    return ", ".join(_TOLD.get(digit, f"{digit:x}, which is not known here") for digit in digits_of(value))


def has(value: int, word: str) -> bool:
    """Whether an order tries what a word of DIGITS names."""
    return DIGITS[word] in digits_of(value)


def _of_words(text: str) -> list[int]:
    digits = []
    for word in (part.strip().lower() for part in text.split(",")):
        if word not in DIGITS:
            raise ValueError(f"{word!r} is nothing to boot from; {', '.join(DIGITS)} are")
        digits.append(DIGITS[word])
    return digits if digits[-1] in _LAST or len(digits) >= _MOST_DIGITS else [*digits, _RESTART]


def _of_number(text: str) -> list[int]:
    try:
        digits = digits_of(int(text, 16))
    except ValueError:
        raise ValueError(f"{text!r} is no number; 0xf21, say, is") from None
    unknown = [digit for digit in digits if digit not in _TOLD]
    if 0 in unknown:
        raise ValueError(f"{text!r} has a 0, which waits for another SD card for ever; f at the front tries all again")
    if unknown:
        raise ValueError(f"{text!r} has the digit {unknown[0]:x}, which stands for nothing")
    return digits


def _word(digit: int) -> str:
    return next(word for word, one in DIGITS.items() if one == digit)
