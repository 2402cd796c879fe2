"""Each profile against what was published of its model, byte for byte, and the server's answer to it."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from golden import SPOKEN, Spoken

from pinetboot.dhcp import offer, packet
from pinetboot.dhcp.offer import Offer, Proxy
from pinetboot.pi import firmware
from pinetboot.pi.asking import Ask
from pinetboot.pi.dhcp import DhcpDialogue, discover
from pinetboot.pi.download import Download, Fetched, Result
from pinetboot.pi.profiles import PROFILES, mac_of

each = pytest.mark.parametrize("spoken", SPOKEN.values(), ids=str)
SIZES = {"pi3b-rom": 320, "pi3bp": 322, "pi4-2020": 322, "pi4": 322, "pi5": 322}
MODELS = {
    "pi3b-rom": ("Pi 3B", None),
    "pi3bp": ("Pi 3B+ or earlier", "7285c0f2"),
    "pi4-2020": ("Pi 4", "5b154510"),
    "pi4": ("Pi 4", "91cdf03d"),
    "pi5": ("Pi 5", "da591740"),
}


def test_every_profile_has_golden_files() -> None:
    assert set(SPOKEN) == set(PROFILES)


@each
def test_the_discover(spoken: Spoken) -> None:
    profile = PROFILES[spoken.model]
    assert len(spoken.discover) == SIZES[spoken.model]
    assert discover(profile, spoken.serial, spoken.mac, spoken.xid).hex(" ") == spoken.discover.hex(" ")
    assert profile.xid in {None, spoken.xid}


def test_bootcode_bin_says_the_same_on_every_pi_3() -> None:
    spoken = SPOKEN["pi3bp"]
    for model in ("pi3b-rom", "pi3bp"):
        loaded = PROFILES[model].speaking(1)
        assert discover(loaded, spoken.serial, spoken.mac, spoken.xid) == spoken.discover
        assert loaded is PROFILES[model].speaking(2)
    assert PROFILES["pi4"].speaking(1) is PROFILES["pi4"]


@each
def test_the_server_s_offer(spoken: Spoken) -> None:
    answer = offer.decide(
        packet.parse(spoken.discover), Proxy(IPv4Address("10.55.0.2"), "Raspberry Pi Boot   ", (0.6, 1.2))
    )
    assert isinstance(answer, Offer)
    assert packet.encode(answer.message).hex(" ") == spoken.offer.hex(" ")
    assert tuple(answer.delays_s) == spoken.due_s
    assert answer.pi is not None
    assert (answer.pi.model, answer.pi.serial) == MODELS[spoken.model]


@each
def test_the_profile_takes_that_offer(spoken: Spoken) -> None:
    made = DhcpDialogue(PROFILES[spoken.model], spoken.serial, spoken.mac, spoken.xid, 25.0)
    made.start(0.0)
    for due_s in spoken.due_s:
        made.receive(spoken.offer, "10.55.0.2", due_s)
    assert made.notes == ["10.55.0.2 says to boot from 10.55.0.2"]


@each
def test_the_first_read_requests(spoken: Spoken) -> None:
    profile = PROFILES[spoken.model]
    boot = firmware.boot(profile, spoken.serial, "10.55.0.2")
    asked: list[bytes] = []
    ask = next(boot)
    while len(asked) < len(spoken.requests):
        (out,) = Download(ask.name, profile.speaking(ask.program), probe=ask.probe).start(0.0)
        asked.append(out.payload)
        ask = boot.send(answer(ask))
    assert asked == spoken.requests


def answer(ask: Ask) -> Fetched:
    there = not ask.name.endswith(("bootsig.bin", "autoboot.txt", ".sig"))
    return Fetched(ask.name, Result.OK if there else Result.MISSING, content=b"# empty")


@each
def test_the_mac_and_the_serial_end_alike_on_a_pi_3(spoken: Spoken) -> None:
    profile = PROFILES[spoken.model]
    assert (mac_of(profile, spoken.serial) == spoken.mac) == (spoken.model not in {"pi4-2020", "pi4"})
    assert mac_of(profile, spoken.serial)[:3].hex() == profile.oui
