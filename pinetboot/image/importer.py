"""Bringing an image in: beside the others first, in its place when it is whole.

Belongs here: the order of things, and when nothing is to be done. How each is done is in the modules beside this one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pinetboot import loop
from pinetboot.errors import ConfigError, OperatorError
from pinetboot.image import build, copying, extract, fetch, library, models, origin, pair, raw, record, space
from pinetboot.image.origin import Origin
from pinetboot.image.pair import Pair
from pinetboot.image.raw import Raw
from pinetboot.image.record import ImageRecord
from pinetboot.image.sums import parse_sum
from pinetboot.image.watch import Watch

_AGAIN = "Get the file again; if it is what you want, leave out --sha256 or give the right one."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks for. `source` is a file, a URL or a name; `boot` and `root` are two trees instead of it.

    `boot_img`: whether Pis made from it get a boot.img; None leaves it as it is, no for a new one.
    """

    data: Path
    source: str = ""
    name: str = ""
    sha256: str = ""
    boot: str = ""
    root: str = ""
    replace: bool = False
    list_url: str = ""
    boot_img: bool | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """The image that stands now, whether anything changed, and per model what it lacks to boot."""

    record: ImageRecord
    changed: bool
    missing: dict[str, list[str]]


def add(wanted: Wanted, watch: Watch) -> Added:
    """Bring an image in. What stands already, of the same content, is left alone. Raises OperatorError."""
    expected = _expected(wanted.sha256)
    came: Origin | Pair = _pair(wanted) if wanted.boot or wanted.root else origin.origin(wanted.source, wanted.list_url)
    name = _name(wanted, came)
    if isinstance(came, Origin) and came.url and not expected:
        came = _with_sum_beside(came)
    with library.locked(wanted.data, lambda: watch.say("another import is at work; this one waits for it")):
        home = library.folder(wanted.data, name)
        old = None
        with suppress(ConfigError):  # a damaged record is no image's
            old = library.load(wanted.data, name)
        work = _Import(wanted, name, expected, watch, old, taken=home.exists())
        now = work.done(came)
        changed = now is None
        if now is None:
            now = work.run(came)
        changed = changed and now is not old
        if now.boot_img != (wish := now.boot_img if wanted.boot_img is None else wanted.boot_img):
            now = now.model_copy(update={"boot_img": wish})
            library.rewrite(wanted.data, now)
            changed = True
        return Added(now, changed, lacks(home / "boot"))


def lacks(boot: Path) -> dict[str, list[str]]:
    """Say per model what a boot tree lacks."""
    return models.bootable(str(path.relative_to(boot)) for path in boot.rglob("*"))


def _expected(text: str) -> str:
    try:
        return parse_sum(text) if text else ""
    except ValueError as error:
        raise OperatorError(f"--sha256: {error}") from None


def _pair(wanted: Wanted) -> Pair:
    if wanted.source and (fetch.is_url(wanted.source) or Path(wanted.source).exists()):
        raise OperatorError(f"{wanted.source} and --boot are two sources", "Give the one or the other.")
    if wanted.sha256:
        raise OperatorError("--sha256 is of one file, and --boot and --root are trees", "Leave it out.")
    return pair.pair(wanted.boot, wanted.root)


def _name(wanted: Wanted, came: Origin | Pair) -> str:
    name = wanted.name or (wanted.source if isinstance(came, Pair) else came.name)
    if not name:
        raise OperatorError("the image has no name", "Give it one with --name.")
    return origin.checked_name(name)


