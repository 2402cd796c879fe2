"""Frames of the spanning tree: the three versions, what is none, and anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.host.spanning import Bpdu, parse

# IEEE 802.1D clause 9.3.1, from a bridge with its defaults: max age 20 s, hello 2 s, forward delay 15 s.
BRIDGE = "8000 020000000001"
CONFIGURATION = bytes.fromhex(
    "424203 0000 00 00 00" + BRIDGE + "00000000" + BRIDGE + "8001 0000 1400 0200 0f00".replace(" ", "")
)
RAPID = bytes.fromhex(
    "424203 0000 02 02 3c" + BRIDGE + "00000000" + BRIDGE + "8001 0000 1400 0200 0f00 00".replace(" ", "")
)
CHANGE = bytes.fromhex("424203 0000 00 80")


@pytest.mark.parametrize(("frame", "version", "rapid"), [(CONFIGURATION, 0, False), (RAPID, 2, True)])
def test_a_port_tells_its_version_and_how_long_it_is_silent(frame: bytes, version: int, rapid: bool) -> None:
    found = parse(frame + bytes(8))
    assert found == Bpdu(version, 15.0)
    assert (found.rapid, found.silent_s) == (rapid, 30.0)


def test_a_notification_tells_nothing_and_other_frames_are_none() -> None:
    assert parse(CHANGE + bytes(40)) is None
    assert parse(b"\xaa\xaa\x03" + CONFIGURATION[3:]) is None
    assert parse(CONFIGURATION[:-1]) is None


@given(st.binary(max_size=80), st.booleans())
def test_anything_may_come(frame: bytes, begins_well: bool) -> None:
    found = parse(CONFIGURATION[:7] + frame if begins_well else frame)
    assert found is None or 0 <= found.forward_delay_s < 256
