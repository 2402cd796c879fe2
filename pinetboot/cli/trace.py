"""`pinetboot trace`: what goes over the wire between the running daemon and a Pi, as a file for Wireshark."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Annotated

import typer

from pinetboot.cli import flags
from pinetboot.errors import OperatorError
from pinetboot.fleet.pi import parse_serial
from pinetboot.settings import Source
from pinetboot.trace.door import NoDaemon, borrow
from pinetboot.trace.pcap import STDOUT, Pcap
from pinetboot.trace.taking import Limits, Taking

_AFTER = 5  # niceness: the daemon comes first


def trace(
    serial: Annotated[
        str, typer.Argument(help="The Pi; one that was never seen is waited for.", show_default=False)
    ] = "",
    *,
    every: Annotated[bool, typer.Option("--all", help="Every Pi, and every other client.")] = False,
    out: Annotated[
        str, typer.Option("-o", "--output", help="The file, anew; - is standard output.", metavar="FILE.pcap")
    ],
    seconds: Annotated[
        float | None, typer.Option(help="End after so long.", min=0, show_default="Ctrl-C ends it")
    ] = None,
    packets: Annotated[int | None, typer.Option(help="End after so many.", min=1, show_default=False)] = None,
    config: flags.Config = None,
    data: flags.Data = None,
) -> None:
    """Take down the DHCP, TFTP and HTTP traffic of one Pi, or of all, for Wireshark or tcpdump.

    It asks the running daemon of this host, over a local socket and not over HTTP, and needs root or the daemon's user.
    The file holds all that went over HTTP: a seed in it may have secrets. `-o - | wireshark -k -i -` looks on live.
    """
    if bool(serial) == every:
        raise OperatorError("name one Pi, or all of them with --all", "`pinetboot status` lists their serials.")
    try:
        wanted = parse_serial(serial) if serial else ""
    except ValueError as error:
        raise OperatorError(str(error)) from None
    chosen = {("server", "data"): (data, "--data")} if data is not None else {}
    folder = Source(config, chosen).load()[0].data
    try:
        facts, seeing = borrow(folder, wanted)
    except NoDaemon:
        typer.echo(
            f"pinetboot: no daemon of {folder} answers on this host\n"
            "  Start `pinetboot serve`; where it runs in a container, run this command in there.",
            err=True,
        )
        raise typer.Exit(1) from None
    with seeing:
        taking = Taking(facts, seeing, pcap := Pcap(out))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: taking.stop())
        whom = wanted or "every Pi"
        typer.echo(f"taking down {whom}; Ctrl-C ends it. What goes over HTTP is in it, a seed's secrets too.", err=True)
        _run(taking, Limits(seconds, packets), out)
    lost = f"; {taking.lost} more came too fast and are not in it" if taking.lost else ""
    where = "" if out == STDOUT else f" in {out}"
    typer.echo(f"{pcap.written} packets of {whom}{where}{lost}", err=True)


def _run(taking: Taking, limits: Limits, out: str) -> None:
    with suppress(OSError):
        os.nice(_AFTER)
    try:
        taking.run(limits)
        taking.finish(limits)
    except BrokenPipeError:
        # Whoever looked on is through; nothing may be written at the interpreter's end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise OperatorError(f"{out} cannot be written: {error.strerror}", "Make room, or name another file.") from None
