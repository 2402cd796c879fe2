"""Who is to blame, told apart: the operator's mistakes here, a peer's in the parser that found it.

Belongs here: exceptions that end a command with one sentence and what to do about it.
Never here: anything that a datagram can provoke.
"""

from __future__ import annotations

from dataclasses import dataclass


class OperatorError(Exception):
    """Something that only the person who runs pinetboot can put right; the command ends with exit code 2.

    `what` says what is wrong and where, `do` what to do about it; both are one sentence.
    """

    def __init__(self, what: str, do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.do = do

    def __str__(self) -> str:
        """Both sentences on one line."""
        return f"{self.what}\n  {self.do}" if self.do else self.what


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration: its dotted path, what is wrong, and what would be right."""

    path: str
    what: str
    right: str = ""

    def __str__(self) -> str:
        """One line: path, fault, remedy."""
        return f"{self.path}: {self.what}" + (f"; {self.right}" if self.right else "")


class ConfigError(OperatorError):
    """Everything that is wrong in one configuration, told at once."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{source} cannot be used as it is:\n{lines}")


class PeerError(Exception):
    """A peer sent something that its protocol does not allow. Each protocol's own kind says what to answer."""
