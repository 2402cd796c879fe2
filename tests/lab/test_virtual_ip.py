"""A server with a second address, such as a virtual IP in front of a cluster: who is asked is who answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from rawtftp import DATA, ERROR, OACK, WRQ, Client
from support import Daemon, wait_until

from pinetboot.pi.dhcp import discover
from pinetboot.pi.profiles import PROFILES

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(60)

VIP = "10.55.0.9"
VIP6 = "fd00:55::9"
MAC = bytes.fromhex("dca6322ef8ed")
XID = 0x5AB07D11
CONTENT = bytes(range(256)) * 11

moments = pytest.mark.parametrize("added", ["before the start", "after the start"])


def start(lan: Lan, added: str, config: str = "") -> Daemon:
    """Start the daemon, the second addresses there already or not before it runs."""
    lan.address("client", "10.55.0.50/24")
    lan.address("client", "fd00:55::50/64")
    daemon: Daemon | None = None
    if added == "after the start":
        daemon = lan.serve(config)
    lan.address("server", f"{VIP}/32")
    lan.address("server", f"{VIP6}/128")
    daemon = daemon or lan.serve(config)
    (daemon.data / "boot" / "file").write_bytes(CONTENT)
    return daemon


@moments
@pytest.mark.parametrize("address", [VIP, VIP6])
def test_tftp_answers_from_the_address_that_was_asked(lan: Lan, added: str, address: str) -> None:
    start(lan, added)
    with lan.inside("client"):
        plain, optioned, missing, writing = (Client(69, address) for _ in range(4))
    with plain, optioned, missing, writing:
        first = plain.answer("file")
        assert (first.opcode, first.sender[0]) == (DATA, address)
        assert plain.take(first) == CONTENT
        assert plain.peer[0] == address

        first = optioned.answer("file", tsize=0, blksize=1024)
        assert (first.opcode, first.sender[0]) == (OACK, address)
        assert first.options == {"tsize": str(len(CONTENT)), "blksize": "1024"}
        assert optioned.take(first) == CONTENT
        assert optioned.peer[0] == address

        refusal = missing.answer("nosuch", tsize=0)
        assert (refusal.opcode, refusal.number, refusal.sender[0]) == (ERROR, 1, address)

        refusal = writing.answer("file", b"octet", WRQ)
        assert (refusal.opcode, refusal.number, refusal.sender[0]) == (ERROR, 2, address)


@moments
@pytest.mark.parametrize("address", [VIP, VIP6])
def test_http_answers_at_the_address_that_was_asked(lan: Lan, added: str, address: str) -> None:
    start(lan, added)
    for path, body in (("/boot/file", CONTENT), ("/user-data", b"#cloud-config\n")):
        connection = HTTPConnection(address, 80, timeout=5)
        with lan.inside("client"):
            connection.request("GET", path)
        with connection.getresponse() as answer:
            assert (answer.status, answer.read()) == (200, body)
        connection.close()


@contextmanager
def pi_port(lan: Lan) -> Iterator[socket.socket]:
    """Open port 68 on the host `client`, where DHCP answers come to."""
    with lan.inside("client"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sock.bind(("", 68))
        yield sock


def offer_of(sock: socket.socket, to: str, within_s: float) -> tuple[bytes, tuple[str, int]] | None:
    """Send a Pi 4's DISCOVER to an address; the answer and who it comes from."""
    sock.sendto(discover(PROFILES["pi4"], "5b154510", MAC, XID), (to, 67))
    sock.settimeout(within_s)
    try:
        payload, sender = sock.recvfrom(2048)
    except TimeoutError:
        return None
    return payload, sender


def assert_names(payload: bytes, address: str) -> None:
    """Check that siaddr, option 54 and option 66 say `address` and nothing says another one."""
    packed, text = IPv4Address(address).packed, address.encode()
    assert payload[:1] == b"\x02"
    assert payload[16:20] == bytes(4)
    assert payload[20:24] == packed
    assert bytes([54, 4]) + packed in payload[240:]
    assert bytes([66, len(text)]) + text in payload[240:]
    assert payload.count(b"10.55.0.") == 1


@moments
def test_dhcp_asked_at_the_virtual_ip_is_answered_from_it_and_names_it(lan: Lan, added: str) -> None:
    start(lan, added)
    with pi_port(lan) as sock:
        # An address that has just come is noticed a moment later; till then the first one is named.
        answer = wait_until(lambda: (heard := offer_of(sock, VIP, 1.0)) and heard[1][0] == VIP and heard, 5.0)
        assert answer
        payload, sender = answer
        assert sender == (VIP, 67)
        assert_names(payload, VIP)
        answer = offer_of(sock, "10.55.0.2", 2.0)
        assert answer is not None
        payload, sender = answer
        assert sender == ("10.55.0.2", 67)
        assert_names(payload, "10.55.0.2")


def test_a_broadcast_is_answered_from_the_address_in_the_settings_and_only_while_it_is_held(lan: Lan) -> None:
    lan.address("client", "10.55.0.50/24")
    lan.serve(f'address = "{VIP}"')
    with pi_port(lan) as sock:
        assert offer_of(sock, "255.255.255.255", 1.0) is None
        lan.address("server", f"{VIP}/32")
        answer = wait_until(lambda: offer_of(sock, "255.255.255.255", 1.0), 5.0)
        assert answer
        payload, sender = answer
        assert sender == (VIP, 67)
        assert_names(payload, VIP)
        lan.ip("server", "address", "del", f"{VIP}/32", "dev", "eth0")
        assert wait_until(lambda: offer_of(sock, "255.255.255.255", 1.0) is None, 5.0)
