"""The virtual Pi's DHCP: its DISCOVER byte for byte, its choice of a server, and why it gives up."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pinetboot.causes import Cause
from pinetboot.dhcp import offer, packet
from pinetboot.dhcp.offer import Offer, Pi, Proxy
from pinetboot.dhcp.options import MessageType, Option, encode_pxe_menu
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, Message
from pinetboot.pi.dhcp import DhcpDialogue, Lease, discover, release
from pinetboot.pi.profiles import PROFILES, mac_of

PI4, PI5 = PROFILES["pi4"], PROFILES["pi5"]
XID = 0x12345678
MAC = bytes.fromhex("dca6322ef8ed")
ROUTER, PROXY, OTHER = IPv4Address("192.168.1.1"), IPv4Address("192.168.1.10"), IPv4Address("192.168.1.11")
LEASED = IPv4Address("192.168.1.50")

MENU = encode_pxe_menu("Raspberry Pi Boot   ")
ADDRESS = {
    int(Option.SUBNET_MASK): bytes([255, 255, 252, 0]),
    int(Option.ROUTER): ROUTER.packed,
    int(Option.SERVER_IDENTIFIER): ROUTER.packed,
}


def message(
    kind: MessageType,
    options: dict[int, bytes],
    *,
    yiaddr: IPv4Address = packet.ZERO,
    siaddr: IPv4Address = packet.ZERO,
    xid: int = XID,
    mac: bytes = MAC,
) -> bytes:
    wanted = {int(Option.MESSAGE_TYPE): bytes([kind]), **options}
    return packet.encode(Message(BOOTREPLY, xid, mac, wanted, yiaddr=yiaddr, siaddr=siaddr))


def boot_options(
    *, tftp: bytes | None = None, menu: bytes | None = MENU, vendor_class: bytes | None = b"PXEClient"
) -> dict[int, bytes]:
    options = {Option.VENDOR_CLASS: vendor_class, Option.TFTP_SERVER: tftp, Option.VENDOR_SPECIFIC: menu}
    return {int(code): value for code, value in options.items() if value is not None}


ROUTERS_OFFER = message(MessageType.OFFER, ADDRESS, yiaddr=LEASED)
ROUTERS_ACK = message(MessageType.ACK, ADDRESS, yiaddr=LEASED)
OFFER_AS_A_REQUEST = bytes([BOOTREQUEST]) + ROUTERS_OFFER[1:]
PROXYS_OFFER = message(MessageType.OFFER, boot_options(tftp=b"192.168.1.10"), siaddr=PROXY)


def begun(now: float = 0.0) -> DhcpDialogue:
    made = DhcpDialogue(PI4, "5b154510", MAC, XID, timeout_s=45.0)
    (sent,) = made.start(now)
    assert packet.parse(sent).type is MessageType.DISCOVER
    return made


def hear(made: DhcpDialogue, datagram: bytes, source: IPv4Address, now: float = 0.1) -> list[Message]:
    return [packet.parse(sent) for sent in made.receive(datagram, str(source), now)]


def given_up(made: DhcpDialogue) -> Cause:
    """What the dialogue says once its time is over."""
    for _ in range(100):
        made.tick(made.deadline)
        if made.cause is not None:
            return made.cause
    raise AssertionError("it never gives up")


def boot_server(*offers: tuple[bytes, IPv4Address]) -> IPv4Address:
    """The server chosen among these offers and the address-giving router's."""
    made = begun()
    for datagram, source in (*offers, (ROUTERS_OFFER, ROUTER)):
        hear(made, datagram, source)
    hear(made, ROUTERS_ACK, ROUTER)
    assert made.lease is not None
    return made.lease.boot_server


@pytest.mark.parametrize(
    ("model", "revision", "fourcc", "name"),
    [("pi4", 0xD03114, "34695052", "Pi 4"), ("pi5", 0xD04170, "35695052", "Pi 5")],
)
def test_the_discover_is_the_references_byte_for_byte(model: str, revision: int, fourcc: str, name: str) -> None:
    sent = discover(PROFILES[model], "5b154510", MAC, XID)
    assert len(sent) == 322
    assert sent[:236] == bytes.fromhex("01010600 12345678") + bytes(20) + MAC + bytes(10 + 64 + 128)
    assert sent[236:] == bytes.fromhex(
        f"""
        63 82 53 63  35 01 01
        37 0e 01 03 2b 3c 42 43 80 81 82 83 84 85 86 87
        5d 02 00 00  5e 03 01 02 01
        61 11 00 {fourcc} {revision.to_bytes(4, "little").hex()} 32 2e f8 ed 10 45 15 5b
        3c 20 50 58 45 43 6c 69 65 6e 74 3a 41 72 63 68 3a 30 30 30 30 30 3a 55 4e 44 49 3a 30 30 32 30 30 31  ff
        """
    )
    assert offer.recognise(packet.parse(sent)) == Pi(name, "5b154510")


