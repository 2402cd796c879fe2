"""A new generation that does not come online gives way to the last good one, and nothing goes round in circles."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest
from lab.small_images import image
from support import wait_until

from pinetboot.demo import tree
from pinetboot.dhcp import packet
from pinetboot.dhcp.options import MessageType, Option
from pinetboot.dhcp.packet import BOOTREQUEST, BROADCAST, Message

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(120)

SERIAL = tree.PI4
MAC = "dc:a6:32:2e:f8:ed"
PI, SERVER = "10.55.0.101", "10.55.0.2"
AFTER_S = 4
FLEET = f"""
[[pi]]
serial = "{SERIAL}"
mac = "{MAC}"
hostname = "node-1"
image = "a"
root = "none"
"""
CONFIG = f"""
[fleet]
rollback_after_s = {AFTER_S}
[nfs]
mode = "off"
"""


class Home:
    """A daemon with one Pi in its fleet, on a LAN."""

    def __init__(self, lan: Lan, without: str = "") -> None:
        self.lan = lan
        lan.address("pi", f"{PI}/24")
        self.daemon = lan.serve(CONFIG)
        image(self.daemon.data, "a", "first", SERVER)
        (self.daemon.data / "fleet.toml").write_text(FLEET)
        self.boots(1)
        self.boot()
        self.phone()
        # From now on the newest of its image is another one.
        image(self.daemon.data, "a", "second", SERVER, without=without)
        self.command("pi", "upgrade", SERIAL)

    def command(self, *words: str) -> str:
        command = [sys.executable, "-m", "pinetboot", *words, "--data", str(self.daemon.data)]
        done = self.lan.run("server", *command, "--config", str(self.daemon.settings))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def booted(self) -> int:
        try:
            return int((self.daemon.data / "boot" / SERIAL).readlink().parts[3])
        except OSError:
            return 0

    def boots(self, number: int, within_s: float = 20.0) -> None:
        assert wait_until(lambda: self.booted() == number, within_s), self.daemon.text

    def boot(self, *, reaches_linux: bool = True) -> None:
        """Have the virtual Pi ask for all that the firmware wants, and its kernel for an address."""
        code, report = self.lan.rehearse("pi4", SERIAL, "--no-dhcp", "--server", SERVER)
        assert (code == 0) == reaches_linux, report
        if reaches_linux:
            self.kernel_asks()

    def kernel_asks(self) -> None:
        asked = Message(
            BOOTREQUEST,
            7,
            bytes.fromhex(MAC.replace(":", "")),
            {int(Option.MESSAGE_TYPE): bytes([MessageType.DISCOVER])},
            flags=BROADCAST,
        )
        with self.lan.inside("pi"):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.bind((PI, 0))
            sock.sendto(packet.encode(asked), ("10.55.0.255", 67))

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        with closing(HTTPConnection(SERVER, 80, timeout=10)) as connection:
            with self.lan.inside("pi"):
                connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
        assert answer.status == 200, content
        return content

    def phone(self) -> None:
        self.ask("POST", f"/phone/{SERIAL}", b"hostname=node-1")
        known = self.daemon.data / "state" / "good.json"
        assert wait_until(lambda: known.exists() and json.loads(known.read_text()) == {SERIAL: self.booted()})

    def shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.ask("GET", f"/api/pis/{SERIAL}"))
        return shown

    def said(self, event: str) -> list[dict[str, Any]]:
        return self.daemon.said(event)


BACK = "Pi goes back to an earlier generation"


def test_a_generation_that_stays_offline_gives_way_and_everybody_says_so(lan: Lan) -> None:
    home = Home(lan)
    home.boots(2)
    assert not home.said(BACK)
    home.boot()
    assert home.booted() == 2
    home.boots(1)
    (line,) = home.said(BACK)
    assert (line["level"], line["serial"], line["hostname"]) == ("warning", SERIAL, "node-1")
    assert (line["generation"], line["to"], line["after_s"]) == (2, 1, AFTER_S)
    shown = home.shown()
    assert shown["boot"]["rolled_back_to"] == 1
    assert shown["generation"] == 1
    (warning,) = [one for one in shown["warnings"] if "sent back" in one["what"]]
    assert warning["what"] == "it was sent back from generation 2 to generation 1"
    assert "generation 2 was not online within 4 s" in home.command("pi", "show", SERIAL)
    assert b"pinetboot_rollbacks_total 1.0" in home.ask("GET", "/metrics")

    # The good one is booted, comes online and stays, after a restart of the daemon as well.
    home.boot()
    home.phone()
    home.daemon.stop()
    home.daemon.start()
    assert wait_until(lambda: warning in home.shown()["warnings"])
    assert home.booted() == 1
    status = [sys.executable, "-m", "pinetboot", "status", SERIAL, "--config", str(home.daemon.settings)]
    assert warning["what"] in lan.run("server", *status).stdout

    # Whoever asks for it has the newer one tried again.
    home.command("pi", "set", SERIAL, "--image", "a")
    home.boots(2)
    assert "sent back" not in home.command("pi", "show", SERIAL)


def test_one_that_comes_online_in_time_stays(lan: Lan) -> None:
    home = Home(lan)
    home.boots(2)
    home.boot()
    home.phone()
    with pytest.raises(AssertionError):
        home.boots(1, AFTER_S + 2)
    assert not home.said(BACK)


# Each waits for a minute; the last for a boot that is under way, two minutes.
if os.environ.get("PINETBOOT_LONG_TESTS"):

    def test_when_the_older_one_fails_as_well_it_says_so_and_stops(lan: Lan) -> None:
        home = Home(lan)
        home.boots(2)
        home.boot()
        home.boots(1)
        home.boot()
        told = (
            "generation 1, to which it was sent back, was not online within 4 s either; "
            "nothing more is changed by itself"
        )
        assert wait_until(lambda: [one for one in home.said("Pi not as it should be") if one["why"] == told], 15)
        home.boot()
        assert not wait_until(lambda: home.booted() != 1, AFTER_S + 2)
        assert len(home.said(BACK)) == 1

    def test_a_rehearsal_on_the_server_and_a_look_from_elsewhere_change_nothing(lan: Lan) -> None:
        home = Home(lan)
        home.boots(2)
        command = [sys.executable, "-m", "pinetboot", "rehearse", "--no-dhcp", "--server", SERVER, "--serial", SERIAL]
        assert lan.run("server", *command, within_s=40).returncode == 0
        lan.address("client", "10.55.0.50/24")
        assert lan.run("client", "curl", "-s", f"tftp://{SERVER}/{SERIAL}/config.txt").returncode == 0
        assert not wait_until(lambda: home.booted() != 2 or home.said(BACK), AFTER_S + 2)

    @pytest.mark.timeout(240)
    def test_a_broken_generation_gives_way_once_no_boot_is_under_way(lan: Lan) -> None:
        home = Home(lan, without="kernel8.img")
        home.boots(2)
        home.boot(reaches_linux=False)
        assert wait_until(lambda: home.said(BACK), 20)
        assert home.booted() == 2  # its firmware may ask for more
        home.boots(1, 130)
        home.boot()
        home.phone()
