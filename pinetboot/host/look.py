"""Looking at the host and the LANs around it, for `pinetboot check`: nothing is changed, and no lease is taken.

Belongs here: what is looked at, all at the same time, as most of it is waiting. What follows is said in `findings`.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Final

import pinetboot
from pinetboot.causes import Finding
from pinetboot.config import Config
from pinetboot.dhcp import neighbours, place
from pinetboot.errors import OperatorError
from pinetboot.fleet import progress, state, store
from pinetboot.host import filtering, findings, firewall, hearing, ports, system
from pinetboot.host.filtering import Packet
from pinetboot.host.ports import Holder
from pinetboot.host.scene import Closed, Held, Lan, Protocol, Scene
from pinetboot.host.system import Capability
from pinetboot.image import copying
from pinetboot.net import links
from pinetboot.net.links import Link, Links

_MOST_LANS: Final = 32
_SOME_DATA_PORT: Final = 40000
_NFS: Final = 2049
_PORTMAPPER: Final = 111
_NFS_HERE: Final = ("auto", "exports", "daemons")


async def look(config: Config) -> list[Finding]:
    """Look at everything; takes some four seconds. Raises OperatorError where this host cannot be looked at."""
    found = await asyncio.to_thread(links.read)
    serving = found.serving(config.server.interfaces)[:_MOST_LANS]
    around = asyncio.gather(*(_lan(link) for link in serving))
    here = asyncio.to_thread(_host, config, found, serving)
    lans, scene = await asyncio.gather(around, here)
    return findings.of(replace(scene, lans=tuple(lans)))


async def _lan(link: Link) -> Lan:
    asking = asyncio.create_task(neighbours.find(link, as_pi=True))
    tree = None
    with suppress(OSError):
        tree = await hearing.bpdu(link, neighbours.PATIENCE_S)
    try:
        heard, unasked = tuple(await asking), ""
    except OperatorError as error:
        heard, unasked = (), error.what
    return Lan(link.name, link.addresses, heard, unasked, tree)


def _host(config: Config, found: Links, serving: Sequence[Link]) -> Scene:
    wanted = _ports(config)
    holders = ports.holders([(held.protocol, held.port) for held in wanted])
    serves = any(one.ours for one in holders) or progress.is_running(config.data)
    able = system.capabilities()
    listed = firewall.ruleset()
    return Scene(
        config,
        own=frozenset(own.ip for link in found.by_index.values() for own in link.addresses),
        known=_known(config),
        serving=serves,
        misplaced=_misplaced(config, found),
        held=tuple(_held(wanted, holders, serves=serves)),
        closed=tuple(_closed(config, listed or [], serving)),
        unlisted_firewall=firewall.is_legacy(),
        may_bind=Capability.NET_BIND_SERVICE in able or all(one.port >= system.first_free_port() for one in wanted),
        may_raw=Capability.NET_RAW in able,
        no_roots=copying.lacking() if _has_roots(config) else "",
        slow_s=_built_at() - time.time(),
        synchronised=system.is_synchronised(),
    )


def _ports(config: Config) -> list[Held]:
    """List the ports that we need; by whom they are held is not known yet."""
    wanted = []
    if config.tftp.enabled:
        wanted.append(Held("TFTP", "udp", config.tftp.port, "tftp.port", ""))
    if config.dhcp.mode != "off":
        wanted.append(Held("DHCP", "udp", config.dhcp.port, "dhcp.port", ""))
    if config.http.enabled:
        wanted.append(Held("HTTP", "tcp", config.http.port, "http.port", ""))
    return wanted


def _held(wanted: Sequence[Held], holders: Sequence[Holder], *, serves: bool) -> list[Held]:
    """Say which of our ports others hold; a program that only root may know is ours where one of ours serves."""
    found = []
    for ours in wanted:
        others = [
            one
            for one in holders
            if (one.protocol, one.port) == (ours.protocol, ours.port) and not (one.ours or (serves and not one.pid))
        ]
        if others:
            by = " and ".join(sorted({_named(one) for one in others}))
            found.append(Held(ours.service, ours.protocol, ours.port, ours.setting, by))
    return found


def _named(one: Holder) -> str:
    return f"{one.program} (process {one.pid})" if one.pid else "a program that only root may know"


def _known(config: Config) -> frozenset[IPv4Address]:
    """The addresses that Pis of this fleet are known to have."""
    texts = [seen.address for seen in state.seen(config.data)]
    with suppress(OperatorError):
        texts += [pi.address for pi in store.read(config).pis]
    found = set()
    for text in texts:
        with suppress(AddressValueError):
            found.add(IPv4Address(text))
    return frozenset(found)


def _has_roots(config: Config) -> bool:
    with suppress(OperatorError):
        return any(pi.root == "nfs" for pi in store.read(config).pis)
    return False


def _misplaced(config: Config, found: Links) -> tuple[str, str] | None:
    if config.dhcp.mode == "server":
        try:
            place.find(config, found)
        except OperatorError as error:
            return error.what, error.do
    return None


def _closed(config: Config, listed: Sequence[filtering.Item], serving: Sequence[Link]) -> list[Closed]:
    """Send every packet that Pis send through the rules, on each interface."""
    dropped: defaultdict[tuple[str, bool], defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for link in serving:
        for packet in _packets(config, link.name):
            chain = filtering.dropped_by(listed, packet)
            if chain:
                established = packet.state == "established"
                text = "what belongs to running transfers" if established else str(packet)
                dropped[chain, established][text].append(link.name)
    return [
        Closed(tuple(texts), tuple(sorted({name for names in texts.values() for name in names})), chain, established)
        for (chain, established), texts in dropped.items()
    ]


def _packets(config: Config, interface: str) -> list[Packet]:
    tcp: list[int] = [config.http.port] if config.http.enabled else []
    if config.nfs.mode in _NFS_HERE:
        tcp += [_NFS] + ([_PORTMAPPER] if 3 in config.nfs.versions else [])  # noqa: PLR2004 - NFS version 3
    udp = [config.dhcp.port] if config.dhcp.mode != "off" else []
    packets = []
    if config.tftp.enabled:
        udp.append(config.tftp.port)
        first = config.tftp.port_range.first if config.tftp.port_range else _SOME_DATA_PORT
        packets.append(Packet("udp", first, interface, "established"))
    protocols: tuple[tuple[Protocol, list[int]], ...] = (("udp", udp), ("tcp", tcp))
    return [Packet(protocol, port, interface) for protocol, several in protocols for port in several] + packets


def _built_at() -> float:
    """Since when this version is known to exist: no clock that is right can be before."""
    try:
        return Path(pinetboot.__file__).stat().st_mtime
    except OSError:
        return 0.0
