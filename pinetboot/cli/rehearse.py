"""`pinetboot rehearse`: flags, steps as they happen, the verdict or JSON; of many Pis what `cli.storm` shows."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pinetboot import files, loop, signing, storm
from pinetboot.cli import flags
from pinetboot.cli.steps import line, verdict
from pinetboot.cli.storm import View
from pinetboot.dhcp.options import is_serial
from pinetboot.errors import OperatorError
from pinetboot.net import links
from pinetboot.net.addresses import parse_mac
from pinetboot.pi import faults, http_boot
from pinetboot.pi.eeprom import Eeprom
from pinetboot.pi.eeprom import from_json as eeprom_of
from pinetboot.pi.faults import Fault
from pinetboot.pi.http_boot import HttpBoot
from pinetboot.pi.link import LanLink, Link, LoopbackLink
from pinetboot.pi.profiles import PROFILES, Profile
from pinetboot.pi.report import FileStep, Step
from pinetboot.rehearse import Plan, is_address
from pinetboot.rehearse import rehearse as run_rehearsal

_AT_ONCE_S = 0.0
_STAGGER_S = 0.25
_FAULTS = "; ".join(
    f"{name}{':' + kind.argument if kind.argument else ''}: {kind.words}" for name, kind in faults.KINDS.items()
)


_Model = Annotated[str, typer.Option(help=f"Which Pi to be: {', '.join(PROFILES)}.")]
_Serial = Annotated[str, typer.Option(help="Eight hex digits, as in the Pi's folder name.")]
_Server = Annotated[str, typer.Option(help="Boot from this address.", show_default="the one that DHCP tells")]
_Dhcp = Annotated[bool, typer.Option("--dhcp/--no-dhcp", help="Get address and server over DHCP, or neither.")]
_Interface = Annotated[str, typer.Option(help="Where to speak DHCP.", show_default="that of the default route")]
_DhcpPort = Annotated[
    int, typer.Option(min=1, max=65534, help="UDP port of DHCP servers on the interface lo; clients have the next.")
]
_Mac = Annotated[str, typer.Option(help="MAC address to be.", show_default="made of model and serial")]
_TftpPort = Annotated[int, typer.Option(min=1, max=65535, help="UDP port of the TFTP server.")]
_DhcpTimeout = Annotated[
    float | None, typer.Option(min=1, max=3600, help="Seconds until DHCP is given up.", show_default="the model's own")
]
_Count = Annotated[int, typer.Option(min=1, max=10_000, help="So many Pis, with serials from this one on.")]
_AtOnce = Annotated[bool, typer.Option("--at-once", help="Start them all together.")]
_Stagger = Annotated[float, typer.Option(min=0, max=600, help="Seconds from one's start to the next.")]
_Online = Annotated[
    bool, typer.Option("--online", help="Go on as Linux: ask for an address, and tell the server that it is up.")
]
_Fault = Annotated[
    list[str] | None, typer.Option(help=f"NAME[:ARG], with @N for the N-th Pi alone; again for more. {_FAULTS}.")
]
_EepromFile = Annotated[
    Path | None,
    typer.Option(help="Keep its EEPROM in this file, with what updates left in it.", show_default="a fresh one"),
]
_Http = Annotated[bool, typer.Option("--http", help="Boot over HTTP, from boot.img, as a Pi 4 or 5 may.")]
_HttpPort = Annotated[int, typer.Option(min=1, max=65535, help="Its HTTP_PORT.")]
_HttpPath = Annotated[str, typer.Option(help="Its HTTP_PATH.", show_default="boot/SERIAL")]
_PublicKey = Annotated[
    Path | None, typer.Option("--key", help="PEM file with the public key that its bootloader has for HTTP boot.")
]


def rehearse(
    *,
    model: _Model = "pi4",
    serial: _Serial = "",
    server: _Server = "",
    dhcp: _Dhcp = True,
    interface: _Interface = "",
    dhcp_port: _DhcpPort = 67,
    mac: _Mac = "",
    tftp_port: _TftpPort = 69,
    dhcp_timeout: _DhcpTimeout = None,
    count: _Count = 1,
    at_once: _AtOnce = False,
    stagger: _Stagger = _STAGGER_S,
    online: _Online = False,
    fault: _Fault = None,
    eeprom: _EepromFile = None,
    http: _Http = False,
    http_port: _HttpPort = 80,
    http_path: _HttpPath = "",
    key: _PublicKey = None,
    as_json: flags.Json = False,
) -> None:
    """Be a Pi, or many: boot over the network as the firmware does, and say where it stops and why.

    With DHCP it needs root (or CAP_NET_RAW, CAP_NET_ADMIN and CAP_NET_BIND_SERVICE): it takes an address of the LAN
    for the time of the boot and gives it back. With --no-dhcp --server IP it needs nothing.

    With --online the server takes the Pi for one that runs, in its timeline and for its rollback. An update of the
    bootloader that lies in its boot tree is taken, as the firmware does; from another host it counts as the Pi's.

    Exit code 0: every Pi would boot. 1: one would not. 2: wrong usage.
    """
    profile = _profile(model, serial)
    _check_server(server, dhcp=dhcp)
    if eeprom is not None and count > 1:
        raise OperatorError("--eeprom is the file of one Pi, and --count makes several", "Leave out one of the two.")
    planned = storm.plans(
        profile,
        serial,
        count,
        mac=_mac(mac),
        with_faults=_faults(fault or []),
        link=_link(interface, dhcp_port) if dhcp else None,
        server=server or None,
        tftp_port=tftp_port,
        dhcp_timeout_s=dhcp_timeout,
        online=online,
        eeprom=_eeprom(eeprom),
        http=_http(profile, server, HttpBoot(http_port, http_path), key) if http else None,
    )
    ok = (
        _one(planned[0], eeprom, as_json=as_json)
        if count == 1
        else _many(planned, _AT_ONCE_S if at_once else stagger, as_json)
    )
    if not ok:
        raise typer.Exit(1)


def _one(plan: Plan, kept: Path | None, *, as_json: bool) -> bool:
    console = Console(highlight=False, soft_wrap=True)

    def told(step: Step | FileStep) -> None:
        if not as_json:
            console.print(line(step))

    if not as_json:
        console.print(f"[bold]{plan.profile.name}[/], serial {plan.serial}")
    report = loop.run(run_rehearsal(plan, told))
    if kept is not None and report.eeprom is not None:
        try:
            files.write(kept, json.dumps(report.eeprom.to_json(), indent=1).encode())
        except OSError as error:
            raise OperatorError(f"{kept} cannot be written: {error.strerror}") from None
    if as_json:
        sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n")
        return report.ok
    for text in verdict(report):
        console.print(text)
    return report.ok


def _many(planned: list[Plan], stagger_s: float, as_json: bool) -> bool:
    view = View(planned, moving=not as_json)
    with view:
        outcome = loop.run(storm.run(planned, stagger_s, view.told))
    if as_json:
        sys.stdout.write(json.dumps(outcome.to_json(), indent=2) + "\n")
    else:
        view.summary(outcome)
    return outcome.ok


def _profile(model: str, serial: str) -> Profile:
    profile = PROFILES.get(model)
    if profile is None:
        raise OperatorError(f"there is no model {model!r}", f"Known are {', '.join(PROFILES)}.")
    if not is_serial(serial):
        raise OperatorError(
            f"--serial {serial!r} is no serial" if serial else "--serial is missing",
            "It is the last eight hex digits of the Serial line in /proc/cpuinfo, lower case: 5b154510, say.",
        )
    return profile


def _check_server(server: str, *, dhcp: bool) -> None:
    """Make sure that it is told where to boot from, if DHCP does not."""
    if server and not is_address(server):
        raise OperatorError(f"--server {server!r} is no IPv4 address", "The firmware looks up no names.")
    if not dhcp and not server:
        raise OperatorError("--no-dhcp leaves open where to boot from", "Add --server IP.")


def _http(profile: Profile, server: str, settings: HttpBoot, key: Path | None) -> HttpBoot:
    """Make sure that a model can boot over HTTP as it is asked to."""
    if not http_boot.can(profile):
        raise OperatorError(f"{profile.name} has no HTTP boot", "Be a pi4 or a pi5.")
    if not server:
        raise OperatorError("--http leaves open where to boot from", "Add --server IP: it is the Pi's HTTP_HOST.")
    return replace(settings, public=signing.public(key) if key is not None else b"")


def _eeprom(path: Path | None) -> Eeprom:
    """Read what an earlier rehearsal left; without a file it is as it comes."""
    if path is None or not path.exists():
        return Eeprom()
    try:
        found = eeprom_of(json.loads(path.read_bytes()))
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        found = None
    if found is None:
        raise OperatorError(
            f"{path} holds no EEPROM of a rehearsal", "Name another file; it is made where there is none."
        )
    return found


def _mac(text: str) -> bytes | None:
    try:
        return parse_mac(text) if text else None
    except ValueError as error:
        raise OperatorError(f"--mac: {error}") from None


def _faults(texts: list[str]) -> list[Fault]:
    try:
        return [faults.parse(text) for text in texts]
    except ValueError as error:
        raise OperatorError(f"--fault {error}") from None


def _link(name: str, dhcp_port: int) -> Link:
    if name == "lo":
        return LoopbackLink(dhcp_port, "127.0.0.1")
    found = links.read()
    if name:
        for link in found.by_index.values():
            if link.name == name:
                return LanLink(link.name, link.index)
        known = ", ".join(sorted(link.name for link in found.by_index.values()))
        raise OperatorError(f"there is no network interface {name}", f"Name one of {known}.")
    default = found.by_index.get(found.default_index or -1)
    if default is None:
        raise OperatorError("this host has no default route to tell the interface by", "Name it with --interface.")
    return LanLink(default.name, default.index)
