"""Downloads: they go on where they stopped, and say in one sentence why they cannot."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from webfiles import Site, serving

from pinetboot.errors import OperatorError
from pinetboot.image import fetch
from pinetboot.image.watch import Unwatched

CONTENT = random.Random(2).randbytes(3_000_000)  # noqa: S311 - repeatable on purpose
NO_PAUSES = (0.0, 0.0, 0.0)


class Seen(Unwatched):
    def __init__(self) -> None:
        self.steps: list[int] = []
        self.total: int | None = None

    def stage(self, what: str, total: int | None) -> None:  # noqa: ARG002
        self.total = total

    def at(self, done: int) -> None:
        self.steps.append(done)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        site.files["a.img"] = CONTENT
        yield site


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path


async def have(site: Site, data: Path) -> bytes:
    path, version = await fetch.fetch(site.url("a.img"), data, Unwatched(), NO_PAUSES)
    content = path.read_bytes()
    assert version == (site.etag(content) if site.etags else "")
    fetch.drop(path)
    assert not list((data / "state" / "downloads").iterdir())
    return content


async def test_a_file_comes_whole_and_says_how_far_it_is(site: Site, data: Path) -> None:
    seen = Seen()
    path, version = await fetch.fetch(site.url("a.img"), data, seen, NO_PAUSES)
    assert (path.read_bytes(), version) == (CONTENT, site.etag(CONTENT))
    assert seen.total == len(CONTENT)
    assert seen.steps == sorted(seen.steps)
    assert seen.steps[-1] == len(CONTENT)


async def test_it_goes_on_where_the_connection_broke(site: Site, data: Path) -> None:
    site.dies = [1_000_000, 500_000, 1]
    assert await have(site, data) == CONTENT
    assert site.asked_for("a.img") == ["", "bytes=1000000-", "bytes=1500000-", "bytes=1500001-"]
    assert site.sent == len(CONTENT)


async def test_it_goes_on_in_the_next_run(site: Site, data: Path) -> None:
    site.always_dies_at = len(CONTENT) * 4 // 10
    with pytest.raises(OperatorError, match=r"cannot be had: .*, after 1,200,000 bytes and 4 tries"):
        await have(site, data)
    site.always_dies_at = None
    site.sent = 0
    assert await have(site, data) == CONTENT
    assert site.sent == len(CONTENT) * 6 // 10


async def test_an_interrupted_download_stays_for_the_next_run(site: Site, data: Path) -> None:
    site.dies = [1_000_000]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await fetch.fetch(site.url("a.img"), data, Unwatched(), (30.0,))
    assert await have(site, data) == CONTENT
    assert site.sent == len(CONTENT)


async def test_a_file_that_changed_in_between_starts_over(site: Site, data: Path) -> None:
    site.always_dies_at = 1_000_000
    with pytest.raises(OperatorError):
        await have(site, data)
    site.always_dies_at = None
    site.files["a.img"] = CONTENT[::-1]
    assert await have(site, data) == CONTENT[::-1]


@pytest.mark.parametrize(("ranges", "etags"), [(False, True), (True, False)])
async def test_a_server_that_cannot_go_on_is_asked_for_all_again(
    site: Site, data: Path, *, ranges: bool, etags: bool
) -> None:
    site.ranges, site.etags = ranges, etags
    site.dies = [1_000_000, 2_000_000]
    assert await have(site, data) == CONTENT
    site.always_dies_at = 1_000_000
    with pytest.raises(OperatorError, match="after 1,000,000 bytes and 4 tries"):
        await have(site, data)
    if not etags:
        assert not list((data / "state" / "downloads").iterdir())


async def test_a_download_that_is_whole_already_is_not_repeated(site: Site, data: Path) -> None:
    path, _ = await fetch.fetch(site.url("a.img"), data, Unwatched(), NO_PAUSES)
    site.sent = 0
    again, _ = await fetch.fetch(site.url("a.img"), data, Unwatched(), NO_PAUSES)
    assert (again, site.sent) == (path, 0)
    assert again.read_bytes() == CONTENT


async def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(site: Site, data: Path) -> None:
    site.statuses = [503, 429, 500]
    assert await have(site, data) == CONTENT
    site.statuses = [403]
    with pytest.raises(OperatorError, match="the server answers 403 Forbidden"):
        await have(site, data)
    with pytest.raises(OperatorError, match="the server answers 404 Not Found"):
        await fetch.fetch(site.url("b.img"), data, Unwatched(), NO_PAUSES)
    assert site.asked_for("b.img") == [""]


async def test_nobody_there_is_one_sentence(site: Site, data: Path) -> None:
    with pytest.raises(OperatorError, match=r"http://127.0.0.1:1/a.img cannot be had: .*Connect"):
        await fetch.fetch("http://127.0.0.1:1/a.img", data, Unwatched(), (0.0,))
    with pytest.raises(OperatorError, match="cannot be had"):
        await fetch.sum_beside("http://127.0.0.1:1/a.img")


async def test_a_sum_beside_the_file_is_found(site: Site) -> None:
    good = hashlib.sha256(CONTENT).hexdigest()
    assert await fetch.sum_beside(site.url("a.img")) == ""
    site.files["a.img.sha256"] = f"{good}  a.img\n".encode()
    assert await fetch.sum_beside(site.url("a.img")) == good
    site.files["a.img.sha256"] = b"<html>everything is found here</html>" * 100_000
    assert await fetch.sum_beside(site.url("a.img")) == ""


async def test_what_the_server_calls_the_file(site: Site) -> None:
    assert await fetch.version(site.url("a.img")) == site.etag(CONTENT)
    assert await fetch.version(site.url("b.img")) == ""
    assert await fetch.version("http://127.0.0.1:1/") == ""


async def test_lists_name_further_lists(site: Site) -> None:
    more = {
        "os_list": [{"name": "m", "subitems_url": site.url("missing.json")}, {"subitems_url": site.url("list.json")}]
    }
    first = {"os_list": [{"name": "s", "subitems_url": site.url("more.json")}]}
    site.files |= {"list.json": json.dumps(first).encode(), "more.json": json.dumps(more).encode()}
    assert await fetch.lists(site.url("list.json")) == [first, more]
    site.files["list.json"] = b"{"
    with pytest.raises(OperatorError, match=r"the list of images is out of reach: .*list.json is no such list"):
        await fetch.lists(site.url("list.json"))
