"""The virtual Pi's TFTP for one file: probe, duplicates, the end of the block counter, patience."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pinetboot.pi.download import Download, Fetched, Out, Result
from pinetboot.pi.profiles import PROFILES, Duplicates, Profile
from pinetboot.tftp import packet
from pinetboot.tftp.packet import ErrorCode

PI4 = PROFILES["pi4"]
PORT = 40000
OACK = packet.encode_oack({"tsize": "3000", "blksize": "1468"})
EARLY_TERMINATE = b"\x00\x05\x00\x00Early terminate\x00"


def data(block: int, payload: bytes) -> bytes:
    return b"\x00\x03" + (block & 0xFFFF).to_bytes(2, "big") + payload


def ack(block: int, port: int = PORT) -> list[Out]:
    return [Out(b"\x00\x04" + (block & 0xFFFF).to_bytes(2, "big"), port)]


def begun(
    *, probe: bool = False, duplicates: Duplicates = Duplicates.ACKED_AGAIN, profile: Profile = PI4, now: float = 0.0
) -> Download:
    made = Download("5b154510/start4.elf", profile, probe=probe, duplicates=duplicates)
    made.start(now)
    return made


def done(made: Download) -> Fetched:
    assert made.done is not None
    return made.done


def test_the_request_is_the_references_byte_for_byte() -> None:
    made = Download("5b154510/start4.elf", PI4)
    asked = b"\x00\x015b154510/start4.elf\x00octet\x00tsize\x000\x00blksize\x001468\x00"
    assert made.start(0.0) == [Out(asked, None)]


def test_a_file_comes_block_by_block_and_ends_with_a_short_one() -> None:
    made = begun()
    assert made.receive(OACK, PORT, 0.0) == ack(0)
    assert made.receive(data(1, b"a" * 1468), PORT, 0.0) == ack(1)
    assert made.receive(data(2, b"b" * 1468), PORT, 0.0) == ack(2)
    assert made.done is None
    assert made.receive(data(3, b"c" * 64), PORT, 0.0) == ack(3)
    fetched = done(made)
    assert fetched == Fetched(
        "5b154510/start4.elf", Result.OK, size=3000, content=b"a" * 1468 + b"b" * 1468 + b"c" * 64, blocks=3
    )
    assert made.receive(data(3, b"c" * 64), PORT, 0.0) == []


@pytest.mark.parametrize("size", [0, 1468])
def test_a_multiple_of_the_block_size_ends_with_an_empty_block(size: int) -> None:
    made = begun()
    made.receive(OACK, PORT, 0.0)
    if size:
        assert made.receive(data(1, bytes(size)), PORT, 0.0) == ack(1)
        assert made.done is None
    assert made.receive(data(size // 1468 + 1, b""), PORT, 0.0) == ack(size // 1468 + 1)
    assert (done(made).size, done(made).content) == (size, bytes(size))


def test_a_server_may_grant_less() -> None:
    made = begun()
    assert made.receive(packet.encode_oack({"blksize": "512"}), PORT, 0.0) == ack(0)
    assert made.receive(data(1, bytes(512)), PORT, 0.0) == ack(1)
    assert made.done is None
    made.receive(data(2, bytes(511)), PORT, 0.0)
    assert done(made).size == 1023


@pytest.mark.parametrize("options", [{"tsize": "515"}, {"tsize": "515", "blksize": "0"}, {"blksize": "many"}, {}])
def test_where_the_oack_leaves_blksize_out_blocks_have_512(options: dict[str, str]) -> None:
    made = begun()
    assert made.receive(packet.encode_oack(options), PORT, 0.0) == ack(0)
    assert made.receive(data(1, bytes(512)), PORT, 0.0) == ack(1)
    assert made.receive(data(2, b"end"), PORT, 0.0) == ack(2)
    assert (done(made).result, done(made).size, done(made).oack) == (Result.OK, 515, True)


def test_a_server_without_options_is_served_in_blocks_of_512_and_noted() -> None:
    made = begun()
    assert made.receive(data(1, bytes(512)), PORT, 0.0) == ack(1)
    assert made.receive(data(2, b"end"), PORT, 0.0) == ack(2)
    assert (done(made).result, done(made).size, done(made).oack) == (Result.OK, 515, False)


def test_where_no_options_were_asked_for_no_oack_is_missed() -> None:
    made = begun(profile=replace(PI4, tftp_options=()))
    made.receive(data(1, b"end"), PORT, 0.0)
    assert done(made).oack


def test_of_a_large_file_the_size_is_enough() -> None:
    made = begun()
    made.receive(OACK, PORT, 0.0)
    for block in range(1, 51):
        made.receive(data(block, bytes(1468)), PORT, 0.0)
    made.receive(data(51, b"end"), PORT, 0.0)
    assert (done(made).size, done(made).content, done(made).blocks) == (50 * 1468 + 3, b"", 51)


class TestProbe:
    def test_it_ends_at_the_oack_and_has_the_size(self) -> None:
        made = begun(probe=True)
        assert made.receive(OACK, PORT, 0.0) == [Out(EARLY_TERMINATE, PORT)]
        assert (done(made).result, done(made).size, done(made).content) == (Result.OK, 3000, b"")
        assert made.receive(data(1, bytes(1468)), PORT, 0.0) == []

    def test_without_an_oack_it_ends_at_the_first_block(self) -> None:
        made = begun(probe=True)
        assert made.receive(data(1, bytes(512)), PORT, 0.0) == [Out(EARLY_TERMINATE, PORT)]
        assert done(made).result is Result.OK
        assert not done(made).oack

    def test_a_missing_file_is_missing(self) -> None:
        made = begun(probe=True)
        assert made.receive(packet.encode_error(ErrorCode.FILE_NOT_FOUND, "no"), 69, 0.0) == []
        assert done(made).result is Result.MISSING


class TestOverlap:
    PI3 = replace(PROFILES["pi3bp"].speaking(1), overlaps=True)

    def test_a_probe_is_done_at_the_oack_and_ends_its_transfer_at_the_first_block(self) -> None:
        made = begun(probe=True, profile=self.PI3)
        assert made.receive(packet.encode_oack({"tsize": "3000"}), PORT, 0.0) == ack(0)
        assert (done(made).result, done(made).size, made.lingers) == (Result.OK, 3000, True)
        assert made.receive(data(1, bytes(512)), PORT + 1, 0.1) == []
        assert made.receive(data(1, bytes(512)), PORT, 0.1) == [Out(EARLY_TERMINATE, PORT)]
        assert not made.lingers
        assert made.receive(data(1, bytes(512)), PORT, 0.2) == []

    def test_a_get_is_as_ever(self) -> None:
        made = begun(profile=self.PI3)
        made.receive(packet.encode_oack({"tsize": "3"}), PORT, 0.0)
        assert made.receive(data(1, b"end"), PORT, 0.1) == ack(1)
        assert (done(made).result, made.lingers) == (Result.OK, False)


class TestSecondOack:
    def test_a_pi_3_loses_the_file(self) -> None:
        made = begun(profile=PROFILES["pi3bp"].speaking(1))
        made.receive(packet.encode_oack({"tsize": "3"}), PORT, 0.0)
        assert made.receive(packet.encode_oack({"tsize": "3"}), PORT, 0.0) == []
        assert (done(made).result, done(made).doubled) == (Result.ERROR, True)

    def test_its_rom_asks_for_no_options_and_misses_no_oack(self) -> None:
        made = begun(profile=PROFILES["pi3b-rom"])
        made.receive(data(1, b"end"), PORT, 0.0)
        assert (done(made).result, done(made).oack) == (Result.OK, True)


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "result"),
        [
            (ErrorCode.FILE_NOT_FOUND, Result.MISSING),
            (ErrorCode.ACCESS_VIOLATION, Result.ERROR),
            (ErrorCode.NOT_DEFINED, Result.ERROR),
            (ErrorCode.OPTION_NEGOTIATION, Result.ERROR),
        ],
    )
    def test_only_file_not_found_is_an_absence(self, code: ErrorCode, result: Result) -> None:
        made = begun()
        assert made.receive(packet.encode_error(code, "because"), 69, 0.0) == []
        assert (done(made).result, done(made).message) == (result, "because")

    def test_one_in_the_middle_ends_it(self) -> None:
        made = begun()
        made.receive(OACK, PORT, 0.0)
        made.receive(data(1, bytes(1468)), PORT, 0.0)
        made.receive(packet.encode_error(ErrorCode.NOT_DEFINED, "the disk broke"), PORT, 0.0)
        assert (done(made).result, done(made).blocks) == (Result.ERROR, 1)

    @pytest.mark.parametrize("datagram", [b"", b"\x00", b"\x00\x03\x00", b"\x00\x09\x00\x00", b"\x00\x06blksize"])
    def test_a_broken_packet_changes_nothing(self, datagram: bytes) -> None:
        made = begun()
        assert made.receive(datagram, PORT, 1.0) == []
        assert made.done is None
        assert made.receive(OACK, PORT + 1, 1.0) == ack(0, PORT + 1)


class TestPort:
    def test_it_is_fixed_by_the_first_answer(self) -> None:
        made = begun()
        made.receive(OACK, PORT, 0.0)
        for datagram in (OACK, data(1, bytes(1468)), packet.encode_error(ErrorCode.FILE_NOT_FOUND, "no")):
            assert made.receive(datagram, PORT + 1, 0.0) == []
        assert made.done is None
        assert made.receive(data(1, bytes(1468)), PORT, 0.0) == ack(1)

    def test_without_an_oack_it_is_fixed_by_the_first_block(self) -> None:
        made = begun()
        made.receive(data(1, bytes(512)), PORT, 0.0)
        assert made.receive(data(2, b"x"), PORT + 1, 0.0) == []
        assert made.done is None


class TestDuplicates:
    def at_block_2(self, duplicates: Duplicates) -> Download:
        made = begun(duplicates=duplicates)
        made.receive(OACK, PORT, 0.0)
        made.receive(data(1, bytes(1468)), PORT, 0.0)
        made.receive(data(2, bytes(1468)), PORT, 0.0)
        return made

    def test_one_kind_of_firmware_acknowledges_again(self) -> None:
        made = self.at_block_2(Duplicates.ACKED_AGAIN)
        assert made.receive(data(2, bytes(1468)), PORT, 0.0) == ack(2)
        assert made.receive(data(2, bytes(1468)), PORT, 0.0) == ack(2)
        assert made.receive(data(3, b"end"), PORT, 0.0) == ack(3)
        assert done(made).size == 2 * 1468 + 3

    def test_one_kind_ignores_it(self) -> None:
        made = self.at_block_2(Duplicates.IGNORED)
        assert made.receive(data(2, bytes(1468)), PORT, 0.0) == []
        assert made.receive(data(3, b"end"), PORT, 0.0) == ack(3)
        assert done(made).size == 2 * 1468 + 3

    def test_one_kind_acknowledges_what_it_does_not_have_and_stalls(self) -> None:
        made = self.at_block_2(Duplicates.STALLS)
        assert made.receive(data(2, bytes(1468)), PORT, 0.0) == ack(3)
        for block in (2, 3, 4):
            assert made.receive(data(block, bytes(1468)), PORT, 0.0) == []
        assert made.tick(30.0) == []
        assert (done(made).result, done(made).blocks) == (Result.TIMEOUT, 2)

    @pytest.mark.parametrize("duplicates", Duplicates)
    @pytest.mark.parametrize("block", [0, 1, 4, 5, 65535])
    def test_what_is_neither_the_last_nor_the_next_block_is_ignored(self, duplicates: Duplicates, block: int) -> None:
        made = self.at_block_2(duplicates)
        assert made.receive(data(block, bytes(1468)), PORT, 0.0) == []
        assert made.receive(data(3, b"end"), PORT, 0.0) == ack(3)

    @pytest.mark.parametrize("duplicates", Duplicates)
    def test_there_is_no_block_0(self, duplicates: Duplicates) -> None:
        made = begun(duplicates=duplicates)
        made.receive(OACK, PORT, 0.0)
        assert made.receive(data(0, bytes(1468)), PORT, 0.0) == []
        assert made.receive(data(1, b"end"), PORT, 0.0) == ack(1)

    def test_an_oack_that_comes_twice_is_acknowledged_twice(self) -> None:
        made = begun()
        assert made.receive(OACK, PORT, 0.0) == ack(0)
        assert made.receive(OACK, PORT, 0.0) == ack(0)
        made.receive(data(1, bytes(1468)), PORT, 0.0)
        assert made.receive(OACK, PORT, 0.0) == []


class TestBlockCounter:
    SMALL = replace(PI4, tftp_options=(("tsize", "0"), ("blksize", "8")))
    SMALL_OACK = packet.encode_oack({"tsize": "0", "blksize": "8"})

    def at_its_end(self, profile: Profile) -> Download:
        made = begun(profile=profile)
        made.receive(self.SMALL_OACK, PORT, 0.0)
        for block in range(1, 65536):
            assert made.receive(data(block, b"8 octets"), PORT, 0.0) == ack(block)
        assert made.done is None
        return made

    def test_it_does_not_roll_over_and_the_client_goes_silent(self) -> None:
        made = self.at_its_end(self.SMALL)
        for block in (65536, 65537):
            assert made.receive(data(block, b"8 octets"), PORT, 1.0) == []
        assert made.receive(data(65535, b"8 octets"), PORT, 1.0) == ack(65535)
        assert made.tick(29.9) == []
        assert made.done is None
        made.tick(30.0)
        assert (done(made).result, done(made).blocks) == (Result.TIMEOUT, 65535)

    def test_a_file_of_65535_blocks_is_fine(self) -> None:
        made = begun(profile=self.SMALL)
        made.receive(self.SMALL_OACK, PORT, 0.0)
        for block in range(1, 65535):
            made.receive(data(block, b"8 octets"), PORT, 0.0)
        made.receive(data(65535, b"end"), PORT, 0.0)
        assert (done(made).result, done(made).size) == (Result.OK, 65534 * 8 + 3)

    def test_a_newer_bootloader_rolls_over_to_0(self) -> None:
        made = self.at_its_end(replace(self.SMALL, max_blocks=None))
        assert made.receive(data(65536, b"8 octets"), PORT, 0.0) == ack(65536)
        assert made.receive(data(65536, b"8 octets"), PORT, 0.0) == ack(65536)
        assert made.receive(data(65537, b"end"), PORT, 0.0) == ack(65537)
        assert (done(made).result, done(made).size) == (Result.OK, 65536 * 8 + 3)


class TestPatience:
    def test_an_unanswered_request_is_repeated_every_2_seconds_for_30(self) -> None:
        made = Download("config.txt", PI4)
        first = made.start(10.0)
        times = []
        while made.done is None:
            now = made.deadline
            assert made.tick(now - 0.001) == []
            for out in made.tick(now):
                assert [out] == first
                times.append(now)
        assert times == [12.0 + 2 * step for step in range(14)]
        assert made.deadline == 40.0
        assert (done(made).result, done(made).answered) == (Result.TIMEOUT, False)
        assert made.tick(100.0) == []

    # One of these is a moment that cannot be added to and taken away from without rounding.
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(began=st.floats(0, 1e6))
    @example(began=0.0)
    @example(began=1.9)
    @example(began=1022.9037)
    def test_it_acts_at_each_of_its_deadlines_whenever_it_began(self, began: float) -> None:
        made = begun(now=began)
        asked = 1
        while made.done is None:
            out = made.tick(made.deadline)
            assert out or made.done is not None
            asked += len(out)
            # Fifteen times 2 s may come out a hair below 30.
            assert asked <= 16
        assert asked >= 15

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(heard=st.floats(0, 1e6))
    @example(heard=0.0)
    @example(heard=1007.9037)
    def test_silence_ends_it_after_30_seconds_whenever_that_began(self, heard: float) -> None:
        made = begun(now=heard)
        made.receive(OACK, PORT, heard)
        assert made.tick(made.deadline) == []
        assert done(made).result is Result.TIMEOUT

    def test_an_answered_request_is_not_repeated(self) -> None:
        made = begun()
        made.receive(OACK, PORT, 1.0)
        for now in (2.0, 4.0, 30.9):
            assert made.tick(now) == []
        assert made.deadline == 31.0
        made.tick(31.0)
        assert (done(made).result, done(made).answered, done(made).blocks) == (Result.TIMEOUT, True, 0)

    def test_each_new_block_gives_30_seconds_anew_and_a_duplicate_none(self) -> None:
        made = begun()
        made.receive(OACK, PORT, 1.0)
        made.receive(data(1, bytes(1468)), PORT, 20.0)
        assert made.deadline == 50.0
        made.receive(data(1, bytes(1468)), PORT, 40.0)
        assert made.deadline == 50.0
        made.tick(50.0)
        assert (done(made).result, done(made).blocks) == (Result.TIMEOUT, 1)
