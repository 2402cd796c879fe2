"""config.txt and cmdline.txt as far as the firmware's requests depend on them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.pi.config_txt import HONOURED, ConfigTxt, parse, root_of, seed_url


def test_settings_are_words_around_an_equals_sign_and_the_last_one_counts() -> None:
    found = parse(b"kernel=a.img\r\n  arm_64bit = 1 \nkernel=b.img\nempty=\n", "pi4")
    assert found == ConfigTxt(settings={"kernel": "b.img", "arm_64bit": "1", "empty": ""})


def test_comments_and_what_is_unknown_are_passed_over() -> None:
    text = b"# kernel=a.img\nnonsense\n[pi3\n\nkernel=b.img # why\nlist=[pi3]\n"
    assert parse(text, "pi4") == ConfigTxt(settings={"kernel": "b.img", "list": "[pi3]"})


@pytest.mark.parametrize(
    ("value", "on"), [(None, False), ("", False), ("0", False), ("1", True), ("2", True), ("yes", True)]
)
def test_a_flag_is_on_unless_it_is_0(value: str | None, *, on: bool) -> None:
    found = ConfigTxt(settings={} if value is None else {"x": value})
    assert found.flag("x") is on
    assert found.flag("x", default=True) is (on or value is None)


@pytest.mark.parametrize(
    ("section", "pi4", "pi5"),
    [
        ("[all]", True, True),
        ("[pi4]", True, False),
        ("[pi5]", False, True),
        ("[PI5]", False, True),
        ("[ pi4 ]", True, False),
        ("[pi3]", False, False),
        ("[none]", False, False),
        ("[tryboot]", False, False),
        ("[0x5b154510]", False, False),
    ],
)
def test_filters_are_obeyed(section: str, *, pi4: bool, pi5: bool) -> None:
    text = (
        f"before=1\n{section}\ninside=1\ndtoverlay=inside\ninitramfs inside\ninclude inside\n[all]\nafter=1\n".encode()
    )
    for model, inside in (("pi4", pi4), ("pi5", pi5)):
        found = parse(text, model)
        assert ("inside" in found.settings) is inside
        assert (found.overlays, found.initramfs, found.includes) == ((["inside"],) * 3 if inside else ([], [], []))
        assert {"before", "after"} <= set(found.settings)


def test_overlays_come_without_their_parameters_and_in_order() -> None:
    text = b"dtoverlay=vc4-kms-v3d,cma-256\ndtoverlay=i2c-rtc:ds3231\ndevice_tree_overlay=w1-gpio\ndtoverlay=\n"
    assert parse(text, "pi4").overlays == ["vc4-kms-v3d", "i2c-rtc", "w1-gpio"]


def test_initramfs_has_no_equals_sign_and_may_name_several() -> None:
    assert parse(b"initramfs initramfs8 followkernel\n", "pi4").initramfs == ["initramfs8"]
    assert parse(b"initramfs one,two 0x00800000\ninitramfs three\n", "pi4").initramfs == ["one", "two", "three"]


def test_included_files_are_named_in_order() -> None:
    assert parse(b"include extra.txt\ninclude more settings.txt\n", "pi4").includes == [
        "extra.txt",
        "more settings.txt",
    ]


def test_a_file_can_be_read_on_top_of_another() -> None:
    found = parse(b"kernel=a.img\ndtoverlay=one\n", "pi4")
    assert parse(b"kernel=b.img\ndtoverlay=two\n", "pi4", found) is found
    assert found.settings == {"kernel": "b.img"}
    assert found.overlays == ["one", "two"]


def test_only_the_first_4_kib_count() -> None:
    line = b"kernel=a.img\n"
    padded = b"#" * (HONOURED - len(line) - 1) + b"\n" + line
    assert parse(padded, "pi4").settings == {"kernel": "a.img"}
    assert parse(b"#" + padded, "pi4").settings == {"kernel": "a.img"}
    assert parse(b"##" + padded, "pi4").settings == {"kernel": "a.im"}
    assert parse(b"#" * HONOURED + b"\n" + line, "pi4") == ConfigTxt()


@given(text=st.binary(max_size=300), model=st.sampled_from(["pi4", "pi5", "pi3"]))
def test_reading_never_fails(text: bytes, model: str) -> None:
    found = parse(text, model)
    assert all([*found.overlays, *found.includes])
    root_of(text)
    assert (seed_url(text) or "http://").startswith(("http://", "https://"))


@pytest.mark.parametrize(
    ("cmdline", "url"),
    [
        (b"ds=nocloud;s=http://192.168.1.10/", "http://192.168.1.10/"),
        (b"root=/dev/nfs ds=nocloud-net;s=http://192.168.1.10/seed/ ip=dhcp", "http://192.168.1.10/seed/"),
        (b"ds=nocloud;h=node-1;seedfrom=https://seed.lan/", "https://seed.lan/"),
        (b"ds=nocloud;s=http://seed.lan/;h=node-1", "http://seed.lan/"),
        (b"ds=nocloud;s=http://one/ ds=nocloud;s=http://two/", "http://two/"),
        (b"ds=nocloud", None),
        (b"ds=nocloud;s=/var/lib/seed/", None),
        (b"ds=nocloud;s=", None),
        (b"ds=ec2;s=http://192.168.1.10/", None),
        (b"xds=nocloud;s=http://192.168.1.10/", None),
        (b"", None),
    ],
)
def test_the_seed_is_where_ds_nocloud_says(cmdline: bytes, url: str | None) -> None:
    assert seed_url(cmdline) == url


@pytest.mark.parametrize(
    ("cmdline", "root"),
    [
        (b"console=tty1 root=/dev/nfs nfsroot=192.168.1.10:/srv,vers=3 rw ip=dhcp\n", "/dev/nfs"),
        (b"root=/dev/mmcblk0p2 root=/dev/nfs", "/dev/nfs"),
        (b"root=PARTUUID=12-02 rootwait", "PARTUUID=12-02"),
        (b"nfsroot=192.168.1.10:/srv", None),
        (b"", None),
    ],
)
def test_the_root_is_what_the_last_word_of_its_name_says(cmdline: bytes, root: str | None) -> None:
    assert root_of(cmdline) == root
