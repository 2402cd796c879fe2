"""Virtual Pis at servers with faults: no options, answers from elsewhere, ports from a range, files too large."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from support import Daemon

from pinetboot.demo import tree
from pinetboot.pi.faults import parse
from pinetboot.pi.profiles import PROFILES, Profile
from pinetboot.pi.report import Report
from pinetboot.rehearse import plan, rehearse

Serve = Callable[..., Daemon]
SERIALS = {3: tree.PI3, 4: tree.PI4, 5: tree.PI5}
# How long the Pi waits is no part of these faults.
IMPATIENT = {name: replace(one, file_timeout_s=1.0, rrq_retry_s=0.2) for name, one in PROFILES.items()}
EEPROM_BLOCK, BLOCKS = 1468, 65535
ENOUGH = 200_000  # bytes of a file, for a boot of many hundred packets
LONG = os.environ.get("PINETBOOT_LONG_TESTS") == "1"


async def boot(profile: Profile, port: int, *faults: str) -> Report:
    given = [parse(fault) for fault in faults]
    serial = SERIALS[profile.generation]
    wanted = plan(profile, serial, link=None, server="127.0.0.1", tftp_port=port, with_faults=given)
    return await rehearse(wanted, lambda _: None)


@dataclass
class OldServer:
    """A TFTP server of RFC 1350 alone, written out: no options, every file four bytes long."""

    answers_from: str
    sock: socket.socket = field(init=False)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(0.05)

    def run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as answers:
            answers.bind((self.answers_from, 0))
            while not self.over.is_set():
                try:
                    request, client = self.sock.recvfrom(2048)
                except TimeoutError:
                    continue
                assert request[:2] == b"\0\1"
                answers.sendto(struct.pack("!HH", 3, 1) + b"file", client)


@contextmanager
def old_server(answers_from: str = "127.0.0.1") -> Iterator[int]:
    server = OldServer(answers_from)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.sock.getsockname()[1]
    finally:
        server.over.set()
        thread.join()
        server.sock.close()


@pytest.mark.parametrize("model", PROFILES)
async def test_a_server_without_options_stops_every_model(model: str) -> None:
    with old_server() as port:
        report = await boot(IMPATIENT[model], port)
    assert report.cause is not None
    assert (report.stopped_at, report.cause.rule) == ("firmware", "D20")
    # A Pi 3's ROM asks for none, and gets its loader.
    got = [file.name for file in report.files if not file.probe and file.result == "ok"]
    assert ("bootcode.bin" in got) == (PROFILES[model].generation == 3)


@pytest.mark.parametrize("model", PROFILES)
async def test_answers_from_another_address_are_passed_over_and_told(model: str) -> None:
    with old_server("127.0.0.2") as port:
        report = await boot(IMPATIENT[model], port)
    assert report.cause is not None
    assert report.cause.rule == "D08"
    assert "127.0.0.1 came from 127.0.0.2" in report.cause.what


def with_tree(daemon: Daemon) -> Daemon:
    tree.make(daemon.data, f"http://127.0.0.1:{daemon.http_port}/")
    for path in (daemon.data / "boot").rglob("*"):
        if path.is_file() and path.stat().st_size > ENOUGH:
            os.truncate(path, ENOUGH)
    return daemon


async def rules(daemon: Daemon, *faults: str, profiles: Mapping[str, Profile] = PROFILES) -> dict[str, str]:
    """Boot every model at once: the rule by which each stops, empty where it boots."""
    reports = await asyncio.gather(*(boot(profile, daemon.tftp_port, *faults) for profile in profiles.values()))
    assert all(report.notes[: len(faults)] == [f"fault: {fault}" for fault in faults] for report in reports)
    return {report.model: report.cause.rule if report.cause else "" for report in reports}


async def test_every_model_boots_from_a_server_with_a_range_of_ports(serve: Serve) -> None:
    assert await rules(with_tree(serve(tftp='data_ports = "5000-5010"'))) == dict.fromkeys(PROFILES, "")


async def test_every_model_gets_over_one_lost_or_doubled_packet_and_other_manners(serve: Serve) -> None:
    daemon = with_tree(serve())
    faults = ("drop:4", "drop-sent:4", "duplicate:2", "overlap", "double-slash", "blksize:1024")
    told = await asyncio.gather(*(rules(daemon, fault) for fault in faults))
    assert dict(zip(faults, told, strict=True)) == dict.fromkeys(faults, dict.fromkeys(PROFILES, ""))


async def test_a_doubled_oack_costs_a_pi_3_its_file_and_no_other_model(serve: Serve) -> None:
    told = await rules(with_tree(serve()), "duplicate-oack")
    assert told == {"pi3b-rom": "D22", "pi3bp": "D22", "pi4-2020": "", "pi4": "", "pi5": ""}


async def test_silence_in_the_middle_and_from_the_start(serve: Serve) -> None:
    daemon = with_tree(serve())
    # The 120th packet falls into a large file with every model, not upon a request.
    faults = {"silence:1": "D18", "unplug:120": "D19"}
    told = await asyncio.gather(*(rules(daemon, fault, profiles=IMPATIENT) for fault in faults))
    assert dict(zip(faults, told, strict=True)) == {
        fault: dict.fromkeys(PROFILES, rule) for fault, rule in faults.items()
    }


async def test_a_file_of_more_than_65535_blocks_stops_all_but_the_newest_bootloaders(serve: Serve) -> None:
    daemon = with_tree(serve())
    size = BLOCKS * EEPROM_BLOCK  # an empty block more than the counter has
    os.truncate(daemon.data / "boot" / tree.PI5 / "initramfs_2712", size)
    old, new = await asyncio.gather(
        boot(IMPATIENT["pi5"], daemon.tftp_port), boot(IMPATIENT["pi5"], daemon.tftp_port, "rollover")
    )
    assert new.cause is None
    assert old.cause is not None
    assert (old.stopped_at, old.cause.rule) == ("kernel", "D17")
    assert f"{size:,} bytes" in old.cause.what


if LONG:

    async def test_a_pi_3_gets_no_more_than_32_mib(serve: Serve) -> None:
        daemon = with_tree(serve())
        os.truncate(daemon.data / "boot" / tree.PI3 / "kernel8.img", BLOCKS * 512)
        report = await boot(IMPATIENT["pi3bp"], daemon.tftp_port)
        assert report.cause is not None
        assert report.cause.rule == "D17"
        assert "blocks of 512" in report.cause.what
