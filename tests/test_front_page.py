"""The README's commands are the ones that are tested, and its demo output is what the demo prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text()


def commands() -> list[str]:
    return [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    (tests,) = [line for line in commands() if line.endswith("pytest")]
    steps = tests.split(" && ")
    script = (TOP / ".ci" / "run").read_text().replace(" --quiet", "")
    for step in steps[-3:]:
        assert step in script, f"{step!r} of the README is not what .ci/run does"


def test_the_demo_prints_what_the_readme_shows() -> None:
    shown = next(block for block in re.findall(r"```text\n(.*?)```", README, re.DOTALL) if "pinetboot demo" in block)
    command = [sys.executable, "-m", "pinetboot", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    def shape(text: str) -> list[str]:
        # Two Pis boot side by side, so lines come in any order; times and rates differ.
        figures = r"[\d.,]+ (?=ms|s\b|MB/s)|127[\d.]+:\d+"
        return sorted(re.sub(figures, "N ", line).strip() for line in text.splitlines())

    def alike(text: str) -> list[str]:
        return [re.sub(r"N  ?(ms|s)\b", "TIME", line) for line in shape(text) if "seen" not in line]

    assert alike(done.stdout) == alike(shown)
