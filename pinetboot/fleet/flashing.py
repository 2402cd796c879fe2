"""Updates of bootloaders on disk: what was asked for, in `state/eeprom/`, and the pair of files in a Pi's boot trees.

Belongs here: the files. The order in which they are written makes it safe: an image always stands before the signature
that has the firmware ask for it, and goes after it. What a Pi does with them is `eeprom.update`'s to judge.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from pinetboot import files
from pinetboot.eeprom import signature
from pinetboot.eeprom.signature import Signature
from pinetboot.eeprom.update import Came
from pinetboot.errors import OperatorError
from pinetboot.fleet import trees
from pinetboot.fleet.fence import Fence
from pinetboot.fleet.inside import Tree

_FOLDER: Final = "eeprom"
_LARGEST: Final = 4 << 20
_LONGEST: Final = 4096
_LATEST: Final = 1e11  # seconds since 1970; what is beyond is no time


@dataclass(frozen=True, slots=True)
class Update:
    """One that was asked for, image and signature as they are served."""

    content: bytes
    sig: bytes
    told: Signature


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one, by its digest, in hex, and the time in its signature.

    `at` is when, seconds since 1970, `fetched` how often the Pi took it.
    """

    digest: str
    timestamp: int
    came: Came
    at: float
    fetched: int = 0


def want(data: Path, serial: str, content: bytes, sig: bytes) -> None:
    """Ask for an update of a Pi's bootloader; one that was asked for before gives way. Raises OperatorError."""
    folder = data / "state" / _FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(folder / f"{serial}.upd", content, mode=0o600)
        files.write(folder / f"{serial}.sig", sig, mode=0o600)
    except OSError as error:
        raise OperatorError(
            f"{folder} cannot be written: {error.strerror}", "Run it as the user that the daemon runs as."
        ) from None


def wanted(data: Path, serial: str) -> Update | None:
    """Read what was asked for; None where nothing is, or it is not all there yet."""
    folder = data / "state" / _FOLDER
    sig, content = _read(folder / f"{serial}.sig", _LONGEST), _read(folder / f"{serial}.upd", _LARGEST)
    told = signature.parse(sig) if sig is not None else None
    if sig is None or content is None or told is None or sha256(content).digest() != told.digest:
        return None
    return Update(content, sig, told)


def is_wanted(data: Path, serial: str, digest: str) -> bool:
    """Whether an update is still asked for."""
    told = signature.parse(_read(data / "state" / _FOLDER / f"{serial}.sig", _LONGEST) or b"")
    return told is not None and told.digest.hex() == digest


def forget(data: Path, serial: str) -> bool:
    """Ask for it no more; says whether anything was asked for. Raises OSError."""
    folder = data / "state" / _FOLDER
    found = (folder / f"{serial}.sig").exists()
    for name in (f"{serial}.sig", f"{serial}.upd"):
        (folder / name).unlink(missing_ok=True)
    return found


def record(data: Path, serial: str) -> Record | None:
    """Read what became of the latest one."""
    try:
        told = json.loads(_read(data / "state" / _FOLDER / f"{serial}.json", _LONGEST) or b"")
    except (ValueError, RecursionError):
        return None
    match told:
        case {
            "digest": str(digest),
            "timestamp": int(timestamp),
            "came": str(came),
            "at": int() | float() as at,
            "fetched": int(fetched),
        } if came in set(Came) and 0 <= at < _LATEST and fetched >= 0:
            return Record(digest, timestamp, Came(came), float(at), fetched)
    return None


def records(data: Path) -> dict[str, Record]:
    """Read what became of all, by serial."""
    try:
        serials = [path.stem for path in (data / "state" / _FOLDER).glob("*.json")]
    except OSError:
        return {}
    found = {serial: record(data, serial) for serial in serials}
    return {serial: one for serial, one in found.items() if one is not None}


def keep(data: Path, serial: str, one: Record, fence: Fence) -> None:
    """Write down what became of one. Raises OSError, and Lost."""
    folder = data / "state" / _FOLDER
    with fence.held():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(folder / f"{serial}.json", json.dumps(asdict(one)).encode(), mode=0o600)


def put(data: Path, serial: str, number: int, update: Update, fence: Fence) -> bool:
    """Put an update into the boot tree of a generation; says whether it was not there.

    Raises OperatorError where another lies there that nobody asked us for, OSError, and Lost.
    """
    boot = data / "pis" / serial / str(number) / "boot"
    with Tree(boot) as tree:
        there = tree.read(signature.NAME, _LONGEST)
        if there == update.sig and tree.read(signature.UPDATE, _LARGEST) == update.content:
            return False
        before = record(data, serial)
        if there is not None and not _is(there, {update.told.digest.hex(), before.digest if before else ""}):
            raise OperatorError(
                f"its boot tree has a {signature.NAME} already, which is not pinetboot's",
                f"Delete {boot / signature.NAME} and {signature.UPDATE}, once the Pi has taken them or is not to.",
            )
        with fence.held():
            if there is not None:
                tree.remove(signature.NAME)
            tree.write(signature.UPDATE, update.content, durable=True)
            tree.write(signature.NAME, update.sig, durable=True)
    return True


def clear(data: Path, serial: str, digest: str, fence: Fence) -> None:
    """Take an update out of all boot trees of a Pi; somebody else's stays. Raises OSError, and Lost."""
    for one in trees.generations(data, serial):
        boot = data / "pis" / serial / str(one.number) / "boot"
        with suppress(FileNotFoundError, NotADirectoryError), Tree(boot) as tree:
            there = tree.read(signature.NAME, _LONGEST)
            ours = there is not None and _is(there, {digest})
            image = tree.read(signature.UPDATE, _LARGEST)
            with fence.held():
                if ours:
                    tree.remove(signature.NAME)
                if image is not None and sha256(image).hexdigest() == digest:
                    tree.remove(signature.UPDATE)
            files.settle(boot)


def others(boot: Path, one: Record | None) -> bool:
    """Whether a boot tree holds an update that pinetboot did not put there, or has taken away."""
    with suppress(OSError), Tree(boot) as tree:
        there = tree.read(signature.NAME, _LONGEST)
        if there is None:
            image = tree.read(signature.UPDATE, _LARGEST)
            return image is not None and (one is None or sha256(image).hexdigest() != one.digest)
        return one is None or one.came is not Came.OFFERED or not _is(there, {one.digest})
    return False


def _is(sig: bytes, digests: set[str]) -> bool:
    told = signature.parse(sig)
    return told is not None and told.digest.hex() in digests


def _read(path: Path, most: int) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(fd, "rb") as file:
            content = file.read(most + 1)
    except OSError:
        return None
    return content if len(content) <= most else None
