"""`pinetboot dhcp-lines`: what to add to a DHCP server of one's own."""

from __future__ import annotations

import sys
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Annotated

import typer

from pinetboot.boot.data import tree_of
from pinetboot.cli import flags
from pinetboot.config import Config
from pinetboot.dhcp import lines, pxe
from pinetboot.dhcp.pxe import Pxe
from pinetboot.errors import OperatorError
from pinetboot.net import links
from pinetboot.net.addresses import parse_ipv4
from pinetboot.settings import Source

_TFTP_PORT = 69


def dhcp_lines(
    server: Annotated[str, typer.Argument(help=f"Which DHCP server it is: {', '.join(lines.FOR)}.")],
    *,
    address: Annotated[
        str, typer.Option(help="Where they boot from.", show_default="what the settings say, or this host's own")
    ] = "",
    config: flags.Config = None,
    data: flags.Data = None,
) -> None:
    """Print what to add to a DHCP server of your own, so that it tells Pis to boot from here.

    For a LAN whose DHCP server you keep yourself, and with dhcp.mode = "off"; with "proxy" nothing has to be added.
    Other machines are told so too where the boot tree has the loaders that the settings name for them.

    The lines go to standard output, what there is to say about them to standard error.
    """
    text_for = lines.FOR.get(server)
    if text_for is None:
        raise OperatorError(f"there are no lines for a DHCP server {server!r}", f"Known are {', '.join(lines.FOR)}.")
    chosen = {("server", "data"): (data, "--data")} if data is not None else {}
    settings = Source(config, chosen).load()[0]
    told = _named(address) if address else _own(settings)
    sys.stdout.write(text_for(told, settings.dhcp.pxe_menu, _pxe(settings)))
    for note in _notes(settings):
        typer.echo(note, err=True)


def _named(address: str) -> IPv4Address:
    try:
        return parse_ipv4(address, "192.168.1.10")
    except ValueError as error:
        raise OperatorError(f"--address: {error}", "The firmware looks up no names.") from None


def _own(settings: Config) -> IPv4Address:
    """Take the address of the settings, else the one that this host has on the Pis' network."""
    if settings.server.address != "auto":
        return IPv4Address(settings.server.address)
    found = links.read()
    candidates = {link.index: link for link in found.serving(settings.server.interfaces) if link.primary}
    chosen = candidates.get(found.default_index or -1)
    if chosen is None and len(candidates) == 1:
        chosen = next(iter(candidates.values()))
    if chosen is None or chosen.primary is None:
        known = ", ".join(f"{link.primary.ip} on {link.name}" for link in candidates.values() if link.primary)
        raise OperatorError(
            f"which address Pis boot from is open: this host has {known}" if known else "this host has no address",
            "Name the one on the Pis' network with --address, or set server.address.",
        )
    if len(candidates) > 1:
        others = ", ".join(f"{link.primary.ip}" for link in candidates.values() if link.primary and link != chosen)
        typer.echo(f"Pis are told {chosen.primary.ip} on {chosen.name}; --address takes another: {others}.", err=True)
    return chosen.primary.ip


def _pxe(settings: Config) -> Pxe | None:
    """Say what there is for machines that are no Pi, as the daemon goes by it; None where [pxe] leaves them alone."""
    offered = pxe.of_settings(settings, tree_of(settings).has)
    # That server gives the addresses and names this host, whatever the mode is as yet.
    return replace(offered, beside=False) if offered else None


def _notes(settings: Config) -> list[str]:
    notes = []
    if settings.dhcp.mode != "off":
        notes.append(f'dhcp.mode is "{settings.dhcp.mode}": set it to "off" once that server has these lines.')
    if not settings.tftp.enabled or settings.tftp.port != _TFTP_PORT:
        notes.append("Pis ask UDP port 69 for files, whatever they are told; tftp.enabled and tftp.port say otherwise.")
    return notes
