"""One Pi, and what it boots from, as it lies on disk: what every rule about a Pi looks at.

Belongs here: finding the trees and reading what is needed, once. What follows from it is `fleet.examine`'s. Files are
read alone, so that it works with and without a running daemon.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pinetboot.boot.data import tree_of
from pinetboot.boot.generated import Served, TreeFacts
from pinetboot.boot.resolver import BootTree
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.fleet import facts, plan, progress, state, told, trees
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.names import FleetNames
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.surroundings import Surroundings, look
from pinetboot.net import links
from pinetboot.net.links import Links
from pinetboot.observe.seen import Seen


@dataclass(frozen=True, slots=True)
class Ground:
    """What all Pis of a fleet are looked at with, read once. `running`: a daemon keeps this fleet now."""

    config: Config
    inventory: Inventory
    links: Links
    seen: Mapping[str, Seen]
    found: Surroundings
    making: Mapping[str, progress.Making]
    running: bool
    names: FleetNames
    tree: BootTree

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.config.data

    def address_of(self, pi: Pi) -> str:
        """The address of a Pi, the one that is written down first; empty where none is known."""
        seen = self.seen.get(pi.serial)
        return pi.address or (seen.address if seen else "")


def gather(config: Config, inventory: Inventory) -> Ground:
    """Read what is needed. Raises OperatorError where the images cannot be listed."""
    data = config.data
    seen = {one.serial: one for one in state.seen(data)}
    own_links = Links()
    with suppress(OperatorError):
        own_links = links.read()
    macs = {one.mac: one.serial for one in seen.values() if one.mac and one.serial}
    names = FleetNames({serial: mac for mac, serial in macs.items()}.get, macs.get)
    names.inventory = inventory
    return Ground(
        config,
        inventory,
        own_links,
        seen,
        look(config),
        progress.read(data),
        progress.is_running(data),
        names,
        tree_of(config, names),
    )


@dataclass(frozen=True, slots=True)
class Subject:
    """One Pi with its trees; `boot` is None while it has none of its own.

    `number` is the generation that it boots, None for a folder of the user's own and where there is none. `facts` are
    of the image as long as there are no trees, None where there is no image either.
    """

    ground: Ground
    pi: Pi
    seen: Seen | None
    served: Served | None
    number: int | None
    boot: Path | None
    root: Path | None
    facts: TreeFacts | None

    @property
    def model(self) -> str:
        """What is known of its model, empty where nothing is."""
        return self.seen.model if self.seen else ""

    @property
    def has_own_folder(self) -> bool:
        """Whether it boots from a folder of the user's own, which no generation takes the place of."""
        boot = self.boot
        return boot is not None and self.number is None and boot.name == self.pi.serial and not boot.is_symlink()


def look_at(ground: Ground, pi: Pi) -> Subject:
    """Find the trees of a Pi and look at them."""
    number = trees.current(ground.data, pi.serial) if ground.tree.pis is not None else None
    own = ground.data / "pis" / pi.serial / str(number)
    boot, root = own / "boot", own / "root"
    if number is not None and boot.is_dir():
        has_root = root if root.is_dir() else None
        looked = facts.look(boot, has_root)
        return _subject(ground, pi, number=number, boot=boot, root=has_root, facts=looked)
    folders = (ground.tree.root / name for name in ground.names.folders(pi.serial))
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is not None:
        return _subject(ground, pi, boot=folder, facts=facts.look(folder, None))
    return _subject(ground, pi, facts=_of_the_image(ground, pi))


def _subject(
    ground: Ground,
    pi: Pi,
    *,
    number: int | None = None,
    boot: Path | None = None,
    root: Path | None = None,
    facts: TreeFacts | None = None,
) -> Subject:
    served = told.served(ground.config, ground.links, pi, ground.address_of(pi))
    return Subject(ground, pi, ground.seen.get(pi.serial), served, number, boot, root, facts)


def _of_the_image(ground: Ground, pi: Pi) -> TreeFacts | None:
    name = plan.image_for(pi, [one.name for one in ground.found.images], ground.config.fleet.default_image)
    image = ground.data / "images" / name
    if not name or not (image / "boot").is_dir():
        return None
    return facts.look(image / "boot", image / "root" if pi.root == "nfs" else None)
