"""An image out of a boot and a root tree that are there already: directories, or tars.

Belongs here: telling the two apart, and what stands for their content. Never here: disk images.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pinetboot.errors import OperatorError
from pinetboot.image import copying, raw, space
from pinetboot.image.copying import NotPermitted
from pinetboot.image.watch import Watch


@dataclass(frozen=True, slots=True)
class Pair:
    """Two trees of one kind; `root` is None where only boot files are wanted."""

    kind: Literal["directories", "tars"]
    boot: Path
    root: Path | None

    @property
    def told(self) -> str:
        """How it is recorded and named in sentences."""
        return " ".join(str(path) for path in self._both())

    def _both(self) -> list[Path]:
        return [self.boot] if self.root is None else [self.boot, self.root]

    def sum(self, watch: Watch) -> str:
        """Sum up what both are made of: files of a tar, else the list of all names, kinds, owners, sizes and times."""
        whole = hashlib.sha256()
        for path in self._both():
            one = _listed(path) if self.kind == "directories" else raw.sum_of_file(path, str(path), watch)
            whole.update(one.encode())
        return whole.hexdigest()

    def build(self, folder: Path, watch: Watch) -> None:
        """Copy both into `folder`. Raises OperatorError; a root tree needs what copying.lacking() says."""
        reason = copying.lacking() if self.root is not None else ""
        if reason:
            raise OperatorError(
                f"the root tree {self.root} cannot be copied: {reason} to make files of all owners",
                "Run it as root, or leave out --root.",
            )
        for path, name in ((self.boot, "boot"), (self.root, "root")):
            if path is None:
                continue
            what = f"copying the {name} tree"
            try:
                if self.kind == "directories":
                    self._copy(path, folder / name, what, watch)
                else:
                    self._untar(path, folder / name, what, watch)
            except NotPermitted as error:
                raise OperatorError(f"{what} failed: {error}", "Run it as root.") from None

    def _copy(self, path: Path, target: Path, what: str, watch: Watch) -> None:
        files, size = _measured(path)
        space.need(target.parent, size, what, files)
        with copying.growing(target.parent, size, what, watch):
            if target.name == "root":
                copying.copy_whole(path, target, what)
            else:
                copying.copy_boot(path, target, what)

    def _untar(self, path: Path, target: Path, what: str, watch: Watch) -> None:
        plain, _ = raw.tar_of(path, target.with_suffix(".tar"), str(path), watch)
        size = plain.stat().st_blocks * 512
        space.need(target.parent, size, what)
        with copying.growing(target.parent, size, what, watch):
            copying.untar(plain, target, what, whole=target.name == "root")
        if plain != path:
            plain.unlink()


def pair(boot: str, root: str) -> Pair:
    """Look at what --boot and --root name. Raises OperatorError."""
    if not boot:
        raise OperatorError("--root is given without --boot", "Name the boot tree as well.")
    paths = [Path(name).expanduser().absolute() for name in (boot, root) if name]
    for path in paths:
        if not path.is_dir() and not path.is_file():
            raise OperatorError(f"there is no directory or tar {path}")
    kinds = {path.is_dir() for path in paths}
    if len(kinds) > 1:
        raise OperatorError("one of --boot and --root is a directory, the other is not", "Give both in one form.")
    return Pair("directories" if kinds.pop() else "tars", paths[0], paths[1] if root else None)


def _measured(top: Path) -> tuple[int, int]:
    """Count files and the bytes that they take on the disk."""
    files = size = 0
    seen: set[int] = set()
    for _, found, _ in _walk(top):
        files += 1
        if found.st_ino not in seen:
            seen.add(found.st_ino)
            size += found.st_blocks * 512
    return files, size


def _listed(top: Path) -> str:
    digest = hashlib.sha256()
    for name, found, link in _walk(top):
        size = found.st_size if stat.S_ISREG(found.st_mode) else 0
        facts = (found.st_mode, found.st_uid, found.st_gid, found.st_rdev, size, found.st_mtime_ns)
        digest.update(os.fsencode(f"{name}\0{link}\0{facts}\0"))
    return digest.hexdigest()


def _walk(top: Path) -> list[tuple[str, os.stat_result, str]]:
    """List name, facts and link target of everything below, sorted, on this one file system. Raises OperatorError."""
    found: list[tuple[str, os.stat_result, str]] = [(".", top.stat(), "")]
    device, todo = top.stat().st_dev, [os.fspath(top)]
    try:
        while todo:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    facts = entry.stat(follow_symlinks=False)
                    link = os.fspath(Path(entry.path).readlink()) if entry.is_symlink() else ""
                    found.append((os.path.relpath(entry.path, top), facts, link))
                    if entry.is_dir(follow_symlinks=False) and facts.st_dev == device:
                        todo.append(entry.path)
    except OSError as error:
        raise OperatorError(f"{error.filename} cannot be read: {error.strerror}", "Run it as root.") from None
    return sorted(found, key=lambda one: os.fsencode(one[0]))
