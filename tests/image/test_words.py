"""The rules: models, the Imager's list, sums, and the record."""

from __future__ import annotations

from typing import Any

import pytest
from diskimages import BOOT_FILES
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.errors import ConfigError
from pinetboot.image import catalogue, record
from pinetboot.image.catalogue import NotOneEntry
from pinetboot.image.models import bootable
from pinetboot.image.record import ImageRecord
from pinetboot.image.sums import parse_sum, sum_of

SUM = "0123456789abcdef" * 4


def test_a_whole_boot_partition_boots_every_model() -> None:
    assert bootable(BOOT_FILES) == {"pi3": [], "pi4": [], "pi5": []}
    assert bootable(name.upper() for name in BOOT_FILES) == {"pi3": [], "pi4": [], "pi5": []}


@pytest.mark.parametrize(
    ("gone", "model", "told"),
    [
        ("start4.elf", "pi4", "start4.elf"),
        ("fixup4.dat", "pi4", "fixup4.dat"),
        ("bcm2711-rpi-4-b.dtb", "pi4", "bcm2711-rpi-4-b.dtb"),
        ("config.txt", "pi5", "config.txt"),
        ("bcm2712-rpi-5-b.dtb", "pi5", "bcm2712-rpi-5-b.dtb"),
        ("bootcode.bin", "pi3", "bootcode.bin"),
        ("start.elf", "pi3", "start.elf"),
        ("fixup.dat", "pi3", "fixup.dat"),
        ("bcm2710-rpi-3-b.dtb", "pi3", "bcm2710-rpi-3-b.dtb or bcm2710-rpi-3-b-plus.dtb"),
    ],
)
def test_each_file_is_missed_by_its_model_alone(gone: str, model: str, told: str) -> None:
    missing = bootable(set(BOOT_FILES) - {gone})
    assert missing == {"pi3": [], "pi4": [], "pi5": []} | {model: [told]}


def test_any_kernel_will_do_that_the_model_can_start() -> None:
    without = set(BOOT_FILES) - {"kernel8.img"}
    assert list(bootable(without).values()) == [
        ["kernel8.img or kernel7.img"],
        ["kernel8.img or kernel7l.img"],
        ["kernel_2712.img or kernel8.img"],
    ]
    assert not bootable({*without, "kernel_2712.img"})["pi5"]
    assert not bootable({*without, "kernel7l.img"})["pi4"]
    assert not any(bootable({*without, "vmlinuz"}).values())
    assert not any(bootable({*without, "vmlinuz-6.1.0-22-arm64"}).values())
    assert not any(bootable({*without, "current/vmlinuz"}).values())


def test_nothing_boots_nothing() -> None:
    assert all(bootable([]).values())


def entry(name: str, url: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "url": f"https://downloads.raspberrypi.com/{url}",
        "extract_size": 1,
        "extract_sha256": SUM,
    } | more


LIST = {
    "imager": {"latest_version": "2.0", "devices": []},
    "os_list": [
        entry(
            "Raspberry Pi OS (64-bit)",
            "raspios_arm64/images/raspios_arm64-2025-10-02/2025-10-01-raspios-trixie-arm64.img.xz",
        ),
        {
            "name": "Raspberry Pi OS (other)",
            "subitems": [
                entry(
                    "Raspberry Pi OS Lite (64-bit)",
                    "raspios_lite_arm64/images/x/2025-10-01-raspios-trixie-arm64-lite.img.xz",
                ),
                entry(
                    "Raspberry Pi OS Lite (32-bit)",
                    "raspios_lite_armhf/images/x/2025-10-01-raspios-trixie-armhf-lite.img.xz",
                ),
                entry(
                    "Raspberry Pi OS (Legacy, 64-bit) Lite",
                    "raspios_oldstable_lite_arm64/images/x/2025-10-02-raspios-bookworm-arm64-lite.img.xz",
                ),
            ],
        },
        {
            "name": "Other general-purpose OS",
            "subitems": [
                {
                    "name": "Ubuntu",
                    "subitems": [
                        entry(
                            "Ubuntu Server 24.04.3 LTS (64-bit)",
                            "ubuntu/ubuntu-24.04.3-preinstalled-server-arm64+raspi.img.xz",
                        ),
                        entry(
                            "Ubuntu Server 25.10 (64-bit)", "ubuntu/ubuntu-25.10-preinstalled-server-arm64+raspi.img.xz"
                        ),
                    ],
                }
            ],
        },
        {"name": "Erase", "url": "internal://format"},
        {"name": "More", "subitems_url": "https://example.org/more.json"},
    ],
}


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("raspios-lite-arm64", "Raspberry Pi OS Lite (64-bit)"),
        ("raspios_lite_arm64", "Raspberry Pi OS Lite (64-bit)"),
        ("Raspberry Pi OS Lite (64-bit)", "Raspberry Pi OS Lite (64-bit)"),
        ("RaspiOS lite 64bit", "Raspberry Pi OS Lite (64-bit)"),
        ("raspios-lite-armhf", "Raspberry Pi OS Lite (32-bit)"),
        ("raspios-arm64", "Raspberry Pi OS (64-bit)"),
        ("raspios-oldstable-lite-arm64", "Raspberry Pi OS (Legacy, 64-bit) Lite"),
        ("legacy lite", "Raspberry Pi OS (Legacy, 64-bit) Lite"),
        ("2025-10-01-raspios-trixie-arm64-lite.img.xz", "Raspberry Pi OS Lite (64-bit)"),
        ("ubuntu-24.04.3", "Ubuntu Server 24.04.3 LTS (64-bit)"),
    ],
)
def test_a_name_is_found_leniently(asked: str, name: str) -> None:
    asked = catalogue.stem(asked)
    assert catalogue.match(catalogue.entries(LIST), asked).name == name


