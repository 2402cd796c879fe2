"""One daemon at a time keeps a fleet: a real directory, and actors that stop, sleep and die, each on its own clock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support import wait_until

from pinetboot import mountinfo
from pinetboot.fleet import keeper as keepers
from pinetboot.fleet.claim import Claim
from pinetboot.fleet.fence import Lost
from pinetboot.fleet.keeper import SILENT_S, Keeper


class Host:
    """One daemon on a host of its own: its own clock, and no lock that its kernel shares with others."""

    def __init__(self, data: Path, started: float) -> None:
        self.now = started
        self.keeper = Keeper(data, lambda: self.now)
        self.keeper._is_local = lambda: False  # type: ignore[method-assign]  # as over NFS
        self.wanted = True

    def look(self) -> Claim | None:
        return self.keeper.look(wanted=self.wanted)


def holds(claim: Claim | None) -> bool:
    if claim is None:
        return False
    try:
        with claim.held():
            return True
    except Lost:
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "keeper"


def test_the_first_who_looks_has_it_at_once_and_the_next_is_told_by_whom(tmp_path: Path, folder: Path) -> None:
    first, second = Host(tmp_path, 0), Host(tmp_path, 1e6)
    claim = first.look()
    assert holds(claim)
    assert claim is not None
    assert (claim.epoch, sorted(path.name for path in folder.iterdir())) == (1, ["1", "asked"])
    assert second.look() is None
    assert second.keeper.other == f"{os.uname().nodename} (process {os.getpid()})"
    assert first.look() is claim
    assert first.keeper.other == ""


def test_what_is_given_up_is_the_next_one_s_at_its_next_look(tmp_path: Path, folder: Path) -> None:
    first, second = Host(tmp_path, 0), Host(tmp_path, 0)
    claim = first.look()
    assert second.look() is None
    first.wanted = False
    first.keeper.release()
    assert not holds(claim)
    assert first.look() is None
    then = second.look()
    assert then is not None
    assert (holds(then), then.epoch) == (True, 2)
    assert [path.name for path in folder.iterdir() if path.name.isdigit()] == ["2"]


def test_whoever_answers_is_alive_for_ever(tmp_path: Path) -> None:
    first, second = Host(tmp_path, 0), Host(tmp_path, 0)
    claim = first.look()
    for _ in range(200):
        second.now += 1
        assert second.look() is None
        assert first.look() is claim


def test_whoever_is_silent_for_long_is_replaced_and_sees_it_when_it_wakes(tmp_path: Path) -> None:
    first, second = Host(tmp_path, 0), Host(tmp_path, 0)
    old = first.look()
    looks = 0
    while (new := second.look()) is None:
        second.now += 1
        looks += 1
        assert looks < 60
    assert looks >= SILENT_S
    assert holds(new)
    assert not holds(old)
    assert first.look() is None
    assert first.keeper.claim is None
    with pytest.raises(Lost):
        old.answer()  # type: ignore[union-attr]
    old.release()  # type: ignore[union-attr]
    assert holds(new)


def test_one_s_own_sleep_is_nobody_s_silence(tmp_path: Path) -> None:
    first, second = Host(tmp_path, 0), Host(tmp_path, 0)
    claim = first.look()
    for _ in range(3):
        assert second.look() is None
        second.now += 3600
    assert second.look() is None
    assert first.look() is claim
    assert holds(claim)


def test_nothing_is_written_while_nobody_asks(tmp_path: Path, folder: Path) -> None:
    first, standby = Host(tmp_path, 0), Host(tmp_path, 0)
    first.look()
    standby.wanted = False
    before = {path.name: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}
    for _ in range(100):
        first.now += 1
        standby.now += 1
        assert first.look() is not None
        assert standby.look() is None
    assert {path.name: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())} == before


def test_a_late_one_gives_way_to_whoever_came_before_it(tmp_path: Path, folder: Path) -> None:
    first, second, late = (Host(tmp_path, 0) for _ in range(3))
    first.look()
    first.keeper.release()
    second.look()
    second.keeper.release()
    claim = first.look()
    assert claim is not None
    assert claim.epoch == 3
    # It saw the first claim alone, and was stopped until now: the number 2 is free once more.
    assert late.keeper._win(2) is None
    assert holds(claim)
    assert sorted(path.name for path in folder.iterdir()) == ["3", "asked"]


def test_of_two_who_want_the_same_number_one_gets_it(tmp_path: Path) -> None:
    first, second = Host(tmp_path, 0), Host(tmp_path, 0)
    one, other = first.keeper._win(1), second.keeper._win(1)
    assert (holds(one), other) == (True, None)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 512, b"[]", b'{"token": 1}', b"0" * 4096])
def test_a_claim_that_makes_no_sense_is_a_silent_one(tmp_path: Path, folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "7").write_bytes(content)
    (folder / "99999999999999999999").write_bytes(b"")
    host = Host(tmp_path, 0)
    for _ in range(60):
        claim = host.look()
        host.now += 1
    assert claim is not None
    assert (holds(claim), claim.epoch) == (True, 8)


def test_what_is_asked_may_be_anything(tmp_path: Path, folder: Path) -> None:
    host = Host(tmp_path, 0)
    claim = host.look()
    for asked in (b"\0" * 600, b'"' * 300, b"a" * 5000, b"\xff", b""):
        (folder / "asked").write_bytes(asked)
        assert host.look() is claim
        assert holds(claim)


def test_the_folder_may_go_at_any_time(tmp_path: Path, folder: Path) -> None:
    first, second = Host(tmp_path, 0), Host(tmp_path, 0)
    old = first.look()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert not holds(old)
    claim = second.look()
    assert holds(claim)
    assert first.look() is None


class Cluster(RuleBasedStateMachine):
    """Three hosts that look, want and want not, are paused in any step, and die."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="pinetboot-keeper-")
        data = Path(self._folder.name)
        self.data = data
        self.hosts = [Host(data, started) for started in (0.0, 1e9, -500.0)]
        self.won: list[Claim] = []
        self.paused: list[tuple[Host, Iterator[None], int]] = []

    def teardown(self) -> None:
        self._folder.cleanup()

    @rule(number=st.integers(0, 2), passes=st.floats(0, 30))
    def look(self, number: int, passes: float) -> None:
        host = self.hosts[number]
        host.now += passes
        claim = host.look()
        if claim is not None and claim not in self.won:
            self.won.append(claim)
        assert claim is host.keeper.claim

    @rule(number=st.integers(0, 2), wanted=st.booleans())
    def want(self, number: int, wanted: bool) -> None:
        host = self.hosts[number]
        host.wanted = wanted
        if not wanted:
            host.keeper.release()

    @rule(number=st.integers(0, 2))
    def die_and_come_back(self, number: int) -> None:
        """Whatever it held it never uses again; its claims are kept here to see that they do not count."""
        self.hosts[number] = Host(self.data, self.hosts[number].now)

    @rule(number=st.integers(0, 2), epoch=st.integers(1, 12))
    def claim_by_what_was_seen_long_ago(self, number: int, epoch: int) -> None:
        """Be paused between judging and claiming, for any time."""
        newest = max((int(path.name) for path in self._claims()), default=0)
        host = self.hosts[number]
        if host.keeper.claim is None and epoch <= newest + 1:
            claim = host.keeper._win(epoch)
            host.keeper.claim = claim
            if claim is not None:
                self.won.append(claim)

    def _claims(self) -> list[Path]:
        folder = self.data / "state" / "keeper"
        return [path for path in folder.iterdir() if path.name.isdigit()] if folder.exists() else []

    @invariant()
    def one_at_most_holds(self) -> None:
        holding = [claim for claim in self.won if holds(claim)]
        assert len(holding) <= 1
        assert not holding or holding[0].epoch == max(claim.epoch for claim in self.won)

    @rule(number=st.integers(0, 2))
    def the_one_who_is_left_gets_it(self, number: int) -> None:
        """With everyone else gone for good, one who wants it has it within a minute."""
        for other in set(range(3)) - {number}:
            self.hosts[other] = Host(self.data, self.hosts[other].now)
        host = self.hosts[number]
        host.wanted = True
        for _ in range(60):
            claim = host.look()
            host.now += 1
        assert holds(claim)
        if claim is not None and claim not in self.won:
            self.won.append(claim)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)

