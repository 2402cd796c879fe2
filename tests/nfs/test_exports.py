"""Exports as text and as values, and what has to change between two lists of them."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pinetboot.nfs import exports
from pinetboot.nfs.exports import Export, alike, changes, covers, overlapping, parse, parse_listed, render, tree_of

A = Export("/srv/pis/5b154510/1/root", "10.0.0.5/32", "rw,no_root_squash")
B = Export("/srv/pis/5b154510/2/root", "10.0.0.5/32", "rw,no_root_squash")
C = Export("/srv/pis/5b154511/1/root", "10.0.0.6/32", "rw,no_root_squash")

ODD = [
    "/a b",
    '/a"b',
    "/a\\b",
    "/a#b",
    "/a\nb",
    "/a\tb",
    "/ä ö",
    "/a'b",
    "/a(b)",
    "/\udcff",
    "/a,b",
    "/-a",
    "/\x7f\x01",
]
paths = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=40).map(
        lambda text: "/" + text
    ),
    st.binary(min_size=1, max_size=20)
    .filter(lambda octets: b"\0" not in octets)
    .map(lambda octets: "/" + octets.decode("utf-8", "surrogateescape")),
)
clients = st.sampled_from(["10.0.0.5/32", "10.0.0.0/24", "fd00::/64", "*", "nas.lan", "@group"])
options = st.sampled_from(["", "rw", "rw,sync,no_subtree_check,no_root_squash", "ro,fsid=70000", "async,insecure"])
lists = st.lists(st.builds(Export, paths, clients, options), max_size=8, unique_by=lambda export: export.key)


@given(lists)
def test_what_is_written_is_read_back_whatever_the_path(wanted: list[Export]) -> None:
    assume(not any(exports.unwritable(export.path) for export in wanted))
    text = render(wanted)
    assert text.isascii()
    assert sorted(parse(text)) == sorted(wanted)
    assert len([line for line in text.splitlines() if not line.startswith("#")]) == len({e.path for e in wanted})


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda octets: octets.decode("utf-8", "surrogateescape")))
def test_any_text_is_read_without_a_fault(text: str) -> None:
    for export in (*parse(text), *parse_listed(text)):
        assert export.path.startswith("/")
        assert export.client


@pytest.mark.parametrize("path", ODD)
def test_an_odd_path_has_no_character_that_means_anything_to_exports(path: str) -> None:
    quoted = exports.quote(path)
    assert not set(quoted) & set(" \t\n\"#()'\\") - {"\\"}
    assert exports.unescape(quoted.encode()) == path


def test_a_path_that_nfs_utils_would_read_as_another_is_refused() -> None:
    assert "nfs-utils" in exports.unwritable("/a\\040b")
    assert "longer" in exports.unwritable("/" + "a" * 1024)
    assert not exports.unwritable("/a\\b c")


def test_a_file_as_an_administrator_writes_it() -> None:
    text = """# shares
/home   10.0.0.0/24(rw,sync) nas(ro)   # both
"/srv/my files" -rw,no_root_squash 10.0.0.7 \\
      10.0.0.8(ro)
