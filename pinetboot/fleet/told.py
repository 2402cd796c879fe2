"""What a Pi is told of this host: which of its addresses, and the ports and paths behind it.

Belongs here: the choice of an address where the settings leave it open, and the doubt that remains about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from typing import Final

from pinetboot.boot.generated import Served
from pinetboot.causes import Finding
from pinetboot.config import Config
from pinetboot.fleet.pi import Pi
from pinetboot.net.links import Link, Links

_AUTO: Final = "auto"
_HTTP: Final = 80
_SHOWN: Final = 3


def served(config: Config, links: Links, pi: Pi, learned: str) -> Served | None:
    """Say what a Pi is told of this host; None while this host has no address. `learned` is where it was seen."""
    server = config.server.address
    if server == _AUTO:
        own = _own_address(config, links, pi.address or learned)
        if own is None:
            return None
        server = str(own)
    nfs = config.nfs
    return Served(
        server=server,
        http_port=config.http.port if config.http.enabled else 0,
        nfs_server=nfs.address or server,
        nfs_data=nfs.path or str(config.data.resolve()),
        nfs_versions=tuple(nfs.versions),
    )


def web(config: Config, links: Links) -> str:
    """Say where our HTTP is for a machine of which nothing is known, "10.55.0.2:8080"; empty where it is nowhere."""
    server = config.server.address
    if server == _AUTO:
        server = str(_own_address(config, links, "") or "")
    if not server or not config.http.enabled:
        return ""
    return server if config.http.port == _HTTP else f"{server}:{config.http.port}"


def offered(config: Config, links: Links) -> tuple[IPv4Address, ...]:
    """List the addresses of this host that PXE clients are told."""
    if config.server.address != _AUTO:
        return (IPv4Address(config.server.address),)
    primary = (link.primary for link in links.serving(config.server.interfaces))
    return tuple(one.ip for one in primary if one is not None)


def doubts(config: Config, links: Links, pis: Iterable[tuple[Pi, str]]) -> list[Finding]:
    """Say where the address that Pis are told is missing, elsewhere or a guess. `pis` come with their addresses."""
    known = {link.name for link in links.by_index.values()}
    missing = [name for name in config.server.interfaces if name not in known]
    if missing:
        return [
            Finding(
                "fatal" if len(missing) == len(config.server.interfaces) else "warning",
                f"there is no network interface {', no '.join(missing)}",
                "server.interfaces names it, and no Pi is answered there until it comes",
                f"Name one of {', '.join(sorted(known))}; or nothing, where it is yet to come.",
            )
        ]
    if config.server.address != _AUTO:
        return _elsewhere(config.server.address, links)
    candidates = [link for link in links.serving(config.server.interfaces) if link.primary]
    if not candidates:
        return [
            Finding(
                "fatal",
                "this host has no address that a Pi could be told",
                "no network interface is up with an IPv4 address, loopback aside",
                "Connect it to the Pis' network, or set server.address.",
            )
        ]
    guessed = [pi.name for pi, learned in pis if _link_of(links, pi.address or learned) is None]
    if len(candidates) == 1 or not guessed:
        return []
    return [_guess(config, links, candidates, guessed)]


def _guess(config: Config, links: Links, candidates: Sequence[Link], guessed: Sequence[str]) -> Finding:
    taken = _own_address(config, links, "")
    by_route = any(link.index == links.default_index for link in candidates)
    how = "the default route leaves there" if by_route else "it comes first"
    listed = ", ".join(f"{link.primary.ip} on {link.name}" for link in candidates if link.primary)
    return Finding(
        "info" if by_route else "warning",
        f"{taken}, which {some(guessed)} is told of this host, is a guess: {how}",
        f"this host has {listed}, and no network of these is known to hold that Pi",
        "Set server.address, or name the one interface in server.interfaces.",
    )


def some(names: Sequence[str]) -> str:
    """List names, the first few of many."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _elsewhere(address: str, links: Links) -> list[Finding]:
    if links.holds(IPv4Address(address)):
        return []
    return [
        Finding(
            "info",
            f"{address}, which server.address says, is not on this host now",
            "with a virtual IP that is right for a host that stands by; else no Pi is answered",
            "Nothing where another host holds it; else give it to an interface, or write the right one.",
        )
    ]


def _own_address(config: Config, links: Links, address: str) -> IPv4Address | None:
    """Choose this host's address for a Pi: of the network that holds it, else of the default route, else the first."""
    link = _link_of(links, address)
    if link is not None:
        its = IPv4Address(address)
        return next(own.ip for own in link.addresses if its in own.network)
    link = links.by_index.get(links.default_index or 0) or next(iter(links.serving(config.server.interfaces)), None)
    return link.primary.ip if link is not None and link.primary is not None else None


def _link_of(links: Links, address: str) -> Link | None:
    return links.towards(IPv4Address(address)) if address and ":" not in address else None
