"""The fleet as people and scripts read it: from fleet.toml, the trees, and what the daemon saw.

Belongs here: joining and laying out. It reads files alone, so it works with and without a running daemon.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from pinetboot.config import Config
from pinetboot.eeprom.update import WORDS
from pinetboot.fleet import flashing, progress, ramdisk, state, store, trees
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.progress import Making
from pinetboot.observe.boot import Boot
from pinetboot.observe.seen import Seen
from pinetboot.observe.stages import STAGES
from pinetboot.observe.view import Who, pi_json

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True, slots=True)
class Row:
    """One Pi. `pi` is None for one that was seen and is in no fleet, `seen` for one that never was.

    `making` is the generation that is being made for it, None while none is; `boot` its latest boot, as it was kept.
    """

    serial: str
    pi: Pi | None
    seen: Seen | None
    generation: trees.Generation | None
    making: Making | None = None
    boot: Boot | None = None

    @property
    def address(self) -> str:
        """The address that is written down, else the one last seen."""
        return (self.pi.address if self.pi else "") or (self.seen.address if self.seen else "")

    @property
    def mac(self) -> str:
        """The MAC that is written down, else the one last seen."""
        return (self.pi.mac if self.pi else "") or (self.seen.mac if self.seen else "")

    @property
    def image(self) -> str:
        """The image that it is to boot; that of its trees where none is written down."""
        return (self.pi.image if self.pi else "") or (self.generation.image if self.generation else "")

    @property
    def state(self) -> str:
        """In one word, for people."""
        if self.pi is None:
            return "new"
        if self.making is not None:
            return str(self.making)
        if self.generation is None:
            return "not ready"
        return "ready"


def collect(config: Config) -> list[Row]:
    """Every Pi of the fleet in its order, then those that were only seen. Raises OperatorError."""
    data, inventory = config.data, store.read(config)
    seen = {one.serial: one for one in state.seen(data)}
    making = progress.read(data)
    kept, _ = state.boots(data)
    boot = {serial: boots[-1] for serial, boots in kept.items()}
    rows = [_row(data, pi, seen.get(pi.serial), making.get(pi.serial), boot.get(pi.serial)) for pi in inventory.pis]
    strangers = (one for one in seen.values() if one.serial not in inventory.by_serial)
    rows += [Row(one.serial, None, one, None, boot=boot.get(one.serial)) for one in strangers]
    return rows


def _row(data: Path, pi: Pi, seen: Seen | None, making: Making | None, boot: Boot | None) -> Row:
    generation = _booted(data, pi.serial)
    if making is not None and generation is not None and making.generation == generation.number:
        making = None  # it stands, and the daemon has not said so yet
    return Row(pi.serial, pi, seen, generation, making, boot)


def _booted(data: Path, serial: str) -> trees.Generation | None:
    current = trees.current(data, serial)
    return next((one for one in trees.generations(data, serial) if one.number == current), None)


def to_json(row: Row) -> dict[str, Any]:
    """The shape that scripts rely on, without `boot`."""
    who = Who(
        row.serial,
        known=row.pi is not None,
        mac=row.mac,
        model=row.seen.model if row.seen else "",
        hostname=row.pi.name if row.pi else row.seen.hostname if row.seen else "",
        image=row.image,
        generation=row.generation.number if row.generation else None,
        address=row.address,
    )
    shown = pi_json(who, row.boot)
    del shown["boot"]
    last = max(row.seen.last if row.seen else 0.0, row.boot.last if row.boot else 0.0)
    return shown | {
        "ready": row.pi is not None and row.generation is not None,
        "making": {"generation": row.making.generation, "percent": row.making.percent} if row.making else None,
        "last_seen": datetime.fromtimestamp(last, UTC).isoformat(timespec="seconds") if last else None,
    }


def table(rows: list[Row]) -> Table:
    """Lay the fleet out for a terminal."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("serial", "hostname", "model", "image", "generation", "address", "last boot", "state"):
        shown.add_column(head)
    for row in rows:
        texts = [
            row.serial,
            row.pi.name if row.pi else "",
            row.seen.model if row.seen else "",
            row.image,
            str(row.generation.number) if row.generation else "",
            row.address,
            _last_boot(row),
        ]
        colour = "yellow" if row.making else {"ready": "green", "new": "yellow"}.get(row.state, "red")
        shown.add_row(*(escape(text) or "-" for text in texts), f"[{colour}]{row.state}[/]")
    return shown


