"""Many virtual Pis at once on loopback, with no privilege: each is a Pi of its own, and all are told together."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import resource
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from support import Daemon, wait_until, without_privileges

from pinetboot import storm
from pinetboot.demo import stage, tree
from pinetboot.demo.router import Router
from pinetboot.errors import OperatorError
from pinetboot.pi.faults import Fault, parse
from pinetboot.pi.link import LoopbackLink
from pinetboot.pi.profiles import PROFILES
from pinetboot.pi.report import Report

Serve = Callable[..., Daemon]
_PIPE = 65_536  # bytes that a pipe holds (pipe(7))


def small_root(daemon: Daemon) -> None:
    """Serve one small tree from the root, to Pis without a folder of their own."""
    boot = daemon.data / "boot"
    for name in ("start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb", "kernel8.img"):
        (boot / name).write_bytes(os.urandom(20_000))
    (boot / "cmdline.txt").write_text(f"root=/dev/ram0 ds=nocloud;s=http://127.0.0.1:{daemon.http_port}/\n")


def command(daemon: Daemon, *flags: str) -> list[str]:
    where = ["--no-dhcp", "--server", "127.0.0.1", "--tftp-port", str(daemon.tftp_port), "--serial", "10000000"]
    return [sys.executable, "-m", "pinetboot", "rehearse", *where, *flags]


def rehearse(daemon: Daemon, *flags: str) -> subprocess.CompletedProcess[str]:
    whole = [*without_privileges(), *command(daemon, *flags)]
    return subprocess.run(whole, capture_output=True, text=True, timeout=60, check=False)


def test_each_boots_from_an_address_of_its_own_and_one_shape_tells_all(serve: Serve) -> None:
    daemon = serve()
    small_root(daemon)
    done = rehearse(daemon, "--count", "12", "--at-once", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) == {"ok", "count", "booted", "seconds", "pis"}
    assert (told["ok"], told["count"], told["booted"]) == (True, 12, 12)
    assert [pi["serial"] for pi in told["pis"]] == [f"1000000{number:x}" for number in range(12)]
    alone = json.loads(rehearse(daemon, "--json").stdout)
    assert all(set(pi) == set(alone) for pi in told["pis"])
    seeds = {line["client"]: line["serial"] for line in daemon.said("http seed") if line["client"] != "127.0.0.1"}
    assert seeds == {f"127.1.0.{number + 1}": f"1000000{number:x}" for number in range(12)}


def test_a_reader_that_is_slow_gets_all_of_it(serve: Serve) -> None:
    daemon = serve()
    small_root(daemon)
    whole = [*without_privileges(), *command(daemon, "--count", "12", "--at-once", "--json")]
    # As container images have it: Python writes once then, however little of it the pipe takes.
    unbuffered = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(whole, stdout=subprocess.PIPE, env=unbuffered) as process:
        assert process.stdout is not None
        assert wait_until(lambda: waiting(process.stdout) == _PIPE, 60)
        text, _ = process.communicate(timeout=30)
    assert len(text) > _PIPE
    assert json.loads(text)["booted"] == 12


def waiting(pipe: IO[bytes] | None) -> int:
    """How many bytes can be read from it."""
    assert pipe is not None
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_those_that_stop_are_grouped_by_cause(serve: Serve) -> None:
    daemon = serve()
    small_root(daemon)
    folder = daemon.data / "boot" / "10000001"
    folder.mkdir()
    (folder / "start4.elf").write_bytes(b"alone")
    done = rehearse(daemon, "--count", "4", "--stagger", "0.05", "--fault", "blksize:512@2")
    assert done.returncode == 1
    assert "3 of 4 boot: Raspberry Pi 4, bootloader of 2024" in done.stdout
    assert "1 at firmware (D27)  10000001" in done.stdout
    assert "10000001/fixup4.dat is not served" in done.stdout
    assert "median" in done.stdout
    assert "slowest" in done.stdout
    both = rehearse(daemon, "--count", "4", "--at-once", "--json", "--fault=drop:3", "--fault=overlap@3")
    told = json.loads(both.stdout)
    assert (both.returncode, told["booted"], told["ok"]) == (1, 3, False)
    assert [pi["notes"][:2] for pi in told["pis"]][2] == ["fault: drop:3", "fault: overlap"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--count", "0"], "--count"),
        (["--count", "3", "--serial", "fffffffe"], "3 serials or MACs from these on are more than there are"),
        (["--count", "3", "--mac", "ff:ff:ff:ff:ff:fe"], "more than there are"),
        (["--count", "3", "--fault", "drop@4"], "drop:10 is for Pi 4, and there are 3"),
        (["--fault", "nosuch"], "'nosuch' is no fault; there are drop, "),
        (["--fault", "drop:x"], "drop takes a number from 1 on"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(serve: Serve, flags: list[str], told: str) -> None:
    done = rehearse(serve(), *flags)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_terminal_it_shows_how_far_they_are(serve: Serve) -> None:
    daemon = serve()
    small_root(daemon)
    try:
        leader, follower = pty.openpty()
    except OSError as error:
        pytest.skip(f"no terminal can be had: {error}")
    whole = command(daemon, "--count", "10", "--stagger", "0.1")
    with subprocess.Popen(whole, stdout=follower, stderr=follower, env=os.environ | {"TERM": "xterm"}) as running:
        os.close(follower)
        shown = b""
        while part := _read(leader):
            shown += part
        assert running.wait(10) == 0
    os.close(leader)
    assert shown.count(b"under way") > 2
    assert b"10 of 10 boot" in shown


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:
        return b""


@pytest.mark.parametrize("model", PROFILES)
async def test_many_of_each_model_boot_over_dhcp_on_loopback(model: str, tmp_path: Path) -> None:
    """As in the demonstration: its servers, its stand-in for a router, and no privilege."""
    profile = PROFILES[model]
    serial = {3: tree.PI3, 4: tree.PI4, 5: tree.PI5}[profile.generation]
    async with stage.set_up(lambda _: None) as servers:
        boot = servers.data / "boot"
        for path in list((boot / serial).rglob("*")):
            if path.suffix in {".img", ".elf"} or path.name.startswith("initramfs"):
                path.write_bytes(bytes(3000))
        for path in (boot / serial).iterdir():
            path.rename(boot / path.name)
        router = Router(servers.dhcp_port)
        router.start()
        try:
            planned = storm.plans(
                profile,
                "10000000",
                100 if model == "pi4" else 20,
                link=LoopbackLink(servers.dhcp_port, "127.0.0.1"),
                tftp_port=servers.tftp_port,
            )
            outcome = await storm.run(planned, 0.0, lambda _number, _step: None)
        finally:
            router.stop()
    assert outcome.causes() == {}
    assert outcome.ok
    assert outcome.slowest in outcome.reports
    assert outcome.median_s <= max(report.seconds for report in outcome.reports)


async def test_steps_are_told_by_number_and_the_report_comes_last(tmp_path: Path) -> None:
    heard: dict[int, list[object]] = {0: [], 1: []}
    async with stage.set_up(lambda _: None) as servers:
        planned = storm.plans(PROFILES["pi4"], tree.PI4, 2, link=None, server="127.0.0.1", tftp_port=servers.tftp_port)
        outcome = await storm.run(planned, 0.01, lambda number, step: heard[number].append(step))
    assert [heard[number][-1] for number in (0, 1)] == list(outcome.reports)
    assert all(not isinstance(step, Report) for number in (0, 1) for step in heard[number][:-1])
    # The second one's folder is not there, nor a loader in the root.
    assert [report.ok for report in outcome.reports] == [True, False]
    assert [(key, len(found)) for key, found in outcome.causes().items()] == [(("firmware", "D13"), 1)]


async def test_one_that_cannot_even_be_tried_ends_all(tmp_path: Path) -> None:
    planned = storm.plans(PROFILES["pi4"], tree.PI4, 3, link=LoopbackLink(67, "127.0.0.1"))
    beside = storm.plans(PROFILES["pi4"], tree.PI5, 1, link=None, server="127.0.0.1")
    planned.append(replace(beside[0], local="192.0.2.1"))
    with pytest.raises(OperatorError, match=r"from 192\.0\.2\.1|UDP port 68"):
        await storm.run(planned, 0.0, lambda _number, _step: None)
    assert len(asyncio.all_tasks()) == 1


def test_serials_macs_and_faults_are_counted_on() -> None:
    faults = [parse("overlap"), parse("drop:3@2")]
    first, second = storm.plans(PROFILES["pi4"], "0000000f", 2, link=None, server="192.0.2.1", with_faults=faults)
    assert (first.serial, second.serial) == ("0000000f", "00000010")
    assert (first.mac.hex(), second.mac.hex()) == ("dca63200000f", "dca632000010")
    assert (first.local, second.local) == ("", "")
    assert first.faults == (Fault("overlap"),)
    assert second.faults == (Fault("overlap"), Fault("drop", "3", 2))
    assert first.profile.overlaps
    mac = bytes.fromhex("02000000ffff")
    assert [
        one.mac.hex() for one in storm.plans(PROFILES["pi5"], tree.PI5, 2, link=None, server="192.0.2.1", mac=mac)
    ] == [
        "02000000ffff",
        "020000010000",
    ]


async def test_the_limit_of_open_files_is_raised_for_many() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    try:
        planned = storm.plans(
            PROFILES["pi4"], "10000000", 200, link=None, server="127.0.0.1", with_faults=[parse("unplug:1")]
        )
        running = asyncio.ensure_future(storm.run(planned, 0.0, lambda _number, _step: None))
        await asyncio.sleep(1.0)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 200
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
