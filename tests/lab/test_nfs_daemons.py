"""Pis in virtual machines whose root is an export of an nfsd that pinetboot runs by itself: nfs.mode "daemons"."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab.estate import BARE, DATA, DEBIAN, SERVER
from lab.machines import Machine
from lab.netboot import Netboot

pytestmark = pytest.mark.timeout(900)

# By the names of /etc/rpc: those of nfs.mountd_port and its like, and what RFC 1833 and RFC 7530 say.
PORTS = {"portmapper": "111", "nfs": "2049", "mountd": "32767", "status": "32765", "nlockmgr": "32768"}


@pytest.fixture
def lab(netboot: Callable[[str], Netboot]) -> Netboot:
    return netboot("daemons")


@pytest.fixture
def pi(lab: Netboot) -> Machine:
    return lab.pi(DEBIAN).ready()


def test_a_server_where_nothing_of_nfs_ran_serves_version_3_to_debian_s_initramfs(lab: Netboot, pi: Machine) -> None:
    mounted = pi.do("grep ' / nfs' /proc/mounts")
    assert mounted.startswith(f"{SERVER}:{DATA}/pis/{DEBIAN.serial}/1/root / nfs rw,")
    assert ",vers=3," in mounted
    pi.do("echo from the Pi > /var/told && sync /var/told")
    assert lab.server.do(f"cat {DATA}/pis/{DEBIAN.serial}/1/root/var/told") == "from the Pi\n"


def ports(pi: Machine) -> dict[str, set[str]]:
    """What a client's own rpcinfo says of the server: ports by service, over TCP."""
    found: dict[str, set[str]] = {}
    for line in pi.do(f"rpcinfo -p {SERVER}").splitlines()[1:]:
        _, _, protocol, port, name = line.split()
        if protocol == "tcp" and name in PORTS:
            found.setdefault(name, set()).add(port)
    return found


def test_a_client_finds_every_service_on_its_fixed_port(pi: Machine) -> None:
    assert ports(pi) == {name: {port} for name, port in PORTS.items()}


def test_a_kernel_s_own_nfsroot_gets_version_4_1(lab: Netboot) -> None:
    pi = lab.boot(BARE).ready()
    mounted = pi.do("grep ' / nfs' /proc/mounts")
    assert mounted.startswith(f"{SERVER}:{DATA}/pis/{BARE.serial}/1/root / nfs4 rw,")
    assert ",vers=4.1," in mounted
    pi.end()
