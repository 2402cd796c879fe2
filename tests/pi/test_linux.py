"""The virtual Pi's kernel: its DHCP as a plain client, and where it tells that it is up."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.dhcp import offer, packet
from pinetboot.dhcp.options import MessageType, Option
from pinetboot.dhcp.packet import BOOTREPLY, Message
from pinetboot.pi.linux import LinuxDialogue, asks_for_address, phone_url

MAC, XID = bytes.fromhex("dca6322ef8ed"), 7
ROUTER, LEASED, NONE = IPv4Address("192.168.1.1"), IPv4Address("192.168.1.50"), packet.ZERO
GIVEN = {int(Option.SERVER_IDENTIFIER): ROUTER.packed, int(Option.SUBNET_MASK): bytes([255, 255, 252, 0])}


def answer(kind: MessageType, yiaddr: IPv4Address = LEASED, xid: int = XID) -> bytes:
    return packet.encode(
        Message(BOOTREPLY, xid, MAC, {int(Option.MESSAGE_TYPE): bytes([kind]), **GIVEN}, yiaddr=yiaddr)
    )


def begun(timeout_s: float | None = None) -> LinuxDialogue:
    made = LinuxDialogue(MAC, XID, timeout_s)
    (sent,) = made.start(0.0)
    assert packet.parse(sent).type is MessageType.DISCOVER
    return made


def hear(made: LinuxDialogue, datagram: bytes, source: str = str(ROUTER)) -> list[Message]:
    return [packet.parse(sent) for sent in made.receive(datagram, source, 0.1)]


def test_it_says_nothing_of_pxe_so_that_a_boot_server_leaves_it_alone() -> None:
    (sent,) = LinuxDialogue(MAC, XID).start(0.0)
    asked = packet.parse(sent)
    assert set(asked.options) == {Option.MESSAGE_TYPE, Option.PARAMETER_LIST}
    assert list(asked.options[Option.PARAMETER_LIST]) == [1, 3, 6, 12, 15, 17, 26, 40]
    assert isinstance(offer.decide(asked, offer.Proxy(ROUTER, "Raspberry Pi Boot   ", (0.6, 1.2))), offer.Ignored)


def test_it_takes_the_first_offer_and_has_it_confirmed() -> None:
    made = begun()
    (request,) = hear(made, answer(MessageType.OFFER))
    assert request.requested == LEASED
    assert request.address(Option.SERVER_IDENTIFIER) == ROUTER
    assert hear(made, answer(MessageType.OFFER, IPv4Address("192.168.1.51"))) == []
    hear(made, answer(MessageType.ACK))
    assert made.lease is not None
    assert (made.lease.address, made.lease.prefix, made.lease.dhcp_server) == (LEASED, 22, ROUTER)
    assert made.notes == ["192.168.1.1 offers 192.168.1.50"]


def test_what_is_for_another_is_not_heard() -> None:
    made = begun()
    assert hear(made, answer(MessageType.OFFER, xid=8)) == []
    hear(made, answer(MessageType.ACK))
    assert made.lease is None


def test_an_offer_without_an_address_is_taken_as_well_and_that_is_the_end_of_it() -> None:
    made = begun(10.0)
    (request,) = hear(made, answer(MessageType.OFFER, NONE), "192.168.1.10")
    assert request.options[Option.REQUESTED_ADDRESS] == NONE.packed
    assert hear(made, answer(MessageType.OFFER)) == []
    made.tick(10.0)
    assert made.cause is not None
    assert made.cause.rule == "D46"
    assert "192.168.1.10" in made.cause.what


def test_it_waits_longer_each_time_opens_its_card_twice_and_gives_up() -> None:
    made = begun()
    waits, at = [], 0.0
    while made.cause is None:
        waits.append(made.deadline - at)
        at = made.deadline
        sent = [packet.parse(one) for one in made.tick(at)]
        assert all(one.type is MessageType.DISCOVER and one.secs == int(at) for one in sent)
    assert made.cause.rule == "D03"
    assert waits == pytest.approx([2.5, 4.375, 7.65625, 13.3984, 23.4473, 30.0] * 2, abs=0.001)


def test_an_offer_that_is_never_confirmed_is_dropped_when_the_card_is_opened_again() -> None:
    made = begun()
    hear(made, answer(MessageType.OFFER))
    kinds = []
    while made.cause is None:
        kinds += [packet.parse(one).type for one in made.tick(made.deadline)]
    assert kinds == [MessageType.REQUEST] * 5 + [MessageType.DISCOVER] * 6
    assert hear(made, answer(MessageType.OFFER)) == []


def test_after_a_refusal_it_begins_anew() -> None:
    made = begun()
    hear(made, answer(MessageType.OFFER))
    hear(made, answer(MessageType.NAK))
    assert [packet.parse(one).type for one in made.tick(made.deadline)] == [MessageType.DISCOVER]


@given(st.binary(max_size=400))
def test_no_datagram_surprises_it(noise: bytes) -> None:
    begun().receive(noise, "192.168.1.1", 0.1)


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        (b"ip=dhcp root=/dev/nfs", True),
        (b"root=/dev/nfs ip=on", True),
        (b"ip=:::::eth0:dhcp", True),
        (b"ip=::::node-1::any", True),
        (b"ip=192.168.1.5::192.168.1.1:255.255.255.0::eth0:off", False),
        (b"ip=dhcp ip=off", False),
        (b"root=/dev/nfs", False),
        (b"", False),
    ],
)
def test_whether_the_kernel_asks_for_an_address_stands_on_its_command_line(words: bytes, asks: bool) -> None:
    assert asks_for_address(words) == asks


@pytest.mark.parametrize(
    ("words", "url"),
    [
        (b"ds=nocloud;s=http://10.0.0.9:8080/seed/5b154510/", "http://10.0.0.9:8080/phone/5b154510"),
        (b"ds=nocloud;s=http://10.0.0.9/", "http://10.0.0.9/phone/5b154510"),
        (b"ds=nocloud;s=https://example.org/", "http://10.0.0.2/phone/5b154510"),
        (b"ds=nocloud;s=http://[/", "http://10.0.0.2/phone/5b154510"),
        (b"root=/dev/nfs", "http://10.0.0.2/phone/5b154510"),
    ],
)
def test_it_tells_the_host_of_its_seed_else_the_one_that_it_booted_from(words: bytes, url: str) -> None:
    assert phone_url(words, "5b154510", "10.0.0.2") == url
