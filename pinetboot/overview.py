"""What is known of every Pi, joined for whoever asks: fleet.toml, what was seen on the network, trees and boots.

Belongs here: joining alone. Each part is known best where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pinetboot.config import Config
from pinetboot.events import Sink
from pinetboot.fleet.reconcile import Reconciler
from pinetboot.observe.silence import Outlook
from pinetboot.observe.view import Who, boot_json, pi_json
from pinetboot.observe.watch import BootWatch
from pinetboot.threads import Pool


class Overview:
    """Every Pi, and its boots. `hears_dhcp` says whether what is said over DHCP is heard; `sink` is BootWatch's."""

    def __init__(
        self, config: Config, pool: Pool, fleet: Reconciler, hears_dhcp: Callable[[], bool], sink: Sink
    ) -> None:
        self._fleet = fleet
        self._hears_dhcp = hears_dhcp
        self.boots = BootWatch(
            config.data,
            pool,
            whose=self.serial_of,
            outlook=self.outlook,
            members=lambda: fleet.inventory.by_serial,
            sink=sink,
        )

    def serial_of(self, address: str) -> str | None:
        """Whose an address is: as fleet.toml says, else who was seen there last."""
        pi = self._fleet.inventory.by_address.get(address)
        if pi is not None:
            return pi.serial
        seen = self._fleet.sightings.of_address(address)
        return seen.serial or None if seen else None

    def outlook(self, serial: str) -> Outlook:
        """What can be expected of a Pi's boot."""
        pi = self._fleet.inventory.by_serial.get(serial)
        seen = self._fleet.sightings.of(serial)
        return Outlook(
            model=seen.model if seen else "",
            hostname=pi.name if pi else "",
            ours=pi is not None and pi.root == "nfs" and serial in self._fleet.generations,
            hears_dhcp=self._hears_dhcp(),
        )

    def all(self) -> list[dict[str, Any]]:
        """Show every Pi as design 2.7 has it: those of the fleet in its order, then those that were only seen."""
        known = self._fleet.inventory.by_serial
        strangers = [seen.serial for seen in self._fleet.sightings.all() if seen.serial not in known]
        return [self._shown(serial) for serial in (*known, *strangers)]

    def one(self, serial: str) -> dict[str, Any] | None:
        """Show one Pi with its past boots, the latest last, in `boots`; None for one that nobody knows."""
        if serial not in self._fleet.inventory.by_serial and self._fleet.sightings.of(serial) is None:
            return None
        offset = self.boots.offset
        boots = [boot_json(boot, offset) for boot in self.boots.timeline.boots(serial)]
        return self._shown(serial) | {"boots": boots}

    def _shown(self, serial: str) -> dict[str, Any]:
        pi = self._fleet.inventory.by_serial.get(serial)
        seen = self._fleet.sightings.of(serial)
        who = Who(
            serial,
            known=pi is not None,
            mac=(pi.mac if pi else "") or (seen.mac if seen else ""),
            model=seen.model if seen else "",
            hostname=pi.name if pi else seen.hostname if seen else "",
            image=self._fleet.image_of(pi) if pi else "",
            generation=self._fleet.generations.get(serial),
            address=(pi.address if pi else "") or (seen.address if seen else ""),
        )
        return pi_json(who, self.boots.timeline.latest(serial), self.boots.offset)