def test_a_made_up_mac_has_the_models_prefix_and_the_serials_end() -> None:
    assert mac_of(PI4, "5b154510").hex(":") == "dc:a6:32:15:45:10"
    assert mac_of(PI5, "da591740").hex(":") == "2c:cf:67:59:17:40"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["the router first", "the proxy first"])
def test_offers_are_collected_in_either_order(order: tuple[int, int]) -> None:
    offers = [(ROUTERS_OFFER, ROUTER), (PROXYS_OFFER, PROXY)]
    made = begun()
    assert hear(made, *offers[order[0]]) == []
    (asked,) = hear(made, *offers[order[1]])
    assert asked.type is MessageType.REQUEST
    assert hear(made, ROUTERS_ACK, ROUTER) == []
    assert made.lease == Lease(LEASED, 22, ROUTER, ROUTER, PROXY)
    assert made.tick(1000.0) == []
    assert made.cause is None
    assert set(made.notes) == {f"{ROUTER} offers {LEASED}", f"{PROXY} says to boot from {PROXY}"}


def test_the_request_has_option_60_and_none_of_55_93_97() -> None:
    made = begun()
    hear(made, PROXYS_OFFER, PROXY)
    (asked,) = hear(made, ROUTERS_OFFER, ROUTER)
    assert (asked.op, asked.xid, asked.mac) == (BOOTREQUEST, XID, MAC)
    assert asked.options == {
        Option.MESSAGE_TYPE: bytes([MessageType.REQUEST]),
        Option.REQUESTED_ADDRESS: LEASED.packed,
        Option.SERVER_IDENTIFIER: ROUTER.packed,
        Option.VENDOR_CLASS: b"PXEClient:Arch:00000:UNDI:002001",
    }


def test_one_server_may_give_both() -> None:
    made = begun()
    both = message(MessageType.OFFER, ADDRESS | boot_options(), yiaddr=LEASED)
    (asked,) = hear(made, both, ROUTER)
    assert asked.type is MessageType.REQUEST
    hear(made, ROUTERS_ACK, ROUTER)
    assert made.lease is not None
    assert made.lease.boot_server == ROUTER


def test_our_own_servers_offer_is_understood() -> None:
    made = DhcpDialogue(PI5, "da591740", MAC, XID, timeout_s=45.0)
    (sent,) = made.start(0.0)
    answer = offer.decide(packet.parse(sent), Proxy(PROXY, "Raspberry Pi Boot   ", (0.6, 1.2)))
    assert isinstance(answer, Offer)
    hear(made, packet.encode(answer.message), PROXY)
    hear(made, ROUTERS_OFFER, ROUTER)
    hear(made, ROUTERS_ACK, ROUTER)
    assert made.lease is not None
    assert made.lease.boot_server == PROXY


