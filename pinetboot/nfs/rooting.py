"""A root of its own for rpc.mountd, where the one that is here cannot be exported; run as a program, it becomes mountd.

NFSv4 shows every export below one root, and so nfsd exports `/` and each folder on the way to an export as well (the
pseudo root of exports(5)). An overlay, as a container has for `/`, cannot be exported, and every mount over version 4
would fail. nfsd knows paths as mountd sees them. Here mountd sees a tmpfs for `/` and for the folders on the way to the
data directory, and in it all else as it is.

Belongs here: that root, in a mount namespace of mountd's own, gone with it. What is exported is none of its business.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from pinetboot import mountinfo, run

_LIMIT_S: Final = 20.0
# Union file systems: what they show has no place of its own on a disk.
_UNIONS: Final = ("overlay", "aufs", "fuse")
_EXPORTED: Final = "nfs_export=on"  # Documentation/filesystems/overlayfs.rst
# Where the new root is put together: it is empty in there.
_PLACES: Final = ("/mnt", "/media", "/tmp", "/run")  # noqa: S108 - nothing is written to any of them
_OLD: Final = ".old"


def over_union() -> bool:
    """Whether `/` is a union of file systems that nfsd cannot export, as in most containers."""
    root = mountinfo.mount_of(Path("/"))
    return root is not None and root.kind.partition(".")[0] in _UNIONS and _EXPORTED not in root.options.split(",")


def command(data: Path) -> list[str]:
    """Say what to write before mountd's command line, for a data directory without links; nothing where `/` will do."""
    if not over_union():
        return []
    # -P: a folder `pinetboot` where we were started is no module.
    own = [sys.executable, "-P", "-m", "pinetboot.nfs.rooting", str(data)]
    return ["unshare", "--mount", "--propagation", "slave", *own]


def build(data: Path, place: Path) -> None:
    """Put the new root together at `place`, and make it ours. Raises OSError, ProgramFailed and ProgramMissing."""
    _mount("-t", "tmpfs", "-o", "mode=0755,nosuid,nodev,size=1m", "pinetboot", place)
    _fill(Path("/"), place, data.parts[1:], place)
    (place / _OLD).mkdir()
    os.chdir(place)
    # Whoever has the old root for its own, as we have, has the new one then: pivot_root(2).
    run.run(["pivot_root", ".", _OLD], timeout_s=_LIMIT_S)
    os.chdir("/")
    run.run(["umount", "--lazy", f"/{_OLD}"], timeout_s=_LIMIT_S)
    Path("/", _OLD).rmdir()


def _fill(source: Path, target: Path, way: Sequence[str], place: Path) -> None:
    """Show in `target` what `source` has, but for the folders of `way`, which are made anew."""
    for entry in sorted(os.scandir(source), key=lambda found: found.name):
        path, there = Path(entry.path), target / entry.name
        if entry.is_symlink():
            there.symlink_to(path.readlink())
        elif path == place:
            there.mkdir()
        elif entry.is_dir() and way and entry.name == way[0] and way[1:] and not path.is_mount():
            there.mkdir()
            _fill(path, there, way[1:], place)
        else:
            there.mkdir() if entry.is_dir() else there.touch()
            _mount("--rbind", path, there)


def _mount(*words: str | Path) -> None:
    run.run(["mount", *words], timeout_s=_LIMIT_S)


def main() -> None:
    """Become the program whose command line follows that of the data directory, with the new root or without."""
    data, *program = sys.argv[1:]
    place = next((Path(one) for one in _PLACES if Path(one).is_dir() and not Path(data).is_relative_to(one)), None)
    try:
        if place is None:
            raise FileNotFoundError(f"none of {', '.join(_PLACES)} is there")
        build(Path(data), place)
    except (OSError, run.ProgramFailed, run.ProgramMissing) as error:
        sys.stderr.write(f"NFS version 4 cannot be served from a container like this one: {error}\n")
        sys.stderr.flush()
    with suppress(OSError):
        os.chdir("/")
    os.execvp(program[0], program)  # noqa: S606 - run.start() has looked for it, and this is no shell


if __name__ == "__main__":
    main()
