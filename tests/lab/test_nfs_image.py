"""The container's image with nfs.mode "daemons" in a virtual machine: Pis whose root is an export of that container."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.contained import Contained
from lab.estate import BARE, DATA, DEBIAN, SERVER, Estate
from lab.machines import Machine
from lab.test_nfs_daemons import PORTS, ports
from lab.writing import Writing

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def lab(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contained]:
    made = Contained(estate, tmp_path_factory.mktemp("contained"))
    made.start()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def pi(lab: Contained) -> Machine:
    return lab.pi(DEBIAN).ready()


def test_a_pi_s_root_comes_from_a_container_that_found_no_nfs_on_its_host(lab: Contained, pi: Machine) -> None:
    # Its own root is an overlay that it cannot write to, and the module was not loaded.
    assert " overlay ro," in lab.inside("grep ' / ' /proc/mounts")
    mounted = pi.do("grep ' / nfs' /proc/mounts")
    assert mounted.startswith(f"{SERVER}:{DATA}/pis/{DEBIAN.serial}/1/root / nfs rw,")
    assert ",vers=3," in mounted
    pi.do("echo from the Pi > /var/told && sync /var/told")
    assert lab.server.do(f"cat {DATA}/pis/{DEBIAN.serial}/1/root/var/told") == "from the Pi\n"
    assert ports(pi) == {name: {port} for name, port in PORTS.items()}


def test_nfs_version_4_works_though_an_overlay_cannot_be_exported(lab: Contained) -> None:
    pi = lab.boot(BARE).ready()
    mounted = pi.do("grep ' / nfs' /proc/mounts")
    assert mounted.startswith(f"{SERVER}:{DATA}/pis/{BARE.serial}/1/root / nfs4 rw,")
    assert ",vers=4.1," in mounted
    # Of what lies beside the data directory nothing is shown, not even its name.
    pi.do("mkdir -p /run/all && mount -t nfs4 -o vers=4.1 10.55.0.2:/ /run/all")
    assert pi.do("cd /run/all && find . -maxdepth 2 -xdev").split() == [".", "./srv", "./srv/pinetboot"]
    pi.end()


def test_check_has_nothing_to_say_against_it(lab: Contained, pi: Machine) -> None:
    # The images are this lab's own, and each of their Pis lacks something or other.
    findings = {finding["what"]: finding["severity"] for finding in lab.check() if not finding["serial"]}
    assert not {"fatal", "warning"} & set(findings.values()), findings


def test_the_container_is_replaced_while_a_pi_writes_and_the_pi_sees_nothing_of_it(lab: Contained, pi: Machine) -> None:
    # nfsd ends with the last mount of its file system, and the container's goes with the container.
    (told,) = [str(line["what"]) for line in lab.log if "nfsd ends with this container" in str(line.get("what"))]
    lab.server.do(told.partition("`")[2].rstrip("`"))
    writing = Writing(pi)
    before = lab.exports()
    writing.start()
    lab.kill("TERM")
    # What it had started is gone with it; nfsd is the kernel's.
    lab.server.keeps_trying("! pidof rpc.mountd rpc.statd rpcbind")
    writing.go_on()
    lab.serve()
    lab.until_registered()
    writing.go_on()
    assert lab.exports() == before
    assert not [line for line in lab.log if "nfsd ends with this container" in str(line.get("what"))]
    lines, expected = writing.stop()
    assert lines > 40
    assert writing.sum_at_pi() == expected
