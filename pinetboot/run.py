"""Other programs: the one door to subprocesses.

Belongs here: starting a program with nothing of ours but its arguments, and a sentence when it is missing or fails.
Never on the loop's thread: every function here waits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

# Debian keeps mke2fs and its kind where a user's PATH does not look.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
_MAX_SAID = 300


class ProgramMissing(Exception):
    """A program is not installed; `program` names it."""

    def __init__(self, program: str) -> None:
        super().__init__(f"the program {program} is not installed")
        self.program = program


class ProgramFailed(Exception):
    """A program ended with another code than 0; the text is the end of what it said."""


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
    path = find(program)
    if path is None:
        raise ProgramMissing(program)
    try:
        done = subprocess.run(
            [path, *(os.fspath(part) for part in command[1:])],
            input=input_bytes,
            stdin=subprocess.DEVNULL if input_bytes is None else None,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PATH": _PATH, "LC_ALL": "C.UTF-8"},
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
