"""A cause and a finding, as values.

Belongs here: their shapes, which scripts rely on. The sentences are in the modules beside this one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason. `rule` is D01 to D47, empty for machines that are no Pi; the others are one sentence each."""

    rule: str
    what: str
    why: str
    do: str

    def to_json(self) -> dict[str, str]:
        """The shape that scripts rely on."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was looked at and is not as it should be. `rule` is empty where the reference has none for it.

    `fatal`: a Pi cannot boot, or comes up without what sets it up; `warning`: something it should have will not work;
    `info`: worth knowing.
    """

    severity: Literal["fatal", "warning", "info"]
    what: str
    why: str
    do: str
    rule: str = ""

    def to_json(self) -> dict[str, str]:
        """The shape that scripts rely on."""
        return asdict(self)
