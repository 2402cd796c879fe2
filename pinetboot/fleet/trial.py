"""Whether a new generation has proved itself, and when a Pi goes back to the last one that has.

Belongs here: the rules, and what they remember. A generation is on trial from the first file that its Pi's firmware
asks of it, and has proved itself once the Pi is online with it. Time is an argument, seconds that only rise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final

from pinetboot.fleet.pi import Pi

# Somebody who fetches a file or two by hand is no Pi that boots.
_A_LOOK: Final = 3
_LATEST: Final = 1e11  # seconds since 1970; what is beyond is no time


@dataclass(frozen=True, slots=True)
class Fallback:
    """A Pi was sent back from the generation `fled` to the last good one, `to`, at a time (seconds since 1970).

    `wanted` names what fleet.toml said of the Pi then: once it says something else, this no longer counts.
    """

    fled: int
    to: int
    at: float
    after_s: float
    wanted: str

    def to_json(self) -> dict[str, Any]:
        """The shape that is kept in state/fallback/."""
        return asdict(self)


def from_json(item: object) -> Fallback | None:
    """Read it back; None for what is none."""
    match item:
        case {
            "fled": int(fled),
            "to": int(to),
            "at": int() | float() as at,
            "after_s": int() | float() as after_s,
            "wanted": str(wanted),
        } if 0 <= at < _LATEST:
            return Fallback(fled, to, float(at), float(after_s), wanted)
    return None


def wish(pi: Pi, image: str) -> str:
    """Name what fleet.toml says of a Pi, with the image that this comes to, without telling it."""
    return sha256(f"{image}\n{pi.model_dump_json()}".encode()).hexdigest()[:32]


@dataclass(slots=True)
class Trial:
    """A generation that its Pi asks for files of, `asked` of them since `since`.

    `mounted`: the boot that runs has its root. `done`: nothing more comes of it.
    """

    generation: int
    since: float
    asked: int = 1
    mounted: bool = False
    done: bool = False


@dataclass(frozen=True, slots=True)
class Back:
    """The Pi is to boot the generation `to` from now on, and no longer `fled`."""

    fled: int
    to: int


@dataclass(frozen=True, slots=True)
class Stuck:
    """The generation that the Pi was sent back to does not come online either: nothing more is changed."""

    generation: int


class Trials:
    """What is on trial, and `good`: the generation that each Pi was online with last. `fallen` are those sent back."""

    def __init__(self) -> None:
        self.good: dict[str, int] = {}
        self.fallen: dict[str, Fallback] = {}
        self._trials: dict[str, Trial] = {}

    def forget(self, good: Mapping[str, int], fallen: Mapping[str, Fallback]) -> None:
        """Begin anew, with what another run, or another host, came to know. What is on trial begins with its next boot.

        A Pi may have come online while nobody looked: a trial that went on would send back what works.
        """
        self.good, self.fallen = dict(good), dict(fallen)
        self._trials.clear()

    def asked(self, serial: str, generation: int, now: float) -> None:
        """A Pi's firmware asked for a file of a generation: a boot is under way."""
        trial = self._trials.get(serial)
        if trial is not None and trial.generation == generation:
            trial.mounted = False
            trial.asked += 1
        elif generation != self.good.get(serial) or serial in self.fallen:
            self._trials[serial] = Trial(generation, now)

    def mounted(self, serial: str, generation: int) -> None:
        """A Pi has the root of a generation mounted: it is online before long, or boots anew."""
        trial = self._trials.get(serial)
        if trial is not None and trial.generation == generation:
            trial.mounted = True

    def online(self, serial: str) -> bool:
        """A Pi is online: what it booted has proved itself. Says whether that is news."""
        trial = self._trials.pop(serial, None)
        if trial is None or self.good.get(serial) == trial.generation or trial.asked < _A_LOOK:
            return False
        self.good[serial] = trial.generation
        return True

    def late(self, now: float, after_s: float) -> list[str]:
        """Name the Pis whose generation has been on trial for too long, and whose boot is not in its root."""
        if after_s <= 0:
            return []
        due = (one for one in self._trials.items() if now - one[1].since >= after_s)
        return [serial for serial, trial in due if trial.asked >= _A_LOOK and not trial.mounted and not trial.done]

    def judged(self, serial: str, current: int | None, held: Collection[int]) -> Back | Stuck | None:
        """Say what becomes of a Pi that is late. `current` is what it would boot now, `held` the ones that are there.

        Each generation is sent back from once, and nothing is where there is no good one to go back to.
        """
        trial, good, fallen = self._trials.get(serial), self.good.get(serial), self.fallen.get(serial)
        if trial is None:
            return None
        trial.done = True
        if trial.generation != current:
            return None
        if fallen is not None and fallen.to == current:
            return Stuck(current)
        return Back(current, good) if good is not None and good != current and good in held else None
