"""Pis in virtual machines whose root is an export of a host that runs nfsd itself: nfs.mode "exports"."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab import pxe
from lab.estate import BARE, DATA, DEBIAN, DISK, NEXT_IMAGE, SERVER, STRANGER_MAC, report
from lab.machines import Machine
from lab.netboot import EXPORTS, UP, Netboot
from lab.writing import Writing

pytestmark = pytest.mark.timeout(900)

# What the kernel says of a mount that has trouble.
TROUBLE = "dmesg | grep -iE 'nfs.*(error|not responding|stale)|i/o error|lockd: ' || true"


@pytest.fixture
def lab(netboot: Callable[[str], Netboot]) -> Netboot:
    return netboot("exports")


@pytest.fixture
def pi(lab: Netboot) -> Machine:
    """Debian's own initramfs with its root over version 3, and the agent in it."""
    return lab.pi(DEBIAN).ready()


def root_of(pi: Machine) -> str:
    return pi.do("grep ' / nfs' /proc/mounts").strip()


def tree(serial: str, generation: int, name: str = "root") -> str:
    return f"{DATA}/pis/{serial}/{generation}/{name}"


def test_debian_s_own_initramfs_mounts_the_root_with_the_command_line_that_was_made_for_it(
    lab: Netboot, pi: Machine
) -> None:
    told = lab.server.do(f"cat {DATA}/boot/{DEBIAN.serial}/cmdline.txt").strip()
    assert f"root=/dev/nfs nfsroot={SERVER}:{tree(DEBIAN.serial, 1)},vers=3 rw ip=dhcp rootwait" in told
    assert pi.do("cat /proc/cmdline").strip() == told
    mounted = root_of(pi)
    assert mounted.startswith(f"{SERVER}:{tree(DEBIAN.serial, 1)} / nfs rw,")
    assert ",vers=3," in mounted
    assert pi.do("cat /etc/hostname").strip() == f"pi-{DEBIAN.serial}"

    pi.do("echo from the Pi > /var/told && sync /var/told")
    assert lab.server.do(f"cat {tree(DEBIAN.serial, 1)}/var/told") == "from the Pi\n"
    lab.server.do(f"echo from the server > {tree(DEBIAN.serial, 1)}/var/answer")
    assert pi.do("cat /var/answer") == "from the server\n"


def test_a_pi_s_trees_are_exported_to_the_address_that_it_was_seen_at_and_to_no_other(
    lab: Netboot, pi: Machine
) -> None:
    ours = [line for line in lab.exports() if DEBIAN.serial in line]
    assert [line.split()[0] for line in ours] == [
        tree(DEBIAN.serial, 1, "boot"),
        tree(DEBIAN.serial, 1),
        f"{DATA}/pis/{DEBIAN.serial}/disks",
    ]
    assert all(line.split()[1].startswith(DEBIAN.address) for line in ours)
    for option in ("rw", "sync", "no_subtree_check", "no_root_squash"):
        assert all(option in line.partition("(")[2] for line in ours), ours
    kept = lab.server.do(f"cat {EXPORTS}")
    assert all(line.split()[0] in kept for line in lab.exports())


def test_the_boot_tree_and_a_disk_of_the_pi_s_own_are_mounted_and_overlayfs_works_on_the_disk_alone(
    pi: Machine,
) -> None:
    mounts = pi.do("cat /proc/mounts")
    assert f"{SERVER}:{tree(DEBIAN.serial, 1, 'boot')} /boot/firmware nfs rw," in mounts
    assert "root=/dev/nfs" in pi.do("cat /boot/firmware/cmdline.txt")
    (disk,) = [line for line in mounts.splitlines() if f" {DISK} " in line]
    assert disk.startswith("/dev/loop")
    assert f" {DISK} ext4 rw" in disk

    overlay = (
        "cd {place} && mkdir -p lower upper work both && echo below > lower/file && "
        "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work both && "
        "echo above > both/file && cat lower/file upper/file; code=$?; umount both 2>/dev/null; exit $code"
    )
    assert pi.do(overlay.format(place=DISK)) == "below\nabove\n"
    code, _ = pi.tries("mkdir -p /var/overlay; " + overlay.format(place="/var/overlay"))
    assert code != 0


def test_a_machine_at_another_address_is_refused_that_root(lab: Netboot, pi: Machine) -> None:
    told = lab.server.do(f"cat {DATA}/boot/{DEBIAN.serial}/cmdline.txt").strip()
    stranger = lab.machine("stranger", lab.folder)
    stranger.start(lab.estate.kernel, lab.estate.small_initrd, told, mac=STRANGER_MAC, memory="512M")
    try:
        stranger.until("LAB refused", 60.0)
        assert "Permission denied" in stranger.text
        stranger.ready()
        assert f"inet {DEBIAN.address}/" not in stranger.do("ip -4 address show dev eth0")
        place = f"{SERVER}:{tree(DEBIAN.serial, 1)}"
        for version in ("3", "4.1", "4.2"):
            code, said = stranger.tries(f"mount -t nfs -o vers={version},nolock {place} /root")
            assert code != 0, version
            assert "Permission denied" in said or "No such file" in said, said
    finally:
        stranger.end()
    assert pi.do("echo still mine > /var/mine; cat /var/mine") == "still mine\n"


