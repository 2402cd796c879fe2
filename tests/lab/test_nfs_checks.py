"""What `pinetboot check` says of NFS on a host that runs nfsd itself: nothing where all is well, else what is wrong.

These take minutes: run with PINETBOOT_LAB=full alone.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab.estate import ARM, BARE, CLOUD, DATA, DEBIAN, SERVER
from lab.machines import Machine
from lab.netboot import LOG, Netboot
from lab.test_nfs_root import tree

pytestmark = pytest.mark.timeout(900)

INSTANCES = "/proc/sys/fs/inotify/max_user_instances"


@pytest.fixture
def lab(netboot: Callable[[str], Netboot]) -> Netboot:
    return netboot("exports")


@pytest.fixture
def pi(lab: Netboot) -> Machine:
    return lab.pi(DEBIAN).ready()


def test_check_finds_nothing_wrong_with_nfs_where_all_is_well(lab: Netboot, pi: Machine) -> None:
    assert nfs_findings(lab) == []


def nfs_findings(lab: Netboot) -> list[str]:
    """What `check` says about NFS: its rules and what is called so."""
    rules = {"D28", "D29", "D33"}
    found = [finding for finding in lab.check() if finding["rule"] in rules or "export" in finding["what"]]
    assert all(finding["why"] and finding["do"] for finding in found)
    return [finding["what"] for finding in found]


def test_check_tells_each_of_many_faults_in_a_sentence(lab: Netboot, pi: Machine) -> None:
    lab.kill("TERM")
    boot = f"{DATA}/boot/{BARE.serial}/cmdline.txt"
    lab.settings('versions = [4]\nclients = "10.99.0.0/24"\noptions = "rw,sync,no_subtree_check"')
    lab.server.do(
        f"cp {boot} /run/cmdline && sed -i 's/nfsroot={SERVER}:/nfsroot=10.55.0.77:/' {boot} && "
        f"exportfs -u {ARM.address}/32:{tree(ARM.serial, 1)} && "
        f"echo '{DATA} *(ro)' > /etc/exports && "
        f"cat {INSTANCES} > /run/instances && echo 0 > {INSTANCES}"
    )
    try:
        told = "\n".join(f"{finding['what']}: {finding['why']}" for finding in lab.check())
    finally:
        lab.server.do(f"cp /run/cmdline {boot}; : > /etc/exports; cat /run/instances > {INSTANCES}")
        lab.settings("")
        lab.serve()
    assert "mounts NFS version 3 alone, and nfs.versions has no 3" in told
    assert f"was seen at {DEBIAN.address}, and its root is exported to 10.99.0.0/24 alone" in told
    assert "nfs.options has no no_root_squash" in told
    assert "is told to mount its root from 10.55.0.77, which is no address of this host" in told
    assert "trees are not exported as they should be" in told
    assert f"an export of your own, {DATA} to *, overlaps the trees of the Pis" in told
    assert "no inotify instance is left for this user" in told
    lab.until_exported(ARM)


def test_check_says_which_export_was_refused_and_why(lab: Netboot, pi: Machine) -> None:
    disks = f"{DATA}/pis/{CLOUD.serial}/disks"
    lab.server.do(f"exportfs -u {CLOUD.address}/32:{disks}; mount -t ramfs none {disks}")
    try:
        refused = lab.server.keeps_trying(f"grep -m1 'exportfs says: .*{disks}' {LOG}", 60.0)
        found = [finding for finding in lab.check() if finding["what"] == "an export was refused"]
    finally:
        lab.server.do(f"umount {disks}")
    assert "does not support NFS export" in refused
    assert [disks in finding["why"] for finding in found] == [True]
    lab.until_exported(CLOUD)
