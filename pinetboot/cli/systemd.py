"""`pinetboot systemd`: as a service of this host, put in place and taken away."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from pinetboot.errors import OperatorError
from pinetboot.nfs.modes import OURS
from pinetboot.service import place, unit
from pinetboot.service.place import Installed
from pinetboot.settings import DEFAULT_FILE, Source

app = typer.Typer(help="Run as a service of this host, under systemd: install, uninstall.", no_args_is_help=True)


@app.command("install")
def install(
    *,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="Leave the start to the next boot, as for an image of a system.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of a unit that somebody changed, which is kept.")
    ] = False,
) -> None:
    """Have this installation run as a service, now and from each boot on.

    It writes /etc/systemd/system/pinetboot.service for the paths of this installation and of the settings in
    /etc/pinetboot/pinetboot.toml. Run it again after an upgrade, or when server.data or tftp.root moved: it changes
    what differs, and restarts the service only then. Your own lines in pinetboot.service.d stay.
    """
    place.must_be_root("install")
    # As the service reads them: what this shell has in its environment is not the service's.
    settings = Source(environment={}).load()[0]
    if settings.nfs.mode == "daemons":
        raise OperatorError(
            'nfs.mode "daemons" is for a container; a service leaves the NFS server to this host',
            f'Set it to "auto" in {DEFAULT_FILE}, and install nfs-kernel-server.',
        )
    done = place.install(settings, start=not no_start, replace=replace)
    _tell(done)
    if done.did != "runs already":
        _say_what_is_next(done)


@app.command("uninstall")
def uninstall() -> None:
    """Stop the service and take its unit away. Images, Pis, settings and exports stay."""
    place.must_be_root("uninstall")
    try:
        kept = place.uninstall()
    except LookupError:
        typer.echo(f"There is no {place.UNIT}; nothing was done.")
        return
    typer.echo(f"{unit.NAME} is stopped and gone.")
    if kept is not None:
        typer.echo(f"As somebody had changed it, it is kept as {kept}.")
    for path in place.drop_ins():
        typer.echo(f"Your own {path} stays.")
    typer.echo(f"Images and Pis stay{_where()}, settings in {DEFAULT_FILE.parent}.")
    if OURS.exists():
        typer.echo(f"Running Pis keep their roots: the exports stay, until you remove {OURS} and run `exportfs -r`.")


def _where() -> str:
    with suppress(OperatorError):
        return f" in {Source(environment={}).load()[0].data}"
    return ""


def _tell(done: Installed) -> None:
    if done.kept is not None:
        typer.echo(f"What somebody changed is kept as {done.kept}.")
    typer.echo(f"{place.UNIT} {'is written' if done.written else 'is as it should be'}.")
    for path in place.drop_ins():
        typer.echo(f"Your own {path} is added to it.")
    homes = unit.in_homes(done.place)
    if homes:
        typer.echo(f"Homes stay readable to it, as {homes[0]} lies in one; /opt and /srv are better places.")
    state = f"{unit.NAME} {done.did}" if done.did else f"{unit.NAME} was not started"
    typer.echo(f"{state}, and {'starts' if not done.enabled else 'from now on starts'} with this host.")


def _say_what_is_next(done: Installed) -> None:
    own = str(done.place.program)
    found = shutil.which("pinetboot")
    word = "pinetboot" if found is not None and Path(found).resolve() == Path(own).resolve() else own
    typer.echo("Next:")
    typer.echo(f"  {word} image add raspios-lite-arm64                what Pis boot from")
    typer.echo(f"  {word} pi add SERIAL --image raspios-lite-arm64    a Pi")
    typer.echo(f"  {word} check                                       whether it could boot")
    typer.echo("  journalctl --unit pinetboot --follow    what is going on")
