"""netascii: any part of a text file, made without the rest, is the part of the whole."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pinetboot.tftp import netascii
from pinetboot.tftp.netascii import Index

texts = st.lists(st.sampled_from([b"\r", b"\n", b"\0", b"a", b"\r\n", b"\xff", b"word"]), max_size=40).map(b"".join)
pieces = st.integers(1, 9)


def plainly(text: bytes) -> bytes:
    """RFC 764, byte by byte."""
    made = bytearray()
    for byte in text:
        made += {0x0A: b"\r\n", 0x0D: b"\r\0"}.get(byte, bytes([byte]))
    return bytes(made)


def index_of(text: bytes) -> Index:
    def read(offset: int, size: int) -> bytes:
        # Reading a file beyond its end is how one tells that it became shorter.
        assert 0 <= offset < offset + size <= len(text)
        return text[offset : offset + size]

    return Index(len(text), read)


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        (b"", b""),
        (b"one\ntwo\n", b"one\r\ntwo\r\n"),
        (b"\r", b"\r\0"),
        (b"\r\n", b"\r\0\r\n"),
        (b"\n\r", b"\r\n\r\0"),
        (b"a\0b", b"a\0b"),
    ],
)
def test_a_line_ends_in_cr_lf_and_a_lone_cr_in_cr_nul(text: bytes, encoded: bytes) -> None:
    assert netascii.encode(text) == encoded


@given(text=texts)
def test_encoding_goes_byte_by_byte_and_its_size_is_known_before(text: bytes) -> None:
    assert netascii.encode(text) == plainly(text)
    assert netascii.encoded_size(text) == len(plainly(text))


@given(text=texts, piece=pieces, ranges=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)), max_size=8))
@example(text=b"", piece=1, ranges=[(0, 10)])
@example(text=b"\n\n\n\n", piece=2, ranges=[(3, 2), (1, 1), (7, 1), (8, 1)])
def test_any_range_is_the_range_of_the_whole(text: bytes, piece: int, ranges: list[tuple[int, int]]) -> None:
    with patch.object(netascii, "PIECE", piece):
        index = index_of(text)
        whole = plainly(text)
        assert index.size == len(whole)
        for offset, size in ranges:
            assert index.read(offset, size) == whole[offset : offset + size]


@given(text=texts, piece=pieces, blksize=st.integers(1, 20))
def test_blocks_of_any_size_joined_are_the_whole(text: bytes, piece: int, blksize: int) -> None:
    with patch.object(netascii, "PIECE", piece):
        index = index_of(text)
        blocks = [index.read(at, blksize) for at in range(0, index.size, blksize)]
    assert b"".join(blocks) == plainly(text)
    assert all(len(block) == blksize for block in blocks[:-1])


@given(text=texts.filter(bool), piece=pieces, data=st.data())
def test_a_file_that_became_shorter_is_told_and_never_made_up(text: bytes, piece: int, data: st.DataObject) -> None:
    left = data.draw(st.integers(0, len(text) - 1))
    kept = len(text)

    def read(offset: int, size: int) -> bytes:
        return text[:kept][offset : offset + size]

    with patch.object(netascii, "PIECE", piece):
        index = Index(len(text), read)
        size, kept = index.size, left
        with pytest.raises(EOFError):
            index.read(0, size)
