"""Putting the unit in place, and taking it away: the file, and what systemctl is asked to do.

Belongs here: the steps, none of which does anything where nothing is to be done. Every function waits. What the unit
says is decided in `unit`.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Final

import pinetboot
from pinetboot import files, run
from pinetboot.config import Config
from pinetboot.errors import OperatorError
from pinetboot.service import unit
from pinetboot.service.unit import Place

UNIT: Final = Path("/etc/systemd/system") / unit.NAME
DROP_INS: Final = UNIT.with_name(f"{unit.NAME}.d")
_BOOTED: Final = Path("/run/systemd/system")  # sd_booted(3)
_PROGRAM: Final = "pinetboot"
_MAX_BYTES: Final = 1 << 20
_ANY_CODE: Final = range(256)


@dataclass(frozen=True, slots=True)
class Installed:
    """What was done. `kept` is where another unit of that name was put; `did` says what became of the service."""

    place: Place
    written: bool
    kept: Path | None
    enabled: bool
    did: str


def install(config: Config, *, start: bool, replace: bool) -> Installed:
    """Put the unit in place, have it start with the host, and start it now if wanted. Raises OperatorError."""
    if start and not _BOOTED.is_dir():
        raise OperatorError(
            "systemd does not run here, so that no service can be started",
            "Use --no-start to have it started when this system is booted, or run `pinetboot serve`.",
        )
    place = _place(config)
    content = unit.signed(unit.render(_text(), place), pinetboot.__version__)
    written, kept = _put(content, replace=replace)
    _reload()
    enabled = _ask("is-enabled").code != 0
    if enabled:
        _tell("enable")
    return Installed(place, written, kept, enabled, _start(anew=written) if start else "")


def uninstall() -> Path | None:
    """Stop the service and take its unit away; returns where one that somebody changed was put.

    Raises OperatorError, LookupError where there is none.
    """
    standing = _standing()
    if standing is None:
        raise LookupError
    _tell("disable", *(("--now",) if _BOOTED.is_dir() else ()))
    kept = None
    try:
        if unit.whose(standing, _text()) == "ours":
            files.remove(UNIT)
        else:
            kept = _free_name()
            files.move(UNIT, kept)
    except OSError as error:
        raise OperatorError(f"{UNIT} cannot be removed: {error.strerror}") from None
    _reload()
    if _BOOTED.is_dir():
        _ask("reset-failed")
    return kept


def drop_ins() -> list[Path]:
    """List the administrator's own lines for the unit."""
    with suppress(OSError):
        return sorted(DROP_INS.glob("*.conf"))
    return []


def _place(config: Config) -> Place:
    """Say where this very installation and its data are, and what else it reads."""
    program = _program()
    data = Path("/") / config.data
    named = [Path("/") / Path(text).expanduser() for text in (config.tftp.root, config.boot_img.key_file) if text]
    reads = [real for path in (data, *named) for real in (path, path.resolve()) if real != data]
    parts = [Path(sys.executable), Path(sys.base_prefix), Path(pinetboot.__file__).parent, program]
    return Place(program, data, _once(reads), _once([path.resolve() for path in parts]))


def _once(paths: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(paths))


def _program() -> Path:
    """Find the command of this very installation."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if os.access(folder / _PROGRAM, os.X_OK):
            return folder / _PROGRAM
    raise OperatorError(
        f"pinetboot is not installed: {sys.prefix} has no bin/{_PROGRAM}",
        "Run `python3 -m venv /opt/pinetboot && /opt/pinetboot/bin/pip install .`, and this again from there.",
    )


def _text() -> str:
    return (resources.files(__package__ or "") / unit.NAME).read_text(encoding="utf-8")


def _put(content: str, *, replace: bool) -> tuple[bool, Path | None]:
    """Have the unit say this; says whether it had to be written, and where another one was put."""
    standing = _standing()
    if standing == content:
        return False, None
    kept = None
    if standing is not None and unit.whose(standing, _text()) == "changed":
        if not replace:
            raise OperatorError(
                f"{UNIT} is not as pinetboot wrote it",
                "Take your lines into a drop-in with `systemctl edit pinetboot`, and run this again with --replace, "
                f"which keeps the file as {_free_name().name}.",
            )
        kept = _free_name()
    try:
        if kept is not None:
            files.move(UNIT, kept)
        UNIT.parent.mkdir(parents=True, exist_ok=True)
        files.write(UNIT, content.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise OperatorError(f"{UNIT} cannot be written: {error.strerror}", "Make the file system writable.") from None
    return True, kept


def _free_name() -> Path:
    """Name what is kept beside the unit, and what was kept before stays."""
    names = (UNIT.with_name(f"{unit.NAME}.bak{number if number > 1 else ''}") for number in count(1))
    return next(path for path in names if not os.path.lexists(path))


def _standing() -> str | None:
    """Read the unit that stands; None where there is none."""
    if UNIT.is_symlink() and str(UNIT.readlink()) == os.devnull:
        raise OperatorError("pinetboot.service is masked", "Run `systemctl unmask pinetboot` first.")
    try:
        with UNIT.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        # A link that leads nowhere is somebody's, too.
        return "" if UNIT.is_symlink() else None
    except OSError as error:
        raise OperatorError(f"{UNIT} cannot be read: {error.strerror}") from None


def _start(*, anew: bool) -> str:
    """Have the service run, with the unit as it stands; returns what was done."""
    if _ask("is-active").code == 0:
        if not anew:
            return "runs already"
        _tell("restart")
        return "was restarted"
    _tell("start")
    return "was started"


def _reload() -> None:
    if _BOOTED.is_dir():
        _systemctl(["daemon-reload"], (0,))


def _tell(verb: str, *flags: str) -> None:
    _systemctl([verb, *flags, unit.NAME], (0,))


def _ask(verb: str) -> run.Done:
    return _systemctl([verb, "--quiet", unit.NAME], _ANY_CODE)


def _systemctl(words: Sequence[str], good: Sequence[int]) -> run.Done:
    try:
        return run.run(["systemctl", *words], good=good)
    except run.ProgramMissing:
        raise OperatorError(
            "this host has no systemd: systemctl is not installed",
            "Have `pinetboot serve` started by what starts services.",
        ) from None
    except run.ProgramFailed as error:
        raise OperatorError(
            f"`systemctl {' '.join(words)}` did not go well: {str(error).removeprefix('systemctl failed: ')}",
            "Look at `journalctl --unit pinetboot --lines 20`.",
        ) from None


def must_be_root(verb: str) -> None:
    """Raise OperatorError unless this user may change services. `verb` is what is to be done."""
    if os.geteuid() != 0:
        raise OperatorError("a service of the host is root's to change", f"Run `sudo {_program()} systemd {verb}`.")
