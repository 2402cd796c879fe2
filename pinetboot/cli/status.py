"""`pinetboot status`: how far each Pi's and each machine's boot is, as the running daemon tells it over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pinetboot import __version__, loop
from pinetboot.cli import flags
from pinetboot.cli.fleet_view import ago
from pinetboot.errors import OperatorError
from pinetboot.fleet.pi import parse_serial
from pinetboot.net import http
from pinetboot.net.addresses import format_mac, parse_mac
from pinetboot.settings import Source

_LIMIT_S = 10.0
_COLOURS = {"online": "green", "booting": "cyan", "stalled": "bold red"}
_MINUTE = 60
_MOST_LINES = 40


def status(
    who: Annotated[
        str,
        typer.Argument(
            help="One Pi by its serial, or one machine that is none by its MAC.",
            metavar="[SERIAL|MAC]",
            show_default="all of them",
        ),
    ] = "",
    *,
    as_json: flags.Json = False,
    alive: Annotated[bool, typer.Option("--alive", help="Ask for a sign of life alone, as health checks do.")] = False,
    url: Annotated[
        str, typer.Option(help="Ask this daemon: http://192.168.1.10, say.", show_default="the one on this host")
    ] = "",
    config: flags.Config = None,
) -> None:
    """Show how far each boot is, and why one that stands still does: of the Pis, and of machines that are none.

    It asks the running daemon over HTTP. Exit code 0: it answered. 1: it did not, or knows nobody by that name.
    """
    wanted = _named(who)
    base = url.rstrip("/") or own(config)
    if alive:
        _ask_for_life(base)
        return
    told = _ask(base, wanted)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    try:
        _show(told)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise foreign(base) from None


def _named(who: str) -> str:
    """Read a serial, or a MAC. Raises OperatorError."""
    try:
        if ":" in who or "-" in who:
            with suppress(ValueError):
                return format_mac(parse_mac(who))
        return parse_serial(who) if who else ""
    except ValueError as error:
        raise OperatorError(str(error), "A machine that is no Pi is named by its MAC, 52:54:00:12:34:56 say.") from None


def _show(told: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if "pis" not in told:
        (_one if "serial" in told else _machine)(console, told)
        return
    machines = told.get("machines") or []
    if told["pis"]:
        _all(console, told["pis"])
    else:
        console.print("No Pi is in fleet.toml, and none was seen. Plug one in, or: pinetboot pi add SERIAL")
    if machines:
        console.print()
        console.print(machine_table(machines))
        _causes(console, machines)


def own(config: Path | None) -> str:
    """Say where the daemon of these settings answers on this host. Raises OperatorError."""
    settings = Source(config).load()[0]
    if not settings.http.enabled:
        raise OperatorError(
            "http.enabled is false, and this command asks the daemon over HTTP",
            "Switch it on, name another daemon with --url, or see `pinetboot pi list`, which reads files.",
        )
    if settings.server.interfaces and "lo" not in settings.server.interfaces:
        raise OperatorError(
            "server.interfaces leaves out lo, so that the daemon cannot be asked from this very host",
            'Add "lo", ask from another host with --url, or see `pinetboot pi list`, which reads files.',
        )
    return f"http://127.0.0.1:{settings.http.port}"


def _ask_for_life(base: str) -> None:
    try:
        code, _ = loop.run(http.get(f"{base}/healthz", timeout_s=_LIMIT_S, user_agent=f"pinetboot/{__version__}"))
    except OSError as error:
        raise unanswered(base, error) from None
    if code != 200:  # noqa: PLR2004 - HTTP
        raise foreign(base)


def _ask(base: str, who: str) -> dict[str, Any]:
    key = "mac" if ":" in who else "serial"
    path = f"api/machines/{who}" if ":" in who else f"api/pis/{who}" if who else "api/pis"
    try:
        code, body = loop.run(http.get(f"{base}/{path}", timeout_s=_LIMIT_S, user_agent=f"pinetboot/{__version__}"))
    except OSError as error:
        raise unanswered(base, error) from None
    if who and code == 404 and body.startswith(who.encode()):  # noqa: PLR2004 - HTTP
        typer.echo(f"pinetboot: {body.decode(errors='replace').strip()}", err=True)
        raise typer.Exit(1)
    try:
        told = json.loads(body)
        fits = isinstance(told[key], str) if who else isinstance(told["pis"], list)
    except (ValueError, KeyError, TypeError, RecursionError):
        fits = False
    if not fits:
        raise foreign(base)
    found: dict[str, Any] = told
    return found


def unanswered(base: str, error: OSError) -> typer.Exit:
    """Say that nobody answers there; raise what is returned."""
    typer.echo(
        f"pinetboot: no daemon answers at {base}: {error}\n"
        "  Start `pinetboot serve`, name another with --url, or see `pinetboot pi list`, which reads files.",
        err=True,
    )
    return typer.Exit(1)


def foreign(base: str) -> typer.Exit:
    """Say that something else answers there; raise what is returned."""
    typer.echo(f"pinetboot: what answers at {base} is no pinetboot of this version", err=True)
    return typer.Exit(1)


def table(pis: Iterable[dict[str, Any]]) -> Table:
    """Lay out Pis as `/api/pis` tells them, a line each. Raises what reading a strange one raises."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("serial", "hostname", "model", "image", "address", "last boot", "took", "stage", "state"):
        shown.add_column(head)
    for pi in pis:
        boot = pi.get("boot") or {}
        texts = [str(pi.get(key) or "-") for key in ("serial", "hostname", "model", "image", "address")]
        texts += [_since(boot.get("started")), _took(boot.get("seconds")), str(pi.get("stage") or "-")]
        shown.add_row(*(escape(text) for text in texts), _coloured(str(pi.get("state"))))
    return shown


