"""What real firmware says, as it was captured, and what it is answered, byte for byte."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from golden import load

from pinetboot.config import PXE_LOADERS
from pinetboot.dhcp import packet
from pinetboot.dhcp.offer import Ignored, Offer, Proxy, decide, decide_boot
from pinetboot.dhcp.packet import Message
from pinetboot.dhcp.pxe import Machine, Pxe, architecture, is_u_boot, recognise

FOLDER = Path(__file__).parent / "golden"
SERVER = IPv4Address("10.55.0.2")
BESIDE = "beside/10.55.0.2"
THERE = {"lpxelinux.0", "bootx64.efi", "snponly.efi", f"{BESIDE}/bootx64.efi", f"{BESIDE}/bootx64.img"}
THERE |= {f"{BESIDE}/bootaa64.efi"}
PXE = Pxe(PXE_LOADERS, "", THERE.__contains__, lambda _: False, beside=True)
PROXY = Proxy(SERVER, "Raspberry Pi Boot   ", (0.6, 1.2), PXE)
SCRIPT = b"http://10.55.0.2/ipxe?mac=52-54-00-12-34-56&arch="


def message(name: str) -> Message:
    (datagram,) = load(name, FOLDER)
    return packet.parse(datagram)


# 53, 54, 60, 97; then 66, 67 and 210.
PXE_OFFER = "350102 36040a370002 3c09505845436c69656e74 6111<97>"
PXE_ACK = PXE_OFFER.replace("350102", "350105")
FILE = "420931302e35352e302e32 43<67>"
PREFIX = f"d216{b'http://10.55.0.2/boot/'.hex()}"
# Each client, what it is, and the options of its answer: they come in this order, with these octets.
ANSWERED = {
    "discover-ipxe-bios": (
        Machine(0, ipxe=True),
        SCRIPT + b"0",
        f"{PXE_OFFER} {FILE} {PREFIX} 2b04060108ff",
    ),
    "discover-ipxe-uefi": (
        Machine(7, ipxe=True),
        SCRIPT + b"7",
        f"{PXE_OFFER} {FILE} 2b04060108ff",
    ),
    "discover-ovmf": (Machine(7), b"", PXE_OFFER),
    "discover-aavmf": (Machine(11), b"", PXE_OFFER),
    "discover-ovmf-http": (
        Machine(16, http=True),
        b"",
        "350102 36040a370002 3c0a48545450436c69656e74 4332"
        + f"http://10.55.0.2/boot/{BESIDE}/bootx64.img".encode().hex(),
    ),
    "request-ovmf": (
        Machine(7),
        f"{BESIDE}/bootx64.efi".encode(),
        f"{PXE_ACK} {FILE} 2b04060108ff",
    ),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_a_real_client_is_answered_byte_for_byte(name: str) -> None:
    machine, file, options = ANSWERED[name]
    asked = message(name)
    assert recognise(asked) == machine
    answer = (decide_boot if name.startswith("request") else decide)(asked, PROXY)
    assert isinstance(answer, Offer)
    assert answer.machine == machine
    sent = packet.encode(answer.message)
    address = asked.ciaddr.packed
    assert sent[:12] == b"\2\1\6\0" + asked.xid.to_bytes(4, "big") + b"\0\0\x80\0"
    assert sent[12:28] == address + bytes(4) + SERVER.packed + bytes(4)
    assert sent[28:108] == asked.mac + bytes(74)
    assert sent[108:236] == file.ljust(128, b"\0")
    told = options.replace("<97>", asked.options[97].hex()).replace("<67>", f"{len(file):02x}{file.hex()}")
    assert sent[236:].hex(" ") == bytes.fromhex(f"63825363 {told} ff").hex(" ")


def test_u_boot_is_no_pxe_client_and_finds_its_server_where_we_give_addresses() -> None:
    asked = message("discover-u-boot")
    assert architecture(asked) == 22
    assert is_u_boot(asked)
    assert decide(asked, PROXY) == Ignored("it is no PXE client")


@pytest.mark.parametrize("name", [*ANSWERED, "discover-u-boot"])
def test_what_a_real_client_says_is_read_and_written_the_same(name: str) -> None:
    (datagram,) = load(name, FOLDER)
    written = packet.encode(packet.parse(datagram))
    assert written == datagram[: len(written)]
    assert not any(datagram[len(written) :])
