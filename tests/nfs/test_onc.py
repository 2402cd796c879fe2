"""ONC RPC as bytes: what is asked, and answers that may hold anything."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.nfs import onc
from pinetboot.nfs.onc import Malformed, Mapping, Reader

XID = 7
ACCEPTED = struct.pack(">6I", XID, 1, 0, 0, 0, 0)


def text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value + b"\0" * (-len(value) % 4)


def test_a_call_to_the_port_mapper() -> None:
    octets = onc.call(XID, onc.PORTMAPPER, 2, 4)
    assert octets.hex() == "80000028000000070000000000000002000186a00000000200000004" + "00" * 16
    assert onc.mark(octets[:4]) == (len(octets) - 4, True)


def test_an_answer_is_taken_apart() -> None:
    assert onc.answer(XID, ACCEPTED + b"rest") == b"rest"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (struct.pack(">6I", 8, 1, 0, 0, 0, 0), "no answer to what was asked"),
        (struct.pack(">3I", XID, 1, 1), "denied"),
        (struct.pack(">6I", XID, 1, 0, 0, 0, 1), "the program is not there"),
        (struct.pack(">6I", XID, 1, 0, 0, 0, 2), "not that version"),
        (struct.pack(">6I", XID, 1, 0, 0, 0, 9), "status 9"),
        (b"\0\0", "too early"),
    ],
)
def test_a_refusal_says_why(reply: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        onc.answer(XID, reply)


@given(st.lists(st.builds(Mapping, *[st.integers(0, 2**32 - 1)] * 4), max_size=20))
def test_what_the_port_mapper_lists_is_read(wanted: list[Mapping]) -> None:
    octets = b"".join(struct.pack(">5I", 1, m.program, m.version, m.protocol, m.port) for m in wanted) + b"\0" * 4
    assert onc.mappings(octets) == wanted


@given(st.lists(st.tuples(st.binary(max_size=20), st.lists(st.binary(max_size=20), max_size=3)), max_size=5))
def test_what_mountd_lists_is_read(wanted: list[tuple[bytes, list[bytes]]]) -> None:
    octets = b""
    for path, groups in wanted:
        octets += struct.pack(">I", 1) + text(path)
        octets += b"".join(struct.pack(">I", 1) + text(group) for group in groups) + b"\0" * 4
    found = onc.exported(octets + b"\0" * 4)
    assert [(path.encode("utf-8", "surrogateescape"), len(groups)) for path, groups in found] == [
        (path, len(groups)) for path, groups in wanted
    ]


@given(st.binary(max_size=200))
def test_any_answer_is_read_or_malformed(octets: bytes) -> None:
    for read in (onc.mappings, onc.exported, lambda reply: onc.answer(XID, reply), lambda reply: Reader(reply).text()):
        try:
            read(octets)
        except Malformed:
            continue
