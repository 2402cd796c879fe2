"""What came of a virtual Pi's boot, as values: its steps, its files, where it stopped and why.

Belongs here: the report and the shape in which scripts get it. How a boot goes is `pinetboot.rehearse`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pinetboot.causes import Cause
from pinetboot.pi.download import Result
from pinetboot.pi.eeprom import Eeprom


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the Pi did; `ms` is how long it took."""

    stage: str
    what: str
    ok: bool
    ms: float


@dataclass(frozen=True, slots=True)
class FileStep:
    """One file that the Pi asked for. `probe` asked for its size only, so that no byte of it came."""

    name: str
    size: int
    ms: float
    result: str
    stage: str
    probe: bool = False


@dataclass(slots=True)
class Report:
    """What came of a rehearsal; filled while it runs."""

    model: str
    serial: str
    server: str = ""
    seconds: float = 0.0
    stopped_at: str | None = None
    cause: Cause | None = None
    steps: list[Step] = field(default_factory=list)
    files: list[FileStep] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    eeprom: Eeprom | None = None  # what is in it since this boot changed it

    @property
    def ok(self) -> bool:
        """Whether the Pi would boot."""
        return self.cause is None

    @property
    def bytes(self) -> int:
        """Bytes of files that came."""
        return sum(file.size for file in self.files if not file.probe and file.result == Result.OK)

    def to_json(self) -> dict[str, Any]:
        """The shape that scripts rely on."""
        return {
            "ok": self.ok,
            "model": self.model,
            "serial": self.serial,
            "server": self.server,
            "seconds": round(self.seconds, 3),
            "bytes": self.bytes,
            "stopped_at": self.stopped_at,
            "cause": self.cause.to_json() if self.cause else None,
            "steps": [{"stage": s.stage, "what": s.what, "ok": s.ok, "ms": round(s.ms, 1)} for s in self.steps],
            "files": [
                {
                    "name": f.name,
                    "bytes": 0 if f.probe else f.size,
                    "ms": round(f.ms, 1),
                    "result": f.result,
                    "probe": f.probe,
                }
                for f in self.files
            ],
            "notes": self.notes,
        }
