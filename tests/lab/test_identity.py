"""Who is who on a real LAN, where the address of Linux is another than the firmware's, or was another Pi's before."""

from __future__ import annotations

import json
import socket
from ipaddress import IPv4Address
from typing import Any

import pytest
from lab.lan import INTERFACE, Lan
from support import Daemon, require, wait_until

from pinetboot.dhcp import packet
from pinetboot.dhcp.options import MessageType, Option
from pinetboot.dhcp.packet import BOOTREQUEST, Message
from pinetboot.pi.dhcp import discover
from pinetboot.pi.profiles import PROFILES

pytestmark = pytest.mark.timeout(120)

SERIALS = {"pi": "5b154510", "client": "da591740"}
ADDRESS, SERVER = "10.55.0.150", "10.55.0.2"
FLEET = "".join(f'[[pi]]\nserial = "{serial}"\nhostname = "node-{host}"\n' for host, serial in SERIALS.items())


def say(lan: Lan, host: str, message: bytes) -> None:
    """Broadcast a DHCP message from a host that has no address."""
    with lan.inside(host), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, INTERFACE.encode())
        sock.bind(("", 68))
        sock.sendto(message, ("255.255.255.255", 67))


def linux_requests(lan: Lan, host: str, address: str) -> None:
    """What a kernel says before it takes an address: of no Pi, and of no serial (reference 2.9)."""
    options = {
        int(Option.MESSAGE_TYPE): bytes([MessageType.REQUEST]),
        int(Option.SERVER_IDENTIFIER): IPv4Address("10.55.0.1").packed,
        int(Option.REQUESTED_ADDRESS): IPv4Address(address).packed,
    }
    say(lan, host, packet.encode(Message(op=BOOTREQUEST, xid=1, mac=lan.mac(host), options=options)))


def takes(lan: Lan, host: str, address: str) -> None:
    """Give a host an address that nobody has now, and have it make itself known, as it does when it asks somebody."""
    for other in SERIALS:
        if address in lan.addresses(other):
            lan.ip(other, "address", "del", f"{address}/24", "dev", INTERFACE)
    lan.address(host, f"{address}/24")


def hostname(lan: Lan, host: str) -> str:
    """Which host name the seed at the root tells that host."""
    done = lan.run(host, "curl", "--silent", "--max-time", "10", f"http://{SERVER}/meta-data")
    assert done.returncode == 0, done.stderr
    return next(line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("local-hostname"))


def pis(lan: Lan) -> dict[str, Any]:
    done = lan.run("server", "curl", "--silent", f"http://{SERVER}/api/pis")
    return {pi["serial"]: pi for pi in json.loads(done.stdout)["pis"]}


@pytest.fixture
def daemon(lan: Lan) -> Daemon:
    require("curl")
    found = lan.serve('[nfs]\nmode = "off"\n')
    (found.data / "fleet.toml").write_text(FLEET)
    assert wait_until(lambda: set(pis(lan)) == set(SERIALS.values()))
    for host, serial in SERIALS.items():
        say(lan, host, discover(PROFILES["pi4"], serial, lan.mac(host), 7))
    assert wait_until(lambda: all(pi["mac"] for pi in pis(lan).values()))
    return found


def test_a_pi_at_an_address_that_nothing_was_asked_from_gets_its_own_seed(lan: Lan, daemon: Daemon) -> None:
    takes(lan, "pi", ADDRESS)
    assert hostname(lan, "pi") == "node-pi"
    assert not daemon.process_ended


def test_a_pi_that_gets_the_address_that_another_had_gets_its_own_seed(lan: Lan, daemon: Daemon) -> None:
    takes(lan, "pi", ADDRESS)
    phone = ("curl", "--silent", "--fail", "--data", "hostname=x", f"http://{SERVER}/phone/{SERIALS['pi']}")
    assert lan.run("pi", *phone).returncode == 0
    assert pis(lan)[SERIALS["pi"]]["address"] == ADDRESS
    linux_requests(lan, "client", ADDRESS)
    takes(lan, "client", ADDRESS)
    assert wait_until(lambda: hostname(lan, "client") == "node-client")
    found = pis(lan)
    assert found[SERIALS["pi"]]["address"] is None
    assert not daemon.process_ended