def machine_table(machines: Iterable[dict[str, Any]]) -> Table:
    """Lay out machines that are no Pi as `/api/pis` tells them, a line each. Raises likewise."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("mac", "hostname", "machine", "boots", "address", "last seen", "files", "bytes", "stage", "state"):
        shown.add_column(head)
    for one in machines:
        texts = [str(one.get(key) or "-") for key in ("mac", "hostname", "machine")]
        texts += [str(one.get("installer") or one.get("boots") or "-"), str(one.get("address") or "-")]
        texts += [_since(one.get("last")), str(one["files"]), f"{one['bytes']:,}", str(one.get("stage") or "-")]
        shown.add_row(*(escape(text) for text in texts), _coloured(str(one.get("state"))))
    return shown


def _all(console: Console, pis: list[dict[str, Any]]) -> None:
    console.print(table(pis))
    _causes(console, pis)


def _causes(console: Console, shown: list[dict[str, Any]]) -> None:
    for one in shown:
        cause = (one.get("boot") or {}).get("cause")
        if cause:
            far = "came no further than" if one.get("state") == "quiet" else "stands at"
            console.print(f"\n[bold]{escape(name(one))}[/] {far} {one.get('stage')}")
            _cause(console, cause)


def name(one: dict[str, Any]) -> str:
    """Say what to call a Pi, or a machine that is none."""
    return str(one.get("hostname") or one.get("serial") or one["mac"])


def _one(console: Console, pi: dict[str, Any]) -> None:
    labels = ("serial", "hostname", "model", "mac", "address", "image", "generation")
    for label in labels:
        console.print(f"{label:<12} {escape(str(pi.get(label) or '-'))}")
    console.print(f"{'state':<12} {_coloured(str(pi.get('state')))}")
    boot = pi.get("boot")
    if boot:
        _boot(console, boot)
    for warning in pi.get("warnings") or []:
        console.print("[yellow]worth knowing[/]")
        _cause(console, warning)
    update = pi.get("bootloader_update")
    if update:
        console.print(f"{'bootloader':<12} update {update['state']} {_since(update['at'])}: {escape(update['why'])}")
    lines = pi.get("log") or []
    if lines:
        console.print(f"{'log':<12} the last {len(lines[-_MOST_LINES:])} lines of its bootloader")
    for line in lines[-_MOST_LINES:]:
        console.print(f"  {escape(line['text'])}")


def _machine(console: Console, one: dict[str, Any]) -> None:
    for label in ("mac", "hostname", "machine", "address", "boots", "installer"):
        console.print(f"{label:<12} {escape(str(one.get(label) or '-'))}")
    console.print(f"{'state':<12} {_coloured(str(one.get('state')))}")
    boot = one.get("boot")
    if not boot:
        return
    _boot(console, boot)
    files = boot["files"]
    console.print(f"{'files':<12} {one['files']} sent, last seen {_since(one['last'])}")
    for file in files:
        size = f"{file['bytes']:,} bytes" if file["bytes"] else ""
        console.print(f"  {file['at']:>7.1f} s  {file['by']:<4}  {file['result']:<8}  {escape(file['name'])}  {size}")
    more = boot["more_files"]["files"]
    if more:
        console.print(f"  and {more} more")


def _boot(console: Console, boot: dict[str, Any]) -> None:
    attempts = f", attempt {boot['attempts']}" if boot.get("attempts", 1) > 1 else ""
    took = f", online after {_took(boot.get('seconds'))}" if boot.get("seconds") is not None else ""
    resent = f", {boot['retransmissions']} retransmissions" if boot.get("retransmissions") else ""
    console.print(f"{'last boot':<12} {_since(boot['started'])}{attempts}{took}, {boot['bytes']:,} bytes{resent}")
    began = datetime.fromisoformat(boot["started"])
    for stage in boot["stages"]:
        at, to = (f"{(datetime.fromisoformat(stage[key]) - began).total_seconds():.1f}" for key in ("first", "last"))
        size = f"{stage['bytes']:,} bytes" if stage["bytes"] else ""
        console.print(f"  {stage['name']:<10} {at:>7} to {to:>7} s  {size}")
    if boot.get("cause"):
        _cause(console, boot["cause"])


def _cause(console: Console, cause: dict[str, str]) -> None:
    rule = f" [dim]({escape(cause['rule'])})[/]" if cause["rule"] else ""
    console.print(f"  what  {escape(cause['what'])}{rule}")
    console.print(f"  why   {escape(cause['why'])}")
    console.print(f"  do    {escape(cause['do'])}")


def _coloured(state: str) -> str:
    return f"[{_COLOURS.get(state, 'default')}]{escape(state)}[/]"


def _since(started: str | None) -> str:
    return ago(time.time() - datetime.fromisoformat(started).timestamp()) if started else "never"


def _took(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds < _MINUTE else f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"
