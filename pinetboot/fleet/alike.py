"""What must be one Pi's alone and is another's as well: machine-id and ssh host keys, after a folder was copied say.

Belongs here: looking. What follows from it is said by those who ask.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pinetboot.errors import OperatorError
from pinetboot.fleet import identity
from pinetboot.fleet.pi import Pi

MACHINE_ID = "machine-id"
HOST_KEY = "ssh host key"


def alike(data: Path, pis: Iterable[Pi]) -> list[tuple[str, tuple[str, ...]]]:
    """List (machine-id or ssh host key, serials of the Pis that share one), each group once. Raises OSError."""
    users: dict[tuple[str, str], list[str]] = defaultdict(list)
    for pi in pis:
        own = data / "pis" / pi.serial
        # What cannot be read is a finding of its own.
        with suppress(FileNotFoundError, NotADirectoryError, OperatorError):
            users[MACHINE_ID, identity.machine_id(own)].append(pi.serial)
        with suppress(FileNotFoundError, NotADirectoryError, OperatorError):
            for name, text in identity.host_keys(own).items():
                if name.endswith(".pub"):
                    users[HOST_KEY, " ".join(text.split()[:2])].append(pi.serial)
    return sorted({(kind, tuple(serials)) for (kind, _), serials in users.items() if len(serials) > 1})
