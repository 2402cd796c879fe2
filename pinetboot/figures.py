"""How the daemon stands at this moment, in numbers, joined from the servers for `/metrics`.

Belongs here: joining alone; each number is kept where it comes from.
"""

from __future__ import annotations

from collections import Counter

from pinetboot.fleet.reconcile import Reconciler
from pinetboot.observe.tally import Standing, rule_of
from pinetboot.overview import Overview
from pinetboot.tftp.server import TftpServer


def standing(fleet: Reconciler, overview: Overview, tftp: TftpServer | None, services: dict[str, str]) -> Standing:
    """Look around. `services` gives each one's state by name; `tftp` is None where it is off."""
    pis: Counter[tuple[bool, str]] = Counter()
    stalled: Counter[str] = Counter()
    known, timeline = fleet.inventory.by_serial, overview.boots.timeline
    for serial in overview.serials():
        boot = timeline.latest(serial)
        state = boot.state if boot else "unseen"
        pis[serial in known, state] += 1
        if boot is not None and state == "stalled":
            stalled[rule_of(boot.cause.rule if boot.cause else "")] += 1
    cache = tftp.cache if tftp else None
    return Standing(
        pis,
        stalled,
        services,
        transfers=tftp.transfers if tftp else 0,
        cache_bytes=cache.used_bytes if cache else 0,
        cache_limit_bytes=cache.limit_bytes if cache else 0,
        chunks=cache.chunks if cache else Counter(),
        keeps_fleet=fleet.kept,
    )
