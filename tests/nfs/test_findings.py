"""Each rule on NFS, provoked once and told in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pinetboot.config import Nfs
from pinetboot.fleet.pi import Pi
from pinetboot.nfs import onc
from pinetboot.nfs.exports import Export
from pinetboot.nfs.findings import of_another, of_this_host
from pinetboot.nfs.host import Host, Root
from pinetboot.nfs.modes import Nfsd
from pinetboot.nfs.onc import Mapping
from pinetboot.nfs.wanted import Wanted

SERIAL = "5b154510"
DATA = "/srv/pinetboot"
ROOT = Export(f"{DATA}/pis/{SERIAL}/1/root", "10.0.0.5/32", "rw,sync,no_subtree_check,no_root_squash")
LISTED = replace(ROOT, options="sync,wdelay,hide,no_subtree_check,sec=sys,rw,secure,no_root_squash,no_all_squash")
REGISTERED = (
    Mapping(onc.PORTMAPPER, 2, onc.TCP, 111),
    Mapping(onc.NFS, 3, onc.TCP, 2049),
    Mapping(onc.MOUNT, 3, onc.TCP, 32767),
    Mapping(onc.STATUS, 1, onc.TCP, 32765),
    Mapping(onc.LOCK, 4, onc.TCP, 32768),
)
WELL = Host(
    Nfs(mode="daemons"),
    DATA,
    roots=(Root(Pi(serial=SERIAL, hostname="node-1"), "10.0.0.2", ROOT.path, initramfs=True, seen="10.0.0.5"),),
    nfsd=Nfsd(exportfs=True, supported=True, mounted=True, threads=8, versions=frozenset({3, 4})),
    loadable=True,
    registered=REGISTERED,
    kind="ext4",
    kind_options="rw,relatime",
    actual={ROOT.key: LISTED},
    wanted=Wanted((ROOT,), {}),
    own_addresses=frozenset({"10.0.0.2"}),
)


def nfsd(**changed: object) -> Nfsd:
    return replace(WELL.nfsd, **changed)  # type: ignore[arg-type]


def without(*programs: int) -> tuple[Mapping, ...]:
    return tuple(one for one in REGISTERED if one.program not in programs)


def root(**changed: object) -> tuple[Root, ...]:
    return (replace(WELL.roots[0], **changed),)  # type: ignore[arg-type]


def test_where_all_is_well_nothing_is_found() -> None:
    assert of_this_host(WELL) == []


CASES: list[tuple[str, Callable[[], Host], str, str]] = [
    ("no module", lambda: replace(WELL, nfsd=Nfsd(True, False, False), loadable=False), "fatal", "no nfsd module"),
    ("not loaded", lambda: replace(WELL, nfsd=Nfsd(True, False, False)), "fatal", "modprobe nfsd"),
    ("not mounted", lambda: replace(WELL, nfsd=Nfsd(True, True, False)), "fatal", "is not mounted"),
    ("no threads", lambda: replace(WELL, nfsd=nfsd(threads=0)), "fatal", "no threads"),
    ("no exportfs", lambda: replace(WELL, nfsd=nfsd(exportfs=False)), "fatal", "Install nfs-kernel-server"),
    ("hidden", lambda: replace(WELL, registered=REGISTERED[:1]), "fatal", "rpcinfo shows only the portmapper"),
    ("no rpcbind", lambda: replace(WELL, registered=None), "fatal", "no rpcbind answers"),
    ("no mountd", lambda: replace(WELL, registered=without(onc.MOUNT)), "fatal", "mountd not registered"),
    (
        "mountd elsewhere",
        lambda: replace(WELL, registered=(*without(onc.MOUNT), Mapping(onc.MOUNT, 3, onc.TCP, 45678))),
        "warning",
        "mountd listens on port 45678, nfs.mountd_port says 32767",
    ),
    (
        "statd elsewhere",
        lambda: replace(WELL, registered=(*without(onc.STATUS), Mapping(onc.STATUS, 1, onc.UDP, 999))),
        "warning",
        "statd listens on port 999",
    ),
    ("inotify", lambda: replace(WELL, inotify_exhausted=True), "fatal", "fs.inotify.max_user_instances"),
    (
        "refused",
        lambda: replace(WELL, refused=(f"{ROOT.path} does not support NFS export",)),
        "fatal",
        "does not support NFS export",
    ),
    ("overlay", lambda: replace(WELL, kind="overlay", kind_options="rw,index=on"), "fatal", "nfs_export=on"),
    ("version off", lambda: replace(WELL, nfsd=nfsd(versions=frozenset({4}))), "fatal", "does not serve version 3"),
    (
        "another address",
        lambda: replace(WELL, roots=root(seen="10.0.0.9")),
        "warning",
        "was seen at 10.0.0.9, and its root is exported to 10.0.0.5/32 alone",
    ),
    (
        "overlapping",
        lambda: replace(WELL, users=(Export("/srv", "*", "rw"),)),
        "warning",
        "an export of your own, /srv to *, overlaps",
    ),
    (
        "server of another time",
        lambda: replace(WELL, own_addresses=frozenset({"10.0.0.3"})),
        "fatal",
        "is told to mount its root from 10.0.0.2, which is no address of this host",
    ),
    ("not exported", lambda: replace(WELL, actual={}), "fatal", "not exported as they should be"),
    (
        "exported otherwise",
        lambda: replace(WELL, actual={ROOT.key: replace(ROOT, options="ro")}),
        "fatal",
        "not exported as they should be",
    ),
    (
        "no address",
        lambda: replace(WELL, actual={}, wanted=Wanted((), {SERIAL: "its address is not known yet"})),
        "info",
        "node-1 (5b154510) is exported nothing yet",
    ),
    (
        "squashed",
        lambda: replace(WELL, nfs=Nfs(mode="daemons", options="rw")),
        "warning",
        "nfs.options has no no_root_squash",
    ),
]


@pytest.mark.parametrize(("host", "severity", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_fault_is_told_in_one_sentence(host: Callable[[], Host], severity: str, said: str) -> None:
    (found,) = of_this_host(host())
    assert found.severity == severity
    assert said in f"{found.what} {found.why} {found.do}"
    for sentence in (found.what, found.why, found.do):
        assert sentence
        assert "\n" not in sentence


def test_a_virtual_address_of_a_host_that_stands_by_is_right() -> None:
    host = replace(WELL, own_addresses=frozenset({"10.0.0.3"}), server_address="10.0.0.2")
    assert of_this_host(host) == []


def test_a_host_that_serves_no_pi_has_no_fatal_finding() -> None:
    host = replace(WELL, roots=(), nfsd=Nfsd(False, False, False), loadable=False, registered=None, actual=None)
    host = replace(host, wanted=Wanted((), {}))
    assert {finding.severity for finding in of_this_host(host)} == {"info"}


def test_where_nfs_is_another_hosts_nothing_is_said_of_this_one() -> None:
    for mode in ("off", "external"):
        nfs = Nfs(mode=mode, address="10.0.0.9", path="/export")
        assert of_this_host(Host(nfs, DATA, roots=WELL.roots)) == []


EXTERNAL = Nfs(mode="external", address="10.0.0.9", path="/export/pi")
BOTH = frozenset({3, 4})


def test_another_server_that_has_what_it_should() -> None:
    for path in ("/export/pi", "/export", "/", "/export/pi/pis/5b154510/1/root"):
        assert of_another(EXTERNAL, roots=True, answers=BOTH, exported=[("/home", ()), (path, ("10.0.0.0/24",))]) == []


@pytest.mark.parametrize(
    ("answers", "exported", "severity", "said"),
    [
        (frozenset(), "", "fatal", "no NFS server answers at 10.0.0.9"),
        (frozenset({4}), [("/export", ())], "warning", "does not serve NFS version 3"),
        (BOTH, [("/export/pictures", ())], "fatal", "does not export /export/pi"),
        (BOTH, [], "fatal", "it exports nothing"),
        (BOTH, "no mountd is registered there", "warning", "no mountd is registered there"),
    ],
)
def test_another_server_that_has_not(
    answers: frozenset[int], exported: list[tuple[str, tuple[str, ...]]] | str, severity: str, said: str
) -> None:
    (found,) = of_another(EXTERNAL, roots=True, answers=answers, exported=exported)
    assert found.severity == severity
    assert said in f"{found.what} {found.why}"
    assert found.rule == "D29"
