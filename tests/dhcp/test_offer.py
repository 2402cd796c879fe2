"""Who gets a ProxyDHCP answer, with which bytes and when; who does not, and why."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from pinetboot.dhcp import packet
from pinetboot.dhcp.offer import Ignored, Offer, Pi, Proxy, decide, is_rom, recognise
from pinetboot.dhcp.options import MessageType, Option, encode_machine, encode_serial_machine
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, BROADCAST, Message

SERVER = IPv4Address("192.168.1.10")
PROXY = Proxy(SERVER, "Raspberry Pi Boot   ", (0.6, 1.2))

PI4_MAC = bytes.fromhex("dca6322ef8ed")
PI4_MACHINE = encode_machine(b"RPi4", 0xA03111, PI4_MAC, "5b154510")
VENDOR_CLASS = b"PXEClient:Arch:00000:UNDI:002001"
ROM_PARAMETERS = bytes([43, 60, 67, *range(128, 136), 66])
ROM_MACHINE = b"\0" + b"\x44" * 16
# A PC says the very same architecture and class as a Pi.
PC_MAC = bytes.fromhex("525400123456")
PC_MACHINE = bytes.fromhex("00 4c4c4544 0042 3110 8052 b4c04f4e3532")


def discover(
    *,
    mac: bytes = PI4_MAC,
    machine: bytes | None = PI4_MACHINE,
    vendor_class: bytes | None = VENDOR_CLASS,
    kind: MessageType | None = MessageType.DISCOVER,
    parameters: bytes = bytes([1, 3, 43, 60, 66, 67, *range(128, 136)]),
    xid: int = 0x12345678,
) -> Message:
    options = {
        Option.MESSAGE_TYPE: None if kind is None else bytes([kind]),
        Option.PARAMETER_LIST: parameters,
        Option.CLIENT_ARCHITECTURE: bytes(2),
        Option.CLIENT_INTERFACE: bytes([1, 2, 1]),
        Option.MACHINE_IDENTIFIER: machine,
        Option.VENDOR_CLASS: vendor_class,
    }
    return Message(BOOTREQUEST, xid, mac, {int(code): value for code, value in options.items() if value is not None})


def rom() -> Message:
    return discover(mac=bytes.fromhex("b827eb85c0f2"), machine=ROM_MACHINE, parameters=ROM_PARAMETERS, xid=0x26F30339)


def offered(message: Message, proxy: Proxy = PROXY) -> Offer:
    answer = decide(message, proxy)
    assert isinstance(answer, Offer)
    return answer


def ignored(message: Message) -> Ignored:
    answer = decide(message, PROXY)
    assert isinstance(answer, Ignored)
    return answer


def test_the_options_for_a_pi_4_are_the_references_byte_for_byte() -> None:
    sent = packet.encode(offered(discover()).message)
    assert sent[236:] == bytes.fromhex(
        f"""
        63 82 53 63  35 01 02  36 04 c0 a8 01 0a  3c 09 50 58 45 43 6c 69 65 6e 74
        61 11 {PI4_MACHINE.hex()}
        42 0c 31 39 32 2e 31 36 38 2e 31 2e 31 30
        2b 23 06 01 03 0a 04 00 50 58 45 09 17 00 00 14 52 61 73 70 62 65 72 72 79 20 50 69 20 42 6f 6f 74 20 20 20 ff
        ff
        """
    )


def test_the_header_names_the_client_and_the_server_and_gives_no_address() -> None:
    message = replace(discover(), secs=7, ciaddr=IPv4Address("192.168.1.99"))
    sent = packet.encode(offered(message).message)
    assert sent[:4] == b"\2\1\6\0"
    assert sent[4:8] == bytes.fromhex("12345678")
    assert sent[8:12] == b"\0\0\x80\0"
    ciaddr, yiaddr, siaddr, giaddr = (sent[at : at + 4] for at in (12, 16, 20, 24))
    assert (ciaddr, yiaddr, siaddr, giaddr) == (bytes(4), bytes(4), SERVER.packed, bytes(4))
    assert sent[28:44] == PI4_MAC + bytes(10)
    assert sent[44:236] == bytes(192)


@pytest.mark.parametrize(
    ("mac", "machine", "pi"),
    [
        pytest.param("dca6322ef8ed", PI4_MACHINE, Pi("Pi 4", "5b154510"), id="RPi4"),
        pytest.param(
            "dca6322ef8ed",
            encode_machine(b"4iPR", 0xD03114, PI4_MAC, "5b154510"),
            Pi("Pi 4", "5b154510"),
            id="4iPR",
        ),
        pytest.param(
            "2ccf67591740", encode_machine(b"RPi5", 0xD04170, PI4_MAC, "da591740"), Pi("Pi 5", "da591740"), id="RPi5"
        ),
        pytest.param(
            "88a29e591740", encode_machine(b"5iPR", 0xD04170, PI4_MAC, "da591740"), Pi("Pi 5", "da591740"), id="5iPR"
        ),
        pytest.param(
            "b827eb85c0f2", encode_serial_machine("7285c0f2"), Pi("Pi 3B+ or earlier", "7285c0f2"), id="the serial"
        ),
        pytest.param("b827eb85c0f2", ROM_MACHINE, Pi("Pi 3B", None), id="the ROM's constant"),
        pytest.param("0012345678ff", PI4_MACHINE, Pi("Pi 4", "5b154510"), id="a prefix that nobody knows yet"),
        pytest.param("d83add2ef8ed", PC_MACHINE, Pi("Raspberry Pi", None), id="the prefix alone"),
        pytest.param("28cdc12ef8ed", None, Pi("Raspberry Pi", None), id="the prefix without option 97"),
    ],
)
def test_a_pi_is_known_by_option_97_or_by_its_mac(mac: str, machine: bytes | None, pi: Pi) -> None:
    message = discover(mac=bytes.fromhex(mac), machine=machine)
    assert recognise(message) == pi
    answer = offered(message)
    assert answer.pi == pi
    assert answer.message.options.get(Option.MACHINE_IDENTIFIER) == machine
    assert answer.message.mac == bytes.fromhex(mac)


@pytest.mark.parametrize(
    ("message", "why", "pi"),
    [
        pytest.param(
            discover(vendor_class=None, machine=None, parameters=bytes([1, 3, 6, 12, 15, 17, 26, 40])),
            "it is no PXE client",
            None,
            id="ip=dhcp of the kernel on a Pi",
        ),
        pytest.param(
            discover(vendor_class=b"Linux ipconfig", machine=None), "it is no PXE client", None, id="klibc's ipconfig"
        ),
        pytest.param(
            discover(vendor_class=b"dhcpcd-9.4.1:Linux", machine=None), "it is no PXE client", None, id="dhcpcd"
        ),
        pytest.param(
            discover(vendor_class=b"HTTPClient:Arch:00016:UNDI:003001"), "it is no PXE client", None, id="UEFI HTTP"
        ),
        pytest.param(
            discover(mac=PC_MAC, machine=PC_MACHINE), "it is a PXE client, but no Pi", None, id="a PC, as BIOS as a Pi"
        ),
        pytest.param(
            discover(mac=PC_MAC, machine=bytes(17)), "it is a PXE client, but no Pi", None, id="a PC without a UUID"
        ),
        pytest.param(discover(mac=PC_MAC, machine=None), "it is a PXE client, but no Pi", None, id="a bare PXE client"),
        pytest.param(
            discover(kind=MessageType.REQUEST),
            "a ProxyDHCP answers DISCOVER, not REQUEST",
            Pi("Pi 4", "5b154510"),
            id="a Pi's REQUEST",
        ),
        pytest.param(
            discover(kind=MessageType.REQUEST, machine=None),
            "a ProxyDHCP answers DISCOVER, not REQUEST",
            Pi("Raspberry Pi", None),
            id="a Pi's REQUEST without option 97",
        ),
        pytest.param(
            discover(kind=MessageType.INFORM),
            "a ProxyDHCP answers DISCOVER, not INFORM",
            Pi("Pi 4", "5b154510"),
            id="an INFORM",
        ),
        pytest.param(
            discover(kind=MessageType.RELEASE),
            "a ProxyDHCP answers DISCOVER, not RELEASE",
            Pi("Pi 4", "5b154510"),
            id="a RELEASE",
        ),
        pytest.param(replace(discover(), op=BOOTREPLY), "it is a reply", None, id="another server's answer"),
        pytest.param(discover(kind=None), "it has no message type", None, id="plain BOOTP"),
    ],
)
def test_who_is_left_alone(message: Message, why: str, pi: Pi | None) -> None:
    answer = ignored(message)
    assert answer.why == why
    assert answer.pi == pi


def test_the_rom_of_a_3b_is_answered_late_and_twice() -> None:
    assert is_rom(rom())
    assert offered(rom()).delays_s == (0.6, 1.2)
    assert offered(rom(), replace(PROXY, rom_offers_s=(1.5,))).delays_s == (1.5,)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(discover(), id="a Pi 4"),
        pytest.param(replace(rom(), xid=0x26F3033A), id="another transaction"),
        pytest.param(
            discover(machine=encode_serial_machine("7285c0f2"), parameters=ROM_PARAMETERS, xid=0x26F30339),
            id="the serial in option 97",
        ),
        pytest.param(discover(machine=None, parameters=ROM_PARAMETERS, xid=0x26F30339), id="no option 97"),
        pytest.param(
            discover(machine=ROM_MACHINE, parameters=ROM_PARAMETERS + b"\1\3", xid=0x26F30339),
            id="the option list of a 3B+",
        ),
    ],
)
def test_all_others_are_answered_at_once(message: Message) -> None:
    assert not is_rom(message)
    assert offered(message).delays_s == (0.0,)


def test_through_a_relay_the_answer_goes_back_with_the_relays_option_last() -> None:
    relayed = discover()
    # An agent puts its option last, but servers have seen it anywhere.
    options = {Option.RELAY_AGENT: b"\1\4eth0", **relayed.options}
    answer = offered(replace(relayed, giaddr=IPv4Address("10.2.0.1"), hops=1, options=options)).message
    assert answer.giaddr == IPv4Address("10.2.0.1")
    assert answer.flags & BROADCAST
    assert list(answer.options)[-1] == Option.RELAY_AGENT
    assert answer.options[Option.RELAY_AGENT] == b"\1\4eth0"
    assert packet.encode(answer)[-9:] == b"\x52\6\1\4eth0\xff"


def test_the_rom_is_answered_through_a_relay_as_well_and_the_reason_why_it_will_not_boot_is_given() -> None:
    relayed = offered(replace(rom(), giaddr=IPv4Address("10.2.0.1")))
    assert relayed.delays_s == (0.6, 1.2)
    assert relayed.cause is not None
    assert (relayed.cause.rule, "10.2.0.1" in relayed.cause.what) == ("D42", True)
    assert offered(rom()).cause is None
    assert offered(replace(discover(), giaddr=IPv4Address("10.2.0.1"))).cause is None


def test_option_66_comes_before_43_because_the_rom_takes_the_later_one() -> None:
    order = list(offered(rom()).message.options)
    assert order.index(Option.TFTP_SERVER) < order.index(Option.VENDOR_SPECIFIC)


def test_the_server_is_the_same_wherever_it_is_named() -> None:
    message = offered(discover(), replace(PROXY, address=IPv4Address("10.55.0.1"))).message
    assert message.siaddr == IPv4Address("10.55.0.1")
    assert message.address(Option.SERVER_IDENTIFIER) == IPv4Address("10.55.0.1")
    assert message.options[Option.TFTP_SERVER] == b"10.55.0.1"


def test_the_menu_text_is_the_one_that_was_set() -> None:
    message = offered(discover(), replace(PROXY, pxe_menu="My Boot")).message
    assert message.options[Option.VENDOR_SPECIFIC].endswith(b"\x09\x0a\0\0\x07My Boot\xff")
