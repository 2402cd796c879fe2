"""ProxyDHCP beside a real DHCP server: who boots from where, what is on the wire, and who is left alone."""

from __future__ import annotations

import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from golden import SPOKEN
from support import require

from pinetboot.demo import tree

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(60)

SERVER = "10.55.0.2"
ROUTER = "10.55.0.1"
EVERYONE = b"\xff" * 6
ETH_P_IP = 0x0800
UDP = 17


@dataclass(frozen=True)
class Heard:
    """A UDP datagram with what its frame and its packet say; `at` is monotonic."""

    from_mac: bytes
    to_mac: bytes
    source: tuple[str, int]
    destination: tuple[str, int]
    payload: bytes
    at: float


@contextmanager
def wire(lan: Lan, host: str) -> Iterator[socket.socket]:
    """Open a host's interface for whole frames, of IPv4 alone."""
    with lan.inside(host):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
    with sock:
        sock.bind(("eth0", ETH_P_IP))
        yield sock


def frames(sock: socket.socket, for_s: float) -> Iterator[tuple[bytes, float]]:
    """Give what comes within that time, each frame with its time."""
    end = time.monotonic() + for_s
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            frame = sock.recv(65535)
        except TimeoutError:
            return
        yield frame, time.monotonic()


def datagrams(sock: socket.socket, for_s: float) -> list[Heard]:
    """Collect the UDP datagrams that come within that time."""
    heard = []
    for frame, at in frames(sock, for_s):
        packet = frame[14:]
        size = (packet[0] & 15) * 4
        if packet[9] != UDP:
            continue
        from_port, to_port, length = struct.unpack_from("!HHH", packet, size)
        source, destination = (socket.inet_ntoa(packet[at_ : at_ + 4]) for at_ in (12, 16))
        payload = packet[size + 8 : size + length]
        heard.append(Heard(frame[6:12], frame[:6], (source, from_port), (destination, to_port), payload, at))
    return heard


def broadcast_frame(mac: bytes, payload: bytes) -> bytes:
    """Wrap a DISCOVER as the ROM does: TTL 128, id 0, no UDP checksum."""
    udp = struct.pack("!HHHH", 68, 67, 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 128, UDP, 0, bytes(4), b"\xff" * 4)
    total = sum(struct.unpack("!10H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:]
    return EVERYONE + mac + struct.pack("!H", ETH_P_IP) + header + udp


@pytest.mark.parametrize(("model", "serial"), [("pi4", tree.PI4), ("pi5", tree.PI5)])
def test_a_pi_takes_its_address_from_the_one_and_boots_from_the_other(lan: Lan, model: str, serial: str) -> None:
    router = lan.router()
    daemon = lan.serve()
    tree.make(daemon.data, f"http://{SERVER}/")
    assert lan.addresses("pi") == []

    code, report = lan.rehearse(model, serial)

    assert report["cause"] is None
    assert (code, report["ok"], report["server"], report["stopped_at"]) == (0, True, SERVER, None)
    assert [step["stage"] for step in report["steps"]] == ["seen", "firmware", "kernel", "seed"]
    dhcp = report["steps"][0]["what"]
    assert f"{ROUTER} offers 10.55.0.1" in dhcp
    assert f"{SERVER} says to boot from {SERVER}" in dhcp
    assert "DHCPACK(eth0) 10.55.0.1" in router.read_text()
    come = {file["name"].replace("//", "/"): file["bytes"] for file in report["files"] if is_there(file)}
    for name, size in files_below(daemon.data / "boot" / serial).items():
        assert come.get(f"{serial}/{name}") == size, name
    seed = [file["name"] for file in report["files"] if file["name"].startswith("http:")]
    assert seed == [f"http://{SERVER}/{name}" for name in ("network-config", "meta-data", "user-data", "vendor-data")]
    assert [line["path"] for line in daemon.said("http seed") if line["status"] == 200] == [
        url.removeprefix(f"http://{SERVER}") for url in seed
    ]
    assert lan.addresses("pi") == []
    assert "DHCPRELEASE" in router.read_text()


def is_there(file: dict[str, object]) -> bool:
    return file["result"] == "ok" and not file["probe"]


def files_below(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("model", SPOKEN)
def test_the_offer_is_the_reference_s_byte_for_byte_and_comes_when_the_model_can_take_it(lan: Lan, model: str) -> None:
    spoken = SPOKEN[model]
    lan.serve()
    with wire(lan, "pi") as sock:
        asked = time.monotonic()
        sock.send(broadcast_frame(spoken.mac, spoken.discover))
        answers = datagrams(sock, 2.0)
    assert [answer.payload.hex(" ") for answer in answers] == [spoken.offer.hex(" ")] * len(spoken.due_s)
    for answer, due_s in zip(answers, spoken.due_s, strict=True):
        assert answer.source == (SERVER, 67)
        assert answer.destination == ("255.255.255.255", 68)
        assert (answer.from_mac, answer.to_mac) == (lan.mac("server"), EVERYONE)
        assert due_s - 0.01 <= answer.at - asked < due_s + 0.45


def test_a_client_that_is_no_pi_gets_its_lease_and_never_hears_of_pinetboot(lan: Lan) -> None:
    require("busybox")
    router = lan.router()
    lan.serve()
    script = lan.folder / "script"
    script.write_text('#!/bin/sh\necho "$1" "$ip" "$serverid"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    with wire(lan, "client") as sock:
        done = lan.run("client", "busybox", "udhcpc", "-f", "-q", "-n", "-i", "eth0", "-s", str(script))
        heard = [(frame, at) for frame, at in frames(sock, 1.5)]
    assert done.returncode == 0, done.stderr
    bound = [line.split() for line in done.stdout.splitlines() if line.startswith("bound")]
    assert [(address.startswith("10.55.0.1"), server) for _, address, server in bound] == [(True, ROUTER)]
    assert "DHCPACK(eth0)" in router.read_text()
    senders = {frame[6:12] for frame, _ in heard}
    assert lan.mac("router") in senders
    assert lan.mac("server") not in senders
    # The same ear hears pinetboot well enough once a Pi asks.
    with wire(lan, "client") as ear, wire(lan, "pi") as pi:
        pi.send(broadcast_frame(SPOKEN["pi4"].mac, SPOKEN["pi4"].discover))
        assert lan.mac("server") in {answer.from_mac for answer in datagrams(ear, 0.5)}


def test_without_a_dhcp_server_the_rehearsal_says_that_nobody_gives_an_address(lan: Lan) -> None:
    daemon = lan.serve()
    code, report = lan.rehearse("pi4", tree.PI4, "--dhcp-timeout", "6")
    assert (code, report["ok"], report["stopped_at"]) == (1, False, "seen")
    assert report["cause"]["rule"] == "D03"
    assert "a boot server answered" in report["cause"]["what"]
    assert daemon.said("boot offered")
    assert lan.addresses("pi") == []


def test_without_pinetboot_the_rehearsal_says_that_nobody_offers_to_boot(lan: Lan) -> None:
    lan.router()
    code, report = lan.rehearse("pi4", tree.PI4, "--dhcp-timeout", "6")
    assert (code, report["ok"], report["stopped_at"]) == (1, False, "seen")
    assert report["cause"]["rule"] == "D02"
    assert lan.addresses("pi") == []
