"""`pinetboot pi`: the fleet from the command line. What it changes is fleet.toml; the daemon makes it true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pinetboot.cli import flags, fleet_view
from pinetboot.cli.console import for_tables
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.fleet import examine, state, store, trees
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.pi import Pi, parse_serial
from pinetboot.fleet.subject import gather
from pinetboot.nfs import standing
from pinetboot.settings import Source

app = typer.Typer(help="The Pis in fleet.toml: add, list, show, set, upgrade, roll back, remove.", no_args_is_help=True)

_Serial = Annotated[str, typer.Argument(help="The Pi's serial: the last eight hex digits in /proc/cpuinfo.")]
_Mac = Annotated[str | None, typer.Option(help="MAC address; learned by itself.")]
_Hostname = Annotated[str | None, typer.Option(help="Host name.", show_default="pi-<serial>")]
_Image = Annotated[str | None, typer.Option(help="Image to boot.")]
_Root = Annotated[str | None, typer.Option(help="nfs, or none for an initramfs alone.")]
_Address = Annotated[str | None, typer.Option(help="IPv4 address that its root is exported to.")]
_Seed = Annotated[str | None, typer.Option(help="Folder of its seed templates below cloud-init/.")]
_Cmdline = Annotated[str | None, typer.Option(help="Words to add to cmdline.txt.")]
_Disk = Annotated[list[str] | None, typer.Option("--disk", help="A disk of its own, MOUNT:SIZE; may be given again.")]
_Boot = Annotated[str | None, typer.Option(help="files, or img for a boot.img.")]
_Ssh = Annotated[bool | None, typer.Option("--ssh/--no-ssh", help="Have the SSH server enabled.")]
_Userconf = Annotated[str | None, typer.Option(help="USER:PASSWORD-HASH of the first user.")]
_Value = Annotated[list[str] | None, typer.Option("--value", help="KEY=VALUE for seed templates; may be given again.")]


def _settings(config: Path | None, data: str | None) -> Config:
    chosen = {("server", "data"): (data, "--data")} if data is not None else {}
    return Source(config, chosen).load()[0]


def _serial(text: str) -> str:
    try:
        return parse_serial(text)
    except ValueError as error:
        raise OperatorError(str(error)) from None


def _known(inventory: Inventory, serial: str) -> Pi:
    pi = inventory.by_serial.get(serial)
    if pi is None:
        raise OperatorError(f"the Pi {serial} is not in fleet.toml", f"Add it with `pinetboot pi add {serial}`.")
    return pi


def _disks(given: list[str] | None) -> list[dict[str, str]] | None:
    if not given:
        return None
    disks = []
    for text in given:
        mount, colon, size = text.rpartition(":")
        if not colon:
            raise OperatorError(f"--disk {text} is not MOUNT:SIZE", "Write --disk /var/lib/rancher:20G, say.")
        disks.append({"mount": mount, "size": size})
    return disks


def _values(given: list[str] | None) -> dict[str, str] | None:
    if not given:
        return None
    pairs = [text.partition("=") for text in given]
    for name, sign, _ in pairs:
        if not sign or not name:
            raise OperatorError(f"--value {name} is not KEY=VALUE", "Write --value role=agent, say.")
    return {name: value for name, _, value in pairs}


def _keys(  # one signature for both commands that take a flag per key of fleet.toml
    context: typer.Context,
    serial: _Serial,
    *,
    mac: _Mac = None,
    hostname: _Hostname = None,
    image: _Image = None,
    root: _Root = None,
    address: _Address = None,
    seed: _Seed = None,
    cmdline: _Cmdline = None,
    disk: _Disk = None,
    boot: _Boot = None,
    ssh: _Ssh = None,
    userconf: _Userconf = None,
    value: _Value = None,
    config: flags.Config = None,
    data: flags.Data = None,
) -> None:
    """Take the flags, those that were given, to the command that was named."""
    given = {
        "mac": mac,
        "hostname": hostname,
        "image": image,
        "root": root,
        "address": address,
        "seed": seed,
        "cmdline": cmdline,
        "disks": _disks(disk),
        "boot": boot,
        "ssh": ssh,
        "userconf": userconf,
        "data": _values(value),
    }
    work = _add if context.info_name == "add" else _change
    work(_settings(config, data), _serial(serial), {key: what for key, what in given.items() if what is not None})


def _add(settings: Config, serial: str, given: dict[str, Any]) -> None:
    if serial in store.read(settings).by_serial:
        typer.echo(f"pinetboot: {serial} is in fleet.toml already; `pinetboot pi set {serial}` changes it", err=True)
        raise typer.Exit(1)
    seen = next((one for one in state.seen(settings.data) if one.serial == serial), None)
    learned = {"mac": seen.mac} if seen and seen.mac else {}
    pi = store.add(settings, {"serial": serial, **learned, **given}).by_serial[serial]
    model = f", a {seen.model}" if seen and seen.model else ""
    typer.echo(f"{serial} is in the fleet as {pi.name}{model}")


def _change(settings: Config, serial: str, given: dict[str, Any]) -> None:
    _known(store.read(settings), serial)
    if not given:
        raise OperatorError("nothing to set was given", "See `pinetboot pi set --help`.")
    store.change(settings, serial, {key: None if what == "" else what for key, what in given.items()})
    state.drop_fallback(settings.data, serial)
    typer.echo(f"{serial}: {', '.join(given)} set")


app.command(
    "add",
    help="Write a Pi into fleet.toml; a running daemon makes its trees. What was seen of it on the network is filled "
    "in.",
)(_keys)
app.command(
    "set",
    help="Change what fleet.toml says of a Pi; an empty text takes a key out. Another image is booted at its next "
    "boot.",
)(_keys)


@app.command("list")
def show_all(
    *,
    as_json: flags.Json = False,
    ansible: Annotated[bool, typer.Option("--ansible", help="Print an Ansible inventory.")] = False,
    config: flags.Config = None,
    data: flags.Data = None,
) -> None:
    """List the fleet, and every Pi that was seen and is not in it."""
    settings = _settings(config, data)
    pis = fleet_view.collect(settings)
    if ansible:
        typer.echo(json.dumps(fleet_view.ansible(store.read(settings), pis), indent=2))
    elif as_json:
        typer.echo(json.dumps({"pis": [fleet_view.to_json(one) for one in pis]}, indent=2))
    elif pis:
        for_tables().print(fleet_view.table(pis))
    else:
        typer.echo("No Pi is in fleet.toml, and none was seen. Plug one in, or: pinetboot pi add SERIAL")


@app.command()
def show(serial: _Serial, *, as_json: flags.Json = False, config: flags.Config = None, data: flags.Data = None) -> None:
    """Show all that is known of one Pi, and what is wrong with its trees and its seed."""
    settings, serial = _settings(config, data), _serial(serial)
    found = next((one for one in fleet_view.collect(settings) if one.serial == serial), None)
    if found is None:
        typer.echo(f"pinetboot: {serial} is not in fleet.toml, and was never seen", err=True)
        raise typer.Exit(1)
    wrong = examine.findings(gather(settings, store.read(settings)), found.pi) if found.pi else []
    wrong.sort(key=examine.harm)
    if as_json:
        findings = [finding.to_json() for finding in wrong]
        typer.echo(json.dumps(fleet_view.to_json(found) | {"findings": findings}, indent=2))
        return
    for label, text in fleet_view.details(settings.data, found):
        typer.echo(f"{label:<12} {text}")
    for finding in wrong:
        typer.echo(f"{finding.severity:<12} {finding.what}: {finding.why}. {finding.do}")


@app.command()
def upgrade(serial: _Serial, *, config: flags.Config = None, data: flags.Data = None) -> None:
    """Have a Pi boot the image of its name as it is now, in a new generation; `rollback` goes back."""
    settings, serial = _settings(config, data), _serial(serial)
    _known(store.read(settings), serial)
    folder = settings.data
    state.want_upgrade(folder, serial)
    state.drop_fallback(folder, serial)
    typer.echo(f"{serial} gets a new generation from its image; it boots that from its next boot on")


@app.command()
def rollback(serial: _Serial, *, config: flags.Config = None, data: flags.Data = None) -> None:
    """Have a Pi boot the generation before the one it boots now."""
    settings, serial = _settings(config, data), _serial(serial)
    pi = _known(store.read(settings), serial)
    folder = settings.data
    current = trees.current(folder, serial)
    held = trees.generations(folder, serial)
    earlier = [one for one in held if not one.rejected and current is not None and one.number < current]
    if current is None or not earlier:
        typer.echo(f"pinetboot: {serial} has no earlier generation to go back to", err=True)
        raise typer.Exit(1)
    target = earlier[-1]
    if pi.image != target.image:
        store.change(settings, serial, {"image": target.image})
    trees.reject(folder, serial, current)
    state.drop_fallback(folder, serial)
    state.ask(folder)
    typer.echo(f"{serial} goes back to generation {target.number} ({target.image}), from its next boot on")


@app.command()
def remove(
    serial: _Serial,
    *,
    purge: Annotated[bool, typer.Option("--purge", help="Delete its trees, disks and identity as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Delete them even while a client has them mounted.")] = False,
    config: flags.Config = None,
    data: flags.Data = None,
) -> None:
    """Take a Pi out of fleet.toml. Its trees, disks and identity are kept, unless --purge is given."""
    settings, serial = _settings(config, data), _serial(serial)
    _known(store.read(settings), serial)
    folder = settings.data
    own = folder / "pis" / serial
    if purge and own.exists():
        user = "" if force else standing.in_use(serial)
        if user:
            raise OperatorError(f"{own} is in use: {user}", "Shut the Pi down first, or add --force.")
        typer.echo(f"This deletes {own}: {fleet_view.contents(own)}. A Pi that runs from it stops working.")
        if not yes and not typer.confirm("Delete it?"):
            raise typer.Exit(1)
    store.drop(settings, serial)
    trees.unlink(folder, serial)
    if purge:
        trees.purge(folder, serial)
        typer.echo(f"{serial} is out of the fleet, and {own} is gone")
    else:
        kept = f"; {own} is kept" if own.exists() else ""
        typer.echo(f"{serial} is out of the fleet{kept}")