class TestBootServer:
    def test_option_66_counts_most_and_needs_no_menu(self) -> None:
        for options in (boot_options(tftp=b"192.168.1.11"), boot_options(tftp=b"192.168.1.11", menu=None)):
            assert boot_server((message(MessageType.OFFER, options, siaddr=PROXY), PROXY)) == OTHER
        bare = boot_options(tftp=b"192.168.1.11", menu=None, vendor_class=None)
        assert boot_server((message(MessageType.OFFER, bare), PROXY)) == OTHER

    def test_a_nul_behind_option_66_is_passed_over(self) -> None:
        assert boot_server((message(MessageType.OFFER, boot_options(tftp=b"192.168.1.11\0")), PROXY)) == OTHER

    def test_then_siaddr(self) -> None:
        assert boot_server((message(MessageType.OFFER, boot_options(), siaddr=OTHER), PROXY)) == OTHER

    def test_then_the_sender(self) -> None:
        assert boot_server((message(MessageType.OFFER, boot_options()), PROXY)) == PROXY

    def test_a_name_in_option_66_is_never_resolved(self) -> None:
        assert boot_server((message(MessageType.OFFER, boot_options(tftp=b"tftp.lan")), PROXY)) == PROXY

    @pytest.mark.parametrize(
        "options",
        [
            pytest.param(boot_options(menu=None), id="no menu"),
            pytest.param(boot_options(menu=encode_pxe_menu("Boot from LAN")), id="another menu"),
            pytest.param(boot_options(vendor_class=None), id="no class"),
            pytest.param(boot_options(vendor_class=b"MSFT 5.0"), id="another class"),
        ],
    )
    def test_siaddr_and_sender_count_with_the_pi_menu_only(self, options: dict[int, bytes]) -> None:
        made = begun()
        assert hear(made, message(MessageType.OFFER, options, siaddr=OTHER), OTHER) == []
        assert hear(made, ROUTERS_OFFER, ROUTER) == []
        assert given_up(made).rule == "D02"

    def test_of_two_that_say_where_to_boot_from_the_first_counts(self) -> None:
        other = message(MessageType.OFFER, boot_options(tftp=b"192.168.1.11"))
        assert boot_server((PROXYS_OFFER, PROXY), (other, OTHER)) == PROXY
        assert boot_server((other, OTHER), (PROXYS_OFFER, PROXY)) == OTHER

    @pytest.mark.parametrize("text", ["Raspberry Pi Boot", "Raspberry Pi Boot   ", "~~Raspberry Pi Boot~~"])
    def test_the_menu_is_found_as_a_part_of_the_text(self, text: str) -> None:
        assert boot_server((message(MessageType.OFFER, boot_options(menu=encode_pxe_menu(text))), PROXY)) == PROXY

    def test_a_proxy_wins_over_the_siaddr_of_a_router_without_the_menu(self) -> None:
        made = begun()
        hear(made, message(MessageType.OFFER, ADDRESS, yiaddr=LEASED, siaddr=ROUTER), ROUTER)
        hear(made, PROXYS_OFFER, PROXY)
        hear(made, ROUTERS_ACK, ROUTER)
        assert made.lease is not None
        assert made.lease.boot_server == PROXY


class TestPatience:
    def test_a_discover_is_repeated_every_4_seconds_for_45(self) -> None:
        made = begun(100.0)
        times = []
        while made.cause is None:
            now = made.deadline
            assert made.tick(now - 0.001) == []
            for sent in made.tick(now):
                assert sent == discover(PI4, "5b154510", MAC, XID)
                times.append(now)
        assert times == [104.0 + 4 * step for step in range(11)]
        assert made.deadline == 145.0
        assert made.tick(1000.0) == []

    # The last of these is one of the moments that cannot be added to and taken away from without rounding.
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(began=st.floats(0, 1e6))
    @example(began=0.0)
    @example(began=0.1)
    @example(began=1007.9037)
    def test_it_acts_at_each_of_its_deadlines_whenever_it_began(self, began: float) -> None:
        made = begun(began)
        tries = 1
        while made.cause is None:
            assert tries <= 12
            tries += len(made.tick(made.deadline))
        assert tries == 12

    def test_a_request_is_repeated_too(self) -> None:
        made = begun()
        hear(made, PROXYS_OFFER, PROXY, 1.0)
        (first,) = made.receive(ROUTERS_OFFER, str(ROUTER), 1.0)
        assert made.deadline == 5.0
        assert made.tick(5.0) == [first]

    def test_a_refused_address_is_asked_for_anew(self) -> None:
        made = begun()
        hear(made, PROXYS_OFFER, PROXY)
        hear(made, ROUTERS_OFFER, ROUTER)
        (again,) = hear(made, message(MessageType.NAK, ADDRESS), ROUTER, 1.0)
        assert again.type is MessageType.DISCOVER
        assert made.lease is None
        (asked,) = hear(made, ROUTERS_OFFER, ROUTER, 2.0)
        assert asked.type is MessageType.REQUEST
        hear(made, ROUTERS_ACK, ROUTER, 3.0)
        assert made.lease is not None
        assert made.lease.boot_server == PROXY


