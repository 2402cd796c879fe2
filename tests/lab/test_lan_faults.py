"""What goes wrong on a LAN around the boot server: other DHCP servers, answers that lie about who sends them."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from support import require, wait_until

from pinetboot.demo import tree
from pinetboot.dhcp import packet
from pinetboot.dhcp.options import MessageType, Option, encode_pxe_menu
from pinetboot.dhcp.packet import BOOTREPLY, BROADCAST, Message

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(60)

SERVER, SECOND, NOBODY = "10.55.0.2", "10.55.0.3", "10.55.0.77"


def plain_dhcp(lan: Lan, host: str, first: str, last: str, *options: str) -> None:
    """Start one more plain DHCP server on a host."""
    require("dnsmasq")
    command = [*lan.command(host), "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="]
    command += ["--user=root", "--group=root", f"--dhcp-leasefile={lan.folder / host}", "--port=0", "--no-ping"]
    command += ["--interface=eth0", f"--dhcp-range={first},{last},255.255.255.0,10m", *options]
    with (lan.folder / f"{host}.log").open("wb") as output:
        lan.running.append(subprocess.Popen(command, stdout=output, stderr=output))
    assert wait_until(lambda: lan.run(host, "ss", "-Huln", "sport", "=", ":67").stdout)


@pytest.mark.parametrize(("late", "model", "serial"), [("router", "pi3b-rom", tree.PI3), ("client", "pi4", tree.PI4)])
def test_of_two_dhcp_servers_the_first_to_answer_gives_the_address(
    lan: Lan, late: str, model: str, serial: str
) -> None:
    lan.address("client", f"{SECOND}/24")
    for host, ends in (("router", ("10.55.0.100", "10.55.0.120")), ("client", ("10.55.0.200", "10.55.0.220"))):
        plain_dhcp(lan, host, *ends, *(["--dhcp-reply-delay=1"] if host == late else []))
    tree.make(lan.serve().data, f"http://{SERVER}/")
    code, report = lan.rehearse(model, serial)
    assert (code, report["cause"], report["server"]) == (0, None, SERVER)
    assert f"offers 10.55.0.{2 if late == 'router' else 1}" in report["steps"][0]["what"]
    assert report["steps"][0]["what"].count("offers") == 1


@pytest.mark.parametrize(("model", "serial"), [("pi3b-rom", tree.PI3)])
def test_a_proxy_alone_gives_no_model_an_address(lan: Lan, model: str, serial: str) -> None:
    lan.serve()
    code, report = lan.rehearse(model, serial, "--dhcp-timeout", "2.5")
    assert (code, report["stopped_at"], report["cause"]["rule"]) == (1, "seen", "D03")
    assert "a boot server answered" in report["cause"]["what"]


@contextmanager
def liar(lan: Lan) -> Iterator[None]:
    """Offer to boot from 10.55.0.3 without naming it, and say in option 54 that somebody else offers."""
    with lan.inside("client"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sock.bind(("", 67))
        sock.settimeout(0.1)
        over = threading.Event()

        def answer() -> None:
            while not over.is_set():
                try:
                    asked = packet.parse(sock.recv(2048))
                except TimeoutError:
                    continue
                if asked.type is MessageType.DISCOVER:
                    sock.sendto(packet.encode(offer_to(asked)), ("255.255.255.255", 68))

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def offer_to(asked: Message) -> Message:
    options = {
        int(Option.MESSAGE_TYPE): bytes([MessageType.OFFER]),
        int(Option.SERVER_IDENTIFIER): IPv4Address(NOBODY).packed,
        int(Option.VENDOR_CLASS): b"PXEClient",
        int(Option.VENDOR_SPECIFIC): encode_pxe_menu("Raspberry Pi Boot   "),
    }
    return Message(BOOTREPLY, asked.xid, asked.mac, options, flags=BROADCAST)


@pytest.mark.parametrize(("model", "serial"), [("pi4", tree.PI4)])
def test_where_the_sender_and_option_54_differ_the_pi_goes_to_the_sender(lan: Lan, model: str, serial: str) -> None:
    lan.router()
    lan.address("client", f"{SECOND}/24")
    daemon = lan.serve('[dhcp]\nmode = "off"\n', host="client")
    tree.make(daemon.data, f"http://{SECOND}/")
    with liar(lan):
        code, report = lan.rehearse(model, serial)
    assert (code, report["cause"], report["server"]) == (0, None, SECOND)
    assert f"{SECOND} says to boot from {SECOND}" in report["steps"][0]["what"]
