"""Turning an image into one Pi's own generation of trees, and taking one away.

Belongs here: the order of the steps, which is what makes them safe: a generation is built beside its place, brought to
disk, and renamed in; removing begins with a rename. Whenever it is cut off, no half tree has a number for a name.
Every function waits, and belongs in a thread. When to make which generation is `fleet.reconcile`'s.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pinetboot import checking, files, run
from pinetboot.boot import generated
from pinetboot.boot.generated import Served, TreeFacts
from pinetboot.causes import Finding
from pinetboot.errors import ConfigError, OperatorError
from pinetboot.fleet import clone, disks, facts, furnish, identity, lacking, made, room
from pinetboot.fleet.fence import ALONE, Fence
from pinetboot.fleet.inside import Tree
from pinetboot.fleet.made import Made
from pinetboot.fleet.pi import Pi

_NEW: Final = ".new-"
_GONE: Final = ".gone-"
_MAX_CMDLINE: Final = 1 << 16
_WHOLE: Final = 100


def make(  # noqa: PLR0917 - it is called through a partial(), from a thread
    data: Path,
    pi: Pi,
    image: Path,
    number: int,
    served: Served,
    progress: Callable[[int], None],
    cancelled: Callable[[], bool],
    name: str = "",
    fence: Fence = ALONE,
) -> list[Finding]:
    """Make pis/<serial>/<number>/{boot,root} from the image in the folder `image`; says what it lacks.

    `name` is the image's own where its folder is reached by another.

    `progress` is told per cent. Raises OperatorError, run.Cancelled once `cancelled` says so, and Lost.
    """
    own = data / "pis" / pi.serial
    place, beside = own / str(number), own / f"{_NEW}{fence.mark}{number}"
    name = name or image.name
    if place.exists():
        raise OperatorError(f"{pi.name} has a generation {number} already", "Move it away, or use another number.")
    possible(pi, image, name, served)
    trees = [image / "boot", *([image / "root"] if pi.root == "nfs" else [])]
    try:
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.settle(own.parent)
        clone.discard(beside)
        beside.mkdir(mode=0o700)
        found: list[Finding] = []
        if pi.root == "nfs":
            identity.ensure(own, pi.name, fence)
            found += disks.ensure(own, pi, fence)
        of_image, total, size = _image(image)
        room.need(trees, beside, f"a copy of the image {name} for {pi.name}", size=size, files=total)
        looked = facts.look(image / "boot", image / "root" if pi.root == "nfs" else None)
        found += lacking.findings(pi, looked, facts.boot_names(image / "boot"), None, served)
        _copy(trees, beside, total=total, progress=progress, cancelled=cancelled)
        if pi.root == "nfs":
            with Tree(beside / "root") as tree:
                found += furnish.root(tree, own, pi, served, generation=str(number), facts=looked)
        with Tree(beside / "boot") as tree:
            texts = _write_boot(tree, pi, served, str(number), looked)
            found += lacking.of_the_command_line(tree.text(looked.cmdlines[0]) or "")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        words = generated.added(texts[looked.cmdlines[0]], pi)
        told = Made(name, of_image, now, pi.root, words, pi.ssh, made.digest(pi), texts)
        files.write(beside / made.NAME, made.to_text(told).encode(), mode=0o600)
        clone.settle(beside)
        with fence.held():
            files.move(beside, place)
    except (run.ProgramMissing, run.ProgramFailed, OSError) as error:
        clone.discard(beside)
        raise _blamed(error, pi) from None
    except BaseException:
        clone.discard(beside)
        raise
    progress(_WHOLE)
    return found


def possible(pi: Pi, image: Path, name: str, served: Served) -> None:
    """Make sure that a generation for a Pi can be made at all from the image of that name. Raises OperatorError."""
    if not (image / "boot").is_dir():
        raise OperatorError(
            f"there is no image {name}", f"Run `pinetboot image add SOURCE --name {name}`, or name another."
        )
    if pi.root == "none":
        return
    if not (image / "root").is_dir():
        raise OperatorError(
            f"the image {name} has no root tree, which {pi.name} needs",
            'Bring the image in again as root, or set root = "none" for this Pi.',
        )
    unusable = served.unusable()
    if unusable:
        raise OperatorError(
            f"the data directory {served.nfs_data} {unusable}", "Use a data directory of letters, digits, '-' and '.'."
        )


def refresh(data: Path, pi: Pi, number: int, served: Served, fence: Fence = ALONE) -> bool:
    """Bring the managed files in the boot tree of a finished generation up to date; says whether any changed.

    cmdline.txt is made from the one that stands, so that words of the user's own stay, and those of an earlier
    fleet.toml go. `ssh` and `userconf.txt`, which the Pi itself takes away, are written again only when their setting
    has changed. The root is looked at alone. Raises OperatorError, and Lost.
    """
    generation = data / "pis" / pi.serial / str(number)
    told = made.read(generation)
    if told is None:
        return False
    if pi.root != told.root:
        pi = pi.model_copy(update={"root": told.root})
    root = generation / "root" if told.root == "nfs" else None
    looked = facts.look(generation / "boot", root, releases=False)
    try:
        with Tree(generation / "boot") as tree:
            changed, words = _rewrite(tree, pi, served, str(number), looked=looked, told=told, fence=fence)
            set_anew = told.ssh != pi.ssh, told.userconf != made.digest(pi)
            if any(set_anew):
                with fence.held():
                    furnish.unset(tree, ssh=set_anew[0] and not pi.ssh, userconf=set_anew[1] and not pi.userconf)
                    furnish.settings(tree, pi, ssh=set_anew[0], userconf=set_anew[1])
        now = replace(told, added=words, ssh=pi.ssh, userconf=made.digest(pi))
        if now != told:
            with fence.held():
                files.write(generation / made.NAME, made.to_text(now).encode(), mode=0o600)
    except OSError as error:
        raise OperatorError(
            f"the boot files of {pi.name} cannot be written: {error.strerror or error}",
            f"Look at {generation / 'boot'}.",
        ) from None
    return changed or any(set_anew)


def remove(data: Path, serial: str, number: int, fence: Fence = ALONE) -> None:
    """Take a generation away: out of sight at once, then off the disk. Raises OperatorError, and Lost."""
    place = data / "pis" / serial / str(number)
    gone = place.with_name(f"{_GONE}{number}")
    clone.discard(gone)
    while gone.exists():
        gone = gone.with_name(f"{gone.name}~")
    try:
        with fence.held():
            files.move(place, gone)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OperatorError(f"{place} cannot be removed: {error.strerror}") from None
    clone.discard(gone)


def sweep(data: Path, fence: Fence = ALONE) -> None:
    """Delete what a run that was cut off left half made or half removed, of whoever's claim but our own. Raises Lost.

    Belongs before any other work begins. What another makes meanwhile, because the claim went to it, is never listed
    by somebody whose claim still holds after the list was made.
    """
    for own in _entries(data / "pis"):
        if own.name.startswith(_GONE):
            _discard(own, fence)
        elif own.is_dir(follow_symlinks=False):
            for entry in _entries(Path(own.path)):
                if entry.name.startswith((_NEW, _GONE)):
                    _discard(entry, fence)
                elif entry.name.isdigit():
                    _sweep_files(Path(entry.path), fence)


def _discard(entry: os.DirEntry[str], fence: Fence) -> None:
    if not fence.mark or not entry.name.startswith(f"{_NEW}{fence.mark}"):
        fence.check()
        clone.discard(Path(entry.path))


def _sweep_files(generation: Path, fence: Fence) -> None:
    for folder in (generation, generation / "boot"):
        for entry in _entries(folder):
            if entry.name.startswith(files.TEMPORARY):
                fence.check()
                with suppress(OSError):
                    Path(entry.path).unlink()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _image(image: Path) -> tuple[str, int, int]:
    """Read which import of an image this is, how many files it has and how many bytes; 0 where that is not known."""
    path = image / "image.toml"
    try:
        told = checking.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, ConfigError):
        return "", 0, 0
    count, size = (value if isinstance(value, int) else 0 for value in (told.get("files"), told.get("bytes")))
    return str(told.get("identity", "")), count, size


def _copy(
    trees: Sequence[Path],
    beside: Path,
    *,
    total: int,
    progress: Callable[[int], None],
    cancelled: Callable[[], bool],
) -> None:
    done = 0
    for tree in trees:
        before = done

        def count(files_so_far: int, before: int = before) -> None:
            nonlocal done
            done = before + files_so_far
            if total:
                progress(min(_WHOLE - 1, done * _WHOLE // total))

        clone.clone(tree, beside, files=count, cancelled=cancelled)


def _write_boot(tree: Tree, pi: Pi, served: Served, number: str, looked: TreeFacts) -> dict[str, str]:
    """Write the managed files of a boot tree that is being made; returns the image's own command lines."""
    texts = {name: tree.text(name, _MAX_CMDLINE) or "" for name in looked.cmdlines}
    for name, text in texts.items():
        tree.write(name, generated.cmdline(text, pi, served, number, looked))
    furnish.settings(tree, pi)
    return texts


