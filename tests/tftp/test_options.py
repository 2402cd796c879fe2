"""Options of a read request (RFC 2347, 2348, 2349, 7440): granted as asked or lower, never higher."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.tftp.options import DEFAULT_BLKSIZE, Limits, Negotiated, negotiate, number

ETHERNET = Limits(blksize=1468, windowsize=64)
NO_LIMITS = Limits(blksize=65464, windowsize=65535)
SOCKET = 128 << 10


def granted(asked: dict[str, str], limits: Limits = ETHERNET, size: int | None = 1000) -> dict[str, str] | None:
    return negotiate(asked, limits, size).oack


def test_without_options_there_is_no_oack_and_rfc_1350_holds() -> None:
    assert negotiate({}, ETHERNET, 1000) == Negotiated(blksize=512, windowsize=1, timeout_s=None, oack=None)


@pytest.mark.parametrize(
    ("asked", "most", "given"),
    [
        ("8", 1468, "8"),
        ("512", 1468, "512"),
        ("1024", 1468, "1024"),
        ("1468", 1468, "1468"),
        ("1469", 1468, "1468"),
        ("8192", 1468, "1468"),
        ("65464", 65464, "65464"),
        ("65464", 1468, "1468"),
        ("65465", 65464, "65464"),
        ("99999999999999999999", 1432, "1432"),
    ],
)
def test_a_blksize_is_granted_up_to_the_limit(asked: str, most: int, given: str) -> None:
    answer = negotiate({"blksize": asked}, Limits(most, 64), 1000)
    assert answer.oack == {"blksize": given}
    assert answer.blksize == int(given)


@pytest.mark.parametrize(
    ("asked", "most", "given"),
    [("1", 64, "1"), ("4", 64, "4"), ("64", 64, "64"), ("65", 64, "64"), ("65535", 64, "64"), ("65535", 200, "200")],
)
def test_a_windowsize_is_granted_up_to_the_limit(asked: str, most: int, given: str) -> None:
    answer = negotiate({"windowsize": asked}, Limits(1468, most), 1000)
    assert answer.oack == {"windowsize": given}
    assert answer.windowsize == int(given)


@pytest.mark.parametrize(
    ("blksize", "given"),
    [("512", "256"), ("1024", "128"), ("1468", "89"), ("8192", "16"), ("32768", "4"), ("65464", "2"), ("8", "16384")],
)
def test_a_window_is_no_larger_than_what_a_clients_socket_holds(blksize: str, given: str) -> None:
    for asked in ({"blksize": blksize, "windowsize": "65535"}, {"windowsize": "65535", "blksize": blksize}):
        answer = negotiate(asked, NO_LIMITS, 1000)
        assert answer.oack == {"blksize": blksize, "windowsize": given}
        assert list(answer.oack) == list(asked)
        assert answer.windowsize == int(given)


@pytest.mark.parametrize("asked", ["1", "5", "255"])
def test_a_timeout_is_granted_as_asked_or_not_at_all(asked: str) -> None:
    answer = negotiate({"timeout": asked}, ETHERNET, 1000)
    assert answer.oack == {"timeout": asked}
    assert answer.timeout_s == int(asked)


@pytest.mark.parametrize("size", [0, 1, 3 << 30])
def test_a_tsize_is_answered_with_the_size(size: int) -> None:
    assert granted({"tsize": "0"}, size=size) == {"tsize": str(size)}


def test_a_tsize_is_not_answered_where_the_size_is_unknown() -> None:
    assert granted({"tsize": "0"}, size=None) is None
    assert granted({"tsize": "0", "blksize": "1024"}, size=None) == {"blksize": "1024"}


@pytest.mark.parametrize(
    "asked",
    [
        {"blksize": "7"},
        {"blksize": "0"},
        {"windowsize": "0"},
        {"windowsize": "65536"},
        {"timeout": "0"},
        {"timeout": "256"},
        {"multicast": ""},
        {"utimeout": "50000"},
        {"": "512"},
        {"block size": "512"},
    ],
)
def test_what_is_unknown_or_out_of_range_is_ignored(asked: dict[str, str]) -> None:
    assert negotiate(asked, NO_LIMITS, 1000) == Negotiated()


@pytest.mark.parametrize("name", ["blksize", "windowsize", "timeout", "tsize"])
@pytest.mark.parametrize(
    "text", ["", " ", "x", "-1", "+8", " 8", "8 ", "8.0", "0x10", "1e3", "8_0", "\u0663\u0662", "\ufffd", "8" * 21]
)
def test_what_is_no_number_is_ignored(name: str, text: str) -> None:
    assert number(text) is None
    assert negotiate({name: text, "blksize2": "9"}, NO_LIMITS, 1000) == Negotiated()


def test_a_bad_option_does_not_spoil_the_others() -> None:
    asked = {"timeout": "0", "blksize": "1468", "windowsize": "many", "tsize": "0", "x": "1"}
    assert granted(asked) == {"blksize": "1468", "tsize": "1000"}


@pytest.mark.parametrize(
    "asked",
    [
        {"tsize": "0", "blksize": "1468"},
        {"blksize": "1432", "tsize": "0"},
        {"timeout": "5", "blksize": "1468", "windowsize": "4"},
        {"windowsize": "4", "tsize": "0", "timeout": "5", "blksize": "1468"},
    ],
)
def test_the_oack_has_the_order_of_the_request(asked: dict[str, str]) -> None:
    answer = granted(asked)
    assert answer is not None
    assert list(answer) == list(asked)


names = st.sampled_from(["blksize", "windowsize", "timeout", "tsize", "multicast", "x"])
values = st.one_of(
    st.integers(-10, 70000).map(str),
    st.sampled_from(["8", "512", "1468", "65464", "65535"]),
    st.text(st.sampled_from("0189 +-_.x\u0663\ufffd"), max_size=6),
)


@given(
    asked=st.dictionaries(names, values, max_size=6),
    limits=st.builds(Limits, st.integers(8, 65464), st.integers(1, 65535)),
    size=st.none() | st.integers(0, 1 << 40),
)
def test_nothing_is_ever_granted_above_what_was_asked_or_above_the_limit(
    asked: dict[str, str], limits: Limits, size: int | None
) -> None:
    answer = negotiate(asked, limits, size)
    oack = answer.oack or {}
    fits = max(1, SOCKET // answer.blksize)
    assert answer.oack != {}
    assert [name for name in asked if name in oack] == list(oack)
    assert answer.blksize == int(oack.get("blksize", DEFAULT_BLKSIZE))
    assert answer.windowsize == int(oack.get("windowsize", 1))
    assert answer.timeout_s == (int(oack["timeout"]) if "timeout" in oack else None)
    if "blksize" in oack:
        assert 8 <= answer.blksize <= min(int(asked["blksize"]), limits.blksize)
    if "windowsize" in oack:
        assert 1 <= answer.windowsize <= min(int(asked["windowsize"]), limits.windowsize, fits)
    if "timeout" in oack:
        assert oack["timeout"] == str(int(asked["timeout"]))
    if "tsize" in oack:
        assert oack["tsize"] == str(size)
    # A good value within the limits is never passed over (RFC 2347: what is not in the OACK was refused).
    for name, least, most in (
        ("blksize", 8, limits.blksize),
        ("windowsize", 1, min(limits.windowsize, fits)),
        ("timeout", 1, 255),
    ):
        value = number(asked.get(name, ""))
        if value is not None and least <= value <= most:
            assert oack[name] == str(value)
