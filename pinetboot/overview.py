"""What is known of every Pi, joined for whoever asks: fleet.toml, what was seen on the network, trees and boots.

Belongs here: joining alone. Each part is known best where it comes from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable
from typing import Any, Final

from pinetboot import causes
from pinetboot.causes import Cause, Finding
from pinetboot.config import Config
from pinetboot.events import Sink
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.reconcile import Reconciler
from pinetboot.observe.netconsole import Logs
from pinetboot.observe.outlook import Outlook
from pinetboot.observe.sightings import Sightings
from pinetboot.observe.view import Who, boot_json, details_json, pi_json, rfc3339
from pinetboot.observe.watch import BootWatch
from pinetboot.threads import Pool

# The log begins when the link is up, and the first DISCOVER comes seconds later (reference 2.5, 4.5).
_LOG_BEFORE_S: Final = 60.0


class Overview:
    """Every Pi, and its boots. `hears_dhcp` says whether what is said over DHCP is heard; `sink` is BootWatch's.

    `found` is what a look at the trees of a Pi found when its boot stood still, `shared` what it has of its own and
    another Pi has as well, `logs` what bootloaders say; `own_addresses` gives this host's.
    """

    def __init__(
        self, config: Config, pool: Pool, fleet: Reconciler, hears_dhcp: Callable[[], bool], sink: Sink
    ) -> None:
        self._fleet = fleet
        self._hears_dhcp = hears_dhcp
        self.found: dict[str, tuple[Finding, ...]] = {}
        self.shared: dict[str, tuple[Cause, ...]] = {}
        self.logs = Logs()
        self.own_addresses: Callable[[], Collection[str]] = tuple
        self.boots = BootWatch(
            config.data,
            pool,
            whose=self.serial_of,
            outlook=self.outlook,
            members=lambda: fleet.inventory.by_serial,
            sink=sink,
            writes=lambda: fleet.kept,
        )

    @property
    def sightings(self) -> Sightings:
        """What was seen on the network."""
        return self._fleet.sightings

    @property
    def inventory(self) -> Inventory:
        """The fleet as it was read last."""
        return self._fleet.inventory

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
        config, now = self._fleet.config, time.time()
        return Outlook(
            model=seen.model if seen else "",
            hostname=pi.name if pi else "",
            ours=pi is not None and pi.root == "nfs" and serial in self._fleet.generations,
            hears_dhcp=self._hears_dhcp(),
            leases=config.dhcp.mode == "server",
            giver=self.sightings.giver(now),
            menu=config.dhcp.pxe_menu,
            reached=self.sightings.neighbour(serial),
            rival=self.sightings.addresses.rival(serial, now),
            findings=self.found.get(serial, ()),
            log=self.logs.cause(serial, self.own_addresses()),
        )

    def warnings(self, serial: str) -> list[Cause]:
        """What is worth knowing of a Pi: of its latest boot, of who it is, and of what it should not share."""
        boot = self.boots.timeline.latest(serial)
        pi, seen = self.inventory.by_serial.get(serial), self.sightings.of(serial)
        found = [*(boot.warnings if boot else ()), *self.shared.get(serial, ())]
        swap = self.sightings.macs.at(serial)
        if swap is not None and swap.back:
            found.append(causes.serial_twice(swap.before, swap.after))
        elif pi is not None and pi.mac and seen is not None and seen.mac and seen.mac != pi.mac:
            found.append(causes.mac_changed(pi.mac, seen.mac))
        elif swap is not None and seen is not None and seen.mac == swap.after:
            found.append(causes.mac_changed(swap.before, swap.after))
        old = self.logs.old(serial, seen.model if seen else "")
        if old is not None:
            found.append(old)
        back = self._fleet.fallbacks.trials.fallen.get(serial)
        if back is not None:
            found.append(causes.sent_back(back.fled, back.to, back.after_s))
        if boot is None and seen is None and pi is not None:
            found.append(causes.never_seen())
        return found

    def log(self, serial: str) -> list[dict[str, str]]:
        """What the bootloader of a Pi said since a little before its latest boot began, at most 200 lines."""
        boot, offset = self.boots.timeline.latest(serial), self.boots.offset
        since = boot.started - _LOG_BEFORE_S if boot is not None else float("-inf")
        return [{"at": rfc3339(at + offset), "text": text} for at, text in self.logs.lines(serial, since)]

    def serials(self) -> list[str]:
        """Every Pi by its serial: those of the fleet in its order, then those that were only seen."""
        known = self._fleet.inventory.by_serial
        return [*known, *(seen.serial for seen in self._fleet.sightings.all() if seen.serial not in known)]

    def shown(self, serial: str) -> dict[str, Any]:
        """Show a Pi and its latest boot as design 2.7 has it; one that nobody knows is one that was never seen."""
        return pi_json(self._who(serial), self.boots.timeline.latest(serial), self.boots.offset)

    def mark(self, serial: str) -> Hashable:
        """Give what is another value as soon as shown() would show something else, and costs a tenth of it."""
        boot = self.boots.timeline.latest(serial)
        if boot is None:
            return self._who(serial)
        came = (boot.number, boot.attempts, boot.stage, boot.last, boot.ended, boot.stalled, boot.generation, boot.size)
        clock = int(self.boots.offset)
        return self._who(serial), came, boot.cause, tuple(boot.warnings), clock

    def knows(self, serial: str) -> bool:
        """Whether it is in the fleet, or was seen."""
        return serial in self._fleet.inventory.by_serial or self._fleet.sightings.of(serial) is not None

    def one(self, serial: str) -> dict[str, Any] | None:
        """Show one Pi with its past boots, the latest last, in `boots`; None for one that nobody knows.

        The latest, in `boot`, has its files and evidence with it; those of another are boot()'s. `warnings` are worth
        knowing, `log` is what its bootloader said.

        `bootloader_update` is what became of the latest one that was asked for.
        """
        if not self.knows(serial):
            return None
        offset, timeline = self.boots.offset, self.boots.timeline
        shown = self.shown(serial)
        latest = timeline.latest(serial)
        if latest is not None:
            shown["boot"] |= details_json(latest, serial)
        shown["warnings"] = [cause.to_json() for cause in self.warnings(serial)]
        shown["log"] = self.log(serial)
        update = self._fleet.updates.shown(serial)
        shown["bootloader_update"] = update and update | {"at": rfc3339(update["at"])}
        return shown | {"boots": [boot_json(boot, offset) for boot in timeline.boots(serial)]}

    def boot(self, serial: str, number: int) -> dict[str, Any] | None:
        """Show one boot of a Pi with its files, by its `number`; None where it is not known."""
        for boot in self.boots.timeline.boots(serial):
            if boot.number == number:
                return boot_json(boot, self.boots.offset) | details_json(boot, serial)
        return None

    def _who(self, serial: str) -> Who:
        pi = self._fleet.inventory.by_serial.get(serial)
        seen = self._fleet.sightings.of(serial)
        return Who(
            serial,
            known=pi is not None,
            mac=(pi.mac if pi else "") or (seen.mac if seen else ""),
            model=seen.model if seen else "",
            hostname=pi.name if pi else seen.hostname if seen else "",
            image=self._fleet.image_of(pi) if pi else "",
            generation=self._fleet.generations.get(serial),
            address=(pi.address if pi else "") or (seen.address if seen else ""),
        )
