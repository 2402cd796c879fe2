"""Asking for DHCP servers: what is asked is what a client and a Pi 4 ask, and any answer can be read."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

from hypothesis import given
from hypothesis import strategies as st

from pinetboot.dhcp import asking, offer, packet
from pinetboot.dhcp.asking import Neighbour
from pinetboot.dhcp.offer import Ignored, Offer, Proxy
from pinetboot.dhcp.options import MessageType, Option
from pinetboot.dhcp.packet import BOOTREPLY, BROADCAST, Message

MAC = bytes.fromhex("02aabbccddee")
HERE = IPv4Address("192.0.2.2")
PROXY = Proxy(HERE, "Raspberry Pi Boot   ", (0.6, 1.2))


def test_the_one_is_left_alone_and_the_other_is_answered_as_a_pi_4_at_once() -> None:
    plain, as_pi = asking.plain(MAC, 1), asking.as_pi(MAC, 2)
    assert isinstance(offer.decide(plain, PROXY), Ignored)
    answer = offer.decide(as_pi, PROXY)
    assert isinstance(answer, Offer)
    assert (answer.pi and answer.pi.model, tuple(answer.delays_s)) == ("Pi 4", (0.0,))
    for ask in (plain, as_pi):
        assert asking.is_probe(ask)
        assert ask.flags == BROADCAST
        assert packet.parse(packet.encode(ask)) == ask


def test_a_real_pi_is_no_probe() -> None:
    assert not asking.is_probe(Message(1, 1, MAC, {int(Option.USER_CLASS): b"iPXE"}))
    assert not asking.is_probe(Message(1, 1, MAC))


def test_two_answers_of_one_server_make_one_neighbour() -> None:
    proxy = offer.decide(asking.as_pi(MAC, 2), PROXY)
    assert isinstance(proxy, Offer)
    lease = Message(
        BOOTREPLY,
        1,
        MAC,
        {int(Option.MESSAGE_TYPE): bytes([MessageType.OFFER]), int(Option.SUBNET_MASK): bytes([255, 255, 255, 128])},
        yiaddr=IPv4Address("192.0.2.100"),
    )
    assert asking.is_offer(lease)
    one = asking.merged(None, lease, HERE, "02:00:00:00:00:01", own_host=False)
    assert one == Neighbour(HERE, HERE, "02:00:00:00:00:01", offered=IPv4Interface("192.0.2.100/25"))
    assert not one.boots_pis
    both = asking.merged(one, proxy.message, HERE, "02:00:00:00:00:01", own_host=True)
    assert both.own_host
    assert both.offered == one.offered
    assert (both.boots_pis, both.boots_others, both.boot_server) == (True, False, "192.0.2.2")


def test_what_makes_a_pi_boot_and_what_makes_a_pc() -> None:
    assert Neighbour(HERE, HERE, tftp_server="192.0.2.9").boots_pis
    assert Neighbour(HERE, HERE, pxe=True, menu=b"\x09\x0a\x00\x00\x07Install").boots_others
    assert Neighbour(HERE, HERE, boot_file="lpxelinux.0").boots_others
    # Routers name themselves as the next server, and mean nothing by it.
    router = Neighbour(HERE, HERE, next_server=HERE)
    assert not router.boots_pis
    assert not router.boots_others


@given(
    st.dictionaries(st.sampled_from([1, 43, 54, 60, 66, 67]), st.binary(max_size=40)),
    st.ip_addresses(v=4),
    st.ip_addresses(v=4),
)
def test_any_offer_can_be_read(options: dict[int, bytes], yiaddr: IPv4Address, siaddr: IPv4Address) -> None:
    message = Message(BOOTREPLY, 1, MAC, options, yiaddr=yiaddr, siaddr=siaddr)
    found = asking.merged(None, message, HERE, "", own_host=False)
    assert found.boot_server
    assert (found.tftp_server + found.boot_file).isprintable()
    assert (found.offered is None) == (yiaddr == packet.ZERO)