/pub
/a\\040b *(ro)
relative 10.0.0.1(rw)
"""
    assert parse(text) == [
        Export("/home", "10.0.0.0/24", "rw,sync"),
        Export("/home", "nas", "ro"),
        Export("/srv/my files", "10.0.0.7", "rw,no_root_squash"),
        Export("/srv/my files", "10.0.0.8", "rw,no_root_squash,ro"),
        Export("/pub", "*", ""),
        Export("/a b", "*", "ro"),
    ]


def test_what_exportfs_lists() -> None:
    said = "sync,wdelay,hide,no_subtree_check,sec=sys,rw,secure,no_root_squash,no_all_squash"
    text = f'/srv/pis/5b154510/1/root  10.0.0.5/32({said})\n/a\\040"b#c  *({said})\n'
    assert parse_listed(text) == [Export(A.path, A.client, said), Export('/a "b#c', "*", said)]
    assert alike(parse_listed(text)[0], A)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("rw,sync", "sync,wdelay,hide,sec=sys,rw,secure,root_squash,no_all_squash,no_subtree_check", True),
        ("", "ro", True),
        ("rw,ro", "ro", True),
        ("rw", "ro", False),
        ("fsid=root,rw", "rw,fsid=0", True),
        ("rw,fsid=70000", "rw,fsid=70001", False),
        ("rw,anonuid=65534", "rw", True),
        ("rw,anonuid=0", "rw", False),
        ("rw,insecure", "rw,secure", False),
        ("rw,no_auth_nlm", "insecure_locks,rw", True),
        ("rw,crossmnt", "rw", False),
    ],
)
def test_options_are_compared_by_what_they_mean(one: str, other: str, same: bool) -> None:
    assert alike(Export("/a", "*", one), Export("/a", "*", other)) is same


def test_a_tree_is_told_by_its_path() -> None:
    assert tree_of(A.path) == ("/srv", "5b154510", 1, "root")
    assert tree_of("/srv/my data/pis/5b154510/12/boot/") == ("/srv/my data", "5b154510", 12, "boot")
    assert tree_of("/srv/pis/5b154510/disks") == ("/srv", "5b154510", 0, "disks")
    for path in ("/srv/pis/5b154510/1", "/srv/pis/5B154510/1/root", "/srv/pis/5b154510/01/root", "/srv", "/", ""):
        assert tree_of(path) is None


@pytest.mark.parametrize(
    ("client", "address", "covered"),
    [
        ("10.0.0.5/32", "10.0.0.5", True),
        ("10.0.0.5/32", "10.0.0.6", False),
        ("10.0.0.0/24,10.0.0.5/32", "10.0.0.77", True),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.50", False),
        ("10.0.0.0/255.255.255.0", "10.0.0.77", True),
        ("fd00::/64", "fd00::7", True),
        ("fd00::/64", "10.0.0.5", False),
        ("*", "10.0.0.5", True),
        ("*.lan", "10.0.0.5", True),
        ("10.0.0.5/33", "10.0.0.5", False),
        ("", "10.0.0.5", True),
    ],
)
def test_whose_address_a_client_covers(client: str, address: str, covered: bool) -> None:
    assert covers(client, address) is covered


def test_an_ipv6_network_is_named_in_brackets() -> None:
    assert exports.argument(Export("/a:b", "fd00::/64", "")) == "[fd00::]/64:/a:b"
    assert exports.argument(A) == f"10.0.0.5/32:{A.path}"


def by_key(*found: Export) -> dict[tuple[str, str], Export]:
    return {export.key: export for export in found}


def test_what_lacks_is_added_and_what_is_not_wanted_goes() -> None:
    found = changes([A, C], [A, B], by_key(A, B), lambda _: False, ())
    assert (found.standing, found.add, found.gone, found.withdraw) == ((A, C), (C,), (B,), (B,))


def test_what_is_in_use_stays_though_nobody_wants_it() -> None:
    found = changes([C], [A, B], by_key(A, B), lambda export: export == A, ())
    assert found.standing == (A, C)
    assert found.withdraw == (B,)
    assert found.gone == (B,)


def test_what_is_in_use_and_not_exported_is_exported_again() -> None:
    found = changes([], [A], {}, lambda _: True, ())
    assert found.add == (A,)


def test_what_others_export_is_never_withdrawn() -> None:
    alien = Export("/home", "10.0.0.0/24", "rw")
    found = changes([], [B], by_key(alien, B), lambda _: False, [B.key])
    assert found.withdraw == ()
    assert found.gone == (B,)


def test_changed_options_are_applied_where_they_differ() -> None:
    read_only = Export(A.path, A.client, "ro")
    assert changes([read_only], [A], by_key(A), lambda _: True, ()).add == (read_only,)
    assert changes([A], [A], by_key(Export(A.path, A.client, "no_root_squash,rw,sync")), lambda _: True, ()).add == ()


@given(lists, lists, lists, st.sets(st.integers(0, 7)))
def test_nothing_in_use_is_ever_withdrawn_and_all_that_is_wanted_stands(
    wanted: list[Export], ours: list[Export], actual: list[Export], used: set[int]
) -> None:
    in_use = {export.key for number, export in enumerate(ours) if number in used}
    found = changes(wanted, ours, by_key(*actual), lambda export: export.key in in_use, ())
    assert not in_use & {export.key for export in (*found.withdraw, *found.gone)}
    assert {export.key for export in wanted} <= {export.key for export in found.standing}
    assert {export.key for export in found.withdraw} <= {export.key for export in ours} & by_key(*actual).keys()
    assert {export.key for export in found.standing} - {export.key for export in found.add} <= by_key(*actual).keys()
    assert set(by_key(*ours)) == set(by_key(*ours)) & {e.key for e in (*found.standing, *found.gone)}


def test_exports_that_overlap_a_folder() -> None:
    users = [Export(path, "*") for path in ("/", "/srv", "/srv/pis", "/srv/pis/5b154510", "/srv/pisa", "/home")]
    assert [export.path for export in overlapping(users, "/srv/pis")] == ["/", "/srv", "/srv/pis", "/srv/pis/5b154510"]
    assert PurePosixPath("/srv/pisa") not in {PurePosixPath(e.path) for e in overlapping(users, "/srv/pis")}