def test_every_entry_is_found_by_the_name_that_is_shown_for_it() -> None:
    found = catalogue.entries(LIST)
    assert len(found) == 6
    for one in found:
        assert catalogue.match(found, one.slug) == one


@pytest.mark.parametrize(
    ("asked", "several", "near"),
    [
        ("ubuntu", True, "ubuntu-server-24.04.3-lts-arm64"),
        ("raspios-lite-arm46", False, "raspios-lite-arm64"),
        ("rasbios", False, "raspios-arm64"),
        ("", False, ""),
    ],
)
def test_what_means_none_or_several_lists_near_ones(asked: str, several: bool, near: str) -> None:
    with pytest.raises(NotOneEntry) as caught:
        catalogue.match(catalogue.entries(LIST), asked)
    assert caught.value.several is several
    assert not near or near in caught.value.near


def test_further_lists_are_told() -> None:
    assert catalogue.sublists(LIST) == ["https://example.org/more.json"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["os_list", "subitems", "name", "url", "extract_size", "x"]), inner, max_size=5
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_a_list_of_some_entries(content: Any) -> None:
    assert isinstance(catalogue.entries(content), list)
    assert isinstance(catalogue.sublists(content), list)


def test_sums_in_all_their_forms() -> None:
    other = "f" * 64
    assert sum_of(f"{SUM}  a.img.xz\n", "a.img.xz") == SUM
    assert sum_of(f"{SUM.upper()} *a.img.xz\r\n", "a.img.xz") == SUM
    assert sum_of(SUM, "a.img.xz") == SUM
    assert sum_of(f"SHA256 (a.img.xz) = {SUM}\n", "a.img.xz") == SUM
    assert sum_of(f"{other}  b.img.xz\n{SUM}  ./a.img.xz\n", "a.img.xz") == SUM
    assert sum_of(f"{other}  b.img.xz\n{SUM}  c.img.xz\n", "a.img.xz") is None
    assert sum_of("<html>not found</html>", "a.img.xz") is None
    assert sum_of(SUM * 2, "a.img.xz") is None
    assert parse_sum(f" {SUM.upper()}\n") == SUM
    with pytest.raises(ValueError, match="64 hex digits"):
        parse_sum("abc")


RECORD = ImageRecord(
    name="raspios",
    source="https://example.org/a.img.xz",
    sha256=SUM,
    identity="1",
    added="2026-01-01T00:00:00+00:00",
    has_root=True,
    files=1,
    bytes=2,
    models=["pi4"],
)


@given(st.text(max_size=40), st.lists(st.text(max_size=10), max_size=3), st.booleans(), st.integers(0, 1 << 60))
def test_a_record_is_read_as_it_was_written(text: str, models: list[str], has_root: bool, size: int) -> None:
    wrote = RECORD.model_copy(update={"source": text, "models": models, "has_root": has_root, "bytes": size})
    assert record.from_text(record.to_text(wrote), "image.toml") == wrote


def test_a_path_that_is_no_text_can_be_written_down() -> None:
    wrote = RECORD.model_copy(update={"source": "/odd/\udcff.img"})
    assert record.from_text(record.to_text(wrote), "image.toml").source == "/odd/?.img"


def test_a_damaged_record_says_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"files: -1 will not do"):
        record.from_text(record.to_text(RECORD).replace("files = 1", "files = -1"), "image.toml")
