"""A virtual Pi's boot in words: one line a step, and the sentence at the end."""

from __future__ import annotations

from rich.markup import escape

from pinetboot.pi.download import Result
from pinetboot.pi.report import FileStep, Report, Step

_MARKS = {
    Result.OK: "[green]✓[/]",
    Result.MISSING: "[dim]-[/]",
    Result.ERROR: "[red]✗[/]",
    Result.TIMEOUT: "[red]✗[/]",
}


def line(step: Step | FileStep) -> str:
    """Put a step into one line of rich markup."""
    if isinstance(step, Step):
        mark = "[bold green]✓[/]" if step.ok else "[bold red]✗[/]"
        return f"{mark} [bold]{step.stage:<9}[/]{escape(step.what)}  [dim]{took(step.ms)}[/]"
    result = Result(step.result)
    if result is not Result.OK:
        size = {"missing": "not there", "error": "refused", "timeout": "no answer"}[result]
    elif step.probe:
        size = f"probed: {step.size:,} bytes"
    else:
        size = f"{step.size:,} bytes"
    name = escape(step.name)
    style = "dim" if result is Result.MISSING or step.probe else "default"
    return f"  {_MARKS[result]} [{style}]{name}  {size}  {took(step.ms)}[/]"


def verdict(report: Report) -> list[str]:
    """Sum a boot up: how much came how fast, and where and why it would stop."""
    got = [file for file in report.files if file.result == Result.OK and not file.probe]
    moving_s = sum(file.ms for file in got) / 1000
    rate = f", {report.bytes / moving_s / 1e6:.1f} MB/s" if moving_s > 0 and report.bytes else ""
    files = f"{len(got)} file{'' if len(got) == 1 else 's'}, {report.bytes:,} bytes in {report.seconds:.1f} s{rate}"
    who = f"{report.model} {report.serial}"
    lines = [f"[dim]note: {escape(note)}[/]" for note in report.notes]
    if report.cause is None:
        return [*lines, f"[bold green]{who} boots[/] from {report.server}: {files}"]
    cause = report.cause
    return [
        *lines,
        f"[bold red]{who} stops at {report.stopped_at}[/] ({files})",
        f"  what  {escape(cause.what)} [dim]({cause.rule})[/]",
        f"  why   {escape(cause.why)}",
        f"  do    {escape(cause.do)}",
    ]


def took(ms: float) -> str:
    """Print a duration as people do."""
    return f"{ms / 1000:.2f} s" if ms >= 100 else f"{ms:.1f} ms"  # noqa: PLR2004 - where seconds read better
