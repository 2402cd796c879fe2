"""`pinetboot rehearse`: flags, steps as they happen, the verdict or JSON."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from pinetboot import loop
from pinetboot.cli.steps import line, verdict
from pinetboot.dhcp.options import is_serial
from pinetboot.errors import OperatorError
from pinetboot.net import links
from pinetboot.net.addresses import parse_mac
from pinetboot.pi.link import LanLink
from pinetboot.pi.profiles import PROFILES
from pinetboot.rehearse import is_address, plan
from pinetboot.rehearse import rehearse as run_rehearsal


def rehearse(
    *,
    model: Annotated[str, typer.Option(help=f"Which Pi to be: {', '.join(PROFILES)}.")] = "pi4",
    serial: Annotated[str, typer.Option(help="Eight hex digits, as in the Pi's folder name.")] = "",
    server: Annotated[str, typer.Option(help="Boot from this address.", show_default="the one that DHCP tells")] = "",
    dhcp: Annotated[
        bool, typer.Option("--dhcp/--no-dhcp", help="Get address and server over DHCP, or neither.")
    ] = True,
    interface: Annotated[str, typer.Option(help="Where to speak DHCP.", show_default="that of the default route")] = "",
    mac: Annotated[str, typer.Option(help="MAC address to be.", show_default="made of model and serial")] = "",
    tftp_port: Annotated[int, typer.Option(min=1, max=65535, help="UDP port of the TFTP server.")] = 69,
    dhcp_timeout: Annotated[float, typer.Option(min=1, max=3600, help="Seconds until DHCP is given up.")] = 45.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end and nothing else.")] = False,
) -> None:
    """Be a Pi: boot over the network as its firmware does, and say where it stops and why.

    With DHCP it needs root (or CAP_NET_RAW, CAP_NET_ADMIN and CAP_NET_BIND_SERVICE): it takes an address of the LAN
    for the time of the boot and gives it back. With --no-dhcp --server IP it needs nothing.

    Exit code 0: the Pi would boot. 1: it would not. 2: wrong usage.
    """
    profile = PROFILES.get(model)
    if profile is None:
        raise OperatorError(f"there is no model {model!r}", f"Known are {', '.join(PROFILES)}.")
    if not is_serial(serial):
        raise OperatorError(
            f"--serial {serial!r} is no serial" if serial else "--serial is missing",
            "It is the last eight hex digits of the Serial line in /proc/cpuinfo, lower case: 5b154510, say.",
        )
    if server and not is_address(server):
        raise OperatorError(f"--server {server!r} is no IPv4 address", "The firmware looks up no names.")
    if not dhcp and not server:
        raise OperatorError("--no-dhcp leaves open where to boot from", "Add --server IP.")
    try:
        octets = parse_mac(mac) if mac else None
    except ValueError as error:
        raise OperatorError(f"--mac: {error}") from None
    link = _lan(interface) if dhcp else None
    wanted = plan(
        profile,
        serial,
        link=link,
        server=server or None,
        mac=octets,
        tftp_port=tftp_port,
        dhcp_timeout_s=dhcp_timeout,
    )
    console = Console(highlight=False, soft_wrap=True)
    if not as_json:
        console.print(f"[bold]{profile.name}[/], serial {serial}")
    report = loop.run(run_rehearsal(wanted, lambda step: None if as_json else console.print(line(step))))
    if as_json:
        sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n")
    else:
        for text in verdict(report):
            console.print(text)
    if not report.ok:
        raise typer.Exit(1)


def _lan(name: str) -> LanLink:
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
