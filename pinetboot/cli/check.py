"""`pinetboot check`: the findings, the worst first, for people or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pinetboot import check as doctor
from pinetboot import loop
from pinetboot.causes import Finding
from pinetboot.check import Found, Report
from pinetboot.cli import flags
from pinetboot.fleet.pi import Pi
from pinetboot.settings import Source

_COLOURS = {"fatal": "bold red", "warning": "yellow", "info": "dim"}
_NAMED = 4


def check(
    *,
    as_json: flags.Json = False,
    files: Annotated[
        bool, typer.Option("--files", help="Look at settings, fleet and trees alone, not at this host and its LAN.")
    ] = False,
    config: flags.Config = None,
    data: flags.Data = None,
) -> None:
    """Look for what would keep a Pi from booting, say why, and what to do about it.

    It needs no running daemon and changes nothing. It asks the LAN for its DHCP servers, and takes no lease. Run it as
    the user that the daemon runs as.

    Exit code 0: every Pi could boot. 1: one could not. 2: the settings cannot be read.
    """
    chosen = {("server", "data"): (data, "--data")} if data is not None else {}
    settings = Source(config, chosen).load()[0]
    report = doctor.run(settings) if files else loop.run(doctor.whole(settings))
    if as_json:
        sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n")
    else:
        console = Console(highlight=False, soft_wrap=True)
        for group in _groups(report.findings):
            _tell(console, group)
        console.print(_sum(report))
    if not report.ok:
        raise typer.Exit(1)


@dataclass
class _Group:
    """One finding, and the Pis of which it is true word by word."""

    finding: Finding
    pis: list[Pi] = field(default_factory=list)


def _groups(findings: Sequence[Found]) -> list[_Group]:
    groups: dict[tuple[Finding, bool], _Group] = {}
    for found in findings:
        group = groups.setdefault((found.finding, found.pi is None), _Group(found.finding))
        if found.pi is not None:
            group.pis.append(found.pi)
    return list(groups.values())


def _tell(console: Console, group: _Group) -> None:
    finding = group.finding
    who = f"{_names(group.pis)}: " if group.pis else ""
    rule = f" [dim]({finding.rule})[/]" if finding.rule else ""
    console.print(f"[{_COLOURS[finding.severity]}]{finding.severity:<8}[/]{escape(who + finding.what)}{rule}")
    console.print(f"  why   {escape(finding.why)}")
    if finding.do:
        console.print(f"  do    {escape(finding.do)}")


def _names(pis: Sequence[Pi]) -> str:
    names = [f"{pi.name} ({pi.serial})" if pi.hostname else pi.name for pi in pis[:_NAMED]]
    more = len(pis) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _sum(report: Report) -> str:
    looked = f"{_count(report.pis, 'Pi')} and {_count(report.images, 'image')} were looked at"
    if not report.findings:
        return f"[bold green]Nothing found[/]: {looked}."
    stopped = {found.pi.serial for found in report.findings if found.pi and found.finding.severity == "fatal"}
    counts = ", ".join(
        f"{number} {severity}"
        for severity in _COLOURS
        if (number := sum(found.finding.severity == severity for found in report.findings))
    )
    if stopped:
        return f"[bold red]{len(stopped)} of {_count(report.pis, 'Pi')} could not boot[/]: {counts}."
    return f"[bold]{counts}[/]: {looked}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
