"""What `pinetboot trace` is told of a running daemon, joined from settings, interfaces, fleet and transfers.

Belongs here: joining alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pinetboot.config import Config
from pinetboot.fleet.reconcile import Reconciler
from pinetboot.net.links import Links
from pinetboot.trace.whose import Facts

_DHCP: Final = (67, 68)  # whatever ports are ours: the LAN's own server is there
_MOST_TRANSFERS: Final = 1024


def facts(
    config: Config, links: Links, fleet: Reconciler, transfers: Iterable[tuple[str, int, int]], serial: str
) -> Facts:
    """Say what is known of a Pi, with an empty serial of the whole LAN. `transfers` are (client, port, blksize)."""
    pi, seen = fleet.inventory.by_serial.get(serial), fleet.sightings.of(serial)
    addresses = {one.address for one in (pi, seen) if one is not None and one.address}
    macs = {one.mac for one in (pi, seen) if one is not None and one.mac}
    # What goes through a bridge or a bond is seen on its ports as well: the one with an address is enough.
    ours = [link.index for link in links.by_index.values() if link.addresses or link.addresses6]
    own = config.dhcp.port
    return Facts(
        serial,
        macs=tuple(sorted(macs)),
        addresses=tuple(sorted(addresses)),
        dhcp_ports=tuple(sorted({*_DHCP, own, own + 1})),
        tftp_port=config.tftp.port,
        http_port=config.http.port if config.http.enabled else 0,
        interfaces=tuple(ours),
        transfers=tuple(one for one in transfers if not serial or one[0] in addresses)[:_MOST_TRANSFERS],
    )
