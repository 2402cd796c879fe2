"""DHCP messages: the reference's DISCOVERs byte for byte, long options, and every malformed form."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pinetboot.dhcp import packet
from pinetboot.dhcp.options import MessageType, Option
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, MalformedMessage, Message

COOKIE = bytes.fromhex("63825363")

# The options of the reference's section 2.1, as they stand there.
OPTIONS_3B_ROM = bytes.fromhex(
    """
    63 82 53 63  35 01 01
    37 0c 2b 3c 43 80 81 82 83 84 85 86 87 42
    5d 02 00 00  5e 03 01 02 01
    61 11 00 44 44 44 44 44 44 44 44 44 44 44 44 44 44 44 44
    3c 20 50 58 45 43 6c 69 65 6e 74 3a 41 72 63 68 3a 30 30 30 30 30 3a 55 4e 44 49 3a 30 30 32 30 30 31  ff
    """
)
OPTIONS_3BP = bytes.fromhex(
    """
    63 82 53 63  35 01 01
    37 0e 2b 3c 43 80 81 82 83 84 85 86 87 42 01 03
    5d 02 00 00  5e 03 01 02 01
    61 11 00 f2 c0 85 72 f2 c0 85 72 f2 c0 85 72 f2 c0 85 72
    3c 20 50 58 45 43 6c 69 65 6e 74 3a 41 72 63 68 3a 30 30 30 30 30 3a 55 4e 44 49 3a 30 30 32 30 30 31  ff
    """
)


def options_pi4(fourcc: str) -> bytes:
    """The options of a Pi 4 or 5: revision 00a03111, MAC dc:a6:32:2e:f8:ed, serial 5b154510."""
    return bytes.fromhex(
        f"""
        63 82 53 63  35 01 01
        37 0e 01 03 2b 3c 42 43 80 81 82 83 84 85 86 87
        5d 02 00 00  5e 03 01 02 01
        61 11 00 {fourcc} 11 31 a0 00 32 2e f8 ed 10 45 15 5b
        3c 20 50 58 45 43 6c 69 65 6e 74 3a 41 72 63 68 3a 30 30 30 30 30 3a 55 4e 44 49 3a 30 30 32 30 30 31  ff
        """
    )


def datagram(options: bytes, xid: int = 0x26F30339, mac: str = "b827eb85c0f2") -> bytes:
    """A DISCOVER: op 1, Ethernet, no flags, no addresses, no names; `options` with their cookie."""
    return b"\1\1\6\0" + xid.to_bytes(4, "big") + bytes(20) + bytes.fromhex(mac) + bytes(10 + 64 + 128) + options


DISCOVERS = [
    pytest.param(OPTIONS_3B_ROM, 320, id="the ROM of a 3B"),
    pytest.param(OPTIONS_3BP, 322, id="a 3B+"),
    pytest.param(options_pi4("52 50 69 34"), 322, id="a Pi 4 that says RPi4"),
    pytest.param(options_pi4("34 69 50 52"), 322, id="a Pi 4 that says 4iPR"),
    pytest.param(options_pi4("52 50 69 35"), 322, id="a Pi 5 that says RPi5"),
    pytest.param(options_pi4("35 69 50 52"), 322, id="a Pi 5 that says 5iPR"),
]


@pytest.mark.parametrize(("options", "size"), DISCOVERS)
def test_the_references_discovers_are_read_and_written_byte_for_byte(options: bytes, size: int) -> None:
    sent = datagram(options)
    assert len(sent) == size
    message = packet.parse(sent)
    assert (message.op, message.xid, message.mac) == (BOOTREQUEST, 0x26F30339, bytes.fromhex("b827eb85c0f2"))
    assert (message.secs, message.flags, message.hops) == (0, 0, 0)
    assert {message.ciaddr, message.yiaddr, message.siaddr, message.giaddr} == {IPv4Address(0)}
    assert message.type is MessageType.DISCOVER
    assert list(message.options) == [53, 55, 93, 94, 97, 60]
    assert message.options[Option.VENDOR_CLASS] == b"PXEClient:Arch:00000:UNDI:002001"
    assert packet.encode(message) == sent


addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
messages = st.builds(
    Message,
    op=st.sampled_from([BOOTREQUEST, BOOTREPLY]),
    xid=st.integers(0, 2**32 - 1),
    mac=st.binary(min_size=6, max_size=6),
    options=st.dictionaries(
        st.integers(1, 254), st.binary(max_size=20) | st.sampled_from([bytes(254), bytes(255), b"x" * 256, b"y" * 700])
    ),
    secs=st.integers(0, 65535),
    flags=st.integers(0, 65535),
    hops=st.integers(0, 255),
    ciaddr=addresses,
    yiaddr=addresses,
    siaddr=addresses,
    giaddr=addresses,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(message=messages)
@example(message=Message(BOOTREQUEST, 1, bytes(6), {82: b"", 43: b"z" * 255 * 3}))
def test_a_message_comes_back_as_it_was_written(message: Message) -> None:
    heard = packet.parse(packet.encode(message))
    assert heard == message
    assert list(heard.options) == list(message.options)


@pytest.mark.parametrize(
    ("size", "pieces"), [(0, [0]), (1, [1]), (255, [255]), (256, [255, 1]), (510, [255, 255]), (600, [255, 255, 90])]
)
def test_a_long_option_goes_in_pieces_one_behind_the_other(size: int, pieces: list[int]) -> None:
    value = bytes(at % 251 for at in range(size))
    area = packet.encode(Message(BOOTREPLY, 1, bytes(6), {43: value, 97: b"a"}))[240:]
    at = 0
    for piece in pieces:
        assert area[at : at + 2] == bytes([43, piece])
        at += 2 + piece
    assert area[at:] == b"\x61\1a\xff"


def test_the_pieces_of_an_option_are_joined_in_their_order_wherever_they_stand() -> None:
    area = COOKIE + b"\x2b\3one" + b"\x35\1\1" + b"\0\0\0" + b"\x2b\0" + b"\x2b\3two" + b"\xff"
    message = packet.parse(datagram(area))
    assert list(message.options.items()) == [(43, b"onetwo"), (53, b"\1")]


def test_what_stands_behind_the_end_does_not_count() -> None:
    area = COOKIE + b"\x35\1\1\xff" + b"\x35\1\2" + b"\x3c\xff"
    assert packet.parse(datagram(area)).options == {53: b"\1"}


def test_an_end_is_not_needed() -> None:
    assert packet.parse(datagram(COOKIE + b"\x35\1\1")).options == {53: b"\1"}
    assert packet.parse(datagram(COOKIE + b"\x35\1\1\0")).options == {53: b"\1"}
    assert packet.parse(datagram(COOKIE + b"\x2b\0")).options == {43: b""}
    assert packet.parse(datagram(COOKIE)).options == {}


@pytest.mark.parametrize(
    ("value", "kind"), [(b"\1", MessageType.DISCOVER), (b"\x08", MessageType.INFORM), (b"\0", None), (b"\x09", None)]
)
def test_the_message_type_is_known_or_none(value: bytes, kind: MessageType | None) -> None:
    assert Message(BOOTREQUEST, 1, bytes(6), {53: value}).type is kind


@pytest.mark.parametrize("value", [b"", b"\1\1"])
def test_a_message_type_of_the_wrong_length_is_none(value: bytes) -> None:
    assert Message(BOOTREQUEST, 1, bytes(6), {53: value}).type is None
    assert Message(BOOTREQUEST, 1, bytes(6)).type is None


def test_the_first_address_of_an_option_is_read() -> None:
    message = Message(
        BOOTREPLY, 1, bytes(6), {3: bytes([10, 0, 0, 1, 10, 0, 0, 2]), 50: b"\x0a\0\0\3", 54: b"\x0a\0\0", 6: b""}
    )
    assert message.address(3) == IPv4Address("10.0.0.1")
    assert message.address(50) == IPv4Address("10.0.0.3")
    assert message.address(54) is None
    assert message.address(6) is None
    assert message.address(1) is None


GOOD = datagram(options_pi4("34 69 50 52"))


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "0 bytes are too few for a DHCP message"),
        (GOOD[:239], "239 bytes are too few for a DHCP message"),
        (GOOD[:236] + b"\0" + GOOD[237:], "it is BOOTP without the DHCP cookie"),
        (b"\0" + GOOD[1:], "op 0 is unknown"),
        (b"\3" + GOOD[1:], "op 3 is unknown"),
        (GOOD[:1] + b"\6" + GOOD[2:], "hardware type 6 with 6 octets is not Ethernet"),
        (GOOD[:2] + b"\x10" + GOOD[3:], "hardware type 1 with 16 octets is not Ethernet"),
        (GOOD[:240] + b"\x35", "option 53 runs past the end"),
        (GOOD[:240] + b"\x35\1", "option 53 runs past the end"),
        (GOOD[:240] + b"\x35\1\1" + b"\x3c\x20PXEClient", "option 60 runs past the end"),
    ],
)
def test_a_malformed_message_says_why(sent: bytes, why: str) -> None:
    with pytest.raises(MalformedMessage, match=f"^{why}$"):
        packet.parse(sent)


def test_a_message_cut_short_anywhere_is_malformed_or_has_fewer_options() -> None:
    whole = packet.parse(GOOD).options
    for keep in range(len(GOOD)):
        try:
            heard = packet.parse(GOOD[:keep]).options
        except MalformedMessage:
            continue
        assert keep >= 240
        assert list(heard.items()) == list(whole.items())[: len(heard)]


@given(sent=st.binary(max_size=600) | st.binary(max_size=100).map(lambda area: datagram(COOKIE + area)))
def test_any_bytes_are_a_message_or_malformed(sent: bytes) -> None:
    try:
        message = packet.parse(sent)
    except MalformedMessage:
        return
    assert packet.parse(packet.encode(message)) == message


@pytest.mark.parametrize(
    ("kind", "option", "ciaddr", "requested"),
    [
        (MessageType.REQUEST, "10.0.0.5", "0.0.0.0", "10.0.0.5"),
        (MessageType.REQUEST, "", "10.0.0.5", "10.0.0.5"),
        (MessageType.REQUEST, "", "0.0.0.0", None),
        (MessageType.REQUEST, "0.0.0.0", "0.0.0.0", None),
        (MessageType.DISCOVER, "10.0.0.5", "10.0.0.5", None),
    ],
)
def test_a_request_says_which_address_it_asks_for_or_renews(
    kind: MessageType, option: str, ciaddr: str, requested: str | None
) -> None:
    options: dict[int, bytes] = {Option.MESSAGE_TYPE: bytes([kind])}
    if option:
        options[Option.REQUESTED_ADDRESS] = IPv4Address(option).packed
    message = Message(BOOTREQUEST, 1, bytes(6), options, ciaddr=IPv4Address(ciaddr))
    assert message.requested == (IPv4Address(requested) if requested else None)
