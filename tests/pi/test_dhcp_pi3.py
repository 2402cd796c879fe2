"""The DHCP of a Pi 3: no REQUEST at all, and a ROM that sleeps over its answers (reference 2.4)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from pinetboot.dhcp import packet
from pinetboot.dhcp.options import MessageType, Option, encode_pxe_menu
from pinetboot.dhcp.packet import BOOTREPLY, Message
from pinetboot.pi.dhcp import DhcpDialogue, Lease
from pinetboot.pi.faults import applied, parse
from pinetboot.pi.profiles import PROFILES, Profile

ROM, PLUS = PROFILES["pi3b-rom"], PROFILES["pi3bp"]
XID, MAC = 0x26F30339, bytes.fromhex("b827eb85c0f2")
ROUTER, PROXY, OTHER = IPv4Address("192.168.1.1"), IPv4Address("192.168.1.10"), IPv4Address("192.168.1.11")
LEASED = IPv4Address("192.168.1.50")
MENU = encode_pxe_menu("Raspberry Pi Boot   ")
STIR = b""  # any frame that reaches the Pi


def offer(options: dict[int, bytes], *, yiaddr: IPv4Address = packet.ZERO, siaddr: IPv4Address = packet.ZERO) -> bytes:
    wanted = {int(Option.MESSAGE_TYPE): bytes([MessageType.OFFER]), **options}
    return packet.encode(Message(BOOTREPLY, XID, MAC, wanted, yiaddr=yiaddr, siaddr=siaddr))


ADDRESS = {int(Option.SUBNET_MASK): bytes([255, 255, 255, 0]), int(Option.SERVER_IDENTIFIER): ROUTER.packed}
ROUTERS = offer(ADDRESS, yiaddr=LEASED)
PROXYS = offer({Option.VENDOR_CLASS: b"PXEClient", Option.VENDOR_SPECIFIC: MENU})
TAKEN = Lease(LEASED, 24, None, ROUTER, PROXY)


def begun(profile: Profile) -> DhcpDialogue:
    made = DhcpDialogue(profile, "7285c0f2", MAC, XID, profile.dhcp_timeout_s)
    (sent,) = made.start(0.0)
    assert packet.parse(sent).type is MessageType.DISCOVER
    return made


def hear(made: DhcpDialogue, *what: tuple[float, bytes, IPv4Address]) -> None:
    """Have packets come at these times; nothing is ever answered to them."""
    for at, datagram, source in what:
        while made.deadline <= at and made.cause is None:
            for sent in made.tick(made.deadline):
                assert packet.parse(sent).type is MessageType.DISCOVER
        assert made.receive(datagram, str(source), at) == []


def given_up(made: DhcpDialogue) -> tuple[str, float]:
    for _ in range(100):
        at = made.deadline
        made.tick(at)
        if made.cause is not None:
            return made.cause.rule, at
    raise AssertionError("it never gives up")


class TestPlus:
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_it_takes_the_address_out_of_the_offer_and_confirms_nothing(self, order: tuple[int, int]) -> None:
        both = [(0.1, ROUTERS, ROUTER), (0.1, PROXYS, PROXY)]
        made = begun(PLUS)
        hear(made, *(both[at] for at in order))
        assert made.lease == TAKEN

    def test_siaddr_goes_before_the_sender_and_option_66_before_both(self) -> None:
        menu = {int(Option.VENDOR_CLASS): b"PXEClient", int(Option.VENDOR_SPECIFIC): MENU}
        named = menu | {int(Option.TFTP_SERVER): b"192.168.1.11"}
        for boot, server in ((offer(menu, siaddr=OTHER), OTHER), (offer(named, siaddr=ROUTER), OTHER), (PROXYS, PROXY)):
            made = begun(PLUS)
            hear(made, (0.1, boot, PROXY), (0.1, ROUTERS, ROUTER))
            assert made.lease is not None
            assert made.lease.boot_server == server

    def test_it_asks_five_times_in_25_seconds(self) -> None:
        made = begun(PLUS)
        times = []
        while made.cause is None:
            now = made.deadline
            times += [now for _ in made.tick(now)]
        assert times == [5.0, 10.0, 15.0, 20.0]
        assert made.deadline == 25.0


class TestRom:
    def test_two_answers_at_once_leave_it_asleep(self) -> None:
        made = begun(ROM)
        for at in (0.0, 5.0, 10.0, 15.0, 20.0):
            hear(made, (at + 0.01, ROUTERS, ROUTER), (at + 0.02, PROXYS, PROXY))
        assert made.lease is None
        assert given_up(made) == ("D04", 25.0)

    def test_the_second_of_two_late_ones_wakes_it(self) -> None:
        made = begun(ROM)
        hear(made, (0.01, ROUTERS, ROUTER), (0.6, PROXYS, PROXY))
        assert made.lease is None
        hear(made, (1.2, PROXYS, PROXY))
        assert made.lease == TAKEN

    def test_so_does_any_other_frame(self) -> None:
        made = begun(ROM)
        hear(made, (0.01, ROUTERS, ROUTER), (0.02, PROXYS, PROXY), (0.9, STIR, OTHER), (1.5, STIR, OTHER))
        assert made.lease == TAKEN

    def test_but_not_within_the_first_second(self) -> None:
        made = begun(ROM)
        hear(made, (0.01, ROUTERS, ROUTER), (0.02, PROXYS, PROXY), (1.0, STIR, OTHER))
        assert made.lease is None

    def test_a_second_without_any_frame_ends_the_try_and_its_offers_are_forgotten(self) -> None:
        made = begun(ROM)
        hear(made, (0.01, ROUTERS, ROUTER), (0.02, PROXYS, PROXY), (1.03, STIR, OTHER), (4.9, PROXYS, PROXY))
        assert made.lease is None
        # The next try begins with nothing: an address alone is not enough.
        hear(made, (5.1, ROUTERS, ROUTER), (6.0, STIR, OTHER), (6.2, STIR, OTHER))
        assert made.lease is None
        hear(made, (10.1, ROUTERS, ROUTER), (10.6, PROXYS, PROXY), (11.2, PROXYS, PROXY))
        assert made.lease == TAKEN

    def test_of_option_66_and_the_menu_the_later_one_in_the_packet_counts(self) -> None:
        tftp, menu = (int(Option.TFTP_SERVER), b"192.168.1.11"), (int(Option.VENDOR_SPECIFIC), MENU)
        for options, server in (((tftp, menu), PROXY), ((menu, tftp), OTHER)):
            made = begun(ROM)
            boot = offer(dict(options), siaddr=ROUTER)
            hear(made, (0.1, ROUTERS, ROUTER), (0.6, boot, PROXY), (1.2, boot, PROXY))
            assert made.lease is not None
            assert made.lease.boot_server == server

    @pytest.mark.parametrize(("text", "wakes"), [("Raspberry Pi Boot", False), ("Raspberry Pi Boot   ", True)])
    def test_some_builds_want_three_spaces(self, text: str, *, wakes: bool) -> None:
        boot = offer({Option.VENDOR_SPECIFIC: encode_pxe_menu(text)})
        for profile, expected in ((ROM, True), (applied(ROM, [parse("strict-text")]), wakes)):
            made = begun(profile)
            hear(made, (0.1, ROUTERS, ROUTER), (0.6, boot, PROXY), (1.2, boot, PROXY))
            assert (made.lease is not None) is expected
            if not expected:
                assert given_up(made)[0] == "D02"
                assert made.cause is not None
                assert f'says "{text}"' in made.cause.what

    def test_no_address_and_no_boot_server_are_told_apart(self) -> None:
        made = begun(ROM)
        hear(made, (0.6, PROXYS, PROXY), (1.2, PROXYS, PROXY))
        assert given_up(made)[0] == "D03"
        made = begun(ROM)
        hear(made, (0.6, ROUTERS, ROUTER), (1.2, STIR, ROUTER))
        assert given_up(made)[0] == "D02"


@pytest.mark.parametrize("model", PROFILES)
def test_a_boot_server_of_its_own_setting_needs_an_address_alone(model: str) -> None:
    profile = replace(PROFILES[model], decides_after_s=0.0)
    made = DhcpDialogue(profile, "7285c0f2", MAC, XID, 45.0, IPv4Address("192.168.1.9"))
    made.start(0.0)
    made.receive(ROUTERS, str(ROUTER), 0.1)
    has_setting = profile.generation > 3
    assert any("192.168.1.9" in note for note in made.notes) is has_setting
    assert (made.deadline == 4.1) is has_setting  # it asks for the address now


@pytest.mark.parametrize(("model", "has_class"), [("pi4-2020", False), ("pi4", True), ("pi5", True)])
def test_the_request_of_a_bootloader_of_2020_says_no_class(model: str, *, has_class: bool) -> None:
    made = begun(replace(PROFILES[model], xid=None))
    made.receive(PROXYS, str(PROXY), 0.1)
    (sent,) = made.receive(ROUTERS, str(ROUTER), 0.1)
    asked = packet.parse(sent)
    assert asked.type is MessageType.REQUEST
    assert (Option.VENDOR_CLASS in asked.options) is has_class
