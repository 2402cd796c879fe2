"""Bringing in an installer: from a directory, a tarball or a URL, into the boot tree with its loaders and menus.

Belongs here: the order of things, and what of Debian's netboot images is taken. Nothing that they hold is run.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from pinetboot import loop
from pinetboot.errors import ConfigError, OperatorError
from pinetboot.fleet.pi import Machine
from pinetboot.image import copying, fetch, raw, space
from pinetboot.image.sums import parse_sum
from pinetboot.image.watch import Watch
from pinetboot.installer import beside, library, loaders, menus, release
from pinetboot.installer.release import ARCHITECTURES, INITRD, KERNEL, RECORD, Architecture, Installer

_WHAT: Final = (
    "Give a netboot.tar.gz of Debian's installer, or the folder of a package such as debian-installer-12-netboot-amd64:"
    " /usr/lib/debian-installer/images/12/amd64."
)
_DEEPEST: Final = 6


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks for. `boot` is the boot tree, `server` where preseeds are, `system` this host's root.

    `addresses` are those of this host that machines are told.
    """

    data: Path
    boot: Path
    source: str
    name: str = ""
    sha256: str = ""
    server: str = ""
    machines: tuple[Machine, ...] = ()
    addresses: tuple[IPv4Address, ...] = ()
    system: Path = Path("/")


@dataclass(frozen=True, slots=True)
class Added:
    """The installers that stand now, and files of the boot tree that are somebody else's and were left alone."""

    installers: list[Installer]
    foreign: list[str]


def add(wanted: Wanted, watch: Watch) -> Added:
    """Bring it in, in the place of an earlier one of that name. Raises OperatorError, and leaves nothing then."""
    expected = _expected(wanted.sha256)
    with library.locked(wanted.boot) as home, library.staging(home) as folder:
        try:
            with _unpacked(wanted, expected, folder / "source", watch) as tree:
                return _placed(wanted, home, folder, tree, watch)
        except OSError as error:
            raise OperatorError(f"{error.filename or wanted.boot} cannot be copied: {error.strerror}") from None


def remove(
    boot: Path, name: str, machines: Iterable[Machine], server: str, addresses: Iterable[IPv4Address] = ()
) -> None:
    """Take an installer away, and with the last of an architecture its loaders. Raises OperatorError."""
    with library.locked(boot) as home:
        before = library.installers(boot)
        if all(one.name != name for one in before):
            names = ", ".join(dict.fromkeys(one.name for one in before))
            raise OperatorError(f"there is no installer {name}", f"There are {names}." if names else "There is none.")
        users = [machine.mac for machine in machines if machine.boot == name]
        if users:
            raise OperatorError(
                f"the installer {name} is what {', '.join(users)} boots in fleet.toml",
                'Write boot = "menu" or "local" there first.',
            )
        try:
            library.remove(home, name)
            left = {loader.name for one in library.installers(boot) for loader in loaders.LOADERS[one.architecture]}
            gone = {loader.name for one in before for loader in loaders.LOADERS[one.architecture]} - left
            menus.write(boot, machines, server)
            loaders.clear(gone, boot, home)
            beside.write(boot, addresses)
        except OSError as error:
            raise OperatorError(f"{error.filename or boot} cannot be changed: {error.strerror}") from None


def _expected(text: str) -> str:
    try:
        return parse_sum(text) if text else ""
    except ValueError as error:
        raise OperatorError(f"--sha256: {error}") from None


@contextmanager
def _unpacked(wanted: Wanted, expected: str, target: Path, watch: Watch) -> Iterator[Path]:
    """Have the source as a directory."""
    if fetch.is_url(wanted.source):
        path, _ = loop.run(fetch.fetch(wanted.source, wanted.data, watch))
        _untar(path, wanted.source, expected or loop.run(fetch.sum_beside(wanted.source)), target, watch)
        fetch.drop(path)
        yield target
        return
    path = Path(wanted.source).expanduser().absolute()
    if path.is_dir():
        if expected:
            raise OperatorError(f"--sha256 is of one file, and {path} is a directory", "Leave it out.")
        yield path
    elif path.is_file():
        _untar(path, str(path), expected, target, watch)
        yield target
    else:
        raise OperatorError(f"there is no file or directory {path}", _WHAT)


