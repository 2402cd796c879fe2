"""Pis in virtual machines whose root is an export of an nfsd that pinetboot runs by itself: nfs.mode "daemons"."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab.estate import BARE, DATA, DEBIAN, SERVER
from lab.machines import Machine
from lab.netboot import LOG, Netboot
from lab.writing import Writing

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


def test_pinetboot_and_what_it_started_are_killed_and_a_pi_that_writes_sees_nothing_of_it(
    lab: Netboot, pi: Machine
) -> None:
    writing = Writing(pi)
    before = lab.exports()
    writing.start()
    lab.kill("KILL")
    lab.server.do("for name in rpc.mountd rpc.statd rpcbind; do pkill -KILL -x $name; done; ! pidof rpc.mountd")
    writing.go_on()
    assert lab.exports() == before
    lab.serve()
    writing.go_on()
    lab.until_registered()
    lab.server.do("pkill -KILL -x rpc.mountd; sleep 1")
    lab.until_registered()
    writing.go_on()
    assert lab.exports() == before
    lines, expected = writing.stop()
    assert lines > 60
    assert writing.sum_at_pi() == expected
    # An rpcbind that was started anew was told again of what runs: Debian's initramfs finds all of it.
    pi = lab.boot(DEBIAN).ready()
    assert ports(pi) == {name: {port} for name, port in PORTS.items()}


def test_check_tells_what_hides_or_replaces_our_services(lab: Netboot, pi: Machine) -> None:
    lab.kill("TERM")
    try:
        # Another rpcbind, as the host of a container may have one: it knows of none of ours.
        lab.server.do("pkill -KILL -x rpcbind; sleep 0.5; rm -f /run/rpcbind.lock /run/rpcbind/*.xdr; rpcbind")
        hidden = [finding["what"] for finding in lab.check()]
        # And the NFS server of the host, with ports of its own choice.
        lab.server.do("pkill -KILL -x rpc.mountd; pkill -KILL -x rpc.statd; sleep 0.5")
        lab.server.do("rpc.statd --no-notify --port 40001 && rpc.mountd --port 40000")
        elsewhere = [finding["what"] for finding in lab.check()]
    finally:
        lab.server.do("pkill -KILL -x rpc.mountd; pkill -KILL -x rpc.statd; sleep 0.5")
        lab.serve()
    assert "rpcinfo shows only the portmapper" in hidden
    assert "mountd listens on port 40000, nfs.mountd_port says 32767" in elsewhere
    assert "statd listens on port 40001, nfs.statd_port says 32765" in elsewhere
    lab.until_registered()
    assert ports(pi) == {name: {port} for name, port in PORTS.items()}


def test_without_the_nfsd_module_serving_goes_on_and_the_reason_is_told(lab: Netboot, pi: Machine) -> None:
    pi.end()
    lab.kill("TERM")
    lab.server.do(
        "pkill -KILL -x rpc.mountd; pkill -KILL -x rpc.statd; pkill -KILL -x rpcbind; rpc.nfsd 0; sleep 1; "
        "umount /proc/fs/nfsd; modprobe -r nfsd; ! grep -q nfsd /proc/filesystems",
        60.0,
    )
    lab.server.do("mv /usr/lib/modules /usr/lib/elsewhere")
    try:
        lab.serve()
        told = lab.server.keeps_trying(f"grep -m1 'no nfsd' {LOG}")
        with lab.firmware(DEBIAN) as get:
            assert b"root=/dev/nfs" in get("cmdline.txt")
        found = {finding["what"]: finding["why"] for finding in lab.check()}
        lab.kill("TERM")
    finally:
        lab.server.do("mv /usr/lib/elsewhere /usr/lib/modules")
    assert "NFS cannot be served: this kernel has no nfsd" in told
    assert found["no root file system can be mounted from this host"] == "this kernel has no nfsd module"
    lab.serve()
    lab.until_registered()
    assert lab.boot(DEBIAN).ready().do("grep ' / nfs' /proc/mounts").startswith(f"{SERVER}:{DATA}/pis/")
