"""The doctor: what is wrong with settings, fleet, trees and seeds, why it matters, and what to do about it.

Belongs here: which rules there are about the whole, and the order in which all findings are told. What is wrong with
one Pi is `fleet.examine`'s, with machines that are none `installer.check`'s. Every rule is a small function by itself,
changes nothing, and needs no running daemon.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from pinetboot.boot import seeds
from pinetboot.causes import Finding
from pinetboot.config import Config
from pinetboot.dhcp import place
from pinetboot.errors import ConfigError, OperatorError
from pinetboot.fleet import examine, identity, store, told
from pinetboot.fleet.alike import HOST_KEY, MACHINE_ID, alike
from pinetboot.fleet.examine import attempt
from pinetboot.fleet.inventory import Inventory
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.subject import Ground, gather
from pinetboot.host import look
from pinetboot.image import library
from pinetboot.installer import check as installers
from pinetboot.nfs import check as nfs

_FEW_BYTES: Final = 512 << 20
_FEW_FILES: Final = 20_000
_CORRECT: Final = "Correct it: a daemon goes on with what it read before, and one that starts now tells nobody a seed."


@dataclass(frozen=True, slots=True)
class Found:
    """One finding, and the Pi that it is about, None for the whole."""

    finding: Finding
    pi: Pi | None = None

    def to_json(self) -> dict[str, Any]:
        """The shape that scripts rely on, in which `what` begins with the Pi."""
        finding = examine.named(self.pi, self.finding) if self.pi else self.finding
        return finding.to_json() | {"serial": self.pi.serial if self.pi else None}


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, the worst first, and how much was looked at."""

    findings: tuple[Found, ...]
    pis: int
    images: int

    @property
    def ok(self) -> bool:
        """Whether every Pi could boot, as far as can be seen."""
        return not any(found.finding.severity == "fatal" for found in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The shape that scripts rely on."""
        return {"ok": self.ok, "findings": [found.to_json() for found in self.findings]}


async def whole(config: Config) -> Report:
    """Look at everything, the host and its LANs included, which takes some four seconds. Never fails, as run()."""

    async def around() -> list[Finding]:
        try:
            return await look.look(config)
        except Exception as error:  # noqa: BLE001 - as with every rule, its fault must not hide what the others find
            return attempt("the host and its LANs", partial(_raise, error))

    report, findings = await asyncio.gather(asyncio.to_thread(run, config), around())
    found = sorted([*report.findings, *map(Found, findings)], key=lambda one: examine.harm(one.finding))
    return replace(report, findings=tuple(found))


def _raise(error: Exception) -> list[Finding]:
    raise error


def run(config: Config) -> Report:
    """Look at settings, fleet, trees and seeds. Never fails: what cannot be looked at is a finding."""
    found: list[Found] = []
    inventory: Inventory | None = None
    try:
        inventory = store.read(config)
    except OperatorError as error:
        found.append(Found(_unreadable(error)))
    grounds: list[Ground] = []

    def look() -> list[Finding]:
        grounds.append(gather(config, inventory or Inventory()))
        return []

    found += map(Found, attempt("the images", look))
    for ground in grounds:
        for what, rule in _RULES.items():
            found += map(Found, attempt(what, partial(rule, ground)))
        for pi in ground.inventory.pis:
            found += (Found(finding, pi) for finding in examine.findings(ground, pi))
    if inventory is not None:
        found += map(Found, attempt("NFS", lambda: nfs.findings(config, config.data)))
    found.sort(key=lambda one: examine.harm(one.finding))
    images = len(grounds[0].found.images) if grounds else 0
    return Report(tuple(found), len(inventory.pis) if inventory else 0, images)


def _unreadable(error: OperatorError) -> Finding:
    if isinstance(error, ConfigError):
        what = f"{error.source} cannot be used as it is"
        why = "; ".join(str(problem) for problem in error.problems)
        return Finding("fatal", what, why, _CORRECT)
    return Finding("fatal", "the fleet cannot be read", error.what, error.do)


def _data_directory(ground: Ground) -> list[Finding]:
    data = ground.data
    if not data.is_dir():
        return [
            Finding(
                "warning",
                f"there is no data directory {data}",
                "there is nothing to boot from",
                "Start `pinetboot serve`, which makes it, or name another with --data.",
            )
        ]
    folders = [data, *(data / name for name in ("boot", "pis", "images", "state") if (data / name).exists())]
    closed = [folder for folder in folders if not os.access(folder, os.R_OK | os.W_OK | os.X_OK)]
    if not closed:
        return []
    return [
        Finding(
            "warning",
            f"{told.some([str(folder) for folder in closed])} may not be written by this user",
            "what is there is served, but no tree is made or kept current by a daemon that runs as this user",
            "Give it to the user that the daemon runs as; run `pinetboot check` as that user.",
        )
    ]


def _space(ground: Ground) -> list[Finding]:
    if not ground.data.is_dir():
        return []
    found = os.statvfs(ground.data)
    free = found.f_bavail * found.f_frsize
    few_files = bool(found.f_files) and found.f_favail < _FEW_FILES
    if free >= _FEW_BYTES and not few_files:
        return []
    left = f"{free / 10**6:,.0f} MB" if free < _FEW_BYTES else f"{found.f_favail:,} files"
    return [
        Finding(
            "warning",
            f"the file system of {ground.data} has room for {left} more",
            "Pis write to their roots there, and an image or a generation takes some gigabytes",
            "Make room, or take another data directory with --data.",
        )
    ]


def _served_tree(ground: Ground) -> list[Finding]:
    if ground.tree.pis is not None or not ground.inventory.pis:
        return []
    return [
        Finding(
            "warning",
            f"{ground.tree.root} is served, and the trees of the fleet are in {ground.data / 'boot'}",
            "tftp.root names another tree than the data directory's",
            "Leave tftp.root out, or keep the trees of these Pis by hand.",
        )
    ]


def _addresses(ground: Ground) -> list[Finding]:
    pis = ground.inventory.pis
    return told.doubts(ground.config, ground.links, [(pi, ground.address_of(pi)) for pi in pis])


def _leases(ground: Ground) -> list[Finding]:
    """Look where `dhcp.mode = "server"` would lease addresses, and which of fleet.toml's it could not give."""
    if ground.config.dhcp.mode != "server":
        return []
    try:
        found = place.find(ground.config, ground.links)
    except OperatorError as error:
        why = 'pinetboot does not start with it while dhcp.mode is "server"'
        return [Finding("fatal", error.what, why, error.do)]
    wrong = [pi.name for pi in ground.inventory.pis if pi.address and not found.range.allows(IPv4Address(pi.address))]
    if not wrong:
        return []
    return [
        Finding(
            "warning",
            f"{told.some(wrong)} cannot be given the address that fleet.toml says",
            f"it is none of {found.range.network}, which is served, or it is taken: this host's, the router's",
            "Write one of that network, or leave `address` out.",
        )
    ]


def _images(ground: Ground) -> list[Finding]:
    found = []
    for name in library.names(ground.data):
        try:
            library.load(ground.data, name)
        except OperatorError as error:
            why = error.what if not isinstance(error, ConfigError) else "; ".join(map(str, error.problems))
            do = f"Bring it in again with `pinetboot image add SOURCE --name {name} --replace`."
            found.append(Finding("warning", f"the image {name} cannot be used", why, do))
    return found


def _default_image(ground: Ground) -> list[Finding]:
    name = ground.config.fleet.default_image
    names = [image.name for image in ground.found.images]
    if not name or name in names:
        return []
    return [
        Finding(
            "warning",
            f"there is no image {name}, which fleet.default_image names",
            "a Pi for which no image is named cannot be made ready",
            f"Name one of {', '.join(names)}." if names else f"Run `pinetboot image add SOURCE --name {name}`.",
        )
    ]


def _identities(ground: Ground) -> list[Finding]:
    """Look for what must be one Pi's alone and is another's as well: a folder that was copied, say."""
    return [
        Finding(
            "warning",
            f"{told.some(serials)} have the same {kind}",
            _SHARED[kind],
            f"Delete {ground.data / 'pis' / serials[-1] / identity.FOLDER}: its next generation gets one of its own.",
        )
        for kind, serials in alike(ground.data, ground.inventory.pis)
    ]


_SHARED: Final = {
    MACHINE_ID: "they get one another's addresses from DHCP servers that go by it, and share a name in logs and k3s",
    HOST_KEY: "whoever has the key of one can pass for the other",
}


def _unused_seeds(ground: Ground) -> list[Finding]:
    """Look at the templates that are no Pi's yet; the others are filled in for each Pi."""
    used = {pi.seed for pi in ground.inventory.pis}
    return [
        Finding(
            "warning",
            sentence,
            "no Pi could be given this seed",
            "Correct the template before a Pi gets it.",
            "D34",
        )
        for folder in _folders(ground.data / "cloud-init")
        if folder.name not in used
        for sentence in seeds.faults_for_any(folder)
    ]


def _folders(top: Path) -> Iterable[Path]:
    try:
        return sorted(path for path in top.iterdir() if path.is_dir() and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


_RULES: Final[Mapping[str, Callable[[Ground], list[Finding]]]] = {
    "the data directory": _data_directory,
    "its file system": _space,
    "the tree that is served": _served_tree,
    "the addresses of this host": _addresses,
    "the addresses to lease": _leases,
    "the images": _images,
    "the default image": _default_image,
    "what is one Pi's alone": _identities,
    "the seeds of no Pi": _unused_seeds,
    **installers.RULES,
}
