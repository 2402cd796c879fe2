"""The command line: argv in, words and exit codes out. 0 well, 1 the answer is "no", 2 wrong usage or configuration."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from pinetboot import __version__, journald
from pinetboot.errors import OperatorError

# In the order of --help: the command, and where it is. Only the one that is asked for is loaded, which for most is a
# third of the time that all of them take.
_COMMANDS = {
    "serve": ("pinetboot.cli.serve", "serve"),
    "demo": ("pinetboot.cli.demo", "demo"),
    "check": ("pinetboot.cli.check", "check"),
    "status": ("pinetboot.cli.status", "status"),
    "watch": ("pinetboot.cli.watch", "watch"),
    "rehearse": ("pinetboot.cli.rehearse", "rehearse"),
    "dhcp-lines": ("pinetboot.cli.dhcp_lines", "dhcp_lines"),
    "trace": ("pinetboot.cli.trace", "trace"),
    "eeprom": ("pinetboot.cli.eeprom", "eeprom"),
    "installer": ("pinetboot.cli.installer", "app"),
    "image": ("pinetboot.cli.image", "app"),
    "pi": ("pinetboot.cli.pi", "app"),
    "systemd": ("pinetboot.cli.systemd", "app"),
}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pinetboot {__version__}")
        raise typer.Exit


_Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")]


def _root(*, version: _Version = False) -> None:
    pass


def _app(wanted: str) -> typer.Typer:
    """Make the command line with the command `wanted`, or with all of them where it is none."""
    app = typer.Typer(
        name="pinetboot",
        help="Boot Raspberry Pis over the network: TFTP, ProxyDHCP and cloud-init seeds from one process.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        callback=_root,
    )
    for name in (wanted,) if wanted in _COMMANDS else () if wanted == "--version" else _COMMANDS:
        module, attribute = _COMMANDS[name]
        command = getattr(importlib.import_module(module), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _take_capabilities() -> None:
    """Use what the interpreter's file may give to a user who is no root."""
    from pinetboot.host import system  # noqa: PLC0415 - root, who needs none, does not wait for it

    system.put_in_effect(system.Capability)


def _write_whole() -> None:
    """Have all that is printed arrive, though a pipe takes it in pieces.

    With PYTHONUNBUFFERED, as container images have it, Python drops what a write to a full pipe did not take.
    """
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, io.RawIOBase):
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=True)


def main() -> NoReturn:
    """Run the command in sys.argv and exit."""
    _write_whole()
    if sys.platform != "linux":
        typer.echo("pinetboot: runs on Linux only", err=True)
        sys.exit(2)
    if os.geteuid():
        _take_capabilities()
    try:
        _app(sys.argv[1] if len(sys.argv) > 1 else "")()
    except OperatorError as error:
        lines = f"pinetboot: {error}".splitlines()
        if journald.reads(sys.stderr):
            lines = [journald.marked("error", line) for line in lines]
        typer.echo("\n".join(lines), err=True)
        sys.exit(2)
    sys.exit(0)
