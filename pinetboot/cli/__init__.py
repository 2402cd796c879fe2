"""The command line: argv in, words and exit codes out. 0 well, 1 the answer is "no", 2 wrong usage or configuration."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, NoReturn

import typer

from pinetboot import __version__
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
    "image": ("pinetboot.cli.image", "app"),
    "pi": ("pinetboot.cli.pi", "app"),
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


def main() -> NoReturn:
    """Run the command in sys.argv and exit."""
    if sys.platform != "linux":
        typer.echo("pinetboot: runs on Linux only", err=True)
        sys.exit(2)
    try:
        _app(sys.argv[1] if len(sys.argv) > 1 else "")()
    except OperatorError as error:
        typer.echo(f"pinetboot: {error}", err=True)
        sys.exit(2)
    sys.exit(0)
