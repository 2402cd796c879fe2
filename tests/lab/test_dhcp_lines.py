"""What `pinetboot dhcp-lines` prints, given word by word to the real servers: who is told to boot, and who is not."""

from __future__ import annotations

import json
import os
import secrets
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab.dhcp_servers import start_server
from support import require, wait_until

from pinetboot.demo import tree
from pinetboot.dhcp import offer, packet
from pinetboot.dhcp.offer import Offer, Proxy
from pinetboot.dhcp.options import MessageType, Option, encode_machine, encode_serial_machine
from pinetboot.dhcp.packet import BOOTREQUEST, BROADCAST, Message

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(90)

SERVER, ROUTER = "10.55.0.2", "10.55.0.1"
PI4_MAC, PI3_MAC, PC_MAC = (bytes.fromhex(text) for text in ("dca6322ef8ed", "b827ebe7d0c1", "525400123456"))
# What nobody may be told who is no Pi's firmware; siaddr and file are looked at beside them.
BOOTING = {Option.VENDOR_SPECIFIC, Option.VENDOR_CLASS, Option.TFTP_SERVER, Option.BOOT_FILE}
SERVERS = ("dnsmasq", "isc", "kea", "synology")

# The least that Kea wants, with the place where its file is added to.
KEA = """
{"Dhcp4": {
LINES
    "interfaces-config": {"interfaces": ["eth0"]},
    "lease-database": {"type": "memfile", "persist": false},
    "subnet4": [{"id": 1, "subnet": "10.55.0.0/24", "pools": [{"pool": "10.55.0.100 - 10.55.0.199"}]}],
    "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout", "flush": true}]}]
}}
"""


def printed(server: str, tmp_path: Path) -> str:
    """Run the command as a user does."""
    settings = tmp_path / "lines.toml"
    settings.write_text('[dhcp]\nmode = "off"\n')
    command = [sys.executable, "-m", "pinetboot", "dhcp-lines", server, "--address", SERVER, "--config", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def start(lan: Lan, server: str) -> None:
    """Start a DHCP server on the host `router` that has these lines, word by word."""
    lines = printed(server, lan.folder)
    if server != "kea":
        start_server(lan, "dhcpd" if server == "isc" else "dnsmasq", lines=lines)
        return
    require("kea-dhcp4")
    (lan.folder / "kea.json").write_text(KEA.replace("LINES", lines))
    log, environment = lan.folder / "kea.log", {"KEA_PIDFILE_DIR": str(lan.folder), "KEA_LOCKFILE_DIR": str(lan.folder)}
    command = [*lan.command("router"), "kea-dhcp4", "-c", str(lan.folder / "kea.json")]
    with log.open("wb") as output:
        kea = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | environment)
    lan.running.append(kea)
    assert wait_until(lambda: kea.poll() is not None or "DHCP4_STARTED" in log.read_text(), 15.0)
    assert kea.poll() is None, log.read_text()


