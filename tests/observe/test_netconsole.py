"""The bootloader's log: whose a line is, what names a cause, and that nobody fills memory with it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import free_port

from pinetboot.config import Config, Dhcp, Http, Netconsole, Server, Tftp
from pinetboot.events import ConsoleHeard, DhcpHeard, Event, PacketDropped
from pinetboot.observe.netconsole import LONGEST, MOST_LINES, Logs, lines_of, setting, whose
from pinetboot.services import Services

SERIAL, OTHER = "5b154510", "da591740"
MAC = "dc:a6:32:2e:f8:ed"
THERE, OWN = "169.254.1.1", "192.168.1.10"
BEGIN = "RPi: BOOTLOADER release VERSION:8ba17717 DATE: 2022/04/26 TIME: 10:24:28"
BOARD = f"BOOTMODE: 0x06 partition 0 build-ts BUILD_TIMESTAMP=1650968668 serial {SERIAL} boardrev c03114 stc 434421"


@asynccontextmanager
async def listening(data: Path, heard: list[Event], *, enabled: bool = True) -> AsyncIterator[tuple[Services, int]]:
    """Run services on loopback; gives them with the port of netconsole."""
    port = free_port()
    config = Config(
        server=Server(data=str(data), address="127.0.0.1", stop_s=0),
        tftp=Tftp(port=free_port()),
        dhcp=Dhcp(mode="off"),
        http=Http(port=free_port(socket.SOCK_STREAM)),
        netconsole=Netconsole(enabled=enabled, port=port),
    )
    services = Services(config, heard.append, keeps_fleet=False)
    await services.start()
    try:
        yield services, port
    finally:
        await services.stop(0)


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that comes over a socket."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - nobody tells when a datagram was taken
            await asyncio.sleep(0.02)


def told(*lines: str, serial: str = SERIAL) -> Logs:
    logs = Logs()
    for number, line in enumerate(lines):
        logs.take(THERE, line, serial, None, float(number))
    return logs


@pytest.mark.parametrize(
    ("port", "server", "line"),
    [
        (6666, "", "6665@169.254.1.1/,6666@/"),
        (6666, "10.0.0.2", "6665@169.254.1.1/,6666@10.0.0.2/"),
        (6666, "192.168.100.100", "@169.254.1.1/,@192.168.100.100/"),
        (65535, "192.168.100.100", "6665@169.254.1.1/,65535@/"),
    ],
)
def test_the_line_for_the_bootloader_is_not_too_long(port: int, server: str, line: str) -> None:
    assert setting(port, server) == f"NETCONSOLE={line}"
    assert len(line) <= 32  # reference 4.5


@pytest.mark.parametrize(
    ("text", "serial"),
    [
        (BOARD, SERIAL),
        (f"TFTP_GET: dc:a6:32:00:00:01 {OWN} {SERIAL}/start4.elf", SERIAL),
        (f"TFTP_GET: dc:a6:32:00:00:01 {OWN} {OTHER}//config.txt", OTHER),
        (f"NETWORK: {MAC} wait for link TFTP: 0.0.0.0", SERIAL),
        ("NETWORK: 00:00:00:00:00:01 wait for link TFTP: 0.0.0.0", None),
        (f"DHCP src: {MAC} 192.168.1.1", None),
        ("serial 5B154510", None),
        ("", None),
    ],
)
def test_a_line_says_whose_it_is(text: str, serial: str | None) -> None:
    assert whose(text, {MAC: SERIAL}.get) == serial


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        ("D03", [f"DHCP src: {MAC} {OWN}", "NETBOOT init failed"]),
        ("D03", ["NETBOOT init failed"]),
        ("", [f"DHCP src: {MAC} {OWN}", f"DHCP src: {MAC} 192.168.1.1", "NETBOOT init failed"]),
        ("D43", [f"NET {THERE} 255.255.255.0 gw 0.0.0.0 tftp 192.168.1.66"]),
        ("", [f"NET 192.168.1.57 255.255.255.0 gw 192.168.1.1 tftp {OWN}"]),
        ("", ["NET 192.168.1.57 255.255.255.0 gw 192.168.1.1 tftp 0.0.0.0"]),
        ("D13", ["Firmware (start*.elf) not found"]),
        ("D27", ["Kernel or device-tree not found or is not compatible"]),
        ("D27", ['Device-tree file "bcm2711-rpi-4-b.dtb" not found']),
        ("D15", ["The installed operating system (OS) does not indicate support for Raspberry Pi 5"]),
        ("D27", ["command line is too long"]),
        ("D19", ["TFTP: disconnect: timeouts 12"]),
        ("", ["NETBOOT init failed", BEGIN]),
        ("", ["RX: 0 IP: 0 IPV4: 0", "TFTP: complete 2253472"]),
    ],
)
def test_a_line_that_names_a_cause_is_understood(rule: str, lines: list[str]) -> None:
    found = told(*lines).cause(SERIAL, {OWN})
    assert (found.rule if found else "") == rule


def test_what_comes_before_anybody_says_whose_it_is_is_given_to_that_pi() -> None:
    logs = Logs()
    for text in (BEGIN, "XHCI-STOP"):
        assert logs.take(THERE, text, None, None, 1.0) is None
    assert logs.lines(SERIAL) == []
    assert logs.take(THERE, BOARD, SERIAL, None, 2.0) == SERIAL
    assert logs.take(THERE, "LINK STATUS", None, None, 3.0) == SERIAL
    assert [text for _, text in logs.lines(SERIAL)] == [BEGIN, "XHCI-STOP", BOARD, "LINK STATUS"]
    assert [text for _, text in logs.lines(SERIAL, since=2.5)] == ["LINK STATUS"]


def test_an_address_that_is_known_counts_more_than_what_a_line_says() -> None:
    logs = Logs()
    assert logs.take("192.168.1.57", "Firmware (start*.elf) not found", OTHER, SERIAL, 1.0) == SERIAL
    assert logs.cause(OTHER, ()) is None
    assert logs.cause(SERIAL, ()) is not None


def test_what_two_pis_send_from_one_address_is_not_mixed_up() -> None:
    logs = Logs()
    for now, serial in enumerate((SERIAL, OTHER, SERIAL, OTHER)):
        logs.take(THERE, f"serial {serial}", serial, None, float(now))
        assert logs.take(THERE, "NETBOOT init failed", None, None, now + 0.5) == (SERIAL if now == 0 else None)
    assert [text for _, text in logs.lines(OTHER)] == [f"serial {OTHER}"] * 2
    assert logs.take(THERE, "LINK STATUS", None, None, 1000.0) == OTHER


def test_memory_is_bounded() -> None:
    logs = Logs()
    for number in range(3000):
        serial = f"{number:08x}"
        for _ in range(3):
            logs.take(f"10.0.{number >> 8}.{number & 255}", "x" * LONGEST, serial if number % 2 else None, None, 1.0)
    for _ in range(3 * MOST_LINES):
        logs.take(THERE, "y" * LONGEST, SERIAL, None, 1.0)
    assert len(logs.lines(SERIAL)) == MOST_LINES
    assert len(logs._of) <= 1024
    assert len(logs._senders) <= 256
    kept = sum(len(text) for log in logs._of.values() for _, text in log.lines)
    assert kept == logs._size <= 8 << 20


@given(st.binary(max_size=3000))
def test_whatever_comes_is_short_lines_of_text(datagram: bytes) -> None:
    logs = Logs()
    for line in lines_of(datagram):
        assert 0 < len(line) <= LONGEST
        assert line.isprintable()
        logs.take(THERE, line, whose(line, lambda _: SERIAL), None, 1.0)
        logs.cause(SERIAL, ())


@given(st.text(alphabet="NETftpDHCPsrc: 0123456789.", max_size=80))
def test_a_line_that_is_almost_one_of_its_own_is_no_harm(text: str) -> None:
    told(f"NET {text} tftp {text}", f"DHCP src: {text}", f"TFTP: disconnect: timeouts {text}").cause(SERIAL, ())


async def test_the_log_is_heard_and_shown_with_the_pi(tmp_path: Path) -> None:
    heard: list[Event] = []
    async with listening(tmp_path, heard) as (services, port):
        services._take(DhcpHeard(MAC, "DISCOVER", "lo", OWN, serial=SERIAL, model="Pi 4"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bootloader:
            for text in (f"NETWORK: {MAC} wait for link TFTP: 0.0.0.0\n", "\x1b[31mFirmware (start*.elf) not found\n"):
                bootloader.sendto(text.encode(), ("127.0.0.1", port))
        await until(lambda: sum(isinstance(event, ConsoleHeard) for event in heard) == 2)
        shown = services.overview.one(SERIAL)
        assert shown is not None
        texts = [line["text"] for line in shown["log"]]
        assert texts == [f"NETWORK: {MAC} wait for link TFTP: 0.0.0.0", "[31mFirmware (start*.elf) not found"]
        log = services.overview.outlook(SERIAL).log
        assert log is not None
        assert log.rule == "D13"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("0.0.0.0", port))


@pytest.mark.parametrize(
    ("model", "dated", "rule"),
    [
        ("Pi 4", "2020/06/11", "D39"),
        ("Pi 4", "2020/06/12", "D38"),
        ("Pi 4", "2022/04/21", "D38"),
        ("Pi 4", "2022/04/22", None),
        ("Pi 5", "2023/10/17", "D38"),
        ("Pi 5", "2023/10/18", None),
        ("Pi 3B", "2019/01/01", None),
        ("", "2019/01/01", None),
    ],
)
def test_an_old_bootloader_is_told_by_the_day_in_its_log(model: str, dated: str, rule: str | None) -> None:
    logs = told(f"RPi: BOOTLOADER release VERSION:8ba17717 DATE: {dated} TIME: 10:24:28")
    found = logs.old(SERIAL, model)
    assert (found.rule if found else None) == rule
    assert found is None or dated in found.what
    assert logs.old(OTHER, model) is None
    assert told(BOARD).old(SERIAL, model) is None


async def test_a_flood_is_cut_off_and_told_once(tmp_path: Path) -> None:
    heard: list[Event] = []
    async with listening(tmp_path, heard) as (_, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bootloader:
            for _ in range(40):
                bootloader.sendto(b"x\n" * 1000, ("127.0.0.1", port))
                await asyncio.sleep(0)
        await until(lambda: any(isinstance(event, PacketDropped) for event in heard))
        lines = sum(isinstance(event, ConsoleHeard) for event in heard)
        dropped = sum(isinstance(event, PacketDropped) for event in heard)
        assert lines <= 5000 * (dropped + 1)


async def test_it_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with listening(tmp_path, [], enabled=False) as (_, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("0.0.0.0", port))
