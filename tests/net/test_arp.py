"""ARP questions byte for byte, and any bytes as an answer."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.net import arp

MAC = bytes.fromhex("dca6322ef8ed")
ASKED = IPv4Address("10.55.0.100")
# RFC 826: Ethernet, IPv4, 6, 4, reply; sender, target.
REPLY = bytes.fromhex("0001 0800 06 04 0002 020000000001 0a370064 dca6322ef8ed 00000000")


def test_a_probe_names_no_address_of_its_own() -> None:
    assert arp.encode_probe(MAC, ASKED) == bytes.fromhex(
        "0001 0800 06 04 0001 dca6322ef8ed 00000000 000000000000 0a370064"
    )


def test_who_has_the_address_is_read_from_replies_and_from_other_hosts_questions() -> None:
    assert arp.sender(REPLY) == (bytes.fromhex("020000000001"), ASKED)
    assert arp.sender(REPLY + bytes(18)) == (bytes.fromhex("020000000001"), ASKED)
    assert arp.sender(REPLY[:7] + b"\1" + REPLY[8:]) == (bytes.fromhex("020000000001"), ASKED)
    assert arp.sender(arp.encode_probe(MAC, ASKED)) is None


@pytest.mark.parametrize("at", range(6))
def test_another_kind_of_address_is_none(at: int) -> None:
    assert arp.sender(REPLY[:at] + bytes([REPLY[at] ^ 0x10]) + REPLY[at + 1 :]) is None


@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda tail: REPLY[:14] + tail))
def test_any_bytes_are_an_answer_or_none(heard: bytes) -> None:
    told = arp.sender(heard)
    assert told is None or (len(told[0]) == 6 and told[1] != IPv4Address(0))
