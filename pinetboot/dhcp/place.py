"""Where a DHCP server of its own LAN stands: the interface whose network holds `dhcp.range`, and what clients are told.

Belongs here: whether settings and interfaces fit, with a sentence for each way in which they do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from pinetboot.config import Config
from pinetboot.dhcp.lease import Range
from pinetboot.dhcp.offer import Proxy
from pinetboot.dhcp.serving import Ground
from pinetboot.errors import OperatorError
from pinetboot.net.links import Link, Links

_AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Place:
    """The interface that is served, the addresses that are leased there, and what is told with them."""

    link: Link
    range: Range
    ground: Ground


def find(config: Config, links: Links) -> Place:
    """Find it. Raises OperatorError where there is none, or the settings do not fit the network."""
    first, last = ends(config)
    link, own = _interface(config, links, first)
    network = own.network
    if last not in network:
        raise OperatorError(
            f"dhcp.range {config.dhcp.range} goes beyond {network}, the network of {link.name}",
            "Let it end within that network, or give the interface a shorter prefix.",
        )
    addresses = frozenset(own.ip for link in links.by_index.values() for own in link.addresses)
    inside = next((address for address in sorted(addresses) if first <= address <= last), None)
    if inside is not None:
        raise OperatorError(
            f"dhcp.range {config.dhcp.range} holds {inside}, an address of this host",
            "Leave it out of the range.",
        )
    router = IPv4Address(config.dhcp.router) if config.dhcp.router else None
    if router is not None and router not in network:
        raise OperatorError(
            f"dhcp.router {router} is not in {network}, the network of {link.name}: no client could reach it",
            "Write the router's address in that network, or leave it empty where there is none.",
        )
    dns = tuple(map(IPv4Address, config.dhcp.dns))
    address = own.ip if config.server.address == _AUTO else IPv4Address(config.server.address)
    taken = addresses | {address} | set(dns) | ({router} if router else set())
    ground = Ground(
        network=network,
        address=address,
        own=addresses,
        lease_s=config.dhcp.lease_s,
        router=router,
        dns=dns,
        proxy=Proxy(address, config.dhcp.pxe_menu, config.dhcp.rom_offers_s),
        alone=not config.dhcp.allow_other_server,
    )
    return Place(link, Range(network, first, last, taken), ground)


def ends(config: Config) -> tuple[IPv4Address, IPv4Address]:
    """Read the first and the last address of `dhcp.range`, which is known to be one."""
    first, _, last = config.dhcp.range.partition("-")
    return IPv4Address(first.strip()), IPv4Address(last.strip())


def _interface(config: Config, links: Links, first: IPv4Address) -> tuple[Link, IPv4Interface]:
    for link in links.serving(config.server.interfaces):
        for own in link.addresses:
            if first in own.network:
                return link, own
    where = f" of {', '.join(config.server.interfaces)}" if config.server.interfaces else " of this host"
    raise OperatorError(
        f"no network{where} holds dhcp.range {config.dhcp.range}",
        f"Give an interface an address of that network ({first} belongs to it), or write another range.",
    )
