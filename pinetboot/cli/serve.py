"""`pinetboot serve`: flags, and the block shown at start."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from pinetboot import loop
from pinetboot.cli import flags
from pinetboot.daemon import serve as serve_daemon
from pinetboot.settings import Source


def serve(
    *,
    config: flags.Config = None,
    data: flags.Data = None,
    address: Annotated[
        str | None, typer.Option(help="Address that Pis are told to boot from.", show_default="the one they asked at")
    ] = None,
    interface: Annotated[
        list[str] | None,
        typer.Option(help="Serve on this interface only; may be given again.", show_default="all that are up"),
    ] = None,
    tftp_port: Annotated[int | None, typer.Option(help="UDP port of TFTP.", show_default="69")] = None,
    http_port: Annotated[int | None, typer.Option(help="TCP port of HTTP.", show_default="80")] = None,
    dhcp_port: Annotated[
        int | None, typer.Option(help="UDP port of ProxyDHCP; clients use the next one.", show_default="67")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="auto, console or json.", show_default="auto: console on a terminal")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.", show_default="info")] = None,
) -> None:
    """Boot Raspberry Pis: TFTP, ProxyDHCP and HTTP in one process.

    Put a boot tree into DATA/boot (one folder per Pi, named by its serial, or one for all) and plug the Pis in.
    The DHCP server of your LAN stays as it is. Ports below 1024 need root or CAP_NET_BIND_SERVICE.

    SIGTERM lets running transfers finish; changed settings are taken within seconds, with SIGHUP at once.
    """
    given: list[tuple[str, str, Any, str]] = [
        ("server", "data", data, "--data"),
        ("server", "address", address, "--address"),
        ("server", "interfaces", interface, "--interface"),
        ("tftp", "port", tftp_port, "--tftp-port"),
        ("http", "port", http_port, "--http-port"),
        ("dhcp", "port", dhcp_port, "--dhcp-port"),
        ("server", "log_format", log_format, "--log-format"),
        ("server", "log_level", log_level, "--log-level"),
    ]
    chosen = {(section, key): (value, flag) for section, key, value, flag in given if value not in (None, [])}
    loop.run(serve_daemon(Source(config, chosen), _announce))


def _announce(block: list[tuple[str, str]]) -> None:
    """Show the start block to a person."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    shown = ""
    for label, text in block:
        console.print(f"[bold]{'' if label == shown else label:<18}[/]{escape(text)}")
        shown = label
