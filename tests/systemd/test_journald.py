"""Lines for systemd's journal: read back as the journal reads them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot import journald

texts = st.text(st.characters(codec="utf-8"), max_size=50)

WRITES = """
import sys
from pathlib import Path
from pinetboot import journald, log
log._JOURNAL._path = sys.argv[1]
log.configure(sys.argv[2], "info")
log.write("warning", "client went silent", path="a b", serial="5b154510", blocks=[1, 2], why="two\\nlines")
log.write("debug", "not wanted")
"""


def read(content: bytes) -> dict[str, str]:
    """Read an entry as journald does."""
    found = {}
    while content:
        line, _, rest = content.partition(b"\n")
        name, sign, value = line.partition(b"=")
        if sign:
            content = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            value, content = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.settimeout(5)
        yield sock


def writes(tmp_path: Path, log_format: str, place: str = "socket", *, told: bool = True) -> str:
    """Run a program that writes lines, its stderr being the journal's if `told`; what came there as text."""
    path = tmp_path / "stderr"
    with path.open("wb") as stderr:
        status = os.fstat(stderr.fileno())
        own = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"} if told else {}
        command = [sys.executable, "-c", WRITES, str(tmp_path / place), log_format]
        subprocess.run(command, stderr=stderr, env=os.environ | own, timeout=30, check=True)
    return path.read_text()


@given(st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1, max_size=90), texts, max_size=8))
def test_an_entry_is_read_back_whatever_is_in_it(fields: dict[str, str]) -> None:
    wanted = {journald.field(name): text for name, text in fields.items()}
    assert read(journald.entry(wanted)) == wanted
    for name in wanted:
        assert name.startswith("PINETBOOT_")
        assert len(name) <= 64
        assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def test_a_line_reaches_the_journal_readable_and_with_its_fields(tmp_path: Path, journal: socket.socket) -> None:
    assert writes(tmp_path, "auto") == ""
    entry = read(journal.recv(1 << 16))
    assert entry == {
        "MESSAGE": "client went silent path='a b' serial=5b154510 blocks=[1, 2] why='two\\nlines'",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "pinetboot",
        "PINETBOOT_EVENT": "client went silent",
        "PINETBOOT_PATH": "a b",
        "PINETBOOT_SERIAL": "5b154510",
        "PINETBOOT_BLOCKS": "[1, 2]",
        "PINETBOOT_WHY": "two\nlines",
    }
    journal.settimeout(0.05)
    with pytest.raises(TimeoutError):
        journal.recv(1)


def test_a_line_that_the_journal_does_not_take_is_written_as_text_with_its_level(tmp_path: Path) -> None:
    said = writes(tmp_path, "auto", "nobody")
    assert said == "<4>client went silent path='a b' serial=5b154510 blocks=[1, 2] why='two\\nlines'\n"


def test_json_that_was_asked_for_stays_json_with_its_level(tmp_path: Path, journal: socket.socket) -> None:
    said = writes(tmp_path, "json")
    assert said.startswith("<4>{")
    assert json.loads(said.removeprefix("<4>"))["event"] == "client went silent"


def test_where_no_journal_listens_a_line_is_json_and_nothing_else(tmp_path: Path, journal: socket.socket) -> None:
    assert json.loads(writes(tmp_path, "auto", told=False))["level"] == "warning"


def test_settings_that_cannot_be_used_are_an_error_in_the_journal(tmp_path: Path) -> None:
    settings, path = tmp_path / "pinetboot.toml", tmp_path / "stderr"
    settings.write_text("[tftp]\nprot = 69\n")
    with path.open("wb") as stderr:
        status = os.fstat(stderr.fileno())
        command = [sys.executable, "-m", "pinetboot", "serve", "--config", str(settings)]
        environment = os.environ | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        done = subprocess.run(command, stderr=stderr, env=environment, timeout=60, check=False)
    assert done.returncode == 2
    lines = path.read_text().splitlines()
    assert lines
    assert all(line.startswith("<3>") for line in lines)
    assert any("tftp.prot" in line for line in lines)