def _rewrite(
    tree: Tree, pi: Pi, served: Served, number: str, *, looked: TreeFacts, told: Made, fence: Fence
) -> tuple[bool, list[str]]:
    """Rewrite the command lines that are not as they should be; says whether any was, and which words were added."""
    wanted = generated.words(pi.cmdline)
    old = [word for word in told.added if word not in wanted]
    words = [word for word in told.added if word in wanted]
    changed = False
    for name in looked.cmdlines:
        there = tree.text(name, _MAX_CMDLINE) or ""
        text = generated.without(there if there.strip() else told.cmdlines.get(name, ""), old)
        words += [word for word in generated.added(text, pi) if word not in words]
        text = generated.cmdline(text, pi, served, number, looked)
        if text != there:
            with fence.held():
                tree.write(name, text, durable=True)
            changed = True
    return changed, words


def _blamed(error: run.ProgramMissing | run.ProgramFailed | OSError, pi: Pi) -> OperatorError:
    """Turn what went wrong while a generation was made into a sentence."""
    full = "Make room on the disk of the data directory, or remove old generations and images."
    if isinstance(error, run.ProgramMissing):
        return OperatorError(f"the trees of {pi.name} cannot be made: {error}", f"Install {error.program}.")
    if isinstance(error, run.ProgramFailed):
        return OperatorError(
            f"the trees of {pi.name} cannot be made: {error}", full if os.strerror(errno.ENOSPC) in str(error) else ""
        )
    what = f"the trees of {pi.name} cannot be made: {error.strerror or error}"
    return OperatorError(
        what + (f" ({error.filename})" if error.filename else ""), full if error.errno == errno.ENOSPC else ""
    )
