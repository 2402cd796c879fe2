"""Who a DHCP client is: what fleet.toml says of it, and what was seen of it before.

Belongs here: finding a Pi by the serial that it tells or by its MAC, and the addresses that are set aside for Pis.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

from pinetboot.dhcp.lease import Lease
from pinetboot.dhcp.serving import Known
from pinetboot.events import FleetFault
from pinetboot.fleet.inventory import Inventory


class People:
    """`inventory` gives the fleet as it is now, `serial_of` whose a MAC is, as far as that was seen."""

    def __init__(self, inventory: Callable[[], Inventory], serial_of: Callable[[str], str | None]) -> None:
        self._inventory = inventory
        self._serial_of = serial_of
        self._known: Inventory | None = None
        self._missed: dict[str, tuple[str, IPv4Address]] = {}

    def known(self, mac: str, serial: str) -> Known:
        """Say who is behind a MAC, and the serial that came with it where one did."""
        fleet = self._inventory()
        pi = fleet.by_serial.get(serial) or fleet.by_mac.get(mac)
        if pi is None:
            serial = serial or self._serial_of(mac) or ""
            pi = fleet.by_serial.get(serial)
        if pi is None:
            return Known(serial)
        return Known(pi.serial, IPv4Address(pi.address) if pi.address else None, pi.name)

    def changed(self) -> bool:
        """Whether the fleet is another than when this was asked last."""
        before, self._known = self._known, self._inventory()
        return before is not self._known

    def reserved(self, network: IPv4Network) -> list[IPv4Address]:
        """List the addresses of a network that are set aside for Pis."""
        return [address for address in map(IPv4Address, self._inventory().by_address) if address in network]

    def missed(self, lease: Lease, network: IPv4Network) -> FleetFault | None:
        """Say, once, that a Pi gets another address than the one in fleet.toml."""
        pi = self._inventory().by_serial.get(lease.serial)
        if pi is None or not pi.address or pi.address == str(lease.address):
            self._missed.pop(lease.serial, None)
            return None
        missed = (pi.address, lease.address)
        if self._missed.get(pi.serial) == missed:
            return None
        self._missed[pi.serial] = missed
        outside = IPv4Address(pi.address) not in network
        why = f"is none of {network}, which is served" if outside else "is in use by somebody else or by this host"
        return FleetFault(pi.serial, f"it is given {lease.address}: {pi.address}, which fleet.toml says, {why}")
