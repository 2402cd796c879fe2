"""What is known of a fleet by whoever serves it, whether or not it is the one who keeps it.

Belongs here: fleet.toml as it was read, what was seen on the network, and what each Pi boots. Looking and changing are
done elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from pinetboot.fleet import plan
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.names import FleetNames
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.surroundings import Surroundings, loader
from pinetboot.observe.sightings import Sightings


class Known:
    """`read`: fleet.toml was, at least once. `booted` has what each Pi booted last, `generations` what it would now.

    `default_image` is that of a Pi for which none is named.
    """

    def __init__(self) -> None:
        self.inventory = Inventory()
        self.sightings = Sightings()
        self.names = FleetNames(self.sightings.mac_of, self.sightings.serial_of)
        self.generations: dict[str, int] = {}
        self.booted: dict[str, int] = {}
        self.read = False
        self.found: Surroundings | None = None
        self.default_image = ""

    def take_over(self, data: Path, fleet: Inventory, found: Surroundings) -> None:
        """Go by a fleet.toml that was read, and the images that were found."""
        self.inventory = fleet
        self.read = True
        self.found = found
        self.names.inventory = fleet
        self.names.loader = loader(data, found.images, self.default_image)
        self.sightings.members = fleet.by_serial
        self.sightings.written = {mac: pi.serial for mac, pi in fleet.by_mac.items()}

    def image_of(self, pi: Pi) -> str:
        """Name the image that a Pi is to boot; empty where that is not said."""
        names = [image.name for image in self.found.images] if self.found else []
        return plan.image_for(pi, names, self.default_image)