class TestCauses:
    def test_nobody_answers(self) -> None:
        cause = given_up(begun())
        assert cause.rule == "D03"
        assert cause.what == "no DHCP server answered"

    def test_a_proxy_alone_gives_no_address(self) -> None:
        made = begun()
        hear(made, PROXYS_OFFER, PROXY)
        cause = given_up(made)
        assert cause.rule == "D03"
        assert cause.what == "a boot server answered, but nobody offered an address"

    def test_a_router_alone_says_not_where_to_boot_from(self) -> None:
        made = begun()
        hear(made, ROUTERS_OFFER, ROUTER)
        assert given_up(made).rule == "D02"

    def test_a_name_in_option_66_is_told(self) -> None:
        made = begun()
        named = ADDRESS | boot_options(tftp=b"tftp.lan", menu=None)
        hear(made, message(MessageType.OFFER, named, yiaddr=LEASED), ROUTER)
        cause = given_up(made)
        assert cause.rule == "D11"
        assert "tftp.lan" in cause.what

    def test_an_address_that_is_never_confirmed(self) -> None:
        made = begun()
        hear(made, PROXYS_OFFER, PROXY)
        hear(made, ROUTERS_OFFER, ROUTER)
        cause = given_up(made)
        assert cause.rule == "D03"
        assert cause.what == f"{ROUTER} offered an address and never confirmed it"


class TestOthers:
    @pytest.mark.parametrize(
        "datagram",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(PROXYS_OFFER[:250], id="half an offer"),
            pytest.param(message(MessageType.OFFER, ADDRESS, yiaddr=LEASED, xid=XID + 1), id="another transaction"),
            pytest.param(message(MessageType.OFFER, ADDRESS, yiaddr=LEASED, mac=bytes(6)), id="another client"),
            pytest.param(discover(PI4, "5b154510", MAC, XID), id="our own request"),
            pytest.param(OFFER_AS_A_REQUEST, id="an offer that is a request"),
            pytest.param(ROUTERS_ACK, id="an ACK that nothing was asked for"),
            pytest.param(message(MessageType.NAK, {}), id="a NAK that nothing was asked for"),
        ],
    )
    def test_what_is_not_for_us_changes_nothing(self, datagram: bytes) -> None:
        made = begun()
        hear(made, PROXYS_OFFER, PROXY)
        assert made.receive(datagram, str(OTHER), 0.2) == []
        assert made.lease is None
        assert made.deadline == 4.0
        (asked,) = hear(made, ROUTERS_OFFER, ROUTER)
        assert asked.type is MessageType.REQUEST

    def test_the_first_address_and_the_first_boot_server_count(self) -> None:
        made = begun()
        hear(made, ROUTERS_OFFER, ROUTER)
        hear(made, message(MessageType.OFFER, ADDRESS, yiaddr=OTHER), OTHER)
        (asked,) = hear(made, PROXYS_OFFER, PROXY)
        assert asked.address(Option.REQUESTED_ADDRESS) == LEASED
        late = message(MessageType.OFFER, boot_options(tftp=b"192.168.1.11"))
        assert made.receive(late, str(OTHER), 0.2) == []
        hear(made, ROUTERS_ACK, ROUTER)
        assert made.lease is not None
        assert made.lease.boot_server == PROXY

    def test_an_ack_without_an_address_is_none(self) -> None:
        made = begun()
        hear(made, PROXYS_OFFER, PROXY)
        hear(made, ROUTERS_OFFER, ROUTER)
        hear(made, message(MessageType.ACK, ADDRESS), ROUTER)
        assert made.lease is None
        hear(made, ROUTERS_ACK, ROUTER)
        assert made.lease is not None

    def test_the_mask_and_the_server_that_the_ack_leaves_out_are_taken_from_the_offer(self) -> None:
        made = begun()
        hear(made, PROXYS_OFFER, PROXY)
        hear(made, ROUTERS_OFFER, ROUTER)
        hear(made, message(MessageType.ACK, {}, yiaddr=LEASED), ROUTER)
        assert made.lease is not None
        assert (made.lease.prefix, made.lease.dhcp_server) == (22, ROUTER)


def test_a_rehearsal_gives_its_address_back() -> None:
    made = begun()
    hear(made, PROXYS_OFFER, PROXY)
    hear(made, ROUTERS_OFFER, ROUTER)
    hear(made, ROUTERS_ACK, ROUTER)
    assert made.lease is not None
    released = packet.parse(release(made.lease, MAC, made.xid))
    assert released.type is MessageType.RELEASE
    assert released.ciaddr == LEASED
    assert released.address(Option.SERVER_IDENTIFIER) == ROUTER
    assert released.mac == MAC
