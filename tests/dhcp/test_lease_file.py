"""Leases on disk: what was acknowledged comes back whatever moment the process or the disk stopped at."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinetboot.dhcp.events import DhcpTold
from pinetboot.dhcp.keeping import Keeping
from pinetboot.dhcp.lease import Lease, to_kept
from pinetboot.dhcp.lease_file import LeaseFile
from pinetboot.errors import OperatorError
from pinetboot.events import Event, FileIgnored
from pinetboot.threads import Pool

STEADY = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=8
)


def line(address: str, until: int) -> bytes:
    return json.dumps({"address": address, "until": until}).encode() + b"\n"


def untils(path: Path) -> dict[str, int]:
    return {item["address"]: item["until"] for item in LeaseFile(path).read()[0]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases.json"


def test_nothing_is_there_at_first_and_reading_writes_nothing(path: Path) -> None:
    assert LeaseFile(path).read() == ([], 0)
    assert not path.exists()


def test_the_last_line_of_an_address_counts(path: Path) -> None:
    file = LeaseFile(path)
    file.append({"a": line("a", 1), "b": line("b", 1)})
    file.append({"a": line("a", 2)})
    assert untils(path) == {"a": 2, "b": 1}
    assert [json.loads(one)["until"] for one in path.read_text().splitlines()] == [1, 1, 2]
    assert path.stat().st_mode & 0o777 == 0o600
    file.close()
    file.append({"c": line("c", 3)})
    assert untils(path) == {"a": 2, "b": 1, "c": 3}


@STEADY
@given(
    groups=st.lists(
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 99)), min_size=1, max_size=6), min_size=1, max_size=4
    )
)
def test_a_file_cut_at_any_byte_has_all_that_was_appended_before_the_last_group(
    tmp_path: Path, groups: list[list[tuple[str, int]]]
) -> None:
    path = tmp_path / "leases.json"
    path.unlink(missing_ok=True)
    file = LeaseFile(path)
    file.append({"first": line("first", 0)})
    acknowledged: dict[str, int] = {"first": 0}
    for group in groups:
        before = path.stat().st_size
        told = dict(group)
        file.append({address: line(address, until) for address, until in told.items()})
        whole = path.read_bytes()
        torn = tmp_path / "torn.json"
        for size in range(before, len(whole) + 1):
            torn.write_bytes(whole[:size])
            found = untils(torn)
            assert found.keys() >= acknowledged.keys()
            for address, until in found.items():
                assert until in {acknowledged.get(address), told.get(address)}
        acknowledged |= told
        assert untils(path) == acknowledged
    # And it goes on from a torn one.
    torn.write_bytes(path.read_bytes()[:-3])
    again = LeaseFile(torn)
    again.read()
    again.append({"next": line("next", 7)})
    assert untils(torn)["next"] == 7
    assert LeaseFile(torn).read()[1] == 0


def test_lines_that_are_no_json_are_left_out_and_counted(path: Path) -> None:
    path.write_bytes(line("a", 1) + b"\xff\xfe\n" + b"[1]\n" + b'{"address": 5}\n' + b"{\n" + line("b", 2) + b'{"addr')
    found, spoilt = LeaseFile(path).read()
    assert ([item["address"] for item in found], spoilt) == (["a", "b"], 2)


def test_what_no_longer_counts_is_dropped_in_time(path: Path) -> None:
    file = LeaseFile(path)
    file.append({f"{number}": line(f"{number}", 0) for number in range(100)})
    longest = 0
    for number in range(100):
        file.append({f"{one}": line(f"{one}", number) for one in range(100)})
        longest = max(longest, path.read_bytes().count(b"\n"))
    assert 100 < longest < 4500
    assert untils(path) == {f"{number}": 99 for number in range(100)}


@pytest.mark.parametrize("how", ["removed", "replaced", "the folder removed"])
def test_a_file_that_was_taken_away_is_written_anew_with_all_that_is_known(path: Path, how: str) -> None:
    path = path.parent / "state" / path.name
    path.parent.mkdir()
    file = LeaseFile(path)
    file.append({"a": line("a", 1)})
    path.unlink()
    if how == "replaced":
        path.write_bytes(b"")
    elif how == "the folder removed":
        path.parent.rmdir()
    file.append({"b": line("b", 2)})
    assert untils(path) == {"a": 1, "b": 2}


def test_a_disk_that_refused_gets_everything_once_it_takes_something(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LeaseFile(path)
    file.append({"a": line("a", 1)})

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # A full disk cannot be had without mounting one; its answer can.
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", full)
        with pytest.raises(OSError, match="No space left"):
            file.append({"b": line("b", 2)})
    file.append({"c": line("c", 3)})
    assert untils(path) == {"a": 1, "b": 2, "c": 3}


# In groups.


def lease(last: int, until: float = 100.0) -> Lease:
    return Lease(IPv4Address(f"10.55.0.{last}"), f"client-{last}", f"mac-{last}", until)


class Kept:
    """A Keeping with its file, and what it told."""

    def __init__(self, folder: Path) -> None:
        self.events: list[Event] = []
        self.refusal: OSError | None = None
        self.writes = 0
        self.pool = Pool()
        self.file = LeaseFile(folder / "leases.json")
        self.keeping = Keeping(self.file, self.pool, self.events.append, self.may_write)

    def may_write(self) -> None:
        self.writes += 1
        if self.refusal:
            raise self.refusal


async def test_whoever_is_called_back_has_its_lease_on_disk_and_many_share_a_write(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert await kept.keeping.read() == []
    told: list[int] = []
    done = asyncio.Event()

    def safe(number: int) -> None:
        on_disk = kept.file.path.read_text()
        assert f'"10.55.0.{number}"' in on_disk
        told.append(number)
        if len(told) == 200:
            done.set()

    for number in range(200):
        kept.keeping.keep([lease(number)], partial(safe, number))
    await asyncio.wait_for(done.wait(), 10)
    assert told == list(range(200))
    assert kept.writes == 2
    assert kept.events == []
    kept.keeping.stop()
    kept.pool.close()


async def test_nobody_is_called_back_while_nothing_can_be_written_and_all_is_written_in_the_end(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    await kept.keeping.read()
    told: list[int] = []
    done = asyncio.Event()
    kept.refusal = OSError(errno.EROFS, "Read-only file system")
    for number in range(3):
        kept.keeping.keep([lease(number)], partial(told.append, number))
        await asyncio.sleep(0.5)
    assert told == []
    assert [event.well for event in kept.events if isinstance(event, DhcpTold)] == [False]
    kept.refusal = None
    kept.keeping.keep([lease(3)], done.set)
    await asyncio.wait_for(done.wait(), 10)
    assert told == [0, 1, 2]
    assert [event.well for event in kept.events if isinstance(event, DhcpTold)] == [False, True]
    kept.keeping.stop()
    again = Kept(tmp_path)
    assert {str(one.address) for one in await again.keeping.read()} == {f"10.55.0.{number}" for number in range(4)}
    kept.pool.close()
    again.pool.close()


async def test_lines_that_are_no_leases_are_told_of(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.file.path.write_bytes(to_kept(lease(1)) + line("x", 1) + b"{\n")
    assert [str(one.address) for one in await kept.keeping.read()] == ["10.55.0.1"]
    (told,) = kept.events
    assert isinstance(told, FileIgnored)
    assert told.why == "2 of its lines are no leases; the others count"
    kept.pool.close()


async def test_leases_that_cannot_be_read_or_kept_are_the_operator_s_to_put_right(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.file.path.mkdir()
    with pytest.raises(OperatorError, match=r"leases cannot be kept in .*leases\.json: Is a directory"):
        await kept.keeping.read()
    nowhere = Kept(tmp_path / "nowhere")
    with pytest.raises(OperatorError, match="may not be written"):
        await nowhere.keeping.read()
    kept.pool.close()
    nowhere.pool.close()
