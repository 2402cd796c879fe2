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
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import pxe
from lab.dhcp_servers import start_server
from support import require, wait_until

from pinetboot.config import PXE_LOADERS
from pinetboot.demo import tree
from pinetboot.dhcp import offer, packet, serving
from pinetboot.dhcp.lease import Range
from pinetboot.dhcp.leases import Leases
from pinetboot.dhcp.offer import Offer, Proxy
from pinetboot.dhcp.options import MessageType, Option, encode_machine, encode_serial_machine
from pinetboot.dhcp.packet import BOOTREQUEST, BROADCAST, Message
from pinetboot.dhcp.pxe import Pxe
from pinetboot.dhcp.serving import Answer, Ground, Known

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(90)

SERVER, ROUTER = "10.55.0.2", "10.55.0.1"
PI4_MAC, PI3_MAC, PC_MAC = (bytes.fromhex(text) for text in ("dca6322ef8ed", "b827ebe7d0c1", "525400123456"))
# What nobody may be told who is no Pi's firmware; siaddr and file are looked at beside them.
BOOTING = (Option.VENDOR_SPECIFIC, Option.VENDOR_CLASS, Option.TFTP_SERVER, Option.BOOT_FILE, Option.PATH_PREFIX)
LOADERS = PXE_LOADERS | {"19": "arm/http.efi", "9": "arm/x64.efi"}
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


