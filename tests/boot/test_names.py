"""Names as clients write them: always a plain path below the root, or refused."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pinetboot.boot.names import BadName, normalise, place, printable

characters = st.one_of(
    st.sampled_from("/\\.. \0\n\x1b\x7f\x85\u2028\udc80\udcff"), st.integers(0, 0x10FFFF).map(chr), st.just("a")
)
texts = st.text(characters, max_size=40)
# What a parser of bytes is given, and what one of text is: bytes that are no UTF-8 come as lone surrogates.
names = st.binary(max_size=60) | st.binary(max_size=60).map(os.fsdecode)
parts = st.lists(st.sampled_from(["", ".", "..", "a", "b", "overlays", "x.dtbo", "...", "..a", " "]), max_size=12)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"config.txt", "config.txt"),
        (b"5b154510/start4.elf", "5b154510/start4.elf"),
        (b"/config.txt", "config.txt"),
        (b"//config.txt", "config.txt"),
        (b"da591740//config.txt", "da591740/config.txt"),
        (b"da591740///overlays//overlay_map.dtb", "da591740/overlays/overlay_map.dtb"),
        (b"./a/./b/.", "a/b"),
        (b"a/b/", "a/b"),
        (b"\\boot\\kernel8.img", "boot/kernel8.img"),
        (b"a\\/\\b", "a/b"),
        (b"a/../b", "b"),
        (b"a/b/../../c", "c"),
        (b"a\\..\\b", "b"),
        (b"a/..b/...", "a/..b/..."),
        (b"Config.TXT", "Config.TXT"),
        (b"with space", "with space"),
        ("caf\u00e9".encode(), "caf\u00e9"),
        (b"\xff", "\udcff"),
        (b"x" * 255, "x" * 255),
        (b"/".join([b"x" * 204] * 5), "/".join(["x" * 204] * 5)),
    ],
)
def test_a_name_means_a_plain_path_below_the_root(name: bytes, path: str) -> None:
    assert normalise(name) == path
    assert normalise(os.fsdecode(name)) == path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"", "the name is empty"),
        (b"/", "the name is empty"),
        (b"\\", "the name is empty"),
        (b"././/.", "the name is empty"),
        (b"a/..", "the name is empty"),
        (b"..", "the name leads out of the boot root"),
        (b"../etc/passwd", "the name leads out of the boot root"),
        (b"/../etc/passwd", "the name leads out of the boot root"),
        (b"a/../../b", "the name leads out of the boot root"),
        (b"..\\..\\b", "the name leads out of the boot root"),
        (b"a/../../a/b", "the name leads out of the boot root"),
        (b"a\0b", "the name holds a NUL"),
        (b"x" * 256, "the name is too long"),
        ("\u00e9".encode() * 128, "the name is too long"),
        (b"/".join([b"x" * 200] * 6), "the name is too long"),
    ],
)
def test_a_name_that_can_mean_no_file_is_refused(name: bytes, why: str) -> None:
    with pytest.raises(BadName, match=f"^{why}$"):
        normalise(name)
    with pytest.raises(BadName, match=f"^{why}$"):
        normalise(os.fsdecode(name))


@given(name=names)
@example(name=b"/" * 3000)
@example(name=b"a/../" * 1000 + b"b")
def test_a_path_is_never_absolute_never_empty_and_never_leads_out(name: bytes | str) -> None:
    try:
        path = normalise(name)
    except BadName as refusal:
        told = str(refusal)
        assert told.startswith("the name ")
        return
    steps = path.split("/")
    assert not {"", ".", ".."} & set(steps)
    assert "\\" not in path
    assert "\0" not in path
    assert len(os.fsencode(path)) <= 1024
    assert normalise(path) == path
    assert normalise(os.fsencode(path)) == path


@given(steps=parts, slash=st.sampled_from(["/", "//", "\\", "/./"]))
def test_a_path_is_where_a_walk_along_the_name_ends(steps: list[str], slash: str) -> None:
    at: list[str] = []
    for step in steps:
        if step == ".." and not at:
            with pytest.raises(BadName):
                normalise(slash.join(steps))
            return
        if step == "..":
            at.pop()
        elif step not in {"", "."}:
            at.append(step)
    if at:
        assert normalise(slash.join(steps)) == "/".join(at)
    else:
        with pytest.raises(BadName):
            normalise(slash.join(steps))


@given(name=texts)
@example(name="\ud800")
def test_any_text_is_a_path_or_refused(name: str) -> None:
    try:
        path = normalise(name)
    except BadName:
        return
    assert not path.startswith("/")


@pytest.mark.parametrize(
    ("path", "where"), [("config.txt", ""), ("5b154510/config.txt", "5b154510"), ("a/b/c", "a"), ("5b154510", "")]
)
def test_a_place_is_the_top_folder(path: str, where: str) -> None:
    assert place(path) == where


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("5b154510/config.txt", "5b154510/config.txt"),
        ("with space", "with space"),
        ("caf\u00e9", "caf\u00e9"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\0", "\\x00"),
        ("\udcff", "\\xff"),
        ("\u2028", "\\xe2\\x80\\xa8"),
    ],
)
def test_what_is_not_printable_is_escaped(path: str, shown: str) -> None:
    assert printable(path) == shown


@given(text=texts)
@example(text="\ud800")
@example(text="\udfff")
def test_any_text_is_shown_on_one_printable_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode()
