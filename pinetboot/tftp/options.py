"""Which options a read request is granted (RFC 2347): blksize (2348), timeout and tsize (2349), windowsize (7440).

Belongs here: the meaning and limits of option values. An option that is unknown, malformed or out of its range is
ignored, which RFC 2347 has the client take as "not granted"; a value is granted as asked or lower, never higher.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinetboot.config import MAX_BLKSIZE, MAX_WINDOWSIZE, MIN_BLKSIZE

DEFAULT_BLKSIZE = 512  # RFC 1350
_MAX_TIMEOUT_S = 255  # RFC 2349
_MAX_WINDOW_BYTES = 128 << 10  # Linux gives a socket 208 KiB, and counts more than the payload
_MAX_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that this server grants towards this client."""

    blksize: int
    windowsize: int


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What holds for a transfer. `oack` is what to acknowledge, empty where no OACK is sent (RFC 2347).

    `timeout_s` is None unless the client set it.
    """

    blksize: int = DEFAULT_BLKSIZE
    windowsize: int = 1
    timeout_s: int | None = None
    oack: dict[str, str] | None = None


def number(text: str) -> int | None:
    """Read a decimal number as RFC 2347 wants it, digits in ASCII; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


def negotiate(options: dict[str, str], limits: Limits, size: int | None) -> Negotiated:
    """Grant what can be granted of `options`; `size` is the file's in bytes as transferred, None when unknown."""
    blksize, windowsize, timeout_s = DEFAULT_BLKSIZE, 1, None
    oack: dict[str, str] = {}
    for name, text in options.items():
        value = number(text)
        if value is None:
            continue
        if name == "blksize" and value >= MIN_BLKSIZE:
            # Above RFC 2348's 65464 a client gets the most there is instead of a mere 512.
            blksize = min(value, limits.blksize, MAX_BLKSIZE)
            oack[name] = str(blksize)
        elif name == "windowsize" and 1 <= value <= MAX_WINDOWSIZE:
            windowsize = min(value, limits.windowsize)
            oack[name] = str(windowsize)
        elif name == "timeout" and 1 <= value <= _MAX_TIMEOUT_S:
            timeout_s = value
            oack[name] = str(value)
        elif name == "tsize" and size is not None:
            oack[name] = str(size)
    if windowsize > 1:
        # What a client cannot hold in its socket it loses window after window, and waits for each time.
        windowsize = max(1, min(windowsize, _MAX_WINDOW_BYTES // blksize))
        oack["windowsize"] = str(windowsize)
    return Negotiated(blksize, windowsize, timeout_s, oack or None)
