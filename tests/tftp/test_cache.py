"""Files laid out as packets, and the cache that all transfers share."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinetboot.boot.reading import ContentChanged, read_exactly
from pinetboot.boot.resolver import BootFile, BootTree
from pinetboot.tftp import netascii
from pinetboot.tftp.cache import ChunkCache
from pinetboot.tftp.content import CHUNK_BYTES, Chunk, Content, index_text
from pinetboot.threads import Busy, Pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool()
    yield made
    made.close()


def made(folder: Path, content: bytes, name: str = "file") -> BootFile:
    (folder / name).write_bytes(content)
    return BootTree(folder).open(name)


def packets_of(chunk: Chunk) -> list[bytes]:
    """What a chunk puts on the wire, whichever way it is to be sent."""
    if chunk.packets:
        return list(chunk.packets)
    return [bytes(chunk.image[at : at + chunk.stride]) for at in range(0, len(chunk.image), chunk.stride)]


def expected(content: bytes, blksize: int) -> list[bytes]:
    """The DATA packets of RFC 1350, one by one."""
    return [
        b"\0\x03" + ((at // blksize + 1) & 0xFFFF).to_bytes(2, "big") + content[at : at + blksize]
        for at in range(0, len(content) + 1, blksize)
    ]


def built(content: Content) -> list[bytes]:
    packets: list[bytes] = []
    for number in range(content.chunks):
        chunk = content.build(number, wait=True)
        assert chunk is not None
        assert chunk.first == len(packets) + 1
        packets += packets_of(chunk)
        assert chunk.last == len(packets)
        if content.lock_step:
            assert chunk.acks == [*(b"\0\x04" + packet[2:4] for packet in packets_of(chunk)[:-1]), None]
    return packets


# Chunks


@settings(deadline=None, max_examples=150)
@given(
    size=st.one_of(st.integers(0, 3000), st.integers(0, 3 * CHUNK_BYTES)),
    blksize=st.one_of(st.integers(8, 1500), st.sampled_from([8, 512, 1024, 1428, 1468, 8192, 65464])),
    lock_step=st.booleans(),
)
def test_the_chunks_are_the_packets_of_the_file(size: int, blksize: int, lock_step: bool) -> None:
    content = os.urandom(size)
    with tempfile.TemporaryDirectory() as folder:
        laid_out = Content(made(Path(folder), content), blksize, lock_step=lock_step)
        assert laid_out.size == size
        assert built(laid_out) == expected(content, blksize)
        assert laid_out.blocks == size // blksize + 1


@pytest.mark.parametrize("blksize", [8, 512, 1468, 65464])
@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("lock_step", [False, True])
def test_the_seams_between_chunks_and_the_end_are_right(folder: Path, blksize: int, more: int, lock_step: bool) -> None:
    blocks = Content(made(folder, b""), blksize, lock_step=lock_step).blocks_per_chunk
    for size in (blksize, blocks * blksize, 2 * blocks * blksize):
        content = os.urandom(size + more)
        assert built(Content(made(folder, content), blksize, lock_step=lock_step)) == expected(content, blksize)


def test_block_numbers_roll_over_within_a_chunk(folder: Path) -> None:
    content = os.urandom(8 * 65800)
    assert built(Content(made(folder, content), 8, lock_step=True)) == expected(content, 8)
    assert built(Content(made(folder, content), 8, lock_step=False)) == expected(content, 8)


def test_what_the_page_cache_holds_is_there_without_waiting(folder: Path) -> None:
    content = os.urandom(300_000)
    laid_out = Content(made(folder, content), 1024, lock_step=False)
    for number in range(laid_out.chunks):
        at_once = laid_out.build(number, wait=False)
        waited_for = laid_out.build(number, wait=True)
        assert waited_for is not None
        # A kernel or file system that cannot promise not to wait is asked in a thread.
        assert at_once is None or packets_of(at_once) == packets_of(waited_for)


def test_chunks_stay_small_whatever_the_block_size(folder: Path) -> None:
    file = made(folder, os.urandom(1 << 20))
    for blksize in (8, 100, 512, 1468, 65464):
        chunk = Content(file, blksize, lock_step=False).build(0, wait=True)
        assert chunk is not None
        assert len(chunk.image) <= CHUNK_BYTES
        assert 1 <= chunk.last <= 1024


def test_what_a_chunk_costs_covers_what_it_holds(folder: Path) -> None:
    file = made(folder, os.urandom(200_000))
    for lock_step in (False, True):
        for blksize in (8, 512, 1468):
            chunk = Content(file, blksize, lock_step=lock_step).build(0, wait=True)
            assert chunk is not None
            held = len(chunk.image) + sum(packet.__sizeof__() + 8 for packet in chunk.packets)
            assert chunk.cost >= 0.9 * held


def test_a_storage_that_reads_less_than_asked_is_asked_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(100_000)
    laid_out = Content(made(folder, content), 512, lock_step=True)
    preadv, pread = os.preadv, os.pread
    monkeypatch.setattr(os, "preadv", lambda fd, gaps, offset, *flags: preadv(fd, gaps[:3], offset, *flags))
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 777), offset))
    assert laid_out.build(0, wait=False) is None
    assert built(laid_out) == expected(content, 512)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EOPNOTSUPP])
def test_a_storage_that_would_have_to_wait_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    preadv = os.preadv

    def cautious(fd: int, gaps: list[memoryview], offset: int, *flags: int) -> int:
        if flags:
            raise OSError(number, os.strerror(number))
        return preadv(fd, gaps, offset)

    laid_out = Content(made(folder, b"x" * 5000), 512, lock_step=False)
    monkeypatch.setattr(os, "preadv", cautious)
    assert laid_out.build(0, wait=False) is None
    assert laid_out.build(0, wait=True) is not None


def test_a_storage_that_fails_is_not_taken_for_a_slow_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    laid_out = Content(made(folder, b"x" * 5000), 512, lock_step=False)
    monkeypatch.setattr(os, "preadv", broken)
    for wait in (False, True):
        with pytest.raises(OSError, match="Input/output error"):
            laid_out.build(0, wait=wait)


# Change


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


CHANGES: dict[str, Callable[[Path], Any]] = {
    "cut": lambda path: os.truncate(path, 1000),
    "emptied": lambda path: os.truncate(path, 0),
    "grown": grow,
    "rewritten": lambda path: path.write_bytes(b"y" * 300_000),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("text", [False, True], ids=["octet", "netascii"])
def test_a_file_that_was_written_to_gives_no_more_chunks(
    folder: Path, change: Callable[[Path], Any], text: bool
) -> None:
    file = made(folder, b"x" * 300_000)
    laid_out = Content(file, 512, lock_step=True, index=index_text(file) if text else None)
    os.utime(folder / "file", ns=(file.mtime_ns, file.mtime_ns))
    assert laid_out.build(0, wait=True) is not None
    change(folder / "file")
    for number in range(laid_out.chunks):
        with pytest.raises(ContentChanged):
            laid_out.build(number, wait=True)


def test_a_file_that_is_cut_while_it_is_read_gives_no_chunk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laid_out = Content(made(folder, b"x" * 100_000), 512, lock_step=False)
    preadv = os.preadv

    def cutting(fd: int, gaps: list[memoryview], offset: int) -> int:
        read = preadv(fd, gaps, offset)
        os.truncate(folder / "file", 10)
        return read

    monkeypatch.setattr(os, "preadv", cutting)
    with pytest.raises(ContentChanged):
        laid_out.build(0, wait=True)


def test_a_file_that_changes_while_it_is_measured_for_text_has_no_size(folder: Path) -> None:
    file = made(folder, b"x\n" * 1000)
    os.truncate(folder / "file", 100)
    with pytest.raises(ContentChanged):
        index_text(file)


def test_a_file_that_ends_too_early_is_a_change(folder: Path) -> None:
    file = made(folder, b"x" * 100)
    assert read_exactly(file, 10, 90) == b"x" * 90
    with pytest.raises(ContentChanged):
        read_exactly(file, 10, 91)


def test_a_file_that_is_renamed_over_goes_on_as_it_was(folder: Path) -> None:
    content = os.urandom(300_000)
    laid_out = Content(made(folder, content), 512, lock_step=True)
    (folder / "new").write_bytes(b"new")
    (folder / "new").rename(folder / "file")
    assert built(laid_out) == expected(content, 512)


# Text


@settings(deadline=None, max_examples=100)
@given(
    text=st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"word", b"\0", b"\xff" * 100]), max_size=400).map(b"".join),
    repeat=st.sampled_from([1, 1, 1, 50]),
    blksize=st.sampled_from([8, 9, 512, 1468]),
)
def test_text_is_laid_out_in_netascii(text: bytes, repeat: int, blksize: int) -> None:
    text *= repeat
    with tempfile.TemporaryDirectory() as folder:
        file = made(Path(folder), text)
        laid_out = Content(file, blksize, lock_step=True, index=index_text(file))
        told = text.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
        assert laid_out.size == len(told)
        assert built(laid_out) == expected(told, blksize)


def test_text_longer_than_one_piece_is_laid_out_in_netascii(folder: Path) -> None:
    text = b"line\n" * (3 * netascii.PIECE // 5) + b"\r"
    file = made(folder, text)
    laid_out = Content(file, 1468, lock_step=False, index=index_text(file))
    assert built(laid_out) == expected(text.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n"), 1468)


def test_text_is_never_read_on_the_loop(folder: Path) -> None:
    file = made(folder, b"line\n")
    laid_out = Content(file, 512, lock_step=True, index=index_text(file))
    assert laid_out.build(0, wait=False) is None


# The cache


class Reads:
    """Counts how often chunks are built, and can hold those up that run in threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = 0
        self.at_once = 0
        self.go = threading.Event()
        self.go.set()
        build = Content.build

        def counted(content: Content, number: int, *, wait: bool) -> Chunk | None:
            if wait:
                self.waiting += 1
                assert self.go.wait(5)
                return build(content, number, wait=True)
            self.at_once += 1
            return None if self.cold else build(content, number, wait=False)

        self.cold = False
        monkeypatch.setattr(Content, "build", counted)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    counting = Reads(monkeypatch)
    yield counting
    counting.go.set()


