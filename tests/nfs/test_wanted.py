"""Which Pi may mount what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pinetboot.fleet.pi import Pi
from pinetboot.nfs.wanted import Standing, Terms, Whereabouts, clients_of, fsid, needs_fsid, wanted

DATA = "/srv/pinetboot"
SERIAL = "5b154510"
TERMS = Terms("rw,sync")


def pi(**values: object) -> Pi:
    return Pi.model_validate({"serial": SERIAL, **values})


def paths(found: object) -> list[str]:
    return [export.path.removeprefix(f"{DATA}/pis/{SERIAL}/") for export in found.exports]  # type: ignore[attr-defined]


def test_root_and_boot_of_what_it_boots_go_to_its_own_address_alone() -> None:
    found = wanted(DATA, [pi(address="10.0.0.5")], {SERIAL: Standing(frozenset({2}))}, {SERIAL: ("10.0.0.9",)}, TERMS)
    assert paths(found) == ["2/boot", "2/root"]
    assert {export.client for export in found.exports} == {"10.0.0.5/32"}
    assert {export.options for export in found.exports} == {"rw,sync"}


def test_without_a_fixed_address_it_is_where_it_was_seen() -> None:
    stands = {SERIAL: Standing(frozenset({1}))}
    found = wanted(DATA, [pi()], stands, {SERIAL: ("10.0.0.9", "10.0.0.8")}, TERMS)
    assert {export.client for export in found.exports} == {"10.0.0.9/32", "10.0.0.8/32"}
    none = wanted(DATA, [pi()], stands, {}, TERMS)
    assert none.exports == ()
    assert "address is not known yet" in none.without[SERIAL]


def test_a_network_that_may_mount_any_root_stands_for_all_addresses() -> None:
    terms = Terms("rw", "10.0.0.0/24")
    assert clients_of(pi(address="10.0.0.5"), ("10.0.0.6",), terms) == ["10.0.0.0/24"]
    assert clients_of(pi(), (), terms) == ["10.0.0.0/24"]


def test_disks_are_an_export_of_their_own_once_they_are_there() -> None:
    one = pi(address="10.0.0.5", disks=[{"mount": "/var/lib/rancher", "size": "1G"}])
    assert paths(wanted(DATA, [one], {SERIAL: Standing(frozenset({1}), disks=True)}, {}, TERMS)) == [
        "1/boot",
        "1/root",
        "disks",
    ]
    assert "disks" not in paths(wanted(DATA, [one], {SERIAL: Standing(frozenset({1}))}, {}, TERMS))


def test_a_pi_without_a_root_or_a_generation_has_no_export() -> None:
    stands = {SERIAL: Standing(frozenset({1}))}
    assert wanted(DATA, [pi(address="10.0.0.5", root="none")], stands, {}, TERMS).exports == ()
    assert wanted(DATA, [pi(address="10.0.0.5")], {}, {}, TERMS).exports == ()


def test_an_fsid_is_given_where_the_file_system_has_none_and_is_the_same_on_every_node() -> None:
    terms = Terms("rw", needs_fsid=True)
    stands = {SERIAL: Standing(frozenset({1}))}
    here = wanted(DATA, [pi(address="10.0.0.5")], stands, {}, terms)
    there = wanted("/mnt/other", [pi(address="10.0.0.7")], stands, {}, terms)
    assert [export.options for export in here.exports] == [export.options for export in there.exports]
    assert here.exports[0].options == f"rw,fsid={fsid(f'pis/{SERIAL}/1/boot')}"
    assert len({export.options for export in here.exports}) == 2


def test_which_file_systems_need_one() -> None:
    for kind in ("overlay", "tmpfs", "fuse", "fuse.mergerfs", "nfs4", "ceph", "btrfs", "", "something-new"):
        assert needs_fsid(kind)
    for kind in ("ext4", "xfs", "zfs", "f2fs"):
        assert not needs_fsid(kind)


@given(st.integers(0, 0xFFFFFFFF), st.integers(1, 999_999_999), st.sampled_from(["root", "boot"]))
def test_an_fsid_is_a_number_that_nfs_utils_takes(serial: int, number: int, kind: str) -> None:
    found = fsid(f"pis/{serial:08x}/{number}/{kind}")
    assert 1 << 16 <= found < 1 << 31


def test_two_trees_never_share_an_fsid() -> None:
    one = pi(address="10.0.0.5")
    pis = [one.model_copy(update={"serial": f"{number:08x}"}) for number in range(70_000)]
    stands = {one.serial: Standing(frozenset({1})) for one in pis}
    found = wanted(DATA, pis, stands, {}, Terms("", needs_fsid=True))
    assert len({export.options for export in found.exports}) == len(found.exports)
    # Of so many some would have another's number: they are left out, and it is said of whom.
    assert found.without
    assert all("would have the fsid of pis/" in why for why in found.without.values())
    assert len(found.exports) >= 2 * (len(pis) - len(found.without))


def test_where_a_pi_was_seen_lately_counts_and_where_it_was_before_does_not() -> None:
    places = Whereabouts()
    assert places.learn(SERIAL, "10.0.0.5", 0)
    assert not places.learn(SERIAL, "10.0.0.5", 1)
    assert places.learn(SERIAL, "10.0.0.6", 100)
    assert places.of(SERIAL, 200) == ("10.0.0.6", "10.0.0.5")
    assert places.of(SERIAL, 1000) == ("10.0.0.6",)
    assert not places.learn(SERIAL, "10.0.0.5", 1001)
    assert places.of(SERIAL, 1002) == ("10.0.0.5",)
    assert places.of("ffffffff", 0) == ()


def test_addresses_that_no_pi_can_have_are_left_out() -> None:
    places = Whereabouts()
    for address in ("127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "fe80::1", "::1", "", "x", "10.0.0.5/24"):
        assert not places.learn(SERIAL, address, 0)
    assert places.of(SERIAL, 0) == ()


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 30)), max_size=300))
def test_what_strangers_show_is_bounded(seen: list[tuple[int, int]]) -> None:
    places = Whereabouts()
    for now, (serial, address) in enumerate(seen):
        places.learn(f"{serial:08x}", f"10.0.0.{address}", now)
        found = places.of(f"{serial:08x}", now)
        assert found[0] == f"10.0.0.{address}"
        assert len(found) <= 4
    for number in range(3000):
        places.learn(f"{number:08x}", "10.0.0.1", 1e6)
    assert sum(bool(places.of(f"{number:08x}", 1e6)) for number in range(3000)) == 1024
