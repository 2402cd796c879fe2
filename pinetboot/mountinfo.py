"""What is mounted where, as /proc/self/mountinfo has it (proc(5)), which never waits for any storage.

Belongs here: reading that file. What follows from a file system's kind is for others to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")


class Mount(NamedTuple):
    """One mount. `device` is `major:minor`, `kind` the file system's name, `options` those of the file system."""

    device: str
    point: str
    kind: str
    options: str


def mounts() -> Iterator[Mount]:
    """List what is mounted, as this process sees it; nothing where /proc is not there."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        fields, _, rest = line.partition(b" - ")
        words, after = fields.split(b" "), rest.split(b" ")
        if len(words) > 4 and len(after) > 2:  # noqa: PLR2004 - proc(5): mount point, and kind, source, options
            point = os.fsdecode(_ESCAPE.sub(lambda found: bytes([int(found[1], 8)]), words[4]))
            yield Mount(words[2].decode(), point, after[0].decode(), os.fsdecode(after[2]))


def mount_of(path: Path) -> Mount | None:
    """Say which mount a path lies in, without a look at the path itself beyond its links."""
    real = os.path.realpath(path)
    best: Mount | None = None
    for mount in mounts():
        inside = mount.point in {"/", real} or real.startswith(mount.point + "/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount  # of two at one point the later one hides the other
    return best
