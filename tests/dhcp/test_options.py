"""What is inside options 43 and 97: the reference's examples, decoded and encoded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.dhcp.options import (
    RASPBERRY_PI_OUIS,
    Machine,
    decode_machine,
    encode_machine,
    encode_pxe_menu,
    encode_serial_machine,
    is_serial,
)


@pytest.mark.parametrize(
    ("wire", "machine"),
    [
        pytest.param(
            "52506934 1131a000 322ef8ed 1045155b",
            Machine("pi4", "5b154510", 0xA03111, bytes.fromhex("322ef8ed")),
            id="a Pi 4 that says RPi4",
        ),
        pytest.param(
            "34695052 1431d000 010902f7 3df0cd91",
            Machine("pi4", "91cdf03d", 0xD03114, bytes.fromhex("010902f7")),
            id="a Pi 4 that says 4iPR",
        ),
        pytest.param(
            "34695052 4131a000 01f8deb9 60123456",
            Machine("pi4", "56341260", 0xA03141, bytes.fromhex("01f8deb9")),
            id="a CM4",
        ),
        pytest.param(
            "35695052 7041d000 67591740 401759da",
            Machine("pi5", "da591740", 0xD04170, bytes.fromhex("67591740")),
            id="a Pi 5 that says 5iPR",
        ),
        pytest.param(
            "52506935 7041d000 67591740 401759da",
            Machine("pi5", "da591740", 0xD04170, bytes.fromhex("67591740")),
            id="a Pi 5 that says RPi5",
        ),
        pytest.param(
            "34695052 1131a000 00000000 1045155b",
            Machine("pi4", "5b154510", 0xA03111, bytes(4)),
            id="a Pi 4 of March 2020, which leaves the MAC out",
        ),
        pytest.param("f2c08572 f2c08572 f2c08572 f2c08572", Machine("serial", "7285c0f2"), id="a 3B+"),
        pytest.param("0a000000 0a000000 0a000000 0a000000", Machine("serial", "0000000a"), id="a low serial"),
        pytest.param("44444444 44444444 44444444 44444444", Machine("rom"), id="the ROM of a 3B"),
    ],
)
def test_option_97_tells_the_pi_and_is_written_as_it_was(wire: str, machine: Machine) -> None:
    value = b"\0" + bytes.fromhex(wire)
    assert decode_machine(value) == machine
    match machine:
        case Machine("serial", str(serial)):
            assert encode_serial_machine(serial) == value
        case Machine(_, str(serial), int(revision), bytes(tail)):
            assert encode_machine(value[1:5], revision, bytes(2) + tail, serial) == value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0", id="a type alone"),
        pytest.param(b"\0" + b"RPi4" + bytes(11), id="one octet less"),
        pytest.param(b"\0" + b"RPi4" + bytes(13), id="one octet more"),
        pytest.param(b"\1" + b"RPi4" + bytes(12), id="another type"),
        pytest.param(bytes(17), id="zeros of a PC without a UUID"),
        pytest.param(b"\0" + b"\xff" * 16, id="ones of a PC without a UUID"),
        pytest.param(bytes.fromhex("00 00020003 00040005 00060007 00080009"), id="a UUID that many boards share"),
        pytest.param(b"\0" + b"RPi6" + bytes(range(12)), id="a family of the future"),
        pytest.param(b"\0" + b"rpi4" + bytes(range(12)), id="a family in small letters"),
    ],
)
def test_option_97_of_others_tells_nothing(value: bytes) -> None:
    assert decode_machine(value) is None


serials = st.integers(0, 2**32 - 1).map("{:08x}".format)


@given(
    family=st.sampled_from([b"RPi4", b"4iPR", b"RPi5", b"5iPR"]),
    revision=st.integers(0, 2**32 - 1),
    mac=st.binary(min_size=6, max_size=6),
    serial=serials,
)
def test_what_a_pi_4_or_5_writes_is_read_back(family: bytes, revision: int, mac: bytes, serial: str) -> None:
    value = encode_machine(family, revision, mac, serial)
    assert len(value) == 17
    name = "pi4" if b"4" in family else "pi5"
    assert decode_machine(value) == Machine(name, serial, revision, mac[2:6])
    assert is_serial(serial)


@given(serial=serials.filter(lambda serial: serial not in {"00000000", "ffffffff", "44444444"}))
def test_what_a_3b_plus_writes_is_read_back(serial: str) -> None:
    assert decode_machine(encode_serial_machine(serial)) == Machine("serial", serial)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param(
            "Raspberry Pi Boot",
            "060103 0a0400505845 0914000011 52617370626572727920506920426f6f74 ff",
            id="form A",
        ),
        pytest.param(
            "Raspberry Pi Boot   ",
            "060103 0a0400505845 0917000014 52617370626572727920506920426f6f74202020 ff",
            id="form B",
        ),
    ],
)
def test_option_43_is_the_references_menu(text: str, value: str) -> None:
    assert encode_pxe_menu(text) == bytes.fromhex(value)


@given(text=st.text(st.integers(0x20, 0x7E).map(chr), min_size=1, max_size=200))
def test_option_43_is_well_formed_and_fits_for_every_text_that_the_settings_allow(text: str) -> None:
    value = encode_pxe_menu(text)
    assert len(value) <= 255
    found = {}
    at = 0
    while value[at] != 0xFF:
        found[value[at]] = value[at + 2 : at + 2 + value[at + 1]]
        at += 2 + value[at + 1]
    assert at == len(value) - 1
    assert found == {6: b"\3", 10: b"\0PXE", 9: bytes([0, 0, len(text)]) + text.encode()}


@pytest.mark.parametrize(
    "text", ["", "5b15451", "5b1545100", "5B154510", "5b15451g", "5b154510\n", "dc-a6-32", "\uff15b154510"]
)
def test_what_is_no_serial(text: str) -> None:
    assert not is_serial(text)


def test_the_prefixes_of_raspberry_pi_are_the_references() -> None:
    prefixes = ["b8:27:eb", "dc:a6:32", "e4:5f:01", "28:cd:c1", "d8:3a:dd", "2c:cf:67", "88:a2:9e"]
    assert {oui.hex(":") for oui in RASPBERRY_PI_OUIS} == set(prefixes)
