"""`dhcp.mode = "server"` on a LAN that has nothing else: real clients, virtual Pis, crashes, a private rack."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import time
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import dhcp_clients, virtual_pis
from lab.lan import Lan
from support import Daemon, require, require_root, wait_until

from pinetboot.dhcp import packet
from pinetboot.dhcp.options import MessageType, Option
from pinetboot.dhcp.packet import BOOTREQUEST, BROADCAST, MalformedMessage, Message

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(90)

SERVER = "10.55.0.2"
HOSTS = {"server": (f"{SERVER}/24",), "router": ("10.55.0.1/24",), "pi": (), "client": ()}
ALL_OF_THEM = {"server": (f"{SERVER}/24",), **dict.fromkeys(dhcp_clients.NAMES, ()), "klibc": (), **virtual_pis.HOSTS}


def config(more: str = "", *, first: int = 100, last: int = 199, other: bool = True) -> str:
    """Settings; the look for another server takes seconds, and is left out unless a test is about it."""
    return f"""
log_level = "debug"
[dhcp]
mode = "server"
range = "10.55.0.{first}-10.55.0.{last}"
allow_other_server = {str(other).lower()}
{more}
[nfs]
mode = "off"
"""


def leases(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """What leases.json says, as a script reads it: the last line of an address counts."""
    lines = (daemon.data / "state" / "leases.json").read_text().splitlines()
    return {item["address"]: item for item in map(json.loads, lines)}


def lab(tmp_path: Path, hosts: dict[str, tuple[str, ...]]) -> Iterator[Lan]:
    require_root()
    require("ip", "ss")
    made = Lan(tmp_path, hosts)
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    yield from lab(tmp_path, HOSTS)


@pytest.fixture
def full_lan(tmp_path: Path) -> Iterator[Lan]:
    yield from lab(tmp_path, ALL_OF_THEM)


def test_real_clients_get_renew_and_release_their_leases(full_lan: Lan) -> None:
    daemon = full_lan.serve(config("lease_s = 10\nrouter = '10.55.0.1'\ndns = ['9.9.9.9']"))
    clients = [dhcp_clients.Client(full_lan, name, full_lan.folder / name) for name in dhcp_clients.NAMES]
    for client in clients:
        client.start()
    addresses = {client.address(): client for client in clients}
    assert len(addresses) == 3
    assert {leases(daemon)[address]["mac"] for address in addresses} == {
        full_lan.mac(client.name).hex(":") for client in clients
    }
    for client in clients:
        assert wait_until(lambda name=client.name: "default via 10.55.0.1" in full_lan.ip(name, "route"))

    for client in clients:
        client.renew()

    def renewed() -> bool:
        return {line["address"] for line in daemon.said("lease renewed")} >= addresses.keys()

    # Half of ten seconds, and once more.
    assert wait_until(renewed, 12.0), [addresses, *(client.log for client in clients), daemon.text]
    assert {client.address(): client for client in clients} == addresses
    for client in clients:
        client.release()
    assert wait_until(lambda: {line["address"] for line in daemon.said("lease ended")} == addresses.keys(), 5.0)
    now = time.time()
    assert all(leases(daemon)[address]["until"] <= now for address in addresses)
    # And again, the same one.
    for address, client in addresses.items():
        assert client.start().address() == address


def test_the_initramfs_of_debian_gets_a_lease_with_ip_dhcp(full_lan: Lan) -> None:
    daemon = full_lan.serve(config("router = '10.55.0.1'\ndns = ['9.9.9.9']"))
    told = dhcp_clients.ipconfig(full_lan, "klibc", full_lan.folder)
    (address,) = full_lan.addresses("klibc")
    assert leases(daemon)[address]["state"] == "leased"
    assert re.search(rf"address: {address} +broadcast: 10\.55\.0\.255 +netmask: 255\.255\.255\.0", told)
    assert re.search(r"gateway: 10\.55\.0\.1 +dns0 +: 9\.9\.9\.9", told)


def test_every_model_boots_with_nothing_else_on_the_lan(full_lan: Lan) -> None:
    virtual_pis.dress(full_lan)
    daemon = full_lan.serve(config(other=False))
    virtual_pis.plant(daemon.data, SERVER)
    reports = virtual_pis.boot(full_lan)
    virtual_pis.assert_booted(reports, SERVER)
    told = api(full_lan, "pi-pi4")
    kept = leases(daemon)
    by_mac = {item["mac"]: address for address, item in kept.items()}
    assert len(by_mac) == len(kept) == len(virtual_pis.MODELS)
    for model in virtual_pis.MODELS:
        serial = virtual_pis.SERIALS[model]
        address = by_mac[virtual_pis.mac(model)]
        assert {pi["serial"]: pi["address"] for pi in told}[serial] == address


def api(lan: Lan, host: str) -> list[dict[str, Any]]:
    """Ask for all Pis from a host, given an address for it."""
    lan.address(host, "10.55.0.250/24")
    with lan.inside(host):
        connection = HTTPConnection(SERVER, 80, timeout=10)
        connection.connect()
    connection.request("GET", "/api/pis")
    with connection.getresponse() as answer:
        told: list[dict[str, Any]] = json.loads(answer.read())["pis"]
    connection.close()
    return told


def test_it_does_not_start_beside_another_dhcp_server(lan: Lan) -> None:
    lan.router()
    daemon = Daemon(lan.folder / "refused", "[server]" + config(other=False), inside=lan.command("server"))
    lan.daemons.append(daemon)
    daemon.settings.parent.mkdir()
    daemon.start(ready=False)
    assert wait_until(lambda: daemon.process_ended, 15.0)
    assert daemon.stop() == 2
    assert "another DHCP server, 10.55.0.1, answers on eth0: it offers 10.55.0.1" in daemon.text
    assert "allow_other_server" in daemon.text
    assert "Traceback" not in daemon.text


def test_settings_that_do_not_fit_the_network_are_one_sentence(lan: Lan) -> None:
    daemon = Daemon(lan.folder / "refused", "[server]" + config(first=1), inside=lan.command("server"))
    lan.daemons.append(daemon)
    daemon.settings.parent.mkdir()
    daemon.start(ready=False)
    assert wait_until(lambda: daemon.process_ended, 15.0)
    assert daemon.stop() == 2
    assert "dhcp.range 10.55.0.1-10.55.0.199 holds 10.55.0.2, an address of this host" in daemon.text
    assert "Traceback" not in daemon.text


# Clients by the hundred, as a test wants them.


@dataclass
class Crowd:
    """Clients on one host of a LAN, a socket for all of them; what each was told last."""

    sock: socket.socket
    xid: int = 0
    offered: dict[bytes, IPv4Address] = field(default_factory=dict)
    leased: dict[bytes, IPv4Address] = field(default_factory=dict)
    refused: set[bytes] = field(default_factory=set)

    def say(self, mac: bytes, kind: MessageType, more: dict[Option, bytes] | None = None, **header: Any) -> None:
        self.xid += 1
        options = {int(Option.MESSAGE_TYPE): bytes([kind]), **{int(k): v for k, v in (more or {}).items()}}
        message = replace(Message(BOOTREQUEST, self.xid, mac, options, flags=BROADCAST), **header)
        self.sock.sendto(packet.encode(message), ("255.255.255.255", 67))

    def request(self, mac: bytes, address: IPv4Address) -> None:
        more = {Option.REQUESTED_ADDRESS: address.packed, Option.SERVER_IDENTIFIER: IPv4Address(SERVER).packed}
        self.say(mac, MessageType.REQUEST, more)

    def reboot(self, mac: bytes, address: IPv4Address) -> None:
        self.say(mac, MessageType.REQUEST, {Option.REQUESTED_ADDRESS: address.packed})

    def hear(self, for_s: float, *, takes: bool = True, until: int = 1 << 30) -> None:
        """Listen, and take what is offered."""
        end = time.monotonic() + for_s
        while (left := end - time.monotonic()) > 0 and len(self.leased) < until:
            self.sock.settimeout(left)
            try:
                message = packet.parse(self.sock.recv(2048))
            except TimeoutError:
                return
            except (OSError, MalformedMessage):
                continue
            if message.type is MessageType.OFFER:
                self.offered[message.mac] = message.yiaddr
                if takes:
                    self.request(message.mac, message.yiaddr)
            elif message.type is MessageType.ACK:
                self.leased[message.mac] = message.yiaddr
            elif message.type is MessageType.NAK:
                self.refused.add(message.mac)


def crowd(lan: Lan, host: str = "client") -> Crowd:
    with lan.inside(host):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    sock.bind(("", 68))
    return Crowd(sock)


def macs(count: int) -> list[bytes]:
    return [b"\x02\0\0\0" + number.to_bytes(2, "big") for number in range(count)]


def test_kill_9_in_a_storm_of_200_clients_loses_no_lease_that_was_acknowledged(lan: Lan) -> None:
    daemon = lan.serve(config(first=10, last=250))
    people = crowd(lan)
    who = macs(200)
    dice = random.Random(6)  # noqa: S311 - moments to kill at
    with people.sock:
        for round_ in range(3):
            for mac in who:
                if mac not in people.leased or dice.random() < 0.5:
                    people.say(mac, MessageType.DISCOVER)
            people.hear(0.19 + dice.random() * (0.05 + round_ * 0.1))
            daemon.signal(signal.SIGKILL)
            assert daemon.process is not None
            daemon.process.wait(10)
            people.hear(0.2, takes=False)  # what was on its way already
            kept = leases_of(daemon)
            for mac, address in people.leased.items():
                assert kept[mac.hex(":")] == str(address)
            daemon.start()
        for mac in who:
            people.say(mac, MessageType.DISCOVER)
        people.hear(10.0, until=200)
        assert len(people.leased) == 200
        assert len(set(people.leased.values())) == 200
        before = dict(people.leased)
        people.leased.clear()
        for mac, address in before.items():
            people.reboot(mac, address)
        people.hear(10.0, until=200)
        assert people.leased == before
        assert not people.refused


def leases_of(daemon: Daemon) -> dict[str, str]:
    """Whose lease is kept, as far as its lines are whole."""
    found: dict[str, str] = {}
    path = daemon.data / "state" / "leases.json"
    if not path.exists():  # killed before it gave the first
        return found
    for line in path.read_text().split("\n")[:-1]:
        item = json.loads(line)
        if item["state"] == "leased":
            found[item["mac"]] = item["address"]
    return found


def test_an_address_that_somebody_uses_without_a_lease_is_not_given(lan: Lan) -> None:
    for last in (100, 101):
        lan.address("pi", f"10.55.0.{last}/24")
    daemon = lan.serve(config(first=100, last=102))
    people = crowd(lan)
    with people.sock:
        began = time.monotonic()
        people.say(macs(1)[0], MessageType.DISCOVER)
        people.hear(3.0, until=1)
        assert people.leased == {macs(1)[0]: IPv4Address("10.55.0.102")}
        assert time.monotonic() - began >= 0.2
        ended = daemon.said("lease ended")
        assert {line["address"] for line in ended} <= {"10.55.0.100", "10.55.0.101"}
        assert {line["mac"] for line in ended} <= {lan.mac("pi").hex(":")}
        # No more are free, and who is asked for now holds up nobody.
        people.say(macs(2)[1], MessageType.DISCOVER)
        people.reboot(macs(1)[0], IPv4Address("10.55.0.102"))
        people.leased.clear()
        people.hear(0.15, until=1)
        assert macs(1)[0] in people.leased


def test_new_settings_and_a_new_fleet_are_taken_without_a_restart(lan: Lan) -> None:
    daemon = lan.serve(config(first=100, last=100))
    people = crowd(lan)
    first, second, third = macs(3)
    with people.sock:
        for mac in (first, second):
            people.say(mac, MessageType.DISCOVER)
            people.hear(1.0, until=1)
        assert people.leased == {first: IPv4Address("10.55.0.100")}
        daemon.settings.write_text("[server]\nstop_s = 1\n" + config("lease_s = 77", first=100, last=101))
        daemon.signal(signal.SIGHUP)
        assert wait_until(lambda: daemon.said("settings read again"))
        people.say(second, MessageType.DISCOVER)
        people.hear(2.0, until=2)
        assert people.leased[second] == IPv4Address("10.55.0.101")
        assert leases(daemon)["10.55.0.101"]["until"] - time.time() < 78
        # What does not fit leaves everything as it was.
        daemon.settings.write_text("[server]\nstop_s = 1\n" + config("router = '192.168.1.1'", first=100, last=101))
        daemon.signal(signal.SIGHUP)
        assert wait_until(lambda: daemon.said("dhcp"))
        assert "dhcp.router 192.168.1.1 is not in 10.55.0.0/24" in daemon.said("dhcp")[-1]["what"]
        pi = f'[[pi]]\nserial = "5b154510"\nmac = "{third.hex(":")}"\naddress = "10.55.0.50"\n'
        (daemon.data / "fleet.toml").write_text(pi)
        assert wait_until(lambda: any(line["pis"] == 1 for line in daemon.said("fleet read")))
        people.say(third, MessageType.DISCOVER)
        people.hear(2.0, until=3)
        assert people.leased[third] == IPv4Address("10.55.0.50")


def test_it_is_silent_while_the_virtual_ip_is_elsewhere_and_serves_what_the_other_host_leased(lan: Lan) -> None:
    vip = "10.55.0.9"
    daemon = lan.serve(f'address = "{vip}"\n' + config())
    people = crowd(lan)
    mac, other = macs(2)
    with people.sock:
        people.say(mac, MessageType.DISCOVER)
        people.hear(0.5)
        assert not people.offered
        # Meanwhile the other host has leased that.
        line = {"address": "10.55.0.177", "mac": other.hex(":"), "client": other.hex(":"), "state": "leased"}
        with (daemon.data / "state" / "leases.json").open("a") as kept:
            kept.write(json.dumps(line | {"until": time.time() + 1000}) + "\n")
        lan.address("server", f"{vip}/32")

        def answered() -> bool:
            people.say(other, MessageType.DISCOVER)
            people.hear(0.4)
            return other in people.offered

        assert wait_until(answered, 8.0)
        assert people.offered[other] == IPv4Address("10.55.0.177")
        lan.ip("server", "address", "del", f"{vip}/32", "dev", "eth0")

        def silent() -> bool:
            people.offered.clear()
            return not answered()

        assert wait_until(silent, 5.0)


def test_perfdhcp_finds_no_wrong_answer(tmp_path: Path) -> None:
    require("perfdhcp")
    for lan in lab(tmp_path, {"server": ("10.55.0.2/16",), "client": ("10.55.0.3/16",)}):
        daemon = lan.serve(config().replace("10.55.0.100-10.55.0.199", "10.55.0.10-10.55.255.254"))
        flags = ["-4", "-r", "100", "-R", "50000", "-p", "3", "-W", "1000000", "-l", "eth0"]
        done = lan.run("client", "perfdhcp", *flags, within_s=30)
        told = done.stdout
        for nothing in ("Malformed packets", "orphans", "rejected leases", "non unique addresses"):
            found = re.findall(rf"{nothing}: (\d+)", told)
            assert found, told
            assert set(found) == {"0"}, told
        acknowledged = int(re.findall(r"received packets: (\d+)", told)[1])
        assert acknowledged > 100
        assert sum(item["state"] == "leased" for item in leases(daemon).values()) >= acknowledged


# The README's private rack: what is between the two marks stands there.
RACK = """\
table ip rack {
    chain out {
        type nat hook postrouting priority srcnat
        ip saddr 10.55.0.0/24 ip daddr != 10.55.0.0/24 masquerade
    }
}
"""


def test_a_private_rack_reaches_the_world_through_its_server(lan: Lan) -> None:
    require("nft", "busybox", "sysctl")
    lan.bridge("uplink")
    lan.wire("server", "eth1", "uplink", "192.0.2.2/24")
    lan.wire("router", "eth1", "uplink", "192.0.2.1/24")
    lan.ip("router", "address", "flush", "dev", "eth0")
    rules = lan.folder / "rack.nft"
    rules.write_text(RACK)
    assert lan.run("server", "sysctl", "-qw", "net.ipv4.ip_forward=1").returncode == 0
    done = lan.run("server", "nft", "--file", str(rules))
    assert done.returncode == 0, done.stderr
    lan.serve(config(f"router = '{SERVER}'\ndns = ['192.0.2.1']"))
    client = dhcp_clients.Client(lan, "client", lan.folder / "client", kind="udhcpc").start()
    client.address()
    assert wait_until(lambda: "default" in lan.ip("client", "route"))
    with lan.inside("router"):
        world = socket.create_server(("192.0.2.1", 8080))
    with lan.inside("client"):
        out = socket.socket()
    with world, out:
        out.settimeout(5)
        world.settimeout(5)
        out.connect(("192.0.2.1", 8080))
        inward, (source, _) = world.accept()
        with inward:
            assert source == "192.0.2.2"
