"""Who has which tree mounted, as far as anyone can know."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pinetboot.events import RootMounted
from pinetboot.nfs.clients import Client, Mount, Snapshot, Used
from pinetboot.nfs.exports import Export
from pinetboot.nfs.mounts import Mounts

DATA = "/srv/pinetboot"
SERIAL, OTHER = "5b154510", "5b154511"
HERE, MOVED, DESKTOP = "10.0.0.5", "10.0.0.6", "10.0.0.77"
OWN = {HERE: SERIAL}


def root(number: int, serial: str = SERIAL, kind: str = "root") -> str:
    return f"{DATA}/pis/{serial}/{number}/{kind}"


def export(number: int, client: str = f"{HERE}/32", serial: str = SERIAL) -> Export:
    return Export(root(number, serial), client, "rw")


def v3(*mounts: tuple[str, int, int]) -> Snapshot:
    return Snapshot(mounts=tuple(Mount(client, root(number), count) for client, number, count in mounts))


def v4(*clients: tuple[int, str], used: tuple[int, ...] = (), domain: str = f"{HERE}/32") -> Snapshot:
    return Snapshot(
        tuple(Client(number, address) for number, address in clients),
        used=frozenset(Used(root(number), domain) for number in used),
    )


def test_as_long_as_nobody_has_looked_everything_may_be_in_use() -> None:
    mounts = Mounts(DATA)
    assert mounts.in_use(export(1))


def test_a_mount_over_version_3_is_told_once_each_time() -> None:
    mounts = Mounts(DATA)
    assert mounts.take(Snapshot(), 0, OWN, {}) == []
    assert mounts.take(v3((HERE, 1, 1)), 0, OWN, {}) == [RootMounted(SERIAL, HERE, 1)]
    assert mounts.take(v3((HERE, 1, 1)), 0, OWN, {}) == []
    assert mounts.take(v3((HERE, 1, 2)), 0, OWN, {}) == [RootMounted(SERIAL, HERE, 1)]
    assert mounts.take(v3((HERE, 1, 1)), 0, OWN, {}) == []
    assert mounts.generations(SERIAL) == {1}
    assert mounts.generations(OTHER) == frozenset()


def test_what_was_mounted_before_our_start_is_not_told_and_guards() -> None:
    mounts = Mounts(DATA)
    assert mounts.take(v3((HERE, 1, 1), (HERE, 2, 1)), 0, OWN, {}) == []
    assert mounts.generations(SERIAL) == {1, 2}
    assert mounts.in_use(export(1))
    assert not mounts.in_use(export(3))


def test_a_pi_that_mounts_another_root_has_left_the_one_before() -> None:
    mounts = Mounts(DATA)
    mounts.take(v3((HERE, 1, 1)), 0, OWN, {})
    mounts.take(v3((HERE, 1, 1), (HERE, 2, 1)), 0, OWN, {})
    assert mounts.generations(SERIAL) == {2}
    assert not mounts.in_use(export(1))
    mounts.take(v3((HERE, 1, 2), (HERE, 2, 1)), 0, OWN, {})
    assert mounts.generations(SERIAL) == {1}


def test_a_pi_at_another_address_has_left_what_was_exported_to_it_alone() -> None:
    mounts = Mounts(DATA)
    mounts.take(v3((HERE, 1, 1)), 0, OWN, {})
    lines = [export(1), export(1, f"{MOVED}/32")]
    mounts.take(v3((HERE, 1, 1), (MOVED, 1, 1)), 0, {MOVED: SERIAL}, {}, lines)
    assert not mounts.in_use(lines[0])
    assert mounts.in_use(lines[1])


def test_what_somebody_else_has_mounted_stays_in_use() -> None:
    mounts = Mounts(DATA)
    mounts.take(v3((HERE, 1, 1), (DESKTOP, 1, 1)), 0, OWN, {})
    mounts.take(v3((HERE, 1, 1), (DESKTOP, 1, 1), (HERE, 2, 1)), 0, OWN, {}, [export(1, "10.0.0.0/24")])
    assert mounts.generations(SERIAL) == {1, 2}
    # A desktop that mounts a Pi's newest root says nothing of where the Pi is.
    mounts.take(v3((HERE, 1, 1), (DESKTOP, 1, 1), (HERE, 2, 1), (DESKTOP, 3, 1)), 0, OWN, {})
    assert mounts.generations(SERIAL) == {1, 2, 3}


def test_a_new_client_of_version_4_is_told_once_its_root_shows() -> None:
    mounts = Mounts(DATA)
    mounts.take(Snapshot(), 0, OWN, {})
    assert mounts.take(v4((1, HERE)), 0, OWN, {SERIAL: 2}) == []
    assert mounts.take(v4((1, HERE), used=(2,)), 0, OWN, {SERIAL: 2}) == [RootMounted(SERIAL, HERE, 2)]
    assert mounts.take(v4((1, HERE), used=(2, 3)), 0, OWN, {SERIAL: 2}) == []
    assert mounts.generations(SERIAL) >= {2}


def test_an_older_root_in_the_cache_is_not_what_a_new_client_mounted() -> None:
    for booted in ({SERIAL: 2}, {}):
        mounts = Mounts(DATA)
        mounts.take(v4((1, HERE), used=(1,)), 0, OWN, {})
        assert mounts.take(v4((2, HERE), used=(1, 2)), 0, OWN, booted) == [RootMounted(SERIAL, HERE, 2)]
        mounts.take(v4((2, HERE)), 1801, OWN, booted)
        assert mounts.generations(SERIAL, [export(1), export(2)]) == {2}


def test_a_client_from_before_our_start_guards_all_that_is_exported_to_it_alone() -> None:
    mounts = Mounts(DATA)
    assert mounts.take(v4((1, HERE)), 0, OWN, {}) == []
    assert mounts.take(v4((1, HERE), used=(1,)), 0, OWN, {}) == []
    lines = [export(1), export(2), export(1, "10.0.0.9/32", OTHER)]
    assert mounts.generations(SERIAL, lines) == {1, 2}
    assert mounts.generations(OTHER, lines) == frozenset()
    mounts.take(v4(), 1801, OWN, {})
    assert mounts.generations(SERIAL, lines) == frozenset()


def test_a_desktop_in_the_network_of_clients_guards_only_what_it_used() -> None:
    mounts = Mounts(DATA)
    wide = "10.0.0.0/24"
    lines = [export(1, wide), export(2, wide)]
    mounts.take(v4((1, DESKTOP)), 0, OWN, {})
    assert mounts.generations(SERIAL, lines) == frozenset()
    mounts.take(v4((1, DESKTOP), used=(1,), domain=wide), 0, OWN, {})
    assert mounts.generations(SERIAL, lines) == {1}


def test_what_was_used_within_half_an_hour_is_in_use_though_exportfs_empties_the_cache() -> None:
    mounts = Mounts(DATA)
    mounts.take(v4(used=(1,)), 0, {}, {})
    for now in (1, 1000, 1799):
        mounts.take(v4(used=(2,)), now, {}, {})
        assert mounts.generations(SERIAL) == {1, 2}
        assert mounts.in_use(export(1))
    mounts.take(v4(), 1800, {}, {})
    assert mounts.generations(SERIAL) == {2}
    mounts.take(v4(), 1799 + 1800, {}, {})
    assert mounts.generations(SERIAL) == frozenset()


def test_disks_are_in_use_with_the_root_of_their_pi() -> None:
    mounts = Mounts(DATA)
    disks = Export(f"{DATA}/pis/{SERIAL}/disks", f"{HERE}/32", "rw")
    mounts.take(Snapshot(), 0, OWN, {})
    mounts.take(v4((1, HERE), used=(1,)), 0, OWN, {})
    assert mounts.in_use(disks)
    assert not mounts.in_use(Export(f"{DATA}/pis/{OTHER}/disks", f"{HERE}/32", "rw"))


def test_a_data_directory_of_before_is_guarded_and_told_to_nobody() -> None:
    mounts = Mounts("/mnt/new")
    mounts.take(Snapshot(), 0, OWN, {})
    assert mounts.take(v3((HERE, 1, 1)), 0, OWN, {}) == []
    assert mounts.in_use(export(1))
    assert mounts.generations(SERIAL) == frozenset()


def test_what_is_no_tree_of_ours_is_nobodys() -> None:
    mounts = Mounts(DATA)
    mounts.take(Snapshot(mounts=(Mount(HERE, "/home", 1),)), 0, OWN, {})
    assert not mounts.in_use(Export("/home", "*", ""))


addresses = st.sampled_from([HERE, MOVED, DESKTOP])
numbers = st.integers(1, 3)
snapshots = st.builds(
    Snapshot,
    st.lists(
        st.builds(Client, st.integers(1, 4), addresses, st.booleans()), max_size=3, unique_by=lambda c: c.number
    ).map(tuple),
    st.lists(
        st.builds(Mount, addresses, numbers.map(root), st.integers(1, 3)),
        max_size=3,
        unique_by=lambda m: (m.client, m.path),
    ).map(tuple),
    st.frozensets(st.builds(Used, numbers.map(root), addresses.map("{}/32".format)), max_size=3),
)


@given(st.lists(snapshots, max_size=8))
def test_whatever_happens_the_roots_that_are_told_are_guarded(seen: list[Snapshot]) -> None:
    mounts = Mounts(DATA)
    lines = [export(number) for number in (1, 2, 3)]
    for snapshot in seen:
        told = mounts.take(snapshot, 0, OWN, {SERIAL: 2}, lines)
        held = mounts.generations(SERIAL, lines)
        # Of the roots that one Pi is seen to mount at a time, it can have the last alone.
        assert not told or any(mounted.generation in held for mounted in told)
        for used in snapshot.used:
            assert any(used.path == root(number) for number in held)
