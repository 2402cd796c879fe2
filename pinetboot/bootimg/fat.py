"""Making the file system of a boot.img with mtools, the same bytes from the same files whoever makes it and when.

Belongs here: the commands, and all that would make two images differ: times, serial number, order, settings of whoever
runs this. The files lie in a folder of our own: mtools goes by names, and follows what it finds there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from pinetboot import run
from pinetboot.bootimg import layout

PROGRAM: Final = "mcopy"
_LABEL: Final = "PINETBOOT"
# What mtools takes for the present (reproducible-builds.org): 2020-01-01, in a zone that is everybody's. Neither its
# settings of this host nor a look at the made-up geometry of a disk belongs to it.
_PLAIN: Final = (
    *("env", "TZ=UTC", "SOURCE_DATE_EPOCH=1577836800", "MTOOLSRC=/dev/null"),
    *("MTOOLS_SKIP_CHECK=1", "MTOOLS_NO_VFAT=0", "MTOOLS_LOWER_CASE=0", "MTOOLS_NAME_NUMERIC_TAIL=1"),
)
_GEOMETRY: Final = ("-h", "255", "-s", "63", "-d", "2")
_AT_ONCE: Final = 200


def is_there() -> bool:
    """Whether mtools is installed."""
    return run.find(PROGRAM) is not None and run.find("mformat") is not None


def make(
    folder: Path, files: Mapping[str, int], image: Path, volume: str, cancelled: Callable[[], bool]
) -> layout.Geometry:
    """Make `image` of `files`, bytes by path below `folder`; `volume` is its serial number, eight hex digits.

    Raises layout.Unfit, run.ProgramMissing, run.ProgramFailed, and run.Cancelled once `cancelled` says so.
    """
    if not is_there():
        raise run.ProgramMissing("mtools")
    geometry = layout.geometry(files)
    image.unlink(missing_ok=True)
    at = ("-i", str(image.absolute()))
    sizes = ("-T", str(geometry.sectors), "-c", str(geometry.cluster), "-r", str(geometry.root))

    def do(program: str, *arguments: str) -> None:
        run.follow([*_PLAIN, program, *arguments], looks=_nothing, cancelled=cancelled)

    do("mformat", "-C", *at, *sizes, *_GEOMETRY, "-N", volume, "-v", _LABEL, "::")
    for names in _parts([_new(folder) for folder in layout.folders(files)]):
        do("mmd", *at, *names)
    by_folder = sorted(files, key=lambda path: (path.rpartition("/")[0], path))
    for inside, paths in groupby(by_folder, key=lambda path: path.rpartition("/")[0]):
        for names in _parts([str((folder / path).absolute()) for path in paths]):
            do("mcopy", "-o", *at, *names, f"::{_literal(inside)}")
    return geometry


def _new(folder: str) -> str:
    """Name a folder to be made: of its path, what is there already is a pattern to mtools, its own name is none."""
    above, slash, name = folder.rpartition("/")
    return f"::{_literal(above)}{slash}{name}"


def _literal(path: str) -> str:
    return path.replace("[", "\\[").replace("]", "\\]")


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """No command line may be too long."""
    return (names[at : at + _AT_ONCE] for at in range(0, len(names), _AT_ONCE))


def _nothing() -> None:
    """Nobody watches."""
