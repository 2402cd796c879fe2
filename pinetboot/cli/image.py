"""`pinetboot image add`, `list` and `remove`: flags, progress, and what an image can boot."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from pinetboot.cli import flags
from pinetboot.cli.console import for_tables
from pinetboot.config import Config
from pinetboot.errors import ConfigError, OperatorError
from pinetboot.image import importer, library
from pinetboot.image.importer import Added, Wanted
from pinetboot.image.watch import Watch
from pinetboot.settings import Source

app = typer.Typer(
    help="What Pis boot from: bring images in, list them, remove them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


_LINE_EVERY_S = 10.0


@app.command("add")
def add(
    source: Annotated[
        str, typer.Argument(help="A file, a URL, or a name out of Raspberry Pi's list.", show_default=False)
    ] = "",
    *,
    name: Annotated[str, typer.Option(help="What to call the image.", show_default="made of SOURCE")] = "",
    sha256: Annotated[str, typer.Option(help="What the file must be, as it comes or unpacked.")] = "",
    boot: Annotated[str, typer.Option(help="Boot tree, a directory or tar, instead of SOURCE.")] = "",
    root: Annotated[str, typer.Option(help="Root tree, likewise.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of another of that name.")] = False,
    boot_img: Annotated[
        bool | None,
        typer.Option(
            "--boot-img/--no-boot-img",
            help="Give each Pi made from it a boot.img, for HTTP boot, unless fleet.toml says what it boots.",
            show_default="as it is",
        ),
    ] = None,
    config: flags.Config = None,
    data: flags.Data = None,
) -> None:
    """Bring an image in, for Pis to be made of.

    SOURCE is a disk image of Raspberry Pi OS, Ubuntu or the like, plain or packed with xz, gzip, zstd or zip;
    `raspios-lite-arm64`, say, is a name out of Raspberry Pi's public list. A download goes on where it stopped.
    It needs root for the root tree; without, the boot partition alone comes in.

    The same content again changes nothing. Pis that run keep what they have, whatever is replaced.
    """
    if not source and not boot and not root:
        raise OperatorError("nothing is named to bring in", "Name a file, a URL or an image of Raspberry Pi's list.")
    settings = settings_of(config, data)
    wanted = Wanted(settings.data, source, name, sha256, boot, root, replace, settings.images.list_url, boot_img)
    with watching() as watch:
        added = importer.add(wanted, watch)
    _tell(added)


@app.command("list")
def show(*, as_json: flags.Json = False, config: flags.Config = None, data: flags.Data = None) -> None:
    """List the images: where each came from, and what it can boot."""
    home = settings_of(config, data).data
    found, damaged = [], []
    for name in library.names(home):
        try:
            one = library.load(home, name)
        except ConfigError as error:
            damaged.append(str(error))
            continue
        if one is not None:
            found.append(one)
    if as_json:
        listed: list[dict[str, Any]] = [one.model_dump() for one in found]
        sys.stdout.write(json.dumps({"images": listed}, indent=2) + "\n")
    elif found:
        table = Table("image", "boots", "root", "files", "size", "added", "from", box=None, header_style="bold")
        for one in found:
            size, when = f"{one.bytes / 10**6:,.0f} MB", one.added[:10]
            models = ", ".join(one.models) or "nothing"
            cells = (one.name, models, "yes" if one.has_root else "no", f"{one.files:,}", size, when, one.source)
            table.add_row(*(escape(cell) for cell in cells))
        for_tables().print(table)
    elif not damaged:
        typer.echo("no image yet; `pinetboot image add raspios-lite-arm64`, say, brings one in")
    for text in damaged:
        typer.echo(f"pinetboot: {text}", err=True)


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The image.")], *, config: flags.Config = None, data: flags.Data = None
) -> None:
    """Delete an image that no Pi in fleet.toml uses."""
    settings = settings_of(config, data)
    home = settings.data
    if name not in library.names(home):
        near = ", ".join(library.names(home))
        raise OperatorError(f"there is no image {name}", f"There are {near}." if near else "There is none at all.")
    users = library.users(settings.fleet_file, name)
    if users:
        raise OperatorError(
            f"the image {name} is that of {', '.join(users)} in fleet.toml", "Give them another image first."
        )
    if settings.fleet.default_image == name:
        raise OperatorError(f"the image {name} is fleet.default_image", "Name another there first.")
    with library.locked(home, lambda: typer.echo("an import is at work; waiting for it", err=True)):
        try:
            library.remove(home, name)
        except FileNotFoundError:
            raise OperatorError(f"there is no image {name}") from None
    typer.echo(f"{name} is removed")


def settings_of(config: Path | None, data: str | None) -> Config:
    """Read the settings with the two flags that say where they and the data are. Raises OperatorError."""
    chosen = {("server", "data"): (data, "--data")} if data is not None else {}
    return Source(config, chosen).load()[0]


def _tell(added: Added) -> None:
    """Say what stands now, and what it can boot."""
    one = added.record
    if not added.changed:
        typer.echo(f"{one.name} is there already, made of the same content; nothing has changed")
    else:
        what = "boot and root" if one.has_root else "the boot partition alone"
        typer.echo(f"{one.name} is there: {what}, {one.files:,} files, {one.bytes / 10**6:,.1f} MB")
    typer.echo(f"  boots   {', '.join(one.models) or 'no model that is known here'}")
    for model, missing in added.missing.items():
        if missing:
            typer.echo(f"  {model:<7} lacks {', '.join(missing)}")
    if one.boot_img:
        typer.echo("  each Pi made from it gets a boot.img")
    if one.without_root:
        typer.echo(f"  root    is missing: {one.without_root}")


@contextmanager
def watching() -> Iterator[Watch]:
    """Show how far it is: bars on a terminal, else lines."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        *(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn()),
        *(TransferSpeedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)


class _Bars:
    """A bar per stage, for a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def stage(self, what: str, total: int | None) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(escape(what), total=total)

    def at(self, done: int) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done)

    def say(self, text: str) -> None:
        self._progress.console.print(escape(text))


class _Lines:
    """A line per stage, and one now and then, for a log."""

    def __init__(self) -> None:
        self._what = ""
        self._total: int | None = None
        self._began = self._last = 0.0

    def stage(self, what: str, total: int | None) -> None:
        self._what, self._total = what, total
        self._began = self._last = time.monotonic()
        self.say(what)

    def at(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last < _LINE_EVERY_S:
            return
        self._last = now
        rate = done / (now - self._began) / 10**6
        far = f"{done / self._total:.0%}" if self._total else f"{done / 10**6:,.0f} MB"
        self.say(f"{self._what}: {far}, {rate:.1f} MB/s")

    def say(self, text: str) -> None:
        typer.echo(text, err=True)
