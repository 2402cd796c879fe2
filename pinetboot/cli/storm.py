"""Many virtual Pis on the screen: how far all are while they boot, and a table of what came of them.

Belongs here: what is shown of a storm. On a terminal it moves; elsewhere nothing is said until the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from pinetboot.cli.steps import took
from pinetboot.pi.download import Result
from pinetboot.pi.report import FileStep, Report, Step
from pinetboot.rehearse import Plan
from pinetboot.storm import Outcome

_STAGES = ("seen", "firmware", "kernel", "seed")
_SHOWN = 5  # serials that are named of those which stop at the same


class View:
    """What is on the screen while they boot; `moving` False shows nothing."""

    def __init__(self, planned: Sequence[Plan], *, moving: bool) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._planned = planned
        self._at: dict[int, str] = {}
        self._booted = self._stopped = self._bytes = 0
        self._live: Live | None = None
        if moving and self._console.is_terminal:
            self._live = Live(get_renderable=self._draw, console=self._console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave the screen as it was."""
        if self._live is not None:
            self._live.stop()

    def told(self, number: int, step: Step | FileStep | Report) -> None:
        """Take a step of one of them."""
        if isinstance(step, Report):
            self._at.pop(number, None)
            self._booted += step.ok
            self._stopped += not step.ok
        elif isinstance(step, FileStep):
            self._at[number] = step.stage
            self._bytes += step.size if step.result == Result.OK and not step.probe else 0
        else:
            self._at.setdefault(number, step.stage)

    def summary(self, outcome: Outcome) -> None:
        """Say what came of it: how many, how long, and why the others stopped."""
        model = self._planned[0].profile
        booted, count = len(outcome.booted), len(outcome.reports)
        style = "bold green" if outcome.ok else "bold red"
        self._console.print(f"[{style}]{booted} of {count} boot[/]: {model.name}, in {outcome.seconds:.1f} s")
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        slowest = outcome.slowest
        if slowest is not None:
            table.add_row("median", took(outcome.median_s * 1000))
            table.add_row("slowest", f"{took(slowest.seconds * 1000)}  {slowest.serial}")
        table.add_row("bytes", f"{sum(report.bytes for report in outcome.reports):,}")
        self._console.print(table)
        for (stage, rule), reports in outcome.causes().items():
            cause = reports[0].cause
            if cause is None:
                continue
            who = ", ".join(report.serial for report in reports[:_SHOWN]) + (", …" if len(reports) > _SHOWN else "")
            self._console.print(f"[bold red]{len(reports)} at {stage}[/] [dim]({rule})[/]  {who}")
            for name, text in (("what", cause.what), ("why", cause.why), ("do", cause.do)):
                self._console.print(f"  {name:<5} {escape(text)}")

    def _draw(self) -> Table:
        count, over = len(self._planned), self._booted + self._stopped
        at = Counter(self._at.values())
        stages = "  ".join(f"{stage} {at[stage]}" for stage in _STAGES)
        told = f"{self._booted} boot, {self._stopped} stop, {count - over} under way, {self._bytes:,} bytes"
        drawn = Table.grid()
        for row in (ProgressBar(total=count, completed=over, width=60), told, stages):
            drawn.add_row(row)
        return drawn
