"""How much is remembered of those that nobody knows: anyone on the network can make up as many as they like.

Belongs here: who is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import TypeVar

T = TypeVar("T")


def spare_members(kept: OrderedDict[str, T], members: Collection[str], most: int) -> list[str]:
    """Forget the oldest strangers until no more than `most` are left beside the members; returns who went.

    A member that would be next goes to the end instead, which costs each of them one move a round.
    """
    gone = []
    while len(kept) > most + len(members):
        serial = next(iter(kept))
        if serial in members:
            kept.move_to_end(serial)
        else:
            del kept[serial]
            gone.append(serial)
    return gone
