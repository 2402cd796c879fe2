"""Which frames belong to the DHCP, TFTP and HTTP of one Pi, and what is learned of it on the way."""

from __future__ import annotations

import json
import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.dhcp import packet as dhcp
from pinetboot.dhcp.options import MessageType, Option, encode_serial_machine
from pinetboot.dhcp.packet import BOOTREPLY, BOOTREQUEST, Message
from pinetboot.net import packets
from pinetboot.net.addresses import Endpoint, parse_mac
from pinetboot.tftp.packet import encode_oack, encode_request
from pinetboot.trace import frames, whose
from pinetboot.trace.frames import Frame
from pinetboot.trace.whose import Facts, Whose

SERIAL, OTHER = "5b154510", "da591740"
MAC, OTHER_MAC, ROUTER_MAC = "dc:a6:32:2e:f8:ed", "dc:a6:32:00:00:01", "02:00:00:00:00:01"
PI, OTHER_PI, SERVER = "10.55.0.101", "10.55.0.102", "10.55.0.2"


def udp(
    payload: bytes,
    source: tuple[str, int],
    destination: tuple[str, int],
    source_mac: str = ROUTER_MAC,
    to_mac: str = ROUTER_MAC,
) -> Frame:
    octets = parse_mac(to_mac) + parse_mac(source_mac) + b"\x08\x00"
    frame = frames.parse(octets + packets.wrap(payload, Endpoint(*source), Endpoint(*destination)))
    assert frame is not None
    return frame


def tcp(source: tuple[str, int], destination: tuple[str, int]) -> Frame:
    octets = bytearray(udp(struct.pack("!IIHHHH", 1, 2, 0x5010, 100, 0, 0), source, destination).octets)
    octets[23] = frames.TCP
    frame = frames.parse(bytes(octets))
    assert frame is not None
    return frame


def rrq(path: str, host: str = PI, port: int = 49152, mac: str = ROUTER_MAC) -> Frame:
    return udp(encode_request(path.encode(), "octet", {}), (host, port), (SERVER, 69), mac)


def dhcp_message(mac: str, kind: MessageType, serial: str = "", yiaddr: str = "0.0.0.0") -> Frame:
    options = {int(Option.MESSAGE_TYPE): bytes([kind])}
    if serial:
        options[int(Option.MACHINE_IDENTIFIER)] = encode_serial_machine(serial)
    reply = kind in {MessageType.OFFER, MessageType.ACK}
    message = Message(BOOTREPLY if reply else BOOTREQUEST, 7, parse_mac(mac), options, yiaddr=IPv4Address(yiaddr))
    source, destination = (("10.55.0.1", 67), ("255.255.255.255", 68))
    return udp(dhcp.encode(message), *((source, destination) if reply else (("0.0.0.0", 68), ("255.255.255.255", 67))))


def test_a_transfer_is_followed_in_both_directions_from_its_request_on() -> None:
    one = Whose(Facts(SERIAL))
    there, back = (PI, 49152), (SERVER, 5003)
    assert not one.takes(udp(b"\0\3\0\1", back, there))
    assert one.takes(rrq(f"{SERIAL}/start4.elf"))
    assert one.takes(udp(b"\0\3\0\1", back, there))
    assert one.takes(udp(b"\0\4\0\1", there, back))
    assert not one.takes(udp(b"\0\4\0\1", (PI, 49153), back))
    assert not one.takes(rrq(f"{OTHER}/start4.elf", OTHER_PI))
    assert not one.takes(udp(b"\0\3\0\1", back, (OTHER_PI, 49152)))


@pytest.mark.parametrize(
    "path", [f"{SERIAL}//config.txt", f"/{SERIAL.upper()}/config.txt", "dc-a6-32-2e-f8-ed/config.txt"]
)
def test_a_pi_is_told_by_the_path_that_it_asks_for(path: str) -> None:
    one = Whose(Facts(SERIAL, macs=(MAC,)))
    assert one.takes(rrq(path))
    assert one.addresses == {PI}
    # From now on its address tells.
    assert one.takes(rrq("bootcode.bin", port=49160))


