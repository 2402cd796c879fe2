"""What a finished command line lacks for a Pi whose root is on NFS (reference 5.1 to 5.3, 6.1).

Belongs here: one small function a rule. A line that pinetboot makes has none of these faults; one made by hand may.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from pinetboot.boot import generated
from pinetboot.boot.generated import TreeFacts
from pinetboot.causes import Finding

_OVER_UDP: Final = frozenset({"udp", "proto=udp"})
_FIRST_BOOT: Final = re.compile(r"init=.*(?:resize|firstboot|first_boot).*")
_JOINED: Final = re.compile(r"ds=nocloud.*;s=(https?://[^;%?]*[^/;%?])(?:;.*)?")
_WITHOUT_SLASH: Final = (23, 4)  # cloud-init from there on adds the slash by itself (reference 6.2)


def findings(text: str, facts: TreeFacts, *, seeds_served: bool = True) -> list[Finding]:
    """Say what is wrong with a command line that names an NFS root; nothing for any other.

    Where no seed is served, none need be asked for.
    """
    words = [word.strip('"') for word in generated.words(text)]
    if "root=/dev/nfs" not in words:
        return []
    found = (rule(words, facts) for rule in _RULES)
    return [finding for finding in found if finding is not None and (seeds_served or finding.rule != "D35")]


def _no_address(words: Sequence[str], facts: TreeFacts) -> Finding | None:
    if facts.initramfs or any(word.startswith(("ip=", "nfsaddrs=")) for word in words):
        return None
    return Finding(
        "fatal",
        "its cmdline.txt has no ip=",
        "a kernel without an initramfs asks for no address by itself, and cannot reach its root",
        "Add ip=dhcp.",
        "D28",
    )


def _over_udp(words: Sequence[str], _: TreeFacts) -> Finding | None:
    options = [option for word in words if word.startswith("nfsroot=") for option in word.split(",")[1:]]
    if not _OVER_UDP & set(options):
        return None
    return Finding(
        "warning",
        "its cmdline.txt has the root mounted over UDP",
        "kernels from 5.6 on come without NFS over UDP",
        "Take udp out of nfsroot=, or write proto=tcp where there is no initramfs.",
        "D30",
    )


def _first_boot(words: Sequence[str], _: TreeFacts) -> Finding | None:
    found = next((word for word in words if _FIRST_BOOT.fullmatch(word)), "")
    if not found:
        return None
    return Finding(
        "warning",
        f"its cmdline.txt has {found[:80]}",
        "that program makes an SD card's partition larger at the first boot, and stops where there is none",
        "Take that word out.",
        "D31",
    )


def _no_seed(words: Sequence[str], facts: TreeFacts) -> Finding | None:
    if facts.cloud_init is None or any(word.startswith("ds=") for word in words):
        return None
    return Finding(
        "info",
        "its cmdline.txt has no ds=nocloud",
        "its cloud-init does not ask this host for a seed",
        "Add ds=nocloud;s=http://SERVER/seed/SERIAL/ where it is to have one.",
        "D35",
    )


def _joined_seed(words: Sequence[str], facts: TreeFacts) -> Finding | None:
    joined = any(_JOINED.fullmatch(word) for word in words)
    if not joined or not facts.cloud_init or facts.cloud_init >= _WITHOUT_SLASH:
        return None
    return Finding(
        "warning",
        "the address of the seed in its cmdline.txt ends without a slash",
        "its cloud-init is older than 23.4, and puts the name of the file right behind it",
        "Add the slash.",
        "D36",
    )


def _network_anew(words: Sequence[str], facts: TreeFacts) -> Finding | None:
    if facts.cloud_init is None or "network-config=disabled" in words:
        return None
    return Finding(
        "warning",
        "its cmdline.txt has no network-config=disabled",
        "its cloud-init may set up the network card anew that the root hangs on",
        "Add network-config=disabled.",
        "D47",
    )


_RULES: Final[tuple[Callable[[Sequence[str], TreeFacts], Finding | None], ...]] = (
    *(_no_address, _over_udp, _first_boot, _no_seed, _joined_seed, _network_anew),
)
