"""TFTP packets: what goes out comes in again, and every malformed form is told for what it is."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pinetboot.tftp import packet
from pinetboot.tftp.packet import Ack, Data, Error, ErrorCode, MalformedPacket, Oack, Opcode, Request

# The reference's section 3.1.
PI4_RRQ = b"\x00\x015b154510/start4.elf\x00octet\x00tsize\x000\x00blksize\x001468\x00"

filenames = st.binary(max_size=300).map(lambda name: name.replace(b"\0", b"/"))
words = st.text(st.sampled_from(string.ascii_lowercase + string.digits + " -_.:/"), max_size=20)
options = st.dictionaries(words, words, max_size=6)


@given(filename=filenames, mode=words, options=options, kind=st.sampled_from([Opcode.RRQ, Opcode.WRQ]))
@example(filename=b"", mode="", options={}, kind=Opcode.RRQ)
def test_a_request_comes_back_as_it_was_written(
    filename: bytes, mode: str, options: dict[str, str], kind: Opcode
) -> None:
    heard = packet.parse(packet.encode_request(filename, mode, options, kind))
    assert heard == Request(kind, filename, mode, options)
    assert isinstance(heard, Request)
    assert list(heard.options) == list(options)


@given(options=options)
def test_an_oack_comes_back_as_it_was_written(options: dict[str, str]) -> None:
    heard = packet.parse(packet.encode_oack(options))
    assert heard == Oack(options)
    assert isinstance(heard, Oack)
    assert list(heard.options) == list(options)


@given(block=st.integers(0, 1 << 20))
@example(block=65535)
@example(block=65536)
def test_an_ack_has_the_low_16_bits_of_its_block(block: int) -> None:
    datagram = packet.encode_ack(block)
    assert len(datagram) == 4
    assert packet.parse(datagram) == Ack(block % 65536)


@given(code=st.sampled_from(ErrorCode), message=st.text(st.integers(1, 127).map(chr)))
def test_an_error_comes_back_as_it_was_written(code: ErrorCode, message: str) -> None:
    assert packet.parse(packet.encode_error(code, message)) == Error(code, message)


@given(block=st.integers(0, 65535), payload=st.binary(max_size=1500))
def test_data_is_a_block_number_and_the_rest(block: int, payload: bytes) -> None:
    assert packet.parse(b"\x00\x03" + block.to_bytes(2, "big") + payload) == Data(block, payload)


def test_the_request_of_a_pi_4_is_read_and_written_byte_for_byte() -> None:
    asked = {"tsize": "0", "blksize": "1468"}
    assert packet.parse(PI4_RRQ) == Request(Opcode.RRQ, b"5b154510/start4.elf", "octet", asked)
    assert packet.encode_request(b"5b154510/start4.elf", "octet", asked) == PI4_RRQ


def test_mode_and_option_names_are_not_case_sensitive_and_values_are_kept() -> None:
    heard = packet.parse(b"\x00\x01File\x00OcTeT\x00BLKSIZE\x001468\x00TSize\x00ABC\x00")
    assert heard == Request(Opcode.RRQ, b"File", "octet", {"blksize": "1468", "tsize": "ABC"})
    assert packet.parse(b"\x00\x06BlkSize\x00512\x00") == Oack({"blksize": "512"})


def test_of_an_option_given_twice_the_first_counts() -> None:
    heard = packet.parse(b"\x00\x01f\x00octet\x00blksize\x001024\x00tsize\x000\x00BLKSIZE\x008\x00")
    assert isinstance(heard, Request)
    assert list(heard.options.items()) == [("blksize", "1024"), ("tsize", "0")]


def test_an_oack_may_grant_nothing() -> None:
    assert packet.parse(b"\x00\x06") == Oack({})


def test_options_that_are_not_ascii_are_read_all_the_same() -> None:
    heard = packet.parse(b"\x00\x01f\x00\xff\x00\xe9\x00\x80\x00")
    assert heard == Request(Opcode.RRQ, b"f", "\ufffd", {"\ufffd": "\ufffd"})


@pytest.mark.parametrize(
    ("datagram", "error"),
    [
        (b"\x00\x05\x00\x00Early terminate\x00", Error(0, "Early terminate")),
        (b"\x00\x05\x00\x00Early terminate", Error(0, "Early terminate")),
        (b"\x00\x05\x00\x01", Error(1, "")),
        (b"\x00\x05\x12\x34\x00", Error(0x1234, "")),
        (b"\x00\x05\x00\x02one\x00two\x00", Error(2, "one")),
        (b"\x00\x05\x00\x00caf\xc3\xa9\x00", Error(0, "caf\ufffd\ufffd")),
    ],
)
def test_an_error_is_read_with_and_without_its_end(datagram: bytes, error: Error) -> None:
    assert packet.parse(datagram) == error


def test_the_numbers_are_the_rfcs() -> None:
    assert [kind.value for kind in (Opcode.RRQ, Opcode.WRQ, Opcode.DATA, Opcode.ACK, Opcode.ERROR, Opcode.OACK)] == [
        *range(1, 7)
    ]
    assert {code.value: code.name for code in ErrorCode} == {
        0: "NOT_DEFINED",
        1: "FILE_NOT_FOUND",
        2: "ACCESS_VIOLATION",
        3: "DISK_FULL",
        4: "ILLEGAL_OPERATION",
        5: "UNKNOWN_TRANSFER_ID",
        6: "FILE_EXISTS",
        7: "NO_SUCH_USER",
        8: "OPTION_NEGOTIATION",
    }


def test_an_error_is_written_in_ascii() -> None:
    assert packet.encode_error(ErrorCode.FILE_NOT_FOUND, "no é") == b"\x00\x05\x00\x01no ?\x00"


@pytest.mark.parametrize(
    ("datagram", "code"),
    [
        pytest.param(b"", None, id="an empty datagram"),
        pytest.param(b"\x00", None, id="half an opcode"),
        pytest.param(b"\x00\x03", None, id="DATA without a number"),
        pytest.param(b"\x00\x03\x00", None, id="DATA with half a number"),
        pytest.param(b"\x00\x04", None, id="ACK without a number"),
        pytest.param(b"\x00\x04\x01", None, id="ACK with half a number"),
        pytest.param(b"\x00\x05", None, id="ERROR without a code"),
        pytest.param(b"\x00\x05\x00", None, id="ERROR with half a code"),
        pytest.param(b"\x00\x00", ErrorCode.ILLEGAL_OPERATION, id="opcode 0"),
        pytest.param(b"\x00\x07\x00\x00", ErrorCode.ILLEGAL_OPERATION, id="opcode 7"),
        pytest.param(b"\x01\x00f\x00octet\x00", ErrorCode.ILLEGAL_OPERATION, id="an opcode the wrong way round"),
        pytest.param(b"\xff\xff", ErrorCode.ILLEGAL_OPERATION, id="opcode 65535"),
        pytest.param(b"\x00\x01", ErrorCode.ILLEGAL_OPERATION, id="RRQ without anything"),
        pytest.param(b"\x00\x01\x00", ErrorCode.ILLEGAL_OPERATION, id="RRQ with one empty string"),
        pytest.param(b"\x00\x01file\x00", ErrorCode.ILLEGAL_OPERATION, id="RRQ without a mode"),
        pytest.param(b"\x00\x01file", ErrorCode.ILLEGAL_OPERATION, id="RRQ with a name that does not end"),
        pytest.param(b"\x00\x01file\x00octet", ErrorCode.ILLEGAL_OPERATION, id="RRQ with a mode that does not end"),
        pytest.param(b"\x00\x02file\x00octet", ErrorCode.ILLEGAL_OPERATION, id="WRQ with a mode that does not end"),
        pytest.param(
            b"\x00\x01f\x00octet\x00tsize\x000", ErrorCode.ILLEGAL_OPERATION, id="RRQ with a value that does not end"
        ),
        pytest.param(
            b"\x00\x01f\x00octet\x00tsize\x00", ErrorCode.OPTION_NEGOTIATION, id="RRQ with an option without a value"
        ),
        pytest.param(
            b"\x00\x01" + b"a" * 2049 + b"\x00octet\x00", ErrorCode.ACCESS_VIOLATION, id="RRQ with an endless name"
        ),
        pytest.param(
            b"\x00\x01f\x00octet\x00tsize\x00" + b"0" * 60_000 + b"\x00",
            ErrorCode.ILLEGAL_OPERATION,
            id="an endless RRQ",
        ),
        pytest.param(b"\x00\x06blksize\x00512", ErrorCode.OPTION_NEGOTIATION, id="OACK with a value that does not end"),
        pytest.param(b"\x00\x06blksize\x00", ErrorCode.OPTION_NEGOTIATION, id="OACK with an option without a value"),
    ],
)
def test_a_malformed_packet_says_what_to_answer(datagram: bytes, code: ErrorCode | None) -> None:
    with pytest.raises(MalformedPacket) as caught:
        packet.parse(datagram)
    assert caught.value.code is code
    assert caught.value.message == str(caught.value) != ""


def test_a_name_of_2048_bytes_is_taken() -> None:
    heard = packet.parse(packet.encode_request(b"a" * 2048, "octet", {}))
    assert isinstance(heard, Request)
    assert len(heard.filename) == 2048


@given(request=st.builds(packet.encode_request, filenames, words, options), keep=st.integers(0, 400))
@example(request=PI4_RRQ, keep=len(PI4_RRQ) - 1)
def test_a_request_cut_short_is_malformed_or_asks_for_less(request: bytes, keep: int) -> None:
    whole = packet.parse(request)
    assert isinstance(whole, Request)
    try:
        heard = packet.parse(request[:keep])
    except MalformedPacket:
        return
    # Nothing is made up: what can still be read is the beginning of what was said.
    assert isinstance(heard, Request)
    assert heard.filename == whole.filename
    assert heard.mode == whole.mode
    assert list(heard.options.items()) == list(whole.options.items())[: len(heard.options)]


@given(datagram=st.binary(max_size=600))
def test_any_bytes_are_a_packet_or_malformed(datagram: bytes) -> None:
    try:
        heard = packet.parse(datagram)
    except MalformedPacket:
        return
    assert packet.opcode(datagram) in set(Opcode)
    if isinstance(heard, Request | Oack):
        assert all(name == name.lower() for name in heard.options)