@dataclass(frozen=True, slots=True)
class _Import:
    """One import, under the lock. `old` is what stands under the name, `taken` whether anything does."""

    wanted: Wanted
    name: str
    expected: str
    watch: Watch
    old: ImageRecord | None
    taken: bool

    def same(self, came: Origin | Pair) -> bool | None:
        """Whether what stands has the same content; None where only having it can tell. Raises OperatorError."""
        if self.old is None:
            return False
        sums = {self.old.sha256, self.old.image_sha256} - {""}
        if isinstance(came, Pair):
            return came.sum(self.watch) in sums
        known = {self.expected} - {""} or came.sums
        if not known and came.path is not None:
            known = {raw.sum_of_file(came.path, came.told, self.watch)}
        if known:
            return bool(known & sums)
        if self.old.source != came.url:
            return False
        version = loop.run(fetch.version(came.url))
        return True if version and version == self.old.version else None

    def done(self, came: Origin | Pair) -> ImageRecord | None:
        """Return what stands if it is what is wanted; None where there is work. Raises OperatorError."""
        same = self.same(came)
        if self.old is None or not same:
            if same is False:
                self.may_replace()
            return None
        if self.old.without_root and not copying.lacking(copying.MOUNTING):
            self.watch.say(f"{self.name} came without its root tree, which can be had now")
            return None
        return self.old

    def may_replace(self) -> None:
        """Raise OperatorError where something else stands under the name, and was not said to go."""
        if self.taken and not self.wanted.replace:
            what = f"made from {self.old.source}" if self.old is not None else "which no import made"
            raise OperatorError(
                f"there is an image {self.name} already, {what}, and this is another",
                "Replace it with --replace (Pis keep what they have), or choose another --name.",
            )

    def run(self, came: Origin | Pair) -> ImageRecord:
        """Build the image and put it in its place. Raises OperatorError, and leaves nothing then."""
        with library.staging(self.wanted.data, self.name) as folder:
            if isinstance(came, Pair):
                came.build(folder, self.watch)
                return self._placed(folder, came.told, came.sum(self.watch), kind=came.kind)
            with _had(came, self.wanted.data, self.watch) as (path, version):
                made = raw.disk_of(path, folder, came.told, self.watch, came.image_size)
                self._check_sums(came, made)
                old = self.old
                if old is None or (made.sha256 != old.sha256 and made.image_sha256 != old.image_sha256):
                    self.may_replace()
                elif not old.without_root:
                    return old
                without = build.trees(made, folder, self.watch)
            return self._placed(folder, came.told, made.sha256, made.image_sha256, version=version, without=without)

    def _check_sums(self, came: Origin, made: Raw) -> None:
        have = {made.sha256, made.image_sha256}
        for expected in {self.expected} - {""} or came.sums:
            if expected not in have:
                who = "--sha256 says" if self.expected else "was announced"
                raise OperatorError(f"{came.told} has the SHA-256 {made.sha256}, where {expected} {who}", _AGAIN)

    def _placed(
        self,
        folder: Path,
        source: str,
        sha256: str,
        image_sha256: str = "",
        *,
        kind: Literal["disk", "directories", "tars"] = "disk",
        version: str = "",
        without: str = "",
    ) -> ImageRecord:
        has_root = (folder / "root").is_dir()
        files, size = copying.count([folder / "boot", *([folder / "root"] if has_root else [])])
        made = ImageRecord(
            name=self.name,
            source=source,
            sha256=sha256,
            image_sha256=image_sha256,
            version=version,
            kind=kind,
            identity=uuid.uuid4().hex,
            added=datetime.now(UTC).isoformat(timespec="seconds"),
            has_root=has_root,
            without_root=without,
            files=files,
            bytes=size,
            models=[model for model, missing in lacks(folder / "boot").items() if not missing],
            boot_img=self.old.boot_img if self.old is not None else False,
        )
        self.watch.stage("writing to disk", None)
        build.finish(folder, record.to_text(made))
        library.place(self.wanted.data, self.name, folder)
        return made


@contextmanager
def _had(came: Origin, data: Path, watch: Watch) -> Iterator[tuple[Path, str]]:
    """Have the file here. A download goes when it was used or is no use; an interruption leaves it for next time."""
    extract.ready()
    if came.path is not None:
        yield came.path, ""
        return
    space.need(data, came.size + came.image_size, f"importing {came.told}")
    path, version = loop.run(fetch.fetch(came.url, data, watch))
    try:
        yield path, version
    except OperatorError:
        fetch.drop(path)
        raise
    fetch.drop(path)


def _with_sum_beside(came: Origin) -> Origin:
    """Look for `<URL>.sha256` where nothing else tells the sum."""
    return came if came.sums else replace(came, sha256=loop.run(fetch.sum_beside(came.url)))
