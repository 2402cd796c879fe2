"""Other programs: the one door to subprocesses.

Belongs here: starting a program with nothing of ours but its arguments, and a sentence when it is missing or fails.
Never on the loop's thread: every function here waits.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# Debian keeps mke2fs and its kind where a user's PATH does not look.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
_MAX_SAID = 300
_MAX_UNREAD = 1 << 16
_LOOK_S = 0.1
_PIPE = 1 << 20


class ProgramMissing(Exception):
    """A program is not installed; `program` names it."""

    def __init__(self, program: str) -> None:
        super().__init__(f"the program {program} is not installed")
        self.program = program


class ProgramFailed(Exception):
    """A program ended with another code than 0; the text is the end of what it said."""


class Cancelled(Exception):
    """The one who asked for the work wants it no more."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a program that ended left behind. `code` is negative for the signal that ended it."""

    code: int
    out: bytes
    err: str


def find(program: str) -> str | None:
    """Say where a program is, None where it is not installed."""
    return shutil.which(program, path=_PATH)


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    input_bytes: bytes | None = None,
    timeout_s: float | None = None,
    good: Sequence[int] = (0,),
) -> Done:
    """Run a program to its end. Raises ProgramMissing, or ProgramFailed for a code that is not among `good`."""
    program = os.fspath(command[0])
    try:
        done = subprocess.run(
            _found(command),
            input=input_bytes,
            stdin=subprocess.DEVNULL if input_bytes is None else None,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"{program} did not end within {timeout_s:g} s") from None
    except OSError as error:
        raise ProgramFailed(f"{program} cannot be started: {error.strerror}") from None
    err = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode not in good:
        said = (err or done.stdout.decode("utf-8", "replace").strip())[-_MAX_SAID:]
        raise ProgramFailed(f"{program} failed: {said or f'exit code {done.returncode}'}")
    return Done(done.returncode, done.stdout, err)


def follow(
    command: Sequence[str | os.PathLike[str]],
    *,
    looks: Callable[[], None],
    cancelled: Callable[[], bool],
    folder: Path | None = None,
    umask: int = -1,
) -> None:
    """Run a program to its end, and call `looks` every tenth of a second; what it writes to stdout is lost.

    It runs in `folder`, ours if None, with a `umask`, ours if -1.

    It does not outlive this process where setpriv is installed: it gets SIGKILL with the thread that waits here. Raises
    Cancelled, after ending it, as soon as `cancelled` says so, and else as run() does.
    """
    program = os.fspath(command[0])
    tied = [find("setpriv") or "", "--pdeathsig", "KILL", "--"]
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [*(tied if tied[0] else ()), *_found(command)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env=_environment(),
                umask=umask,
                pipesize=_PIPE,
            )
        except OSError as error:
            raise ProgramFailed(f"{program} cannot be started: {error.strerror}") from None
        with process:
            try:
                _wait(process.stdout, looks, cancelled)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            size = errors.seek(0, os.SEEK_END)
            errors.seek(max(0, size - _MAX_SAID))
            said = errors.read().decode("utf-8", "replace").strip()
            raise ProgramFailed(f"{program} failed: {said or f'exit code {process.returncode}'}")


class Started:
    """A program that runs on, beyond our own end. What it writes is read here while we live, and lost afterwards."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._rest = b""
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ended(self) -> int | None:
        """Say with which code it ended, negative for a signal; None while it runs."""
        return self._process.poll()

    def said(self) -> list[str]:
        """Take the lines that it has written since the last time. Never waits."""
        out = self._process.stdout
        if out is None:
            return []
        with suppress(BlockingIOError, ValueError):
            while part := os.read(out.fileno(), 1 << 16):
                self._rest = (self._rest + part)[-_MAX_UNREAD:]
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode("utf-8", "replace").strip() for line in lines if line.strip()]


def start(command: Sequence[str | os.PathLike[str]]) -> Started:
    """Start a program that outlives us. Raises ProgramMissing and ProgramFailed."""
    program = os.fspath(command[0])
    try:
        return Started(
            subprocess.Popen(
                _found(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_environment(),
                # Neither Ctrl-C nor a line that nobody reads any more may end it: SIGPIPE stays ignored, as it is here.
                start_new_session=True,
                restore_signals=False,
            )
        )
    except OSError as error:
        raise ProgramFailed(f"{program} cannot be started: {error.strerror}") from None


def _wait(out: IO[bytes] | None, looks: Callable[[], None], cancelled: Callable[[], bool]) -> None:
    """Return when the other end of a pipe is closed."""
    if out is None:
        return
    # Woken at the end alone: to be woken by every page that is written would take more time than some programs' work.
    over = select.poll()
    over.register(out, 0)
    os.set_blocking(out.fileno(), False)
    while True:
        if cancelled():
            raise Cancelled
        over.poll(_LOOK_S * 1000)
        looks()
        try:
            while os.read(out.fileno(), _PIPE):
                pass
        except BlockingIOError:
            continue
        return


def _found(command: Sequence[str | os.PathLike[str]]) -> list[str]:
    program = os.fspath(command[0])
    path = find(program)
    if path is None:
        raise ProgramMissing(program)
    return [path, *(os.fspath(part) for part in command[1:])]


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": _PATH, "LC_ALL": "C.UTF-8"}
