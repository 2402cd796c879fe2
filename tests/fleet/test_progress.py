"""How far a daemon is, told to other processes: never what a dead one said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.fleet import progress
from pinetboot.fleet.progress import Making, Progress

ONE, TWO = "5b154510", "da591740"
OTHER_PROCESS = """
import sys
from pathlib import Path
from pinetboot.fleet.progress import Progress
told = Progress(Path(sys.argv[1]))
told.wait("5b154510", "raspios", 3)
told.begin("5b154510")
told.at("5b154510", 43)
told.tell()
print("told", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path


def words(data: Path) -> dict[str, str]:
    return {serial: str(one) for serial, one in progress.read(data).items()}


def test_from_waiting_to_the_end(data: Path) -> None:
    told = Progress(data)
    for serial in (ONE, TWO):
        told.wait(serial, "raspios", 1)
    told.begin(ONE)
    told.tell()
    assert words(data) == {ONE: "copying", TWO: "waiting"}
    told.at(ONE, 43)
    assert words(data)[ONE] == "copying"  # not told yet
    told.tell()
    assert words(data)[ONE] == "copying 43 %"
    assert progress.read(data)[ONE] == Making(ONE, "raspios", 1, began=True, percent=43)
    told.end(ONE)
    told.end(TWO)
    told.at(ONE, 99)
    told.tell()
    assert words(data) == {}
    told.close()


def test_it_is_stale_until_it_is_told(data: Path) -> None:
    told = Progress(data)
    assert told.stale
    told.tell()
    assert not told.stale
    told.wait(ONE, "raspios", 1)
    assert told.stale
    told.tell()
    assert not told.stale
    told.close()


def test_one_that_was_killed_tells_nothing_any_more(data: Path) -> None:
    command = [sys.executable, "-c", OTHER_PROCESS, str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"told\n"
        assert words(data) == {ONE: "copying 43 %"}
        assert progress.is_running(data)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert words(data) == {}
    assert not progress.is_running(data)
    assert (data / "state" / "making.json").exists()


def test_of_two_daemons_the_second_waits_for_its_place(data: Path) -> None:
    first, second = Progress(data), Progress(data)
    first.wait(ONE, "raspios", 1)
    first.tell()
    second.wait(TWO, "raspios", 1)
    second.tell()
    assert list(progress.read(data)) == [ONE]
    assert second.stale
    first.close()
    second.tell()
    assert list(progress.read(data)) == [TWO]
    second.close()


def test_many_readers_do_not_take_one_another_for_a_daemon(data: Path) -> None:
    told = Progress(data)
    told.tell()
    told.close()
    command = [sys.executable, "-c", "import fcntl, sys; fcntl.flock(file := open(sys.argv[1]), fcntl.LOCK_SH);"]
    command[-1] += "print('held', flush=True); sys.stdin.read()"
    command.append(str(data / "state" / "making.lock"))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"held\n"
        assert not progress.is_running(data)
        told.tell()
        assert told.stale  # it comes to its lock once nobody looks
        reader.kill()
    told.tell()
    assert progress.is_running(data)
    told.close()


def test_where_nothing_can_be_written_nothing_is_told(tmp_path: Path) -> None:
    told = Progress(tmp_path / "nowhere")
    told.wait(ONE, "raspios", 1)
    told.tell()
    assert told.stale
    assert progress.read(tmp_path / "nowhere") == {}
    told.close()


@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.sampled_from(["serial", "image", "generation", "began", "percent"]), inner)
            ),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_no_content_is_a_fault(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    data = tmp_path_factory.mktemp("state")
    (data / "state").mkdir()
    told = Progress(data)
    told.tell()
    (data / "state" / "making.json").write_bytes(content)
    for one in progress.read(data).values():
        assert str(one)
        assert one.percent is None or 0 <= one.percent <= 100
    told.close()


def test_a_reader_changes_nothing(data: Path) -> None:
    assert progress.read(data) == {}
    assert os.listdir(data / "state") == []  # noqa: PTH208 - a look, as short as it can be
