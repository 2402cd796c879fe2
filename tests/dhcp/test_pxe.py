"""What machines that are no Pi are told to boot: by architecture, through each of the two ports, and with a lease."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from pinetboot.dhcp import packet, pxe
from pinetboot.dhcp.offer import Ignored, Offer, Pi, Proxy, decide, decide_boot, recognise
from pinetboot.dhcp.options import MessageType, Option, encode_machine
from pinetboot.dhcp.packet import BOOTREQUEST, ZERO, Message
from pinetboot.dhcp.pxe import Machine, Pxe

SERVER = IPv4Address("192.168.1.10")
MAC = bytes.fromhex("525400123456")
IDENTIFIER = bytes.fromhex("00 4c4c4544 0042 3110 8052 b4c04f4e3532")
LOADERS = {"0": "lpxelinux.0", "7": "bootx64.efi", "11": "arm/bootaa64.efi", "3": "other.efi"}
LOADERS |= {"16": "http/x64.efi", "19": "http/aa64.efi"}
THERE = {"lpxelinux.0", "bootx64.efi", "arm/bootaa64.efi", "http/x64.efi", "http/aa64.efi"}
STAYS = bytes.fromhex("525400aaaaaa")
PXE = Pxe(LOADERS, "", THERE.__contains__, lambda mac: mac == STAYS)
PROXY = Proxy(SERVER, "Raspberry Pi Boot   ", (0.6, 1.2), PXE)
SCRIPT = b"http://192.168.1.10/ipxe?mac=52-54-00-12-34-56&arch=0"
NO_DISCOVERY = bytes([6, 1, 8, 255])


def asks(
    architecture: int | None,
    *,
    kind: MessageType = MessageType.DISCOVER,
    user_class: bytes = b"",
    mac: bytes = MAC,
    vendor: str = "",
    identifier: bytes = IDENTIFIER,
) -> Message:
    name = vendor or f"PXEClient:Arch:{architecture or 0:05}:UNDI:003001"
    options = {
        Option.MESSAGE_TYPE: bytes([kind]),
        Option.VENDOR_CLASS: name.encode(),
        Option.CLIENT_ARCHITECTURE: b"" if architecture is None else architecture.to_bytes(2, "big"),
        Option.MACHINE_IDENTIFIER: identifier,
        Option.USER_CLASS: user_class,
    }
    return Message(BOOTREQUEST, 7, mac, {int(code): value for code, value in options.items() if value})


def http(architecture: int) -> Message:
    return asks(architecture, vendor=f"HTTPClient:Arch:{architecture:05}:UNDI:003001")


def offered(message: Message, proxy: Proxy = PROXY) -> Message:
    answer = decide(message, proxy)
    assert isinstance(answer, Offer), answer
    assert answer.pi is None
    assert answer.machine is not None
    assert list(answer.delays_s) == [0.0]
    assert packet.parse(packet.encode(answer.message)) == answer.message
    return answer.message


def granted(message: Message, proxy: Proxy = PROXY) -> Message:
    answer = decide_boot(message, proxy)
    assert isinstance(answer, Offer), answer
    return answer.message


def why(message: Message, proxy: Proxy = PROXY) -> Ignored:
    answer = decide(message, proxy)
    assert isinstance(answer, Ignored), answer
    return answer


def test_a_bios_pc_is_told_its_loader_in_the_offer_byte_for_byte() -> None:
    sent = packet.encode(offered(asks(0)))
    assert sent[20:24] == SERVER.packed
    assert sent[16:20] == bytes(4)
    assert sent[108:236] == b"lpxelinux.0".ljust(128, b"\0")
    assert sent[236:] == (
        bytes.fromhex("63825363 350102 3604c0a8010a 3c09")
        + b"PXEClient"
        + bytes.fromhex("6111")
        + IDENTIFIER
        + bytes.fromhex("420c")
        + b"192.168.1.10"
        + bytes.fromhex("430b")
        + b"lpxelinux.0"
        + bytes.fromhex("d219")
        + b"http://192.168.1.10/boot/"
        + bytes.fromhex("2b04060108ff ff")
    )


@pytest.mark.parametrize(
    ("architecture", "loader"), [(7, b"bootx64.efi"), (9, b"bootx64.efi"), (11, b"arm/bootaa64.efi")]
)
def test_uefi_is_told_that_we_are_here_and_gets_the_file_on_port_4011(architecture: int, loader: bytes) -> None:
    offer = offered(asks(architecture))
    assert offer.file == b""
    assert offer.siaddr == SERVER
    assert set(offer.options) == {
        Option.MESSAGE_TYPE,
        Option.SERVER_IDENTIFIER,
        Option.VENDOR_CLASS,
        Option.MACHINE_IDENTIFIER,
    }
    own = IPv4Address("192.168.1.57")
    ack = granted(replace(asks(architecture, kind=MessageType.REQUEST), ciaddr=own))
    assert ack.type is MessageType.ACK
    assert (ack.ciaddr, ack.yiaddr, ack.siaddr) == (own, ZERO, SERVER)
    assert ack.file == ack.options[Option.BOOT_FILE] == loader
    assert ack.options[Option.VENDOR_SPECIFIC] == NO_DISCOVERY
    assert Option.PATH_PREFIX not in ack.options


@pytest.mark.parametrize("user_class", [b"iPXE", b"\x04iPXE"], ids=["bare", "as RFC 3004 has it"])
@pytest.mark.parametrize("architecture", [0, 7, 11])
def test_ipxe_is_sent_to_its_script_and_never_to_the_loader_that_it_came_from(
    architecture: int, user_class: bytes
) -> None:
    offer = offered(asks(architecture, user_class=user_class))
    assert offer.file == offer.options[Option.BOOT_FILE] == SCRIPT.replace(b"=0", b"=%d" % architecture)
    assert offer.options[Option.VENDOR_CLASS] == b"PXEClient"


@pytest.mark.parametrize(("architecture", "loader"), [(16, "http/x64.efi"), (19, "http/aa64.efi")])
def test_uefi_that_boots_by_http_gets_a_url_and_its_own_vendor_class(architecture: int, loader: str) -> None:
    offer = offered(http(architecture))
    assert offer.options[Option.VENDOR_CLASS] == b"HTTPClient"
    assert offer.options[Option.BOOT_FILE] == f"http://192.168.1.10/boot/{loader}".encode()
    assert Option.VENDOR_SPECIFIC not in offer.options
    assert Option.TFTP_SERVER not in offer.options
    assert offer.file == b""


def test_beside_another_dhcp_server_uefi_starts_what_knows_our_address_and_else_ipxe() -> None:
    knowing = {f"beside/{SERVER}/bootx64.efi", f"beside/{SERVER}/arm/bootaa64.efi", "beside/192.168.1.11/bootx64.efi"}
    there = replace(PXE, has={*THERE, *knowing, "snponly.efi"}.__contains__, beside=True)
    beside = replace(PROXY, pxe=there)
    request = asks(7, kind=MessageType.REQUEST)
    assert granted(request, beside).file == b"beside/192.168.1.10/bootx64.efi"
    assert granted(asks(9, kind=MessageType.REQUEST), beside).file == b"beside/192.168.1.10/bootx64.efi"
    assert granted(asks(11, kind=MessageType.REQUEST), beside).file == b"beside/192.168.1.10/arm/bootaa64.efi"
    elsewhere = replace(beside, address=IPv4Address("192.168.1.12"))
    assert granted(request, elsewhere).file == b"snponly.efi"
    assert granted(asks(11, kind=MessageType.REQUEST), elsewhere).file == b"arm/bootaa64.efi"
    for file in (offered(asks(0), beside).file, offered(http(16), beside).options[Option.BOOT_FILE]):
        assert b"beside" not in file
    assert offered(asks(7, user_class=b"iPXE"), beside).file == SCRIPT.replace(b"=0", b"=7")
    for other in (replace(there, beside=False), replace(PXE, beside=True)):
        assert granted(request, replace(PROXY, pxe=other)).file == b"bootx64.efi"
    without = replace(there, http=None)
    assert granted(request, replace(elsewhere, pxe=without)).file == b"bootx64.efi"
    assert granted(request, replace(PROXY, pxe=without)).file == b"beside/192.168.1.10/bootx64.efi"


def test_ipxe_at_the_mac_of_a_pi_is_sent_to_its_script_whatever_loaders_there_are() -> None:
    rooted = replace(PXE, has=lambda _: False, has_root=lambda mac: mac == MAC)
    proxy = replace(PROXY, pxe=rooted)
    assert offered(asks(0, user_class=b"iPXE"), proxy).file == SCRIPT
    assert offered(asks(22, user_class=b"iPXE"), proxy).file == SCRIPT.replace(b"=0", b"=22")
    for message in (asks(0), asks(0, user_class=b"iPXE", mac=bytes.fromhex("525400bbbbbb"))):
        assert why(message, proxy).lacks == "lpxelinux.0"
    assert why(asks(0, user_class=b"iPXE"), replace(proxy, pxe=replace(rooted, http=None))).lacks == "lpxelinux.0"


def test_another_http_port_is_in_every_url() -> None:
    proxy = replace(PROXY, pxe=replace(PXE, http=":8080"))
    assert offered(http(16), proxy).options[Option.BOOT_FILE] == b"http://192.168.1.10:8080/boot/http/x64.efi"
    assert offered(asks(0, user_class=b"iPXE"), proxy).file == SCRIPT.replace(b".10/", b".10:8080/")
    assert offered(asks(0), proxy).options[Option.PATH_PREFIX] == b"http://192.168.1.10:8080/boot/"


def test_without_http_ipxe_is_a_pxe_client_like_any_other_and_http_boot_is_left_alone() -> None:
    proxy = replace(PROXY, pxe=replace(PXE, http=None))
    assert offered(asks(0, user_class=b"iPXE"), proxy).file == b"lpxelinux.0"
    assert Option.PATH_PREFIX not in offered(asks(0), proxy).options
    assert why(http(16), proxy).why == "http.enabled is false"


def test_a_loader_that_is_missing_is_named_and_nothing_is_sent() -> None:
    ignored = why(asks(3))
    assert ignored.lacks == "other.efi"
    assert ignored.why == "boot/other.efi, which a machine of architecture 3 would boot, is not there"
    assert ignored.machine == Machine(3)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param(asks(6), "[pxe] names no loader for a UEFI x86 PC (architecture 6)", id="no loader is set"),
        pytest.param(
            http(15), "[pxe] names no loader for a UEFI x86 PC, HTTP boot (architecture 15)", id="no loader over HTTP"
        ),
        pytest.param(asks(22), "[pxe] names no loader for a U-Boot arm64 board (architecture 22)", id="U-Boot"),
        pytest.param(asks(0, mac=STAYS), "fleet.toml says that it boots from its own disk", id="local"),
        pytest.param(http(7), "it is no PXE client", id="HTTP boot of an architecture of PXE"),
        pytest.param(asks(16), "it is no PXE client", id="PXE of an architecture of HTTP boot"),
        pytest.param(asks(0, vendor="MSFT 5.0"), "it is no PXE client", id="Windows"),
        pytest.param(
            asks(0, kind=MessageType.REQUEST), "a ProxyDHCP answers DISCOVER, not REQUEST", id="REQUEST on port 67"
        ),
    ],
)
def test_who_is_left_alone(message: Message, reason: str) -> None:
    assert why(message).why == reason


def test_where_pxe_is_switched_off_only_pis_hear_of_us() -> None:
    off = replace(PROXY, pxe=None)
    assert why(asks(0), off).why == "it is a PXE client, but no Pi"
    assert why(http(16), off).why == "it is no PXE client"
    assert isinstance(decide_boot(asks(7, kind=MessageType.REQUEST), off), Ignored)


PI_MAC = bytes.fromhex("dca6322ef8ed")
PI4 = encode_machine(b"4iPR", 0xD03114, PI_MAC, "5b154510")


@pytest.mark.parametrize(
    ("message", "pi"),
    [
        pytest.param(asks(0, mac=PI_MAC), Pi("Raspberry Pi", None), id="a Pi's firmware, by its MAC"),
        pytest.param(asks(11, mac=PI_MAC), None, id="UEFI on a Pi"),
        pytest.param(asks(0, mac=PI_MAC, user_class=b"iPXE"), None, id="iPXE on a Pi"),
        pytest.param(asks(0, identifier=PI4), Pi("Pi 4", "5b154510"), id="a Pi's firmware, by option 97"),
        pytest.param(asks(11, identifier=PI4), Pi("Pi 4", "5b154510"), id="a Pi's firmware, whatever else it says"),
        pytest.param(asks(0), None, id="a PC"),
    ],
)
def test_a_pi_and_a_machine_are_told_apart(message: Message, pi: Pi | None) -> None:
    assert recognise(message) == pi
    answer = decide(message, PROXY)
    assert isinstance(answer, Offer)
    assert answer.pi == pi
    assert (answer.machine is None) == (pi is not None)
    boots_a_pi = b"Raspberry Pi Boot" in answer.message.options.get(Option.VENDOR_SPECIFIC, b"")
    assert boots_a_pi == (pi is not None)
    if pi is not None:
        assert isinstance(decide_boot(replace(message, options={**message.options, 53: b"\3"}), PROXY), Ignored)


@pytest.mark.parametrize(
    "kind", [kind for kind in MessageType if kind not in {MessageType.REQUEST, MessageType.INFORM}]
)
def test_port_4011_answers_requests_alone(kind: MessageType) -> None:
    assert isinstance(decide_boot(asks(7, kind=kind), PROXY), Ignored)


@pytest.mark.parametrize(
    ("options", "architecture"),
    [
        ({Option.CLIENT_ARCHITECTURE: b"\0\x07\0\x09"}, 7),
        ({Option.CLIENT_ARCHITECTURE: b"\x07"}, None),
        ({Option.VENDOR_CLASS: b"PXEClient:Arch:00011:UNDI:003000"}, 11),
        ({Option.VENDOR_CLASS: b"PXEClient:Arch:000110"}, None),
        ({Option.VENDOR_CLASS: b"PXEClient"}, None),
    ],
)
def test_the_architecture_is_read_from_either_option(options: dict[int, bytes], architecture: int | None) -> None:
    assert pxe.architecture(Message(BOOTREQUEST, 1, MAC, options)) == architecture