async def got(cache: ChunkCache, content: Content, number: int) -> Chunk:
    """Have a chunk as a transfer does; which of the two ways it comes is the file system's to say."""
    return cache.at_once(content, number) or await cache.fetch(content, number, "")


async def test_a_chunk_is_laid_out_once_for_all_clients(folder: Path, pool: Pool, reads: Reads) -> None:
    cache = ChunkCache(1 << 20, pool)
    made(folder, os.urandom(50_000))
    tree = BootTree(folder)
    first = await got(cache, Content(tree.open("file"), 512, lock_step=True), 0)
    read = reads.at_once + reads.waiting
    for _ in range(10):
        assert cache.at_once(Content(tree.open("file"), 512, lock_step=True), 0) is first
    assert reads.at_once + reads.waiting == read
    assert cache.used_bytes == first.cost


async def test_another_block_size_form_or_content_is_another_chunk(folder: Path, pool: Pool) -> None:
    cache = ChunkCache(1 << 20, pool)
    file = made(folder, b"line\n" * 100)
    contents = [
        Content(file, 512, lock_step=True),
        Content(file, 513, lock_step=True),
        Content(file, 512, lock_step=False),
        Content(file, 512, lock_step=True, index=index_text(file)),
        Content(made(folder, b"LINE\n" * 100, "new"), 512, lock_step=True),
    ]
    chunks = [await got(cache, content, 0) for content in contents]
    (folder / "new").rename(folder / "file")
    chunks.append(await got(cache, Content(BootTree(folder).open("file"), 512, lock_step=True), 0))
    assert len({id(chunk) for chunk in chunks}) == len(chunks)
    assert chunks[-1].packets[0].startswith(b"\0\x03\0\x01LINE")