@contextmanager
def client(lan: Lan) -> Iterator[socket.socket]:
    with lan.inside("client"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sock.bind(("", 68))
        yield sock


@contextmanager
def chatter(lan: Lan) -> Iterator[None]:
    """Have a LAN that is never silent for a second, as few are: dnsmasq answers just as the ROM's patience ends."""
    over = threading.Event()
    with lan.inside("client"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def talk() -> None:
        while not over.wait(0.3):
            sock.sendto(b"", ("255.255.255.255", 9))

    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        talking = threading.Thread(target=talk)
        talking.start()
        try:
            yield
        finally:
            over.set()
            talking.join()


def answer(sock: socket.socket, asked: Message, within_s: float = 4.0) -> Message:
    """Ask, and take the answer of the DHCP server."""
    sock.sendto(packet.encode(asked), ("255.255.255.255", 67))
    end = time.monotonic() + within_s
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        payload, (source, _) = sock.recvfrom(4096)
        told = packet.parse(payload)
        if (source, told.xid) == (ROUTER, asked.xid):
            return told
    raise TimeoutError


def discover(mac: bytes, options: dict[int, bytes]) -> Message:
    """Ask for everything that has to do with booting, in a Pi 4's order."""
    asking = {
        int(Option.MESSAGE_TYPE): bytes([MessageType.DISCOVER]),
        int(Option.PARAMETER_LIST): bytes([1, 3, 43, 60, 66, 67, *range(128, 136)]),
    }
    return Message(BOOTREQUEST, secrets.randbits(32), mac, asking | options, flags=BROADCAST)


def firmware(mac: bytes, machine: bytes) -> Message:
    return discover(
        mac,
        {
            int(Option.CLIENT_ARCHITECTURE): bytes(2),
            int(Option.CLIENT_INTERFACE): bytes([1, 2, 1]),
            int(Option.MACHINE_IDENTIFIER): machine,
            int(Option.VENDOR_CLASS): b"PXEClient:Arch:00000:UNDI:002001",
        },
    )


def own(asked: Message) -> Message:
    """What pinetboot itself would offer."""
    decided = offer.decide(asked, Proxy(IPv4Address(SERVER), "Raspberry Pi Boot   ", (0.6, 1.2)))
    assert isinstance(decided, Offer)
    return decided.message


def value(server: str, told: Message, option: Option) -> bytes | None:
    found = told.options.get(option)
    ends_with_zero = server in {"dnsmasq", "synology"} and option is Option.TFTP_SERVER
    return found.removesuffix(b"\0") if found and ends_with_zero else found


PIS = {
    "pi4": firmware(PI4_MAC, encode_machine(b"4iPR", 0xD03114, PI4_MAC, "5b154510")),
    "pi4 of 2021": firmware(PI4_MAC, encode_machine(b"RPi4", 0xA03111, PI4_MAC, "5b154510")),
    "pi5": firmware(PI4_MAC, encode_machine(b"5iPR", 0xD04170, PI4_MAC, "5b154510")),
    "pi5 with a MAC of tomorrow": firmware(
        bytes.fromhex("02aabbccddee"), encode_machine(b"RPi5", 0xD04170, bytes.fromhex("02aabbccddee"), "5b154510")
    ),
    "pi3bp": firmware(PI3_MAC, encode_serial_machine("7285c0f2")),
}
OTHERS = {
    "a PC with a BIOS": firmware(PC_MAC, b"\0" + bytes(range(16))),
    "Linux on a Pi": discover(PI4_MAC, {}),
    "klibc on a Pi": discover(PI4_MAC, {int(Option.VENDOR_CLASS): b"Linux ipconfig"}),
    "a host": discover(PC_MAC, {}),
}


@pytest.mark.parametrize("server", SERVERS)
def test_a_pi_is_told_what_pinetboot_would_tell_it_and_nobody_else_is_told_anything(lan: Lan, server: str) -> None:
    start(lan, server)
    with client(lan) as sock:
        for who, asked in PIS.items():
            fresh = replace(asked, xid=secrets.randbits(32))
            told, ours = answer(sock, fresh), own(fresh)
            for option in (Option.VENDOR_SPECIFIC, Option.VENDOR_CLASS, Option.TFTP_SERVER):
                assert value(server, told, option) == ours.options[option], (who, option.name)
            assert str(told.yiaddr).startswith("10.55.0.1")
            assert str(told.siaddr) == SERVER, who
        # The ROM goes by whichever of 43 and 66 comes last, and 43 means the sender of the offer.
        rom = replace(firmware(PI3_MAC, b"\0" + b"\x44" * 16), xid=0x26F30339)
        asked_at = time.monotonic()
        told = answer(sock, rom)
        assert value(server, told, Option.TFTP_SERVER) == SERVER.encode()
        assert Option.VENDOR_SPECIFIC not in told.options
        if server == "dnsmasq":
            assert time.monotonic() - asked_at >= 0.95
        for who, asked in OTHERS.items():
            told = answer(sock, asked)
            assert not BOOTING & set(told.options), who
            assert str(told.siaddr) in {"0.0.0.0", ROUTER}, who


# The ROM of a Pi 3B boots where its answer comes a second late, which only dnsmasq can be told.
MODELS = {"dnsmasq": ("pi4", "pi3b-rom"), "isc": ("pi5",), "kea": ("pi4", "pi5")}
ALL_MODELS = ("pi3bp", "pi4-2020", "pi4", "pi5")
LONG = os.environ.get("PINETBOOT_LONG_TESTS") == "1"


@pytest.mark.timeout(300 if LONG else 90)
@pytest.mark.parametrize("server", ["dnsmasq", "isc", "kea"])
def test_pis_boot_and_a_plain_client_gets_an_address_and_no_more(lan: Lan, server: str) -> None:
    require("busybox")
    start(lan, server)
    daemon = lan.serve('[dhcp]\nmode = "off"\n')
    tree.make(daemon.data, f"http://{SERVER}/")
    for model in dict.fromkeys(MODELS[server] + (ALL_MODELS if LONG else ())):
        with chatter(lan) if model == "pi3b-rom" else nullcontext():
            code, report = lan.rehearse(model, {"3": tree.PI3, "4": tree.PI4, "5": tree.PI5}[model[2]])
        assert report["cause"] is None, (model, report["cause"], report["steps"])
        assert (code, report["ok"], report["server"], report["stopped_at"]) == (0, True, SERVER, None)
    assert daemon.said("boot offered") == []
    # With one address there is nothing to ask for.
    told = lan.run("server", sys.executable, "-m", "pinetboot", "dhcp-lines", "isc", "--config", str(daemon.settings))
    assert (told.returncode, f"next-server {SERVER};" in told.stdout) == (0, True)

    script = lan.folder / "script"
    script.write_text('#!/bin/sh\necho "$1"\nenv\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    done = lan.run("client", "busybox", "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-s", str(script))
    assert done.returncode == 0, done.stderr
    bound = done.stdout.partition("bound\n")[2]
    assert "ip=10.55.0.1" in bound
    assert not [line for line in bound.splitlines() if line.startswith(("boot_file=", "bootfile=", "tftp=", "sname="))]
    assert f"={SERVER}\n" not in bound


def test_the_menu_of_the_settings_and_the_address_of_the_settings_are_printed(tmp_path: Path) -> None:
    settings = tmp_path / "p.toml"
    settings.write_text('[server]\naddress = "192.0.2.9"\n[dhcp]\npxe_menu = "My \\"Pi\\""\n')
    command = [sys.executable, "-m", "pinetboot", "dhcp-lines", "kea", "--config", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert 'dhcp.mode is "proxy"' in done.stderr
    lines = "\n".join(line for line in done.stdout.splitlines() if not line.lstrip().startswith("#"))
    classes = json.loads("{" + lines.rstrip().rstrip(",") + "}")["client-classes"]
    assert {one["next-server"] for one in classes} == {"192.0.2.9"}
    menu = bytes.fromhex(classes[0]["option-data"][2]["data"])
    assert b'My "Pi"' in menu
