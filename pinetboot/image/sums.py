"""SHA-256 sums as people and servers write them.

Belongs here: reading a sum and a file of sums.
"""

from __future__ import annotations

import re

_SUM = re.compile(r"[0-9a-f]{64}")
_IN_TEXT = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])")


def parse_sum(text: str) -> str:
    """Read a SHA-256 in hex, whatever its case. Raises ValueError."""
    found = text.strip().lower()
    if not _SUM.fullmatch(found):
        raise ValueError(f"{text!r} is no SHA-256; 64 hex digits are")
    return found


def sum_of(text: str, name: str) -> str | None:
    """Find the sum of the file `name` in what `sha256sum`, its `--tag`, or a bare sum looks like; None for no sum.

    A line that names the file wins; without one, a sum that stands alone is the file's.
    """
    lines = [(line, found[0].lower()) for line in text.splitlines() if (found := _IN_TEXT.search(line))]
    named = {value for line, value in lines if name in re.split(r"[\s*()/]+", line)}
    candidates = named or {value for _, value in lines}
    return candidates.pop() if len(candidates) == 1 else None
