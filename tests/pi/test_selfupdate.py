"""The virtual Pi updates its own bootloader as the firmware does, and leaves what the firmware leaves."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import eepromimages
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from eepromimages import PI4, PI5

from pinetboot import signing
from pinetboot.eeprom import image, signature
from pinetboot.pi import firmware, selfupdate
from pinetboot.pi.asking import Booted, Stopped
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.eeprom import Eeprom, from_json
from pinetboot.pi.profiles import PROFILES
from pinetboot.pi.selfupdate import Flashed

SERIAL = "5b154510"
MAC = bytes.fromhex("dca6322ef8ed")
NOW = 1_795_000_000
SETTINGS = b"[all]\nBOOT_ORDER=0xf142\nTFTP_IP=192.168.1.10\n"
IMAGES = {"pi4": eepromimages.make(PI4, SETTINGS), "pi5": eepromimages.make(PI5, SETTINGS)}
SOCS = {"pi4": "2711", "pi5": "2712"}
SIZES = {"pi4": PI4, "pi5": PI5}
FILES = ("start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb", "kernel8.img", "cmdline.txt")
MODELS = ("pi4", "pi5")
GONE_ON = {"pi4": "recover4.elf", "pi5": "bcm2712-rpi-5-b.dtb"}


def tree(model: str, *, content: bytes = b"", sig: str = "", config: bytes = b"") -> dict[str, bytes]:
    """Boot files, with an update that is made of `content` and `sig`, or a right one."""
    content = content or IMAGES[model]
    sig = sig or signature.to_text(sha256(content).digest(), NOW, soc=SOCS[model])
    boot = {name: name.encode() for name in FILES} | {"config.txt": config}
    return boot | {"pieeprom.upd": content, "pieeprom.sig": sig.encode()}


def play(
    model: str, files: dict[str, bytes], eeprom: Eeprom | None, asked: list[str], *, writable: bool = True
) -> Booted:
    """Boot from files in the folder that it asks in; `asked` gets their names."""
    profile = replace(PROFILES[model], writable=writable)
    boot = firmware.boot(profile, SERIAL, "192.168.1.10", eeprom, MAC)
    ask = next(boot)
    try:
        while True:
            asked.append(ask.name)
            content = files.get(ask.name.rpartition("/")[2])
            if content is None:
                ask = boot.send(Fetched(ask.name, Result.MISSING, oack=False))
                continue
            kept = b"" if ask.probe or (len(content) > 64 << 10 and not ask.whole) else content
            ask = boot.send(Fetched(ask.name, Result.OK, len(content), kept))
    except StopIteration as end:
        booted: Booted = end.value
        return booted


def flashed(model: str, files: dict[str, bytes], eeprom: Eeprom, *, writable: bool = True) -> Eeprom:
    asked: list[str] = []
    with pytest.raises(Flashed) as error:
        play(model, files, eeprom, asked, writable=writable)
    assert [name.rpartition("/")[2] for name in asked[-2:]] == ["pieeprom.sig", "pieeprom.upd"]
    return error.value.eeprom


@pytest.mark.parametrize("model", MODELS)
def test_it_takes_a_newer_one_starts_over_and_goes_on_with_it(model: str) -> None:
    after = flashed(model, tree(model), Eeprom())
    assert (after.timestamp, after.server, after.order) == (NOW, "192.168.1.10", 0xF142)
    assert after.digest == sha256(IMAGES[model]).hexdigest()
    asked: list[str] = []
    booted = play(model, tree(model), after, asked)
    assert not [name for name in asked if name.endswith("pieeprom.upd")]
    assert asked[[name.endswith("pieeprom.sig") for name in asked].index(True) + 1].endswith(GONE_ON[model])
    assert f"its time {NOW} is not after the EEPROM's, {NOW}" in booted.notes[0]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ("TFTP_PREFIX=2", "dc-a6-32-2e-f8-ed/"),
        ("TFTP_PREFIX=1\nTFTP_PREFIX_STR=rack-1/", "rack-1/"),
        ("", f"{SERIAL}/"),
    ],
)
def test_its_new_settings_say_where_it_asks_from_then_on(model: str, settings: str, where: str) -> None:
    content = eepromimages.make(SIZES[model], f"[all]\nBOOT_ORDER=0xf2\n{settings}\n".encode())
    after = flashed(model, tree(model, content=content), Eeprom())
    asked: list[str] = []
    play(model, tree(model, content=content), after, asked)
    doubled = where + "/" if model == "pi5" else where
    assert {name[: len(doubled)] for name in asked} == {doubled}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("eeprom", "changed", "takes", "why"),
    [
        (Eeprom(timestamp=NOW), {}, False, "is not after the EEPROM's"),
        (Eeprom(timestamp=NOW + 1), {}, False, "is not after the EEPROM's"),
        (Eeprom(bootconf="[all]\nENABLE_SELF_UPDATE=0\n"), {}, False, "ENABLE_SELF_UPDATE=0"),
        (Eeprom(bootconf="FREEZE_VERSION=1\n"), {}, False, "FREEZE_VERSION=1"),
        (Eeprom(), {"config": b"bootloader_update=0\n"}, False, "bootloader_update=0 in config.txt"),
        (Eeprom(), {"sig": "nothing"}, False, "it holds no digest and time"),
        (Eeprom(), {"sig": signature.to_text(bytes(32), NOW, soc="2835")}, False, "it is for a BCM2835"),
        (Eeprom(), {"sig": signature.to_text(bytes(32), NOW)}, True, "SHA-256 is not the one"),
        (Eeprom(), {"content": b"\xff" * PI4}, True, "no section at all"),
        (Eeprom(bootconf="SIGNED_BOOT=1\n"), {}, True, "is not signed with the key in the EEPROM"),
    ],
)
def test_it_leaves_what_is_not_for_it_and_boots(
    model: str, eeprom: Eeprom, changed: dict[str, bytes | str], takes: bool, why: str
) -> None:
    asked: list[str] = []
    booted = play(model, tree(model, **changed), eeprom, asked)  # type: ignore[arg-type]
    assert booted.cmdline == b"cmdline.txt"
    assert any(name.endswith("pieeprom.upd") for name in asked) == takes
    assert why in booted.notes[0]


@pytest.mark.parametrize(("model", "other"), [("pi4", "pi5"), ("pi5", "pi4")])
def test_it_leaves_the_image_of_another_chip(model: str, other: str) -> None:
    sig = signature.to_text(sha256(IMAGES[other]).digest(), NOW)  # as older tools write it, without the chip
    asked: list[str] = []
    booted = play(model, tree(model, content=IMAGES[other], sig=sig), Eeprom(), asked)
    assert f"it is for a BCM{SOCS[other]}" in booted.notes[0]


def test_an_update_without_its_image_is_left() -> None:
    files = tree("pi4")
    del files["pieeprom.upd"]
    assert "is not there" in play("pi4", files, Eeprom(), []).notes[0]


def test_a_pi_3_and_a_bootloader_of_early_2020_look_at_no_update() -> None:
    assert not play("pi4-2020", tree("pi4"), Eeprom(), []).notes
    files = tree("pi4") | {"bootcode.bin": b"x", "start.elf": b"x", "fixup.dat": b"x", "bcm2710-rpi-3-b-plus.dtb": b"x"}
    asked: list[str] = []
    play("pi3bp", files, Eeprom(), asked)
    assert not [name for name in asked if "pieeprom" in name]


def test_a_write_protected_one_tried_for_ever_once_and_goes_on_since() -> None:
    old, new = Eeprom(), Eeprom(timestamp=1_730_000_000)
    assert flashed("pi4", tree("pi4"), old, writable=False) == old
    assert "write-protected" in play("pi4", tree("pi4"), new, [], writable=False).notes[0]


def test_with_secure_boot_it_takes_settings_that_its_key_has_signed() -> None:
    own, other = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    keys = [signing.Key(one) for one in (own, other)]
    secured = Eeprom(bootconf="[all]\nSIGNED_BOOT=1\n", public=keys[0].public)
    content = SETTINGS + b"SIGNED_BOOT=1\n"
    for number, key in enumerate(keys):
        digest = sha256(content).digest()
        made = image.parse(IMAGES["pi5"]).put(image.BOOTCONF, content)
        made = made.put(image.BOOTCONF_SIGNATURE, signature.to_text(digest, NOW, rsa=key.sign(digest)).encode())
        files = tree("pi5", content=made.put(image.PUBLIC_KEY, key.public).content)
        if number:
            assert "not signed with the key" in play("pi5", files, secured, []).notes[0]
        else:
            assert flashed("pi5", files, secured).public == key.public


def test_an_order_without_the_network_boots_from_no_server() -> None:
    with pytest.raises(Stopped) as stopped:
        selfupdate.require_network(Eeprom(bootconf="[all]\nBOOT_ORDER=0xf41\n"))
    assert (stopped.value.stage, stopped.value.cause.rule) == ("seen", "D01")
    for order in ("0xf2", "0xf7", "0xf142"):
        selfupdate.require_network(Eeprom(bootconf=f"BOOT_ORDER={order}\n"))
    with pytest.raises(Stopped):
        selfupdate.require_network(Eeprom(bootconf="BOOT_ORDER=soon\n"))


def test_what_is_kept_of_an_eeprom_is_read_back() -> None:
    eeprom = Eeprom(5, "[all]\n", b"\1\2", "ab")
    assert from_json(eeprom.to_json()) == eeprom
    kept = eeprom.to_json()
    wrong: tuple[object, ...] = (None, [], {}, kept | {"public": "x"}, kept | {"timestamp": "5"})
    for spoilt in wrong:
        assert from_json(spoilt) is None