BRIEF_S = 3.0
LONG_S = 600.0
RUN = """
import sys, time
from pathlib import Path
from pinetboot.fleet.fence import Lost
from pinetboot.fleet import keeper as keepers
keepers.SILENT_S = float(sys.argv[3])
keeper = keepers.Keeper(Path(sys.argv[1]))
if sys.argv[2] == "network":
    keeper._is_local = lambda: False
while True:
    claim = keeper.look(wanted=True)
    held = False
    if claim is not None:
        try:
            with claim.held():
                held = True
                # What nobody else may be doing at the same time.
                mark = Path(sys.argv[1], "busy")
                mark.mkdir()
                time.sleep(0.002)
                mark.rmdir()
        except Lost:
            pass
    print(claim.epoch if held else 0, flush=True)
    time.sleep(0.05)
"""


class Running:
    """A process that looks again and again, and says a claim's number, or 0, each time."""

    def __init__(self, data: Path, kind: str, silent_s: float) -> None:
        self.log = data / f"log-{time.monotonic_ns()}"
        with self.log.open("wb") as output:
            command = [sys.executable, "-c", RUN, str(data), kind, str(silent_s)]
            self.process = subprocess.Popen(command, stdout=output, stderr=output)

    @property
    def epoch(self) -> int:
        lines = self.log.read_text().split()
        return int(lines[-1]) if lines and lines[-1].isdigit() else 0

    @property
    def said(self) -> str:
        return self.log.read_text()

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[list[Running]]:
    found: list[Running] = []
    yield found
    for one in found:
        one.end()


