"""EEPROM images: a file is put in and an independent reader finds it; what is damaged is refused in a sentence."""

from __future__ import annotations

import eepromimages
import pytest
from eepromimages import CONFIG, PI4, PI5
from hypothesis import given
from hypothesis import strategies as st
from mutation import Mutants

from pinetboot.eeprom import image
from pinetboot.eeprom.image import Spoilt

IMAGES = {
    "Pi 4": eepromimages.make(PI4),
    "Pi 5": eepromimages.make(PI5),
    "files last": eepromimages.make(PI4, after=False),
    "settings last": eepromimages.make(PI4, signs=False, after=False),
}
MOST = 4096 - 24


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_put_in_is_read_back_and_all_else_stays(name: str) -> None:
    before = IMAGES[name]
    found = image.parse(before)
    assert found.read("bootconf.txt") == CONFIG
    for content in (b"", b"[all]\n", CONFIG, b"x" * 1001, b"y" * MOST):
        made = found.put("bootconf.txt", content)
        assert made.read("bootconf.txt") == content
        others = {one: text for one, text in eepromimages.files(before).items() if one != "bootconf.txt"}
        assert eepromimages.files(made.content) == {"bootconf.txt": content, **others}
        # Sections follow one another as before, and outside the sector of the file not a byte has changed.
        real = [(at, magic) for at, magic in eepromimages.walk(made.content) if magic != 0x55AAFEEF]
        assert real == [(at, magic) for at, magic in eepromimages.walk(before) if magic != 0x55AAFEEF]
        (at,) = (section.start for section in found.sections if section.name == "bootconf.txt")
        assert made.content[:at] == before[:at]
        assert made.content[at + 4096 :] == before[at + 4096 :]
        assert len(made.content) == len(before)


@pytest.mark.parametrize("name", IMAGES)
def test_the_same_settings_make_the_same_image(name: str) -> None:
    found = image.parse(IMAGES[name])
    assert found.put("bootconf.txt", CONFIG).content == IMAGES[name]
    longer = found.put("bootconf.txt", b"z" * 3000)
    assert longer.put("bootconf.txt", CONFIG).content == IMAGES[name]


def test_the_size_tells_the_family_and_the_bootloader_its_date() -> None:
    assert [(found.family, found.built) for found in map(image.parse, IMAGES.values())] == [
        ("pi4", eepromimages.BUILT),
        ("pi5", eepromimages.BUILT),
        ("pi4", eepromimages.BUILT),
        ("pi4", eepromimages.BUILT),
    ]


def test_too_much_is_refused_in_a_sentence() -> None:
    with pytest.raises(Spoilt, match=r"bootconf.txt has 4,073 bytes, and the image has room for 4,072"):
        image.parse(IMAGES["Pi 4"]).put("bootconf.txt", b"x" * (MOST + 1))
    with pytest.raises(Spoilt, match=r"the image has no section cacert.der"):
        image.parse(IMAGES["Pi 4"]).put("cacert.der", b"")


def spoilt(at: int, octets: bytes) -> bytes:
    made = bytearray(IMAGES["Pi 4"])
    made[at : at + len(octets)] = octets
    return bytes(made)


def _of(name: str) -> int:
    return next(section.start for section in image.parse(IMAGES["Pi 4"]).sections if section.name == name)


# By what is wrong; 512 KiB make no name of a test.
SPOILT = {
    "it has 0 bytes": b"",
    "it has 524,287 bytes; an image for a Pi 4 has 512 KiB, one for a Pi 5 has 2 MiB": IMAGES["Pi 4"][:-1],
    "it has no section at all: it is empty, or no EEPROM image": bytes(PI5),
    "at 0x0 a section should begin, and there is 7f454c46": b"\x7fELF" * (PI4 // 4),
    "the section at 0x0 would have 524,287 bytes": spoilt(4, b"\x00\x07\xff\xff"),
    "would have 4,294,967,295 bytes": spoilt(_of("bootconf.txt") + 4, b"\xff\xff\xff\xff"),
    "has no name": spoilt(_of("bootconf.txt") + 8, bytes(12)),
    "it has bootconf.txt twice": spoilt(_of("pubkey.bin") + 8, b"bootconf.txt"),
}


@pytest.mark.parametrize("why", SPOILT)
def test_a_spoilt_image_is_refused_with_what_is_wrong(why: str) -> None:
    with pytest.raises(Spoilt) as error:
        image.parse(SPOILT[why])
    assert why in str(error.value)


def test_an_erased_image_and_a_file_that_is_too_short_are_refused() -> None:
    with pytest.raises(Spoilt, match="no section at all"):
        image.parse(b"\xff" * PI4)
    with pytest.raises(Spoilt, match="has no name"):
        image.parse(spoilt(_of("bootconf.txt") + 4, b"\0\0\0\x03"))


def take(content: bytes) -> None:
    """Read it and change it as a user would have it; what is taken must stay an image with all its other files."""
    try:
        found = image.parse(content)
        made = found.put("bootconf.txt", b"[all]\nBOOT_ORDER=0xf2\n")
    except Spoilt:
        return
    assert len(made.content) == len(content)
    assert made.content[-4096:] == content[-4096:]
    assert made.read("bootconf.txt") == b"[all]\nBOOT_ORDER=0xf2\n"
    names = [section.name for section in found.sections if section.name]
    assert [section.name for section in made.sections if section.name] == names
    assert all(made.read(name) == found.read(name) for name in names if name != "bootconf.txt")


@given(st.data())
def test_damaged_headers_are_refused_or_leave_an_image(data: st.DataObject) -> None:
    made = bytearray(IMAGES[data.draw(st.sampled_from(sorted(IMAGES)))])
    starts = [section.start for section in image.parse(bytes(made)).sections]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, 23))
        octets = data.draw(st.binary(min_size=1, max_size=8))
        made[at : at + len(octets)] = octets
    take(bytes(made))


def test_images_with_faults_anywhere_are_refused_or_stay_images() -> None:
    mutants = iter(Mutants(4, [IMAGES["Pi 4"], IMAGES["settings last"]]))
    for _ in range(150):
        made = next(mutants)
        take(made)
        take(made[:PI4].ljust(PI4, b"\xff"))


@given(st.binary(max_size=600))
def test_any_bytes_in_front_are_refused_or_read(octets: bytes) -> None:
    take(octets + IMAGES["Pi 4"][len(octets) :])
