"""`pinetboot installer add`, `list` and `remove`: flags, and what stands afterwards."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pinetboot.cli import flags
from pinetboot.cli.console import for_tables
from pinetboot.cli.image import settings_of, watching
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.fleet import store, told
from pinetboot.installer import adding, library
from pinetboot.installer.adding import Wanted
from pinetboot.net import links

app = typer.Typer(
    help="Debian's installers for PXE machines: bring them in, list them, remove them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command("add")
def add(
    source: Annotated[str, typer.Argument(help="A directory, a netboot.tar.gz or its URL.", show_default=False)],
    *,
    name: Annotated[str, typer.Option(help="What to call it.", show_default="debian-<release>")] = "",
    sha256: Annotated[str, typer.Option(help="What the tarball must be.")] = "",
    config: flags.Config = None,
    data: flags.Data = None,
) -> None:
    """Bring in a netboot installer of Debian, with boot loaders and a menu for BIOS, UEFI and iPXE.

    SOURCE is a netboot.tar.gz, or what a package holds: /usr/lib/debian-installer/images/12/amd64 of
    debian-installer-12-netboot-amd64, say. Each release and architecture is an entry of its own in the menu; one that
    is there already is replaced.
    """
    settings = settings_of(config, data)
    machines = store.read(settings).machines
    here = links.read()
    server, addresses = told.web(settings, here), told.offered(settings, here)
    boot = settings.boot_root
    with watching() as watch:
        added = adding.add(Wanted(settings.data, boot, source, name, sha256, server, machines, addresses), watch)
    for one in added.installers:
        typer.echo(f"{one.name} is there for {one.architecture}: {one.title}, {one.bytes / 10**6:,.0f} MB")
    _warn(settings, added.foreign, {one.architecture for one in added.installers})


@app.command("list")
def show(*, as_json: flags.Json = False, config: flags.Config = None, data: flags.Data = None) -> None:
    """List the installers: for which processors, and where each came from."""
    settings = settings_of(config, data)
    try:
        found = library.installers(settings.boot_root)
    except OSError as error:
        raise OperatorError(f"{error.filename} cannot be read: {error.strerror}") from None
    if as_json:
        sys.stdout.write(json.dumps({"installers": [one.model_dump() for one in found]}, indent=2) + "\n")
    elif found:
        table = Table("installer", "for", "title", "build", "size", "added", "from", box=None, header_style="bold")
        for one in found:
            size = f"{one.bytes / 10**6:,.0f} MB"
            cells = (one.name, one.architecture, one.title, one.build, size, one.added[:10], one.source)
            table.add_row(*(escape(cell) for cell in cells))
        for_tables().print(table)
    else:
        typer.echo("no installer yet; `pinetboot installer add` brings one in")


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The installer.")], *, config: flags.Config = None, data: flags.Data = None
) -> None:
    """Delete an installer that no machine in fleet.toml boots."""
    settings = settings_of(config, data)
    machines = store.read(settings).machines
    here = links.read()
    adding.remove(settings.boot_root, name, machines, told.web(settings, here), told.offered(settings, here))
    typer.echo(f"{name} is removed")


def _warn(settings: Config, foreign: Iterable[str], architectures: set[str]) -> None:
    """Say what may keep machines from the menu."""
    for file in foreign:
        typer.echo(f"pinetboot: {settings.boot_root / file} was there, and is left as it is", err=True)
    if not settings.pxe or settings.dhcp.mode == "off":
        why = "[pxe] is empty" if not settings.pxe else 'dhcp.mode is "off"'
        typer.echo(f"pinetboot: {why}, so that another DHCP server has to name the loaders", err=True)
    elif settings.dhcp.mode == "proxy" and architectures & {"amd64", "arm64"}:
        typer.echo("  UEFI   with Secure Boot on, a machine beside another DHCP server has to boot by HTTP, or that")
        typer.echo('         server to name us (`pinetboot dhcp-lines` has the lines); or set dhcp.mode = "server"')
