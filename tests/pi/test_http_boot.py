"""What a bootloader asks for over HTTP, what it checks, and why it stops."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import bootkeys
import pytest
from imagetrees import fill
from support import require

from pinetboot import signing
from pinetboot.bootimg import fat
from pinetboot.eeprom import signature
from pinetboot.pi import http_boot
from pinetboot.pi.asking import Ask, Booted, Stopped
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.http_boot import FetchedImage, HttpBoot
from pinetboot.pi.profiles import PROFILES

URL = "http://192.168.1.10/boot/da591740/"
CMDLINE = "root=/dev/nfs nfsroot=192.168.1.10:/srv,vers=3 ip=dhcp\n"
PI4 = dict.fromkeys(("start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb", "kernel8.img", "initramfs8"), "x")
PI5 = dict.fromkeys(("bcm2712-rpi-5-b.dtb", "kernel_2712.img", "initramfs_2712", "overlays/bcm2712d0.dtbo"), "x")
# As it stands in many a boot.img: the bootloader must not look for another one inside.
CONFIG = {"config.txt": "auto_initramfs=1\nboot_ramdisk = 1\n", "cmdline.txt": CMDLINE}


@cache
def image(*without: str) -> bytes:
    """A boot.img for both models."""
    require("mcopy", "mformat")
    with TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder / "tree", {file: text for file, text in (PI4 | PI5 | CONFIG).items() if file not in without})
        files = {str(path.relative_to(folder / "tree")): path.stat().st_size for path in folder.rglob("*.*")}
        files |= {file: 1 for file in ("initramfs8", "initramfs_2712") if file not in without}
        fat.make(folder / "tree", files, folder / "boot.img", "da591740", lambda: False)
        return (folder / "boot.img").read_bytes()


def sig(content: bytes, *, key: str = "own", signed: bool = True) -> bytes:
    digest = hashlib.sha256(content).digest()
    rsa = signing.load(bootkeys.pair(key).private).sign(digest) if signed else b""
    return signature.to_text(digest, 1_700_000_000, rsa=rsa).encode()


def public(key: str = "own") -> bytes:
    return signing.public(bootkeys.pair(key).public)


@dataclass
class Played:
    asks: list[Ask] = field(default_factory=list)
    booted: Booted | None = None
    stopped: Stopped | None = None

    @property
    def end(self) -> tuple[str, str]:
        assert self.stopped is not None
        return self.stopped.stage, self.stopped.cause.rule

    @property
    def what(self) -> str:
        assert self.stopped is not None
        return self.stopped.cause.what


Answer = Callable[[Ask], Fetched | None]


def play(model: str, content: bytes, text: bytes, key: bytes = b"", answer: Answer = lambda _: None) -> Played:
    played = Played()
    boot = http_boot.boot(PROFILES[model], "192.168.1.10", URL, key)
    fetched: Fetched | None = None
    try:
        ask = next(boot)
        while True:
            played.asks.append(ask)
            fetched = answer(ask)
            if fetched is None and ask.name.endswith("boot.sig"):
                fetched = Fetched(ask.name, Result.OK, len(text), text)
            elif fetched is None and ask.probe:
                fetched = Fetched(ask.name, Result.OK, len(content))
            elif fetched is None:
                digest = hashlib.sha256(content).digest()
                fetched = FetchedImage(ask.name, Result.OK, len(content), sha256=digest, body=memoryview(content))
            ask = boot.send(fetched)
    except StopIteration as end:
        played.booted = end.value
    except Stopped as stop:
        played.stopped = stop
    return played


@pytest.mark.parametrize("model", ["pi4", "pi5"])
def test_signature_size_image_and_then_nothing_more(model: str) -> None:
    played = play(model, image(), sig(image()), public())
    assert [(ask.name, ask.stage, ask.probe) for ask in played.asks] == [
        (URL + "boot.sig", "firmware", False),
        (URL + "boot.img", "kernel", True),
        (URL + "boot.img", "kernel", False),
    ]
    assert played.booted is not None
    assert played.booted.cmdline == CMDLINE.encode()
    assert not any("signature" in note for note in played.booted.notes)


def test_without_a_key_it_says_that_nothing_was_checked() -> None:
    played = play("pi5", image(), sig(image(), key="other"))
    assert played.booted is not None
    assert any("not checked" in note for note in played.booted.notes)


def test_a_tampered_image_is_refused() -> None:
    changed = bytearray(image())
    changed[-1] ^= 1
    played = play("pi5", bytes(changed), sig(image()), public())
    assert (played.end, "boot.sig was made for" in played.what) == (("kernel", "D41"), True)


def test_a_signature_by_another_key_is_refused() -> None:
    played = play("pi5", image(), sig(image(), key="other"), public())
    assert (played.end, "another key" in played.what) == (("kernel", "D41"), True)


@pytest.mark.parametrize("text", [b"", b"no such thing\n", sig(b"", signed=False), b"\xff" * 5000])
def test_no_signature_is_refused_before_anything_is_fetched(text: bytes) -> None:
    played = play("pi5", image(), text)
    assert (played.end, len(played.asks)) == (("firmware", "D41"), 1)


@pytest.mark.parametrize(("name", "stage"), [("boot.sig", "firmware"), ("boot.img", "kernel")])
@pytest.mark.parametrize("result", [Result.MISSING, Result.ERROR, Result.TIMEOUT])
def test_a_file_that_does_not_come_stops_it(name: str, stage: str, result: Result) -> None:
    def answer(ask: Ask) -> Fetched | None:
        return Fetched(ask.name, result, message="HTTP 500") if ask.name.endswith(name) else None

    assert play("pi4", image(), sig(image()), answer=answer).end == (stage, "D41")


@pytest.mark.parametrize(("model", "size", "rule"), [("pi4", (128 << 20) + 1, "D17"), ("pi5", 160 << 20, "")])
def test_a_pi_4_has_no_room_for_more_than_128_mib(model: str, size: int, rule: str) -> None:
    def answer(ask: Ask) -> Fetched | None:
        return Fetched(ask.name, Result.OK, size) if ask.probe else None

    played = play(model, image(), sig(image()), answer=answer)
    assert (played.stopped.cause.rule if played.stopped else "") == rule
    assert len(played.asks) == (2 if rule else 3)


@pytest.mark.parametrize(
    ("model", "without", "rule"),
    [
        ("pi4", "start4.elf", "D13"),
        ("pi4", "bcm2711-rpi-4-b.dtb", "D27"),
        ("pi4", "kernel8.img", "D27"),
        ("pi5", "config.txt", "D13"),
        ("pi5", "bcm2712-rpi-5-b.dtb", "D15"),
    ],
)
def test_what_the_image_lacks_stops_it_as_it_would_over_tftp(model: str, without: str, rule: str) -> None:
    content = image(without)
    assert play(model, content, sig(content)).end[1] == rule


def test_what_is_no_file_system_is_refused() -> None:
    played = play("pi5", bytes(10_000), sig(bytes(10_000)))
    assert (played.end, "cannot be read" in played.what) == (("kernel", "D41"), True)


def test_the_address_is_that_of_the_settings() -> None:
    assert HttpBoot().url("10.0.0.1", "5b154510") == "http://10.0.0.1/boot/5b154510/"
    assert HttpBoot(8080, "/net_install/").url("10.0.0.1", "5b154510") == "http://10.0.0.1:8080/net_install/"
    assert [model for model, profile in PROFILES.items() if http_boot.can(profile)] == ["pi4", "pi5"]
