"""`pinetboot demo`: the live view of two virtual Pis that boot."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pinetboot import log, loop
from pinetboot.cli.steps import line, verdict
from pinetboot.demo.stage import PIS, Stage, set_up
from pinetboot.events import Event, Outcome, TransferEnded
from pinetboot.pi.profiles import PROFILES
from pinetboot.pi.report import FileStep, Report, Step

_STAGES = ("seen", "firmware", "kernel", "seed")
_LAST_FILES = 6


def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers running until Ctrl-C.")] = False,
) -> None:
    """Watch two virtual Pis boot, with no Pi, no root and nothing to prepare.

    A Pi 4 and a Pi 5 boot through the real ProxyDHCP, TFTP and HTTP servers of this process, on loopback ports of
    their own, from a temporary tree. It takes a few seconds and leaves nothing behind.
    """
    log.configure("auto", "error")
    if not loop.run(_demo(keep=keep)):
        raise typer.Exit(1)


async def _demo(*, keep: bool) -> bool:
    console = Console(highlight=False, soft_wrap=True)
    view = _View(console)
    async with set_up(view.served) as stage:
        view.open(stage)
        with Live(get_renderable=view.draw, console=console, refresh_per_second=12, transient=True) as live:
            reports = await stage.boot(view.told)
            live.refresh()
        view.summary(reports)
        if keep:
            console.print(f"\nStill serving: HTTP {stage.url}  TFTP 127.0.0.1:{stage.tftp_port}   (Ctrl-C ends it)")
            stop = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            with suppress(asyncio.CancelledError):
                await stop.wait()
        return all(report.ok for report in reports)


class _View:
    """What is on the screen: on a terminal a table that moves, elsewhere a line a step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._moving = console.is_terminal
        self._reached: dict[str, list[str]] = {serial: [] for serial, _ in PIS}
        self._bytes: dict[str, int] = dict.fromkeys(self._reached, 0)
        self._last: list[str] = []
        self._sent = 0
        self._sent_bytes = 0
        self._missing = 0

    def open(self, stage: Stage) -> None:
        self._console.print("[bold]pinetboot demo[/]: two virtual Pis boot from this process, over loopback")
        self._console.print(f"  HTTP       {stage.url}")
        self._console.print(f"  TFTP       127.0.0.1:{stage.tftp_port}")
        self._console.print(f"  ProxyDHCP  127.0.0.1:{stage.dhcp_port}, beside a stand-in for your router\n")

    def served(self, event: Event) -> None:
        """Count what the servers say that they did."""
        if isinstance(event, TransferEnded):
            self._sent += event.outcome is Outcome.SENT
            self._sent_bytes += event.size if event.outcome is Outcome.SENT else 0
            self._missing += event.outcome is Outcome.MISSING

    def told(self, serial: str, step: Step | FileStep) -> None:
        """Take a step of a virtual Pi."""
        if isinstance(step, Step):
            self._reached[serial].append(step.stage if step.ok else f"{step.stage} ✗")
            self._console.print(f"{serial}  {line(step)}")
        elif step.result == "ok" and not step.probe:
            self._bytes[serial] += step.size
            self._last = [*self._last[1 - _LAST_FILES :], f"{serial}{line(step)}"]

    def draw(self) -> Group | Text:
        """Draw the moving part."""
        if not self._moving:
            return Text("")
        table = Table(box=None, padding=(0, 2, 0, 0))
        for title in ("Pi", "model", *_STAGES, "bytes"):
            table.add_column(title, justify="right" if title == "bytes" else "left")
        for serial, model in PIS:
            reached = self._reached[serial]
            marks = ["[green]●[/]" if stage in reached else "[dim]○[/]" for stage in _STAGES]
            table.add_row(serial, model, *marks, f"{self._bytes[serial]:,}")
        return Group(*(Text.from_markup(text) for text in self._last), Text(""), table)

    def summary(self, reports: list[Report]) -> None:
        """Say what came of it."""
        self._console.print()
        for report in reports:
            self._console.print(f"{PROFILES[report.model].name}:")
            for text in verdict(report):
                self._console.print(f"  {text}")
        self._console.print(
            f"\nThe server sent {self._sent} files, {self._sent_bytes:,} bytes, and said {self._missing} times "
            "that a file is not there, as in every boot."
        )
        if all(report.ok for report in reports):
            self._console.print("Next: [bold]pinetboot serve --help[/]")
        sys.stdout.flush()