async def test_one_read_serves_all_who_wait_for_it(folder: Path, pool: Pool, reads: Reads) -> None:
    reads.cold = True
    reads.go.clear()
    cache = ChunkCache(1 << 20, pool)
    file = made(folder, os.urandom(50_000))
    contents = [Content(file, 512, lock_step=True) for _ in range(50)]
    assert cache.at_once(contents[0], 0) is None
    coming = [cache.fetch(content, 0, "place") for content in contents]
    assert cache.at_once(contents[0], 0) is None
    await asyncio.sleep(0.05)
    reads.go.set()
    chunks = await asyncio.gather(*coming)
    assert all(chunk is chunks[0] for chunk in chunks)
    assert reads.waiting == 1
    assert cache.at_once(contents[0], 0) is chunks[0]
    assert cache.used_bytes == chunks[0].cost


async def test_a_failed_read_is_told_to_all_and_tried_again_by_the_next(
    folder: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ChunkCache(1 << 20, pool)
    content = Content(made(folder, os.urandom(50_000)), 512, lock_step=True)

    def broken(*_: Any, **__: Any) -> Chunk:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Content, "build", broken)
        coming = [cache.fetch(content, 0, "") for _ in range(3)]
        for result in await asyncio.gather(*coming, return_exceptions=True):
            assert isinstance(result, OSError)
    assert cache.used_bytes == 0
    chunk = await cache.fetch(content, 0, "")
    assert packets_of(chunk)[0] == b"\0\x03\0\x01" + os.pread(content.file.fd, 512, 0)


