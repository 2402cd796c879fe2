"""What happens where pinetboot runs nfsd by itself, and it is killed, or something is in its way.

These take minutes: run with PINETBOOT_LAB=full alone.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab.estate import DATA, DEBIAN, SERVER
from lab.machines import Machine
from lab.netboot import LOG, Netboot
from lab.test_nfs_daemons import PORTS, ports
from lab.writing import Writing

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def lab(netboot: Callable[[str], Netboot]) -> Netboot:
    return netboot("daemons")


@pytest.fixture
def pi(lab: Netboot) -> Machine:
    return lab.pi(DEBIAN).ready()


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