def _untar(path: Path, called: str, expected: str, target: Path, watch: Watch) -> None:
    try:
        plain, total = raw.tar_of(path, target.with_suffix(".tar"), called, watch)
    except OperatorError as error:
        raise OperatorError(error.what, _WHAT) from None
    if expected and total != expected:
        raise OperatorError(
            f"{called} has the SHA-256 {total}, where {expected} was expected", "Get the file again, or the right sum."
        )
    try:
        copying.untar(plain, target, f"unpacking {called.rpartition('/')[2]}", whole=False)
    except copying.NotPermitted as error:
        raise OperatorError(str(error)) from None
    if plain != path:
        plain.unlink()


def _placed(wanted: Wanted, home: Path, folder: Path, tree: Path, watch: Watch) -> Added:
    found = _images(tree)
    if not found:
        raise OperatorError(f"{wanted.source} holds no installer: no {KERNEL} beside an {INITRD}", _WHAT)
    made = [(_described(wanted, tree, image, architecture), image) for architecture, image in found]
    have = {one.architecture: loaders.find(one.architecture, image, wanted.system) for one, image in made}
    space.need(home, sum(one.bytes for one, _ in made), "copying the installer")
    kept: list[str] = []
    for one, image in made:
        watch.stage(f"copying {one.name} for {one.architecture}", None)
        kept += loaders.place(have[one.architecture], wanted.boot, home)
        built = folder / one.architecture
        built.mkdir(mode=0o755)
        for name in (KERNEL, INITRD):
            shutil.copyfile(image / name, built / name)
        (built / RECORD).write_text(release.to_text(one))
        copying.command(["sync", "--file-system", built], "writing the installer to disk")
        library.place(home, one, built)
    kept += menus.write(wanted.boot, wanted.machines, wanted.server)
    beside.write(wanted.boot, wanted.addresses)
    return Added([one for one, _ in made], kept)


def _images(tree: Path) -> list[tuple[Architecture, Path]]:
    """Find for each architecture the folder of a kernel with its initrd; of several the one with the text screens."""
    found: dict[Architecture, Path] = {}
    for initrd in sorted(tree.rglob(INITRD), key=lambda path: ("gtk" in path.parts, len(path.parts), str(path))):
        parts = initrd.relative_to(tree).parts
        whole = _is_within(tree, initrd) and _is_within(tree, initrd.parent / KERNEL) and len(parts) <= _DEEPEST
        architecture = next((one for one in ARCHITECTURES if one == initrd.parent.name), None)
        if whole and architecture is not None:
            found.setdefault(architecture, initrd.parent)
    return sorted(found.items())


def _is_within(tree: Path, path: Path) -> bool:
    """Whether there is a file, and no link in a tarball makes it one of this host."""
    return path.is_file() and path.resolve().is_relative_to(tree.resolve())


def _described(wanted: Wanted, tree: Path, image: Path, architecture: Architecture) -> Installer:
    info = next((path for path in _above(image, tree) if path.is_file()), None)
    name, title, build = release.told(info.read_text(errors="replace")) if info else ("", "", "")
    name = wanted.name or name
    if not name:
        raise OperatorError(f"{wanted.source} does not say which release it is", "Name the installer with --name.")
    digest, size = hashlib.sha256(), 0
    for file in (image / KERNEL, image / INITRD):
        content = file.read_bytes()
        digest.update(content)
        size += len(content)
    values: dict[str, Any] = {"name": name, "architecture": architecture, "title": title or name, "build": build}
    values |= {"source": wanted.source, "sha256": digest.hexdigest(), "added": _now(), "bytes": size}
    try:
        release.parse_installer_name(name)
        return release.build(values, wanted.source)
    except ValueError as error:
        raise OperatorError(str(error), "Name the installer with --name.") from None
    except ConfigError as error:
        raise OperatorError(error.what) from None


def _above(image: Path, tree: Path) -> Iterator[Path]:
    for folder in (image, *image.parents):
        yield folder / "version.info"
        if folder == tree:
            return


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