def local(path: Path) -> bool:
    mount = mountinfo.mount_of(path)
    return mount is not None and mount.kind in keepers._LOCAL


def test_on_a_disk_of_this_host_a_killed_process_is_replaced_at_once(tmp_path: Path, running: list[Running]) -> None:
    if not local(tmp_path):
        pytest.skip("the temporary folder is on no disk of this host alone")
    running.append(Running(tmp_path, "local", LONG_S))
    assert wait_until(lambda: running[0].epoch == 1)
    running.append(Running(tmp_path, "local", LONG_S))
    time.sleep(0.5)
    assert running[1].epoch == 0
    running[0].process.send_signal(signal.SIGKILL)
    assert wait_until(lambda: running[1].epoch == 2), running[1].said


def test_a_stopped_process_is_replaced_and_never_mixes_in_when_it_goes_on(
    tmp_path: Path, running: list[Running]
) -> None:
    running += [Running(tmp_path, "network", BRIEF_S)]
    assert wait_until(lambda: running[0].epoch == 1)
    running += [Running(tmp_path, "network", BRIEF_S), Running(tmp_path, "network", BRIEF_S)]
    # Stopped outside of its work, as the two others want to enter the same folder.
    stopped = wait_until(lambda: _stop_between(running[0], tmp_path), 10)
    assert stopped
    successors = running[1:]
    assert wait_until(lambda: any(one.epoch == 2 for one in successors), BRIEF_S * 5), [one.said for one in running]
    assert sum(one.epoch == 2 for one in successors) == 1
    running[0].process.send_signal(signal.SIGCONT)
    assert wait_until(lambda: running[0].epoch == 0)
    time.sleep(1.0)
    assert sorted(one.epoch for one in running) == [0, 0, 2], [one.said for one in running]
    assert not any("Error" in one.said for one in running)


def _stop_between(one: Running, data: Path) -> bool:
    one.process.send_signal(signal.SIGSTOP)
    status = Path(f"/proc/{one.process.pid}/stat")
    wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T")
    if (data / "busy").exists():
        one.process.send_signal(signal.SIGCONT)
        return False
    return True


def test_the_record_is_for_people_too(tmp_path: Path, folder: Path) -> None:
    Host(tmp_path, 0).look()
    told = json.loads((folder / "1").read_bytes())
    assert (told["pid"], told["host"], told["released"]) == (os.getpid(), os.uname().nodename, False)
    assert (folder / "1").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
