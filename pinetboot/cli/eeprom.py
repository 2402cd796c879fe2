"""`pinetboot eeprom`: a Pi's bootconf.txt, each line explained, or an image with it that its next boot flashes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pinetboot import bootloader, files, signing
from pinetboot.bootloader import Choice, NoEeprom, Settings
from pinetboot.cli import flags
from pinetboot.config import Config
from pinetboot.eeprom import order as boot_order
from pinetboot.eeprom import signature
from pinetboot.eeprom.bootconf import NAME
from pinetboot.errors import OperatorError
from pinetboot.fleet import flashing, state, store
from pinetboot.fleet.pi import Pi, parse_serial
from pinetboot.fleet.subject import Ground, gather
from pinetboot.settings import Source
from pinetboot.signing import Key

_Serial = Annotated[str, typer.Argument(help="The Pi's serial: the last eight hex digits in /proc/cpuinfo.")]
_All = Annotated[bool, typer.Option("--all", help="Every Pi of the fleet.")]
_Model = Annotated[str, typer.Option(help="pi4, cm4, pi5 or cm5.", show_default="as it was seen")]
_Order = Annotated[str, typer.Option(help=f"What it boots from, in this order: {', '.join(boot_order.DIGITS)}.")]
_Server = Annotated[
    str, typer.Option(help="TFTP_IP, or dhcp to leave it to DHCP.", show_default="what Pis are told of this host")
]
_Prefix = Annotated[str, typer.Option(help="Folder of its files: serial, mac, or a name.")]
_Static = Annotated[bool, typer.Option("--static", help="Ask no DHCP server: its address is that of fleet.toml.")]
_Gateway = Annotated[str, typer.Option(help="With --static: the way to a server on another network.")]
_DhcpTimeout = Annotated[int, typer.Option(help="Milliseconds until DHCP is given up.")]
_FileTimeout = Annotated[int, typer.Option(help="Milliseconds until a file is given up.")]
_Set = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of any other setting; may be given again.")]
_Image = Annotated[
    Path | None,
    typer.Option(
        help="An EEPROM image of rpi-eeprom, pieeprom.bin: flashed with these settings at the next network boot."
    ),
]
_KeyFile = Annotated[
    Path | None,
    typer.Option("--key", help="Private RSA-2048 key to sign with.", show_default="boot_img.key_file for http"),
]
_Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write here: a file, or a folder that is there.")]
_Cancel = Annotated[bool, typer.Option("--cancel", help="Take back an update that no Pi has taken yet.")]


@dataclass(frozen=True, slots=True)
class _Made:
    """What is to be said, or written, of one Pi: the image and its signature where one was given."""

    settings: Settings
    image: bytes = b""
    sig: bytes = b""

    def to_json(self) -> dict[str, Any]:
        told = signature.parse(self.sig)
        return {
            "serial": self.settings.pi.serial,
            "model": self.settings.model,
            "boot_order": f"0x{self.settings.order:x}",
            "lines": [asdict(line) for line in self.settings.lines],
            "text": self.settings.text,
            "update": {"sha256": told.digest.hex(), "timestamp": told.timestamp} if told else None,
        }


def eeprom(
    serial: _Serial = "",
    *,
    every: _All = False,
    model: _Model = "",
    order: _Order = "network,usb,sd",
    server: _Server = "",
    prefix: _Prefix = "serial",
    static: _Static = False,
    gateway: _Gateway = "",
    dhcp_timeout: _DhcpTimeout = 45_000,
    tftp_file_timeout: _FileTimeout = 30_000,
    more: _Set = None,
    image: _Image = None,
    key: _KeyFile = None,
    output: _Output = None,
    cancel: _Cancel = False,
    as_json: flags.Json = False,
    config: flags.Config = None,
    data: flags.Data = None,
) -> None:
    """Print the bootconf.txt of a Pi's bootloader, each line explained; with --image have it flashed.

    With --image the settings are put into that image, and the image is put into the Pi's boot tree with its signature,
    so that the next network boot flashes it. Both go away by themselves once the Pi was seen with them.

    Exit code 0: done. 1: a Pi has no EEPROM, or there is nothing to take back. 2: it cannot be done.
    """
    chosen = {("server", "data"): (data, "--data")} if data is not None else {}
    settings = Source(config, chosen).load()[0]
    ground = gather(settings, store.read(settings))
    pis = _pis(ground, serial, every=every)
    if cancel:
        _cancel(settings.data, pis)
        return
    choice = Choice(order, model, server, prefix, static, gateway, dhcp_timeout, tftp_file_timeout, _pairs(more or []))
    lacking: list[str] = []
    wanted = [one for pi in pis if (one := _wanted(ground, pi, choice, lacking)) is not None]
    made = _images(ground, wanted, image, key, here=output is None) if image else [_Made(one) for one in wanted]
    if as_json:
        typer.echo(json.dumps({"pis": [one.to_json() for one in made]}, indent=2))
    if output is not None:
        _write(output, made, quiet=as_json)
    elif image is not None:
        _ask(ground, made, quiet=as_json)
    elif not as_json:
        _print(made)
    for text in lacking:
        typer.echo(f"pinetboot: {text}", err=True)
    if lacking:
        raise typer.Exit(1)


def _pis(ground: Ground, text: str, *, every: bool) -> list[Pi]:
    if every == bool(text):
        raise OperatorError("name one Pi by its serial, or all of them", "Write `pinetboot eeprom SERIAL`, or --all.")
    if every:
        if not ground.inventory.pis:
            raise OperatorError("no Pi is in fleet.toml", "Name one by its serial, or: pinetboot pi add SERIAL")
        return list(ground.inventory.pis)
    try:
        serial = parse_serial(text)
    except ValueError as error:
        raise OperatorError(str(error)) from None
    return [ground.inventory.by_serial.get(serial) or Pi(serial=serial)]


def _pairs(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    pairs = [text.partition("=") for text in given]
    wrong = next((name for name, sign, _ in pairs if not sign or not name), None)
    if wrong is not None:
        raise OperatorError(f"--set {wrong} is not KEY=VALUE", "Write --set BOOT_UART=1, say.")
    return tuple((name, value) for name, _, value in pairs)


def _wanted(ground: Ground, pi: Pi, choice: Choice, lacking: list[str]) -> Settings | None:
    try:
        return bootloader.settings(ground, pi, choice)
    except NoEeprom as error:
        lacking.append(f"{pi.name}: {error}")
        return None


def _images(ground: Ground, wanted: list[Settings], path: Path, key: Path | None, *, here: bool) -> list[_Made]:
    """Make all of them before any is written."""
    found = bootloader.read_image(path)
    with_key = _key(ground.config, key, over_http=any(boot_order.has(one.order, "http") for one in wanted))
    now = int(time.time())
    made = []
    for one in wanted:
        if here:
            bootloader.require_tree(ground, one)
        made.append(_Made(one, *bootloader.update(found, path, one, with_key, now)))
    return made


def _key(config: Config, path: Path | None, *, over_http: bool) -> Key | None:
    if path is None and over_http and config.boot_img.key_file:
        path = Path(config.boot_img.key_file).expanduser()
    return signing.load(path) if path is not None else None


def _ask(ground: Ground, made: list[_Made], *, quiet: bool) -> None:
    data = ground.data
    for one in made:
        flashing.want(data, one.settings.pi.serial, one.image, one.sig)
    try:
        state.ask(data)
    except OSError as error:
        raise OperatorError(f"{data / 'state'} cannot be written: {error.strerror}") from None
    waits = "" if ground.running else " once `pinetboot serve` runs"
    for one in made:
        pi = one.settings.pi
        if not quiet:
            typer.echo(
                f"{pi.name}: {signature.UPDATE} and {signature.NAME} go into its boot tree{waits}; its next network "
                f"boot flashes them, and `pinetboot status {pi.serial}` says when"
            )


def _write(output: Path, made: list[_Made], *, quiet: bool) -> None:
    several = len(made) > 1
    if (several or any(one.image for one in made)) and not output.is_dir():
        raise OperatorError(f"{output} is no folder, and this makes several files", "Name a folder that is there.")
    for one in made:
        folder = output / one.settings.pi.serial if several else output
        parts = {NAME: one.settings.text.encode()}
        if one.image:
            # The signature last: it has a firmware ask for the image.
            parts |= {signature.UPDATE: one.image, signature.NAME: one.sig}
        try:
            if several:
                folder.mkdir(exist_ok=True)
            for name, content in parts.items():
                path = folder / name if folder.is_dir() else folder
                files.write(path, content)
                if not quiet:
                    typer.echo(f"{path} written")
        except OSError as error:
            raise OperatorError(f"{folder} cannot be written: {error.strerror}") from None
    if any(one.image for one in made) and not quiet:
        typer.echo(
            f"Take {signature.NAME} away once the Pi has started with them: what stays takes later changes back."
        )


def _print(made: list[_Made]) -> None:
    for number, one in enumerate(made):
        if len(made) > 1:
            typer.echo(("\n" if number else "") + f"# {one.settings.pi.name} ({one.settings.pi.serial})")
        typer.echo(one.settings.text, nl=False)


def _cancel(data: Path, pis: list[Pi]) -> None:
    taken = []
    for pi in pis:
        try:
            if flashing.forget(data, pi.serial):
                taken.append(pi)
        except OSError as error:
            raise OperatorError(
                f"{data / 'state'} cannot be written: {error.strerror}", "Run it as the user that the daemon runs as."
            ) from None
    for pi in taken:
        typer.echo(f"{pi.name}: its update is taken back; a running daemon takes it out of its boot tree")
    if not taken:
        typer.echo("pinetboot: no update waits to be taken", err=True)
        raise typer.Exit(1)
