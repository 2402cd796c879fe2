"""The command line: argv in, words and exit codes out. 0 well, 1 the answer is "no", 2 wrong usage or configuration."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from pinetboot import __version__
from pinetboot.cli.check import check
from pinetboot.cli.demo import demo
from pinetboot.cli.image import app as image_app
from pinetboot.cli.pi import app as pi_app
from pinetboot.cli.rehearse import rehearse
from pinetboot.cli.serve import serve
from pinetboot.cli.status import status
from pinetboot.errors import OperatorError

app = typer.Typer(
    name="pinetboot",
    help="Boot Raspberry Pis over the network: TFTP, ProxyDHCP and cloud-init seeds from one process.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve)
app.command("demo")(demo)
app.command("check")(check)
app.command("status")(status)
app.command("rehearse")(rehearse)
app.add_typer(image_app, name="image")
app.add_typer(pi_app, name="pi")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pinetboot {__version__}")
        raise typer.Exit


_Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")]


@app.callback()
def _root(*, version: _Version = False) -> None:
    pass


def main() -> NoReturn:
    """Run the command in sys.argv and exit."""
    if sys.platform != "linux":
        typer.echo("pinetboot: runs on Linux only", err=True)
        sys.exit(2)
    try:
        app()
    except OperatorError as error:
        typer.echo(f"pinetboot: {error}", err=True)
        sys.exit(2)
    sys.exit(0)