def printed(server: str, tmp_path: Path, *, machines: bool) -> str:
    """Run the command as a user does, who has loaders for all machines or leaves machines alone."""
    settings, boot = tmp_path / "lines.toml", tmp_path / "lines/boot"
    lines = [f'"{architecture}" = "{name}"' for architecture, name in LOADERS.items()] if machines else []
    settings.write_text("\n".join(['[dhcp]\nmode = "off"', "[pxe]", *lines, ""]))
    for name in LOADERS.values():
        (boot / name).parent.mkdir(parents=True, exist_ok=True)
        (boot / name).touch()
    command = [sys.executable, "-m", "pinetboot", "dhcp-lines", server, "--address", SERVER, "--config", str(settings)]
    command += ["--data", str(boot.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def start(lan: Lan, server: str, *, machines: bool) -> None:
    """Start a DHCP server on the host `router` that has these lines, word by word."""
    lines = printed(server, lan.folder, machines=machines)
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


def as_server(asked: Message) -> Message:
    """What pinetboot itself would offer where it gives the addresses too."""
    network, here = IPv4Network("10.55.0.0/24"), IPv4Address(SERVER)
    leases = Leases(Range(network, network[100], network[199], frozenset({here})))
    offered = Pxe(LOADERS, "", lambda name: "beside/" not in name, lambda _: False)
    proxy = Proxy(here, "Raspberry Pi Boot   ", (0.6, 1.2), offered)
    ground = Ground(network, here, frozenset({here}), 600, None, (), proxy)
    decided = serving.decide(asked, leases, ground, lambda _, serial: Known(serial), time.time())
    assert isinstance(decided, Answer)
    return decided.message


def value(server: str, told: Message, option: Option) -> bytes | None:
    found = told.options.get(option)
    ends_with_zero = server in {"dnsmasq", "synology"} and option is not Option.VENDOR_SPECIFIC
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
PC_ITSELF = b"\0" + bytes(range(16))


def firmware_of_another(
    *architectures: int,
    kind: str = "PXEClient",
    user_class: bytes = b"",
    mac: bytes = PC_MAC,
    itself: bytes = PC_ITSELF,
) -> Message:
    """Ask as firmware of another machine does: not for option 210, which what it loads will look for."""
    first = architectures[0] if architectures else 0
    more = {
        Option.CLIENT_ARCHITECTURE: b"".join(one.to_bytes(2, "big") for one in architectures),
        Option.CLIENT_INTERFACE: bytes([1, 3, 16]),
        Option.MACHINE_IDENTIFIER: itself,
        Option.VENDOR_CLASS: f"{kind}:Arch:{first:05}:UNDI:003016".encode(),
        Option.USER_CLASS: user_class,
    }
    return discover(mac, {int(code): told for code, told in more.items() if told})


MACHINES = {
    "a PC with a BIOS": firmware_of_another(0),
    "a PC that does not say its architecture": firmware_of_another(),
    "UEFI x64": firmware_of_another(7),
    "UEFI x64, which may say 9, with a loader of its own": firmware_of_another(9),
    "UEFI x64 that could also be a BIOS": firmware_of_another(7, 0),
    "UEFI arm64": firmware_of_another(11),
    "UEFI x64 by HTTP": firmware_of_another(16, kind="HTTPClient"),
    "UEFI arm64 by HTTP": firmware_of_another(19, kind="HTTPClient"),
    "iPXE on a BIOS": firmware_of_another(0, user_class=b"iPXE"),
    "iPXE on UEFI x64": firmware_of_another(7, user_class=b"iPXE"),
    "iPXE on UEFI arm64, its name behind a length": firmware_of_another(11, user_class=b"\4iPXE"),
    "UEFI on a Pi": firmware_of_another(11, mac=PI4_MAC),
    "iPXE on a Pi": firmware_of_another(0, mac=PI4_MAC, user_class=b"iPXE"),
    "U-Boot": firmware_of_another(22, kind="U-Boot.armv8"),
    "UEFI x86, for which nothing is named": firmware_of_another(6),
    "UEFI x86 by HTTP, for which nothing is named": firmware_of_another(15, kind="HTTPClient"),
    "HTTP boot of what boots by PXE": firmware_of_another(7, kind="HTTPClient"),
}
OTHERS = {
    "Linux on a Pi": discover(PI4_MAC, {}),
    "klibc on a Pi": discover(PI4_MAC, {int(Option.VENDOR_CLASS): b"Linux ipconfig"}),
    "a host": discover(PC_MAC, {}),
}


def told_nothing(told: Message) -> bool:
    return not {*BOOTING} & set(told.options) and not told.file and str(told.siaddr) in {"0.0.0.0", ROUTER}


@pytest.mark.parametrize("server", SERVERS)
def test_pis_and_machines_are_told_what_pinetboot_would_tell_them_and_nobody_else_is_told_anything(
    lan: Lan, server: str
) -> None:
    start(lan, server, machines=True)
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
        for who, asked in MACHINES.items():
            told, ours = answer(sock, asked), as_server(asked)
            if ours.siaddr == packet.ZERO:
                assert told_nothing(told), who
                continue
            assert told.siaddr == ours.siaddr, who
            for option in BOOTING:
                there = value(server, told, option)
                # iPXE fills that in.
                there = there and there.replace(b"${netX/mac:hexhyp}", asked.mac.hex("-").encode())
                assert there == ours.options.get(option), (who, option.name)
            # dnsmasq uses the field where option 67 is not asked for.
            field = told.file.replace(b"${netX/mac:hexhyp}", asked.mac.hex("-").encode())
            assert field == (b"" if server in {"dnsmasq", "synology"} else ours.file), who
        for who, asked in OTHERS.items():
            assert told_nothing(answer(sock, asked)), who


# The ROM of a Pi 3B boots where its answer comes a second late, which only dnsmasq can be told.
MODELS = {"dnsmasq": ("pi4", "pi3b-rom"), "isc": ("pi5",), "kea": ("pi4", "pi5")}
ALL_MODELS = ("pi3bp", "pi4-2020", "pi4", "pi5")
LONG = os.environ.get("PINETBOOT_LONG_TESTS") == "1"


@pytest.mark.timeout(300 if LONG else 90)
@pytest.mark.parametrize("server", ["dnsmasq", "isc", "kea"])
def test_pis_boot_and_a_plain_client_gets_an_address_and_no_more(lan: Lan, server: str) -> None:
    require("busybox")
    start(lan, server, machines=False)
    with client(lan) as sock:
        assert told_nothing(answer(sock, MACHINES["a PC with a BIOS"]))
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


def test_a_real_ipxe_asks_for_its_script_with_its_own_mac_and_architecture(lan: Lan, tmp_path: Path) -> None:
    require("qemu-system-x86_64")
    start(lan, "dnsmasq", machines=True)
    log = tmp_path / "asked"
    command = [*lan.command("server"), sys.executable, "-m", "http.server", "80", "--directory", str(tmp_path)]
    with log.open("wb") as output:
        lan.running.append(subprocess.Popen(command, stdout=output, stderr=output))
    machine = pxe.machine(lan, tmp_path, "pc").start_bios("52:54:00:12:34:56", memory="128M")
    try:
        assert wait_until(lambda: "GET /ipxe" in log.read_text(), 60.0), log.read_text()
    finally:
        machine.end()
    assert "GET /ipxe?mac=52-54-00-12-34-56&arch=0 " in log.read_text()


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
