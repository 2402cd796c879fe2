"""Every message of a client in every state (RFC 2131 section 4.3, tables 3 and 4), and what a Pi gets beside."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinetboot.dhcp import packet
from pinetboot.dhcp.lease import Range
from pinetboot.dhcp.leases import Leases
from pinetboot.dhcp.offer import Ignored, Pi, Proxy
from pinetboot.dhcp.options import MessageType, Option, encode_machine
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, BROADCAST, ZERO, Message
from pinetboot.dhcp.pxe import Pxe
from pinetboot.dhcp.serving import PI_OFFER_S, Answer, Ground, Known, Noted, decide

NETWORK = IPv4Network("10.55.0.0/24")
SERVER, ROUTER = NETWORK[2], NETWORK[1]
OTHER_SERVER = NETWORK[3]
NOW = 1_800_000_000.0
LEASE_S = 800
CLIENT = bytes.fromhex("525400123456")
OTHER = bytes.fromhex("5254006789ab")
PI_MAC = bytes.fromhex("dca6322ef8ed")
MACHINE = encode_machine(b"4iPR", 0xD03114, PI_MAC, "5b154510")
PXE = b"PXEClient:Arch:00000:UNDI:002001"
RANGE = Range(NETWORK, NETWORK[100], NETWORK[103], frozenset({SERVER, ROUTER}))
GROUND = Ground(
    network=NETWORK,
    address=SERVER,
    own=frozenset({SERVER, IPv4Address("192.168.9.9")}),
    lease_s=LEASE_S,
    router=ROUTER,
    dns=(IPv4Address("9.9.9.9"), IPv4Address("1.1.1.1")),
    proxy=Proxy(SERVER, "Raspberry Pi Boot   ", (0.6, 1.2)),
)
BESIDE = replace(GROUND, alone=False)


class Lan:
    """A table, a clock, and clients that speak."""

    def __init__(self, ground: Ground = GROUND, known: dict[str, Known] | None = None) -> None:
        self.ground = ground
        self.known = known or {}
        self.now = NOW
        self.leases = Leases(RANGE)
        reserved = [one.address for one in self.known.values() if one.address]
        self.leases.configure(RANGE, reserved)

    def say(
        self,
        kind: MessageType | None,
        more: dict[Option, bytes] | None = None,
        mac: bytes = CLIENT,
        xid: int = 7,
        **header: IPv4Address | int,
    ) -> Answer | Noted | Ignored:
        options = {Option.MESSAGE_TYPE: bytes([kind]) if kind else b"", **(more or {})}
        message = Message(BOOTREQUEST, xid, mac, {int(k): v for k, v in options.items() if v})
        message = replace(message, **header)  # type: ignore[arg-type]  # whatever fields a test wants
        return decide(message, self.leases, self.ground, self.who, self.now)

    def who(self, mac: str, serial: str) -> Known:
        return self.known.get(serial) or self.known.get(mac) or Known(serial)

    def answer(self, *words: object, **more: object) -> Answer:
        got = self.say(*words, **more)  # type: ignore[arg-type]  # as say() takes them
        assert isinstance(got, Answer), got
        assert packet.parse(packet.encode(got.message)) == got.message
        return got

    def ignored(self, *words: object, **more: object) -> str:
        got = self.say(*words, **more)  # type: ignore[arg-type]  # as say() takes them
        assert isinstance(got, Ignored), got
        return got.why

    def bound(self, mac: bytes = CLIENT, more: dict[Option, bytes] | None = None) -> IPv4Address:
        offered = self.answer(MessageType.DISCOVER, more, mac=mac).message.yiaddr
        got = self.answer(MessageType.REQUEST, {**selecting(offered), **(more or {})}, mac=mac)
        assert got.message.type is MessageType.ACK
        assert got.grants
        return got.message.yiaddr


def selecting(address: IPv4Address, server: IPv4Address = SERVER) -> dict[Option, bytes]:
    return {Option.REQUESTED_ADDRESS: address.packed, Option.SERVER_IDENTIFIER: server.packed}


def rebooting(address: IPv4Address) -> dict[Option, bytes]:
    return {Option.REQUESTED_ADDRESS: address.packed}


@pytest.fixture
def lan() -> Lan:
    return Lan()


def test_a_discover_is_offered_an_address_with_all_that_a_client_of_the_network_needs(lan: Lan) -> None:
    asked = {Option.PARAMETER_LIST: bytes([1, 3, 6, 12, 28, 43, 66])}
    got = lan.answer(MessageType.DISCOVER, asked, flags=BROADCAST | 1, secs=3, xid=0xABCD)
    message = got.message
    assert (message.op, message.xid, message.mac, message.flags) == (BOOTREPLY, 0xABCD, CLIENT, BROADCAST)
    assert (message.ciaddr, message.siaddr, message.giaddr) == (ZERO, ZERO, ZERO)
    assert message.yiaddr in RANGE
    assert message.options == {
        53: b"\2",
        54: SERVER.packed,
        51: LEASE_S.to_bytes(4, "big"),
        58: (LEASE_S // 2).to_bytes(4, "big"),
        59: (LEASE_S * 7 // 8).to_bytes(4, "big"),
        1: b"\xff\xff\xff\0",
        3: ROUTER.packed,
        6: b"\x09\x09\x09\x09\x01\x01\x01\x01",
        28: NETWORK[255].packed,
    }
    assert got.delays_s == (0.0,)
    assert not got.grants


def test_a_router_and_dns_that_are_not_set_are_not_told() -> None:
    lan = Lan(replace(GROUND, router=None, dns=()))
    assert not {3, 6} & set(lan.answer(MessageType.DISCOVER).message.options)


def test_a_broadcast_flag_that_is_not_set_stays_so(lan: Lan) -> None:
    assert lan.answer(MessageType.DISCOVER).message.flags == 0


def test_selecting_an_offer_is_acknowledged_with_it(lan: Lan) -> None:
    offered = lan.answer(MessageType.DISCOVER).message
    got = lan.answer(MessageType.REQUEST, selecting(offered.yiaddr))
    assert got.message == replace(offered, options={**offered.options, 53: b"\5"})
    assert got.lease is not None
    assert got.lease.until == NOW + LEASE_S
    assert list(lan.leases.take_changed()) == [offered.yiaddr]


def test_selecting_by_another_address_of_this_host_is_for_us(lan: Lan) -> None:
    offered = lan.answer(MessageType.DISCOVER).message.yiaddr
    other = selecting(offered, IPv4Address("192.168.9.9"))
    assert lan.answer(MessageType.REQUEST, other).message.type is MessageType.ACK


def test_selecting_another_server_frees_the_offer_and_is_not_answered(lan: Lan) -> None:
    offered = lan.answer(MessageType.DISCOVER).message.yiaddr
    why = lan.ignored(MessageType.REQUEST, selecting(NETWORK[77], OTHER_SERVER))
    assert why == f"it takes what {OTHER_SERVER} offers"
    lan.now += 1
    assert lan.answer(MessageType.REQUEST, selecting(offered), mac=OTHER).message.type is MessageType.ACK


def test_selecting_what_is_another_client_s_is_refused_with_nothing_but_the_refusal(lan: Lan) -> None:
    address = lan.bound(OTHER)
    got = lan.answer(MessageType.REQUEST, selecting(address))
    assert (got.lease, got.grants, got.refuses) == (None, False, True)
    message = got.message
    assert message.options == {53: b"\6", 54: SERVER.packed}
    assert message.flags & BROADCAST
    assert (message.ciaddr, message.yiaddr, message.siaddr) == (ZERO, ZERO, ZERO)


def test_an_offer_that_was_forgotten_by_a_restart_is_still_good(lan: Lan) -> None:
    assert lan.answer(MessageType.REQUEST, selecting(NETWORK[102])).message.yiaddr == NETWORK[102]


@pytest.mark.parametrize("ground", [GROUND, BESIDE], ids=["alone", "beside another server"])
def test_init_reboot_with_its_own_lease_is_acknowledged(ground: Ground) -> None:
    lan = Lan(ground)
    address = lan.bound()
    lan.now += 100
    got = lan.answer(MessageType.REQUEST, rebooting(address))
    assert (got.message.type, got.message.yiaddr, got.message.ciaddr) == (MessageType.ACK, address, ZERO)
    assert got.lease is not None
    assert got.lease.until == lan.now + LEASE_S


@pytest.mark.parametrize("address", [IPv4Address("192.168.1.5"), NETWORK[7], NETWORK[0], NETWORK[255], SERVER, ROUTER])
def test_init_reboot_with_an_address_that_nobody_may_have_here_is_refused(lan: Lan, address: IPv4Address) -> None:
    assert lan.answer(MessageType.REQUEST, rebooting(address)).refuses


def test_init_reboot_of_a_stranger_is_left_to_the_other_server_where_there_is_one() -> None:
    lan = Lan(BESIDE)
    why = lan.ignored(MessageType.REQUEST, rebooting(IPv4Address("192.168.1.5")))
    assert why == "it asks for 192.168.1.5, of which another server may know more"
    lan.bound()
    assert lan.answer(MessageType.REQUEST, rebooting(IPv4Address("192.168.1.5"))).refuses


def test_renewing_and_rebinding_extend_the_lease_and_answer_to_the_client_s_address(lan: Lan) -> None:
    address = lan.bound()
    for _ in range(3):
        lan.now += LEASE_S * 0.8
        got = lan.answer(MessageType.REQUEST, ciaddr=address)
        message = got.message
        assert (message.type, message.ciaddr, message.yiaddr) == (MessageType.ACK, address, address)
        assert got.lease is not None
        assert got.lease.until == lan.now + LEASE_S


def test_a_renewal_after_the_leases_were_lost_is_granted_and_one_of_another_s_address_refused(lan: Lan) -> None:
    assert lan.answer(MessageType.REQUEST, ciaddr=NETWORK[101]).message.type is MessageType.ACK
    assert lan.answer(MessageType.REQUEST, mac=OTHER, ciaddr=NETWORK[101]).refuses


def test_a_request_for_no_address_is_ignored(lan: Lan) -> None:
    assert lan.ignored(MessageType.REQUEST) == "it asks for no address"
    assert lan.ignored(MessageType.REQUEST, rebooting(ZERO)) == "it asks for no address"
    assert lan.ignored(MessageType.REQUEST, {Option.REQUESTED_ADDRESS: b"\x0a"}) == "it asks for no address"


def test_a_release_ends_the_lease_and_is_not_answered(lan: Lan) -> None:
    address = lan.bound()
    lan.leases.take_changed()
    to_us = {Option.SERVER_IDENTIFIER: SERVER.packed}
    assert lan.ignored(MessageType.RELEASE, to_us, mac=OTHER, ciaddr=address) == f"{address} is not leased to it"
    elsewhere = {Option.SERVER_IDENTIFIER: OTHER_SERVER.packed}
    assert lan.ignored(MessageType.RELEASE, elsewhere, ciaddr=address) == f"it is for {OTHER_SERVER}"
    assert lan.leases.valid(lan.now) == 1
    got = lan.say(MessageType.RELEASE, to_us, ciaddr=address)
    assert isinstance(got, Noted)
    assert (got.lease.address, got.what) == (address, "released")
    assert list(lan.leases.take_changed()) == [address]
    assert lan.leases.valid(lan.now) == 0


def test_a_declined_address_is_not_offered_again(lan: Lan) -> None:
    address = lan.bound()
    assert lan.ignored(MessageType.DECLINE, selecting(address), mac=OTHER) == f"{address} is not leased to it"
    assert lan.ignored(MessageType.DECLINE, selecting(address, OTHER_SERVER)) == f"it is for {OTHER_SERVER}"
    got = lan.say(MessageType.DECLINE, selecting(address))
    assert isinstance(got, Noted)
    assert got.what == "declined: somebody else uses it"
    for number in range(3):
        assert lan.bound(bytes([2, 0, 0, 0, 0, number])) != address
    assert lan.ignored(MessageType.DISCOVER) == "no address of dhcp.range is free"


def test_an_inform_is_told_about_the_network_and_given_no_address(lan: Lan) -> None:
    message = lan.answer(MessageType.INFORM, ciaddr=NETWORK[50]).message
    assert (message.type, message.ciaddr, message.yiaddr) == (MessageType.ACK, NETWORK[50], ZERO)
    assert set(message.options) == {53, 54, 1, 3, 6, 28}
    assert lan.leases.valid(lan.now) == 0
    assert "is none of the network" in lan.ignored(MessageType.INFORM, ciaddr=IPv4Address("192.168.1.5"))
    assert "is none of the network" in lan.ignored(MessageType.INFORM)


@pytest.mark.parametrize("kind", [MessageType.OFFER, MessageType.ACK, MessageType.NAK])
def test_what_only_a_server_says_is_ignored(lan: Lan, kind: MessageType) -> None:
    assert lan.ignored(kind) == f"a client sends no {kind.name}"


def test_replies_plain_bootp_and_macs_that_are_no_client_s_are_ignored(lan: Lan) -> None:
    assert lan.ignored(MessageType.DISCOVER, op=BOOTREPLY) == "it is a reply"
    assert lan.ignored(None) == "it has no message type"
    for mac in (bytes(6), b"\xff" * 6, bytes.fromhex("01005e000001")):
        assert lan.ignored(MessageType.DISCOVER, mac=mac) == "its MAC is no client's"


def test_a_relay_in_the_same_network_is_answered_and_one_of_another_network_is_not(lan: Lan) -> None:
    told = {Option.RELAY_AGENT: b"\1\4eth0", Option.CLIENT_IDENTIFIER: b"\xff1234"}
    message = lan.answer(MessageType.DISCOVER, told, giaddr=NETWORK[9]).message
    assert message.giaddr == NETWORK[9]
    assert list(message.options)[-2:] == [61, 82]
    assert message.options[82] == b"\1\4eth0"
    why = lan.ignored(MessageType.DISCOVER, giaddr=IPv4Address("10.66.0.1"))
    assert why == "it comes through the relay 10.66.0.1, from another network than dhcp.range's"


def test_the_client_s_own_name_for_itself_comes_back_and_makes_it_a_client_of_its_own(lan: Lan) -> None:
    names = [b"\xff\0\0\0\1two", b"\xff\0\0\0\2one", b"\xff" * 200, b"\xff" * 199]
    got = []
    for name in names:
        message = lan.answer(MessageType.DISCOVER, {Option.CLIENT_IDENTIFIER: name}).message
        assert message.options[61] == name
        got.append(message.yiaddr)
    assert len(set(got)) == 4


def test_a_name_that_is_the_mac_is_the_mac(lan: Lan) -> None:
    address = lan.bound()
    assert lan.bound(more={Option.CLIENT_IDENTIFIER: b"\1" + CLIENT}) == address


# A Pi.

FIRMWARE = {
    Option.PARAMETER_LIST: bytes([1, 3, 43, 60, 66, 67, *range(128, 136)]),
    Option.MACHINE_IDENTIFIER: MACHINE,
    Option.VENDOR_CLASS: PXE,
}
BOOT = {60, 97, 66, 43}


def test_the_firmware_of_a_pi_is_offered_an_address_and_the_way_to_boot_in_one(lan: Lan) -> None:
    got = lan.answer(MessageType.DISCOVER, FIRMWARE, mac=PI_MAC)
    message = got.message
    assert got.pi == Pi("Pi 4", "5b154510")
    assert got.lease is not None
    assert got.lease.serial == "5b154510"
    assert (message.siaddr, message.flags) == (SERVER, BROADCAST)
    assert set(message.options) >= BOOT | {1, 3, 51, 54}
    assert message.options[66] == b"10.55.0.2"
    assert message.options[97] == MACHINE
    order = list(message.options)
    assert order.index(66) < order.index(43)


@pytest.mark.parametrize(
    "says", [FIRMWARE, {Option.VENDOR_CLASS: PXE}, {}], ids=["all", "the class alone", "nothing, as in 2020"]
)
def test_its_request_is_acknowledged_with_the_way_to_boot_however_little_it_says(
    lan: Lan, says: dict[Option, bytes]
) -> None:
    offered = lan.answer(MessageType.DISCOVER, FIRMWARE, mac=PI_MAC, xid=99).message
    for _ in range(2):  # the ACK may be lost
        got = lan.answer(MessageType.REQUEST, selecting(offered.yiaddr) | says, mac=PI_MAC, xid=99)
        assert got.pi is not None
        assert set(got.message.options) >= {60, 66, 43}


def test_its_linux_gets_the_same_address_and_hears_nothing_of_booting(lan: Lan) -> None:
    address = lan.bound(PI_MAC, FIRMWARE)
    for name in (b"", b"\xff\0\1\2\3", b"\1" + PI_MAC):
        offered = lan.answer(MessageType.DISCOVER, {Option.CLIENT_IDENTIFIER: name}, mac=PI_MAC, xid=1234)
        more = selecting(address) | {Option.CLIENT_IDENTIFIER: name}
        granted = lan.answer(MessageType.REQUEST, more, mac=PI_MAC, xid=1234)
        for got in (offered, granted):
            assert got.message.yiaddr == address
            assert got.pi is None
            assert got.message.siaddr == ZERO
            assert not BOOT & set(got.message.options)
    assert lan.leases.valid(lan.now) == 1


def test_a_pi_with_a_mac_that_nobody_knows_keeps_its_address_once_its_serial_is_known() -> None:
    mac = bytes.fromhex("0012345678ff").replace(b"\0", b"\2", 1)
    lan = Lan(known={mac.hex(":"): Known("5b154510")})
    address = lan.bound(mac, FIRMWARE)
    assert lan.bound(mac, {Option.CLIENT_IDENTIFIER: b"\xff\0\1\2\3"}) == address


def test_the_rom_of_a_3b_is_answered_late_and_twice_and_its_address_is_held_though_it_never_asks(lan: Lan) -> None:
    rom = {
        Option.PARAMETER_LIST: bytes([43, 60, 67, *range(128, 136), 66]),
        Option.MACHINE_IDENTIFIER: b"\0" + b"\x44" * 16,
        Option.VENDOR_CLASS: PXE,
    }
    mac = bytes.fromhex("b827eb85c0f2")
    got = lan.answer(MessageType.DISCOVER, rom, mac=mac, xid=0x26F30339)
    assert got.delays_s == (0.6, 1.2)
    assert got.lease is not None
    assert got.lease.held == NOW + PI_OFFER_S
    assert list(lan.leases.take_changed()) == [got.message.yiaddr]  # a restart must not give it to another
    lan.now += PI_OFFER_S - 1
    for number in range(3):
        assert lan.bound(bytes([2, 0, 0, 0, 0, number])) != got.message.yiaddr
    assert lan.ignored(MessageType.DISCOVER) == "no address of dhcp.range is free"
    # Its second stage, and its kernel.
    assert lan.answer(MessageType.DISCOVER, rom, mac=mac).message.yiaddr == got.message.yiaddr
    assert lan.bound(mac) == got.message.yiaddr


def test_a_pc_that_boots_over_the_network_gets_an_address_and_no_pi_s_way_to_boot(lan: Lan) -> None:
    message = lan.answer(MessageType.DISCOVER, {Option.VENDOR_CLASS: PXE}).message
    assert message.yiaddr in RANGE
    assert not BOOT & set(message.options)


def test_a_pi_gets_the_address_and_the_name_of_fleet_toml_by_its_serial_or_its_mac() -> None:
    known = Known("5b154510", NETWORK[50], "node-1")
    lan = Lan(known={"5b154510": known, PI_MAC.hex(":"): known})
    assert lan.bound(PI_MAC, FIRMWARE) == NETWORK[50]
    linux = lan.answer(MessageType.DISCOVER, {Option.PARAMETER_LIST: bytes([1, 12])}, mac=PI_MAC).message
    assert (linux.yiaddr, linux.options[12]) == (NETWORK[50], b"node-1")
    assert 12 not in lan.answer(MessageType.DISCOVER, {Option.PARAMETER_LIST: b"\1"}, mac=PI_MAC).message.options
    assert lan.answer(MessageType.REQUEST, selecting(NETWORK[50])).refuses


@pytest.mark.parametrize(
    ("told", "kept"), [(b"host-1.lan", "host-1.lan"), (b"host\0", "host"), (b"\x1b[2J", ""), (b"a b", ""), (b"", "")]
)
def test_a_client_s_host_name_is_kept_where_it_is_one(lan: Lan, told: bytes, kept: str) -> None:
    lease = lan.answer(MessageType.DISCOVER, {Option.HOST_NAME: told}).lease
    assert lease is not None
    assert lease.hostname == kept


# Whatever is sent.


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(
    messages=st.lists(
        st.builds(
            Message,
            op=st.sampled_from([BOOTREQUEST, BOOTREQUEST, BOOTREQUEST, BOOTREPLY]),
            xid=st.integers(0, 3),
            mac=st.sampled_from([CLIENT, OTHER, PI_MAC, bytes(6)]),
            options=st.fixed_dictionaries(
                {int(Option.MESSAGE_TYPE): st.integers(0, 9).map(lambda kind: bytes([kind]))},
                optional={
                    int(Option.REQUESTED_ADDRESS): st.binary(max_size=5)
                    | st.integers(98, 105).map(lambda n: NETWORK[n].packed),
                    int(Option.SERVER_IDENTIFIER): st.sampled_from([SERVER.packed, OTHER_SERVER.packed, b"", b"\1"]),
                    int(Option.CLIENT_IDENTIFIER): st.binary(max_size=80),
                    int(Option.VENDOR_CLASS): st.sampled_from([PXE, b"PXEClient", b"x"]),
                    int(Option.MACHINE_IDENTIFIER): st.sampled_from([MACHINE, b"", b"\0" + b"\x44" * 16, b"\1"]),
                    int(Option.PARAMETER_LIST): st.binary(max_size=20),
                    int(Option.HOST_NAME): st.binary(max_size=300),
                    int(Option.RELAY_AGENT): st.binary(max_size=10),
                },
            ),
            flags=st.sampled_from([0, BROADCAST, 0xFFFF]),
            ciaddr=st.sampled_from([ZERO, NETWORK[101], NETWORK[7], IPv4Address("192.168.1.5")]),
            giaddr=st.sampled_from([ZERO, ZERO, NETWORK[9], IPv4Address("10.66.0.1")]),
        ),
        max_size=30,
    )
)
def test_no_dialogue_surprises_it_and_no_address_has_two_clients(messages: list[Message]) -> None:
    lan = Lan()
    told: dict[IPv4Address, str] = {}
    for message in messages:
        got = decide(message, lan.leases, lan.ground, lan.who, lan.now)
        if isinstance(got, Ignored):
            assert got.why
        elif isinstance(got, Noted):
            told.pop(got.lease.address, None)
        else:
            assert packet.parse(packet.encode(got.message)) == got.message
            assert got.message.op == BOOTREPLY
            assert got.lease is None or got.message.yiaddr in RANGE
            if got.lease is not None and got.grants:
                assert told.get(got.lease.address) in {None, got.lease.client}
                told = {address: client for address, client in told.items() if client != got.lease.client}
                told[got.lease.address] = got.lease.client
        for address, client in told.items():
            found = lan.leases.at(address)
            assert found is not None
            assert found.client == client


PXE_PC = {
    Option.VENDOR_CLASS: b"PXEClient:Arch:00007:UNDI:003001",
    Option.CLIENT_ARCHITECTURE: b"\0\x07",
    Option.MACHINE_IDENTIFIER: bytes(17),
}
HTTP_PC = {Option.VENDOR_CLASS: b"HTTPClient:Arch:00016:UNDI:003001", Option.CLIENT_ARCHITECTURE: b"\0\x10"}
BOOTING = replace(
    GROUND,
    proxy=replace(
        GROUND.proxy,
        pxe=Pxe(
            {"7": "bootx64.efi", "16": "bootx64.efi", "0": "lpxelinux.0"},
            "",
            {"bootx64.efi"}.__contains__,
            lambda _: False,
        ),
    ),
)


def test_a_uefi_pc_gets_with_its_lease_what_to_boot_and_is_sent_to_no_other_port() -> None:
    lan = Lan(BOOTING)
    offer = lan.answer(MessageType.DISCOVER, PXE_PC)
    ack = lan.answer(
        MessageType.REQUEST,
        {
            **PXE_PC,
            Option.REQUESTED_ADDRESS: offer.message.yiaddr.packed,
            Option.SERVER_IDENTIFIER: SERVER.packed,
        },
    )
    assert ack.grants
    for answer in (offer, ack):
        assert answer.machine is not None
        assert answer.message.yiaddr in NETWORK
        assert answer.message.siaddr == SERVER
        assert answer.message.file == answer.message.options[Option.BOOT_FILE] == b"bootx64.efi"
        assert Option.VENDOR_CLASS not in answer.message.options
        assert Option.VENDOR_SPECIFIC not in answer.message.options


def test_http_boot_gets_its_url_with_its_lease() -> None:
    offer = Lan(BOOTING).answer(MessageType.DISCOVER, HTTP_PC)
    assert offer.message.options[Option.VENDOR_CLASS] == b"HTTPClient"
    assert offer.message.options[Option.BOOT_FILE] == b"http://10.55.0.2/boot/bootx64.efi"
    assert offer.message.yiaddr in NETWORK


def test_u_boot_gets_the_server_s_address_and_a_pc_without_a_loader_its_lease_alone() -> None:
    lan = Lan(BOOTING)
    assert lan.answer(MessageType.DISCOVER, {Option.VENDOR_CLASS: b"U-Boot.armv8"}).message.siaddr == SERVER
    bios = lan.answer(MessageType.DISCOVER, {Option.VENDOR_CLASS: PXE, Option.CLIENT_ARCHITECTURE: bytes(2)}, mac=OTHER)
    assert bios.lacks == "lpxelinux.0"
    assert (bios.message.siaddr, bios.message.file) == (ZERO, b"")
    assert Option.BOOT_FILE not in bios.message.options
