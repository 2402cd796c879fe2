"""Machines that are no Pi on a real LAN: both ports, beside Pis and beside another program, and the log."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from golden import SPOKEN
from lab.lan import Lan
from lab.test_beside_dhcp import SERVER, broadcast_frame, datagrams, wire
from support import Daemon, require, require_root, wait_until

from pinetboot.dhcp import packet
from pinetboot.dhcp.options import MessageType, Option
from pinetboot.dhcp.packet import BOOTREQUEST, Message

pytestmark = pytest.mark.timeout(120)

PC, OWN = bytes.fromhex("525400123456"), "10.55.0.50"
FLEET = """
[[machine]]
mac = "52:54:00:aa:aa:aa"
boot = "local"

[[machine]]
mac = "{mac}"
preseed = "a.cfg"
hostname = "box"
[machine.data]
user = "anna"
"""


def asks(architecture: int, kind: MessageType = MessageType.DISCOVER, mac: bytes = PC) -> bytes:
    options = {
        Option.MESSAGE_TYPE: bytes([kind]),
        Option.VENDOR_CLASS: f"PXEClient:Arch:{architecture:05}:UNDI:003001".encode(),
        Option.CLIENT_ARCHITECTURE: architecture.to_bytes(2, "big"),
        Option.MACHINE_IDENTIFIER: b"\0" + bytes(range(16)),
    }
    return packet.encode(Message(BOOTREQUEST, 0x11223344, mac, {int(code): value for code, value in options.items()}))


@dataclass
class Served:
    """A LAN with a daemon that several tests ask."""

    lan: Lan
    daemon: Daemon


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    require_root()
    require("ip", "ss", "curl")
    lan = Lan(tmp_path_factory.mktemp("served"))
    try:
        lan.build()
        lan.address("client", f"{OWN}/24")
        lan.address("pi", "10.55.0.51/24")
        daemon = lan.serve()
        for name in ("lpxelinux.0", "bootx64.efi"):
            (daemon.data / "boot" / name).write_bytes(name.encode())
        (daemon.data / "preseed/a.cfg").write_text("h={{ pi.hostname }} u={{ data.user }} at={{ server.address }}\n")
        (daemon.data / "fleet.toml").write_text(FLEET.format(mac=lan.mac("client").hex(":")))
        yield Served(lan, daemon)
    finally:
        lan.close()


def offers(lan: Lan, *discovers: bytes, for_s: float = 0.6) -> list[Message]:
    with wire(lan, "pi") as sock:
        for discover in discovers:
            sock.send(broadcast_frame(discover[28:34], discover))
        return [packet.parse(heard.payload) for heard in datagrams(sock, for_s) if heard.source == (SERVER, 67)]


def test_a_pc_and_a_pi_that_ask_at_once_get_each_their_own(served: Served) -> None:
    pi = SPOKEN["pi4"]
    answers = {answer.mac: answer for answer in offers(served.lan, asks(0), pi.discover)}
    assert set(answers) == {PC, pi.mac}
    assert packet.encode(answers[pi.mac]) == pi.offer
    assert answers[PC].file == b"lpxelinux.0"
    lines = {line["mac"]: line for line in served.daemon.said("boot offered")}
    assert lines[PC.hex(":")]["machine"] == "BIOS PC"
    assert "machine" not in lines[pi.mac.hex(":")]


def test_a_loader_that_is_missing_is_told_once_and_counts_as_soon_as_it_is_there(served: Served) -> None:
    assert offers(served.lan, asks(11), asks(11)) == []
    assert offers(served.lan, asks(11)) == []
    (line,) = served.daemon.said("dhcp")
    why = "boot/bootaa64.efi, which a UEFI arm64 machine would boot, is not there"
    assert line["what"].startswith(f"a machine asks to boot, and gets no answer: {why}; `pinetboot installer add`")
    (served.daemon.data / "boot" / "bootaa64.efi").write_bytes(b"arm64")
    assert len(offers(served.lan, asks(11))) == 1


def test_a_machine_that_fleet_toml_has_boot_from_its_own_disk_is_left_alone(served: Served) -> None:
    assert wait_until(lambda: served.daemon.said("fleet read"))
    mine, other = bytes.fromhex("525400aaaaaa"), bytes.fromhex("525400bbbbbb")

    def read() -> bool:
        return {answer.mac for answer in offers(served.lan, asks(0, mac=mine), asks(0, mac=other))} == {other}

    assert wait_until(read)


def at_4011(lan: Lan, port: int) -> tuple[Message, tuple[str, int]]:
    """Ask the boot server from a port of the client's; its answer, and where that came from."""
    with lan.inside("client"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind((OWN, port))
        sock.settimeout(5)
        sock.sendto(asks(7, MessageType.REQUEST), (SERVER, 4011))
        content, source = sock.recvfrom(4096)
    return packet.parse(content), source


@pytest.mark.parametrize("port", [68, 4011])
def test_uefi_asks_port_4011_and_is_answered_at_the_port_it_asked_from(served: Served, port: int) -> None:
    answer, source = at_4011(served.lan, port)
    assert source == (SERVER, 4011)
    assert answer.type is MessageType.ACK
    assert answer.file == b"bootx64.efi"
    assert served.daemon.process_ended is False


def test_beside_another_boot_server_of_this_host_both_hear_and_we_answer(lan: Lan) -> None:
    lan.address("client", f"{OWN}/24")
    with lan.inside("server"):
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with other:
        other.bind(("0.0.0.0", 4011))
        other.settimeout(5)
        daemon = lan.serve()
        (daemon.data / "boot" / "bootx64.efi").write_bytes(b"loader")
        assert at_4011(lan, 68)[0].file == b"bootx64.efi"
        assert other.recv(4096) == asks(7, MessageType.REQUEST)
    assert daemon.said("dhcp") == []


def test_an_empty_table_leaves_machines_alone_and_their_port_to_others(lan: Lan) -> None:
    daemon = lan.serve("[pxe]\n")
    (daemon.data / "boot" / "lpxelinux.0").write_bytes(b"loader")
    assert [answer.mac for answer in offers(lan, asks(0), SPOKEN["pi4"].discover)] == [SPOKEN["pi4"].mac]
    assert ":4011" not in lan.run("server", "ss", "-Huln").stdout


def test_a_preseed_is_told_to_its_machine_alone_and_filled_in(served: Served) -> None:
    url = f"http://{SERVER}/preseed/{served.lan.mac('client').hex('-')}"

    def asked(host: str) -> str:
        return served.lan.run(host, "curl", "-s", "-w", "%{http_code}", url).stdout

    assert wait_until(lambda: asked("client") == f"h=box u=anna at={SERVER}\n200")
    assert asked("pi").endswith("403")
