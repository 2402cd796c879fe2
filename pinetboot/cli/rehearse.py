"""`pinetboot rehearse`: flags, steps as they happen, the verdict or JSON; of many Pis what `cli.storm` shows."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from pinetboot import loop, storm
from pinetboot.cli.steps import line, verdict
from pinetboot.cli.storm import View
from pinetboot.dhcp.options import is_serial
from pinetboot.errors import OperatorError
from pinetboot.net import links
from pinetboot.net.addresses import parse_mac
from pinetboot.pi import faults
from pinetboot.pi.faults import Fault
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


def rehearse(
    *,
    model: Annotated[str, typer.Option(help=f"Which Pi to be: {', '.join(PROFILES)}.")] = "pi4",
    serial: Annotated[str, typer.Option(help="Eight hex digits, as in the Pi's folder name.")] = "",
    server: Annotated[str, typer.Option(help="Boot from this address.", show_default="the one that DHCP tells")] = "",
    dhcp: Annotated[
        bool, typer.Option("--dhcp/--no-dhcp", help="Get address and server over DHCP, or neither.")
    ] = True,
    interface: Annotated[str, typer.Option(help="Where to speak DHCP.", show_default="that of the default route")] = "",
    dhcp_port: Annotated[
        int, typer.Option(min=1, max=65534, help="UDP port of DHCP servers on the interface lo; clients have the next.")
    ] = 67,
    mac: Annotated[str, typer.Option(help="MAC address to be.", show_default="made of model and serial")] = "",
    tftp_port: Annotated[int, typer.Option(min=1, max=65535, help="UDP port of the TFTP server.")] = 69,
    dhcp_timeout: Annotated[
        float | None,
        typer.Option(min=1, max=3600, help="Seconds until DHCP is given up.", show_default="the model's own"),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="So many Pis, with serials from this one on.")] = 1,
    at_once: Annotated[bool, typer.Option("--at-once", help="Start them all together.")] = False,
    stagger: Annotated[float, typer.Option(min=0, max=600, help="Seconds from one's start to the next.")] = _STAGGER_S,
    online: Annotated[
        bool, typer.Option("--online", help="Go on as Linux: ask for an address, and tell the server that it is up.")
    ] = False,
    fault: Annotated[
        list[str] | None, typer.Option(help=f"NAME[:ARG], with @N for the N-th Pi alone; again for more. {_FAULTS}.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end and nothing else.")] = False,
) -> None:
    """Be a Pi, or many: boot over the network as the firmware does, and say where it stops and why.

    With DHCP it needs root (or CAP_NET_RAW, CAP_NET_ADMIN and CAP_NET_BIND_SERVICE): it takes an address of the LAN
    for the time of the boot and gives it back. With --no-dhcp --server IP it needs nothing.

    With --online the server takes the Pi for one that runs, in its timeline and for its rollback.

    Exit code 0: every Pi would boot. 1: one would not. 2: wrong usage.
    """
    profile = _profile(model, serial)
    if server and not is_address(server):
        raise OperatorError(f"--server {server!r} is no IPv4 address", "The firmware looks up no names.")
    if not dhcp and not server:
        raise OperatorError("--no-dhcp leaves open where to boot from", "Add --server IP.")
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
    )
    ok = (
        _one(planned[0], as_json=as_json) if count == 1 else _many(planned, _AT_ONCE_S if at_once else stagger, as_json)
    )
    if not ok:
        raise typer.Exit(1)


def _one(plan: Plan, *, as_json: bool) -> bool:
    console = Console(highlight=False, soft_wrap=True)

    def told(step: Step | FileStep) -> None:
        if not as_json:
            console.print(line(step))

    if not as_json:
        console.print(f"[bold]{plan.profile.name}[/], serial {plan.serial}")
    report = loop.run(run_rehearsal(plan, told))
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