def test_a_kernel_s_own_nfsroot_gets_version_4_1_and_takes_4_2(lab: Netboot) -> None:
    for version, word in (("4.1", ""), ("4.2", "lab.vers=4.2")):
        code, said = lab.pinetboot("pi", "set", BARE.serial, "--cmdline", word) if word else (0, "")
        assert code == 0, said
        lab.server.keeps_trying(f"grep -q -- '{word}' {DATA}/boot/{BARE.serial}/cmdline.txt")
        pi = lab.boot(BARE).ready()
        told = pi.do("cat /proc/cmdline").strip()
        assert ",vers=4.1,proto=tcp rw ip=dhcp rootwait" in told
        assert told.endswith(word)
        mounted = root_of(pi)
        assert mounted.startswith(f"{SERVER}:{tree(BARE.serial, 1)} / nfs4 rw,")
        assert f",vers={version}," in mounted
        pi.do(f"echo {version} > /var/version && sync")
        assert lab.server.do(f"cat {tree(BARE.serial, 1)}/var/version").strip() == version
        # Two Pis with one name would end each other's opens and locks.
        assert f" {BARE.serial}/" in lab.server.do("grep -h ^name: /proc/fs/nfsd/clients/*/info")
        pi.end()


def test_pinetboot_is_killed_restarted_and_upgraded_while_a_pi_writes_and_the_pi_sees_nothing_of_it(
    lab: Netboot, pi: Machine
) -> None:
    writing = Writing(pi)
    before = lab.exports()
    writing.start()

    lab.kill("KILL")
    writing.go_on()
    assert lab.exports() == before
    lab.serve()
    writing.go_on()
    assert lab.exports() == before

    lab.kill("TERM")
    writing.go_on()
    assert lab.exports() == before
    version = lab.reinstall()
    lab.serve()
    assert any(str(line.get("pinetboot", "")).startswith(f"{version},") for line in lab.log)
    writing.go_on()
    assert lab.exports() == before

    lines, expected = writing.stop()
    assert lines > 100
    assert writing.sum_at_pi() == expected
    assert lab.server.do(f"sha256sum < {tree(DEBIAN.serial, 1)}/var/writes").split()[0] == expected
    assert pi.do(TROUBLE) == ""


def test_another_image_is_booted_at_the_next_boot_and_rollback_brings_the_old_root_back(
    lab: Netboot, pi: Machine
) -> None:
    pi.do("echo of the first > /var/first && sync /var/first")
    code, said = lab.pinetboot("pi", "set", DEBIAN.serial, "--image", NEXT_IMAGE)
    assert code == 0, said
    lab.until_generation(DEBIAN, 2)
    # What runs, runs on.
    assert root_of(pi).startswith(f"{SERVER}:{tree(DEBIAN.serial, 1)} ")
    assert pi.do("cat /var/first") == "of the first\n"
    assert any(line.split()[0] == tree(DEBIAN.serial, 1) for line in lab.exports())

    pi = lab.boot(DEBIAN).ready()
    assert root_of(pi).startswith(f"{SERVER}:{tree(DEBIAN.serial, 2)} ")
    assert pi.do("cat /etc/lab-release").strip() == "debian, the next one"
    assert pi.tries("cat /var/first")[0] != 0

    code, said = lab.pinetboot("pi", "rollback", DEBIAN.serial)
    assert code == 0, said
    lab.until_generation(DEBIAN, 1)
    pi = lab.boot(DEBIAN).ready()
    assert root_of(pi).startswith(f"{SERVER}:{tree(DEBIAN.serial, 1)} ")
    assert pi.do("cat /etc/lab-release").strip() == "debian"
    assert pi.do("cat /var/first") == "of the first\n"


def test_a_pc_s_firmware_comes_by_ipxe_s_script_to_the_root_of_its_mac(lab: Netboot) -> None:
    for old in lab.pis.values():
        old.end()  # two guests at once are slow
    pc = pxe.machine(lab.lan, lab.folder, "pc")
    lab.machines.append(pc)
    before = len(lab.log)
    pc.start_bios(DEBIAN.mac)
    report(f"iPXE to a root over NFS: {pc.until(UP, 200.0):.1f} s")
    fetched = [str(line["path"]) for line in lab.log[before:] if line.get("event") == "http boot"]
    folder = f"/boot/{DEBIAN.serial}"
    assert fetched.count("/ipxe") == 1
    assert {f"{folder}/kernel8.img", f"{folder}/initramfs8"} <= set(fetched)
    assert "Command line: " in pc.text
    assert f"nfsroot={SERVER}:{tree(DEBIAN.serial, 1)[: -len('1/root')]}" in pc.text