async def test_a_change_is_told_by_the_future(folder: Path, pool: Pool) -> None:
    cache = ChunkCache(1 << 20, pool)
    content = Content(made(folder, os.urandom(500_000)), 512, lock_step=True)
    kept = await got(cache, content, 0)
    os.truncate(folder / "file", 1000)
    with pytest.raises(ContentChanged):
        await cache.fetch(content, 1, "")
    # What was read before is still what the file was.
    assert cache.at_once(content, 0) is kept
    assert cache.used_bytes == kept.cost


async def test_storage_without_room_for_more_work_is_told_at_once(folder: Path, reads: Reads) -> None:
    reads.go.clear()
    pool = Pool(threads=2, per_place=1, queue_per_place=1)
    cache = ChunkCache(1 << 20, pool)
    content = Content(made(folder, os.urandom(1_000_000)), 512, lock_step=True)
    coming = [cache.fetch(content, number, "place") for number in range(2)]
    with pytest.raises(Busy):
        cache.fetch(content, 2, "place")
    elsewhere = cache.fetch(content, 3, "elsewhere")
    reads.go.set()
    await asyncio.gather(*coming, elsewhere)
    assert (await cache.fetch(content, 2, "place")).first == 2 * content.blocks_per_chunk + 1
    pool.close()


async def test_the_limit_in_bytes_holds_and_what_was_used_last_stays(folder: Path, pool: Pool) -> None:
    limit = 1 << 20
    cache = ChunkCache(limit, pool)
    content = Content(made(folder, os.urandom(6 << 20)), 1024, lock_step=False)
    first = await got(cache, content, 0)
    for number in range(1, content.chunks):
        await got(cache, content, number)
        assert cache.used_bytes <= limit
        assert cache.at_once(content, 0) is first
    assert cache.used_bytes > limit - first.cost
    assert cache.used_bytes == sum(chunk.cost for chunk in cache._chunks.values())


async def test_a_chunk_that_was_fetched_twice_is_counted_once(folder: Path, pool: Pool) -> None:
    cache = ChunkCache(1 << 20, pool)
    content = Content(made(folder, os.urandom(50_000)), 512, lock_step=True)
    for _ in range(3):
        await cache.fetch(content, 0, "")
    assert cache.used_bytes == sum(chunk.cost for chunk in cache._chunks.values())


async def test_a_cache_too_small_for_one_chunk_still_serves(folder: Path, pool: Pool) -> None:
    cache = ChunkCache(1, pool)
    content = os.urandom(300_000)
    laid_out = Content(made(folder, content), 512, lock_step=True)
    packets: list[bytes] = []
    for number in range(laid_out.chunks):
        packets += packets_of(await got(cache, laid_out, number))
        assert cache.used_bytes == 0
    assert packets == expected(content, 512)


async def test_a_lower_limit_holds_from_the_next_chunk_on(folder: Path, pool: Pool) -> None:
    cache = ChunkCache(1 << 20, pool)
    content = Content(made(folder, os.urandom(600_000)), 512, lock_step=True)
    for number in range(4):
        await got(cache, content, number)
    cache.limit_bytes = 200_000
    await got(cache, content, 4)
    assert cache.used_bytes <= 200_000


async def test_a_read_outlives_the_one_who_asked(folder: Path, pool: Pool, reads: Reads) -> None:
    reads.go.clear()
    cache = ChunkCache(1 << 20, pool)
    laid_out = Content(made(folder, os.urandom(50_000)), 512, lock_step=True)
    coming = cache.fetch(laid_out, 0, "")
    # The descriptor may not be closed, and given to another file, while a thread reads from it.
    del laid_out
    others = [os.open(folder / "file", os.O_RDONLY) for _ in range(5)]
    reads.go.set()
    assert (await coming).first == 1
    for fd in others:
        os.close(fd)