def details(data: Path, row: Row) -> list[tuple[str, str]]:
    """All that is known of one Pi, (label, text) a line."""
    lines = [
        ("serial", row.serial),
        ("state", row.state),
        ("hostname", row.pi.name if row.pi else "-"),
        ("mac", row.mac or "-"),
        ("model", (row.seen.model if row.seen else "") or "-"),
        ("address", row.address or "-"),
        ("image", row.image or "-"),
        ("last boot", _last_boot(row)),
    ]
    booted = trees.current(data, row.serial)
    for one in trees.generations(data, row.serial):
        mark = ", boots this" if one.number == booted else ", rolled back from" if one.rejected else ""
        lines.append(("generation", f"{one.number}: {one.image}, root {one.root}{mark}"))
    made = ramdisk.record(data / "pis" / row.serial / str(booted))
    if made is not None:
        lines.append(("boot.img", f"{made.size / 10**6:,.1f} MB, {'signed' if made.key else 'not signed'}"))
    sent_back = state.fallback(data, row.serial)
    if row.pi is not None and sent_back is not None:
        late = f"generation {sent_back.fled} was not online within {sent_back.after_s:g} s"
        again = f"`pinetboot pi upgrade {row.serial}` tries the newest again"
        lines.append(("sent back", f"to generation {sent_back.to}, {ago(time.time() - sent_back.at)}: {late}; {again}"))
    update = flashing.record(data, row.serial)
    if update is not None:
        lines.append(("bootloader", f"update {update.came} {ago(time.time() - update.at)}: {WORDS[update.came]}"))
    if row.pi is not None:
        lines += [("disk", f"{disk.mount}, {disk.size}") for disk in row.pi.disks]
        said = (("root", row.pi.root), ("seed", row.pi.seed), ("cmdline", row.pi.cmdline))
        lines += [(key, text) for key, text in said if text]
    return lines


def contents(own: Path) -> str:
    """Say what a Pi's folder holds, in a few words."""
    generations = [one.name for one in own.iterdir() if one.name.isdigit()]
    disks = [one.name for one in (own / "disks").iterdir()] if (own / "disks").is_dir() else []
    parts = [f"{len(generations)} generation{'' if len(generations) == 1 else 's'}"] if generations else []
    parts += [f"{len(disks)} disk{'' if len(disks) == 1 else 's'}"] if disks else []
    parts += ["its ssh host keys and machine-id"] if (own / "identity").is_dir() else []
    return ", ".join(parts) or "nothing"


def ansible(inventory: Inventory, rows: list[Row]) -> dict[str, Any]:
    """A dynamic inventory: every Pi with its address and `data`, in a group for each image, seed and role."""
    hosts: dict[str, Any] = {}
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row.pi is None:
            continue
        name = row.pi.name
        facts = {"pinetboot_serial": row.serial, "pinetboot_image": row.image, **row.pi.data}
        hosts[name] = facts | ({"ansible_host": row.address} if row.address else {})
        for kind, value in (("image", row.image), ("seed", row.pi.seed), ("role", row.pi.data.get("role"))):
            if value:
                group = "".join(char if char.isalnum() else "_" for char in f"{kind}_{value}")
                groups.setdefault(group, []).append(name)
    return {
        "_meta": {"hostvars": hosts},
        "all": {"children": ["ungrouped", *groups], "hosts": [pi.name for pi in inventory.pis]},
        **{group: {"hosts": names} for group, names in groups.items()},
    }


def _last_boot(row: Row) -> str:
    boot = row.boot
    if boot is None:
        return f"seen {ago(time.time() - row.seen.last)}" if row.seen else "never"
    came = {"online": "online", "stalled": f"stalled at {STAGES[boot.stage]}"}.get(boot.state, STAGES[boot.stage])
    return f"{ago(time.time() - boot.started)}, {came}"


def ago(seconds: float) -> str:
    """Say how long ago something was."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name} ago"
    return "just now"