def test_a_pi_is_told_by_its_mac_where_it_is_on_the_same_wire() -> None:
    one = Whose(Facts(SERIAL, macs=(MAC,)))
    assert not one.takes(rrq("bootcode.bin"))
    assert one.takes(rrq("bootcode.bin", mac=MAC))
    assert one.takes(udp(encode_request(b"x", "octet", {}), (SERVER, 5), (PI, 69), to_mac=MAC))


def test_dhcp_tells_the_mac_by_the_serial_and_the_address_by_the_mac() -> None:
    one = Whose(Facts(SERIAL))
    assert not one.takes(dhcp_message(MAC, MessageType.REQUEST))
    assert one.takes(dhcp_message(MAC, MessageType.DISCOVER, SERIAL))
    assert not one.takes(dhcp_message(OTHER_MAC, MessageType.DISCOVER, OTHER))
    assert one.takes(dhcp_message(MAC, MessageType.OFFER, yiaddr="10.55.0.7"))
    assert one.addresses == set()
    assert one.takes(dhcp_message(MAC, MessageType.ACK, yiaddr=PI))
    assert one.addresses == {PI}
    assert one.takes(rrq("bootcode.bin"))


def test_http_is_its_own_alone_and_no_other_tcp() -> None:
    one = Whose(Facts(SERIAL, addresses=(PI,), http_port=8080))
    assert one.takes(tcp((PI, 40000), (SERVER, 8080)))
    assert one.takes(tcp((SERVER, 8080), (PI, 40000)))
    assert not one.takes(tcp((SERVER, 2049), (PI, 700)))
    assert not one.takes(tcp((OTHER_PI, 40000), (SERVER, 8080)))


def test_all_takes_every_client_and_nothing_but_the_three() -> None:
    every = Whose(Facts("", http_port=80))
    assert every.takes(rrq("anything", OTHER_PI))
    assert every.takes(dhcp_message(OTHER_MAC, MessageType.DISCOVER))
    assert every.takes(tcp((OTHER_PI, 40000), (SERVER, 80)))
    assert not every.takes(tcp((OTHER_PI, 40000), (SERVER, 22)))
    assert not every.takes(udp(b"dns", (OTHER_PI, 40000), (SERVER, 53)))


def test_how_large_a_packet_is_comes_from_what_was_granted() -> None:
    one = Whose(Facts(SERIAL, transfers=((PI, 50000, 1024),)))
    there, back = (PI, 49152), (SERVER, 5003)
    block = udp(b"\0\3\0\1", back, there)
    assert one.stride(block) == 0
    one.takes(rrq(f"{SERIAL}/start4.elf"))
    assert one.stride(block) == 516
    one.takes(udp(encode_oack({"tsize": "5", "blksize": "1468"}), back, there))
    assert one.stride(block) == 1472
    assert one.stride(udp(b"\0\4\0\1", there, back)) == 0
    assert one.stride(udp(b"\0\3\0\1", back, (PI, 50000))) == 1028


def test_the_rest_of_a_fragmented_packet_goes_with_its_beginning() -> None:
    one = Whose(Facts(SERIAL))
    octets = bytearray(rrq(f"{SERIAL}/start4.elf").octets)
    octets[18:22] = b"\x01\x02\x20\x00"
    first = frames.parse(bytes(octets))
    octets[20:22] = b"\x00\x05"
    later = frames.parse(bytes(octets))
    assert first is not None
    assert later is not None
    assert not one.takes(later)
    assert one.takes(first)
    assert one.takes(later)


def test_facts_come_back_as_they_were_told() -> None:
    facts = Facts(SERIAL, (MAC,), (PI,), (67, 68), 69, 0, (1, 2), ((PI, 49152, 1468),))
    assert whose.from_json(json.loads(json.dumps(facts.to_json()))) == facts


@given(
    st.lists(st.tuples(st.binary(max_size=60), st.sampled_from([PI, OTHER_PI]), st.integers(1, 65535), st.booleans()))
)
def test_whatever_is_sent_is_chosen_or_left_and_little_is_kept(sent: list[tuple[bytes, str, int, bool]]) -> None:
    one = Whose(Facts(SERIAL, macs=(MAC,)))
    for payload, host, port, answer in sent:
        ends = (host, port), (SERVER, 69)
        one.takes(udp(payload, ends[1], ends[0]) if answer else udp(payload, *ends))
    assert len(one.addresses) <= 8
