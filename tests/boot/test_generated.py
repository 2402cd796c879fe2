"""Texts for a Pi's own trees: what is managed changes, what is the user's stays, and made twice is made once."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imagetrees import (
    BOOKWORM_CMDLINE,
    BOOKWORM_FSTAB,
    BULLSEYE_FSTAB,
    SERIAL,
    SERVED,
    TRIXIE_CMDLINE,
    UBUNTU_CMDLINE,
    UBUNTU_FSTAB,
)

from pinetboot.boot.generated import Served, TreeFacts, added, cmdline, elsewhere, fstab, hosts, without, words
from pinetboot.fleet.pi import Disk, Pi
from pinetboot.pi import config_txt

PI = Pi(serial=SERIAL, hostname="node-1")
FACTS = TreeFacts(
    initramfs=True,
    has_mount_nfs=True,
    cloud_init=None,
    kernels=("6.6.51",),
    boot_kernels=("6.6.51",),
    has_systemd=True,
)
NO_INITRAMFS = replace(FACTS, initramfs=False)
NFSROOT = f"nfsroot=192.168.1.10:/srv/pinetboot/pis/{SERIAL}/3/root"
BOOT = f"192.168.1.10:/srv/pinetboot/pis/{SERIAL}/3/boot"
DISKS = f"192.168.1.10:/srv/pinetboot/pis/{SERIAL}/disks"


def made(original: str, pi: Pi = PI, facts: TreeFacts = FACTS, served: Served = SERVED) -> str:
    return cmdline(original, pi, served, "3", facts)


class TestCmdline:
    def test_bookworm(self) -> None:
        assert made(BOOKWORM_CMDLINE) == (
            f"console=serial0,115200 console=tty1 root=/dev/nfs {NFSROOT},vers=3 rw ip=dhcp rootwait quiet\n"
        )

    def test_trixie(self) -> None:
        assert made(TRIXIE_CMDLINE, facts=replace(FACTS, cloud_init=(25, 2))) == (
            f"console=serial0,115200 console=tty1 root=/dev/nfs {NFSROOT},vers=3 rw ip=dhcp rootwait "
            f"ds=nocloud;s=http://192.168.1.10/seed/{SERIAL}/ network-config=disabled "
            "quiet cfg80211.ieee80211_regdom=DE\n"
        )

    def test_ubuntu(self) -> None:
        assert made(UBUNTU_CMDLINE, facts=replace(FACTS, cloud_init=(24, 1, 3))) == (
            "console=serial0,115200 multipath=off dwc_otg.lpm_enable=0 console=tty1 "
            f"root=/dev/nfs {NFSROOT},vers=3 rw ip=dhcp rootwait "
            f"ds=nocloud;s=http://192.168.1.10/seed/{SERIAL}/ network-config=disabled panic=10 fixrtc\n"
        )

    def test_without_an_image_s_own_line(self) -> None:
        assert made("") == f"root=/dev/nfs {NFSROOT},vers=3 rw ip=dhcp rootwait\n"

    @pytest.mark.parametrize(
        ("facts", "versions", "options"),
        [
            (FACTS, (3, 4), "vers=3"),
            (FACTS, (4,), "vers=3"),
            (NO_INITRAMFS, (3, 4), "vers=4.1,proto=tcp"),
            (NO_INITRAMFS, (4,), "vers=4.1,proto=tcp"),
            (NO_INITRAMFS, (3,), "vers=3,proto=tcp"),
        ],
    )
    def test_the_version_is_one_that_the_mounter_takes(
        self, facts: TreeFacts, versions: tuple[int, ...], options: str
    ) -> None:
        line = made(BOOKWORM_CMDLINE, facts=facts, served=replace(SERVED, nfs_versions=versions))
        assert f"{NFSROOT},{options}" in line.split()
        # Kernels that have no root yet all have one name, and NFSv4 knows its clients by theirs.
        assert (f"nfs.nfs4_unique_id={SERIAL}" in line.split()) is options.startswith("vers=4")

    def test_a_name_for_version_4_goes_with_it(self) -> None:
        line = made("quiet", facts=NO_INITRAMFS)
        assert "nfs.nfs4_unique_id" in line
        assert "nfs.nfs4_unique_id" not in made(line, facts=FACTS)
        assert made(line, facts=NO_INITRAMFS) == line

    @pytest.mark.parametrize(
        ("version", "word"),
        [
            ((), "nocloud-net"),
            ((20, 4, 1), "nocloud-net"),
            ((22, 4, 2), "nocloud-net"),
            ((23, 1), "nocloud"),
            ((25, 2), "nocloud"),
        ],
    )
    def test_the_seed_s_word_fits_the_version(self, version: tuple[int, ...], word: str) -> None:
        line = made(BOOKWORM_CMDLINE, facts=replace(FACTS, cloud_init=version), served=replace(SERVED, http_port=8080))
        url = f"http://192.168.1.10:8080/seed/{SERIAL}/"
        assert f"ds={word};s={url}" in line.split()
        assert config_txt.seed_url(line.encode()) == url
        assert "network-config=disabled" in line.split()

    def test_no_cloud_init_no_seed(self) -> None:
        line = made(f"ds=nocloud;s=http://1.2.3.4/seed/{SERIAL}/ quiet network-config=disabled")
        assert line == f"root=/dev/nfs {NFSROOT},vers=3 rw ip=dhcp rootwait quiet\n"

    def test_without_http_there_is_no_seed_but_the_card_is_left_alone(self) -> None:
        line = made("quiet", facts=replace(FACTS, cloud_init=(25,)), served=replace(SERVED, http_port=0))
        assert "ds=" not in line
        assert "network-config=disabled" in line.split()

    def test_imager_s_first_run_goes(self) -> None:
        line = made(
            "quiet systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot "
            "systemd.unit=kernel-command-line.target splash\n"
        )
        assert words(line)[-2:] == ["rootwait", "splash"]
        assert "systemd" not in line

    def test_what_only_looks_alike_stays(self) -> None:
        own = (
            "init=/sbin/overlay-init systemd.unit=rescue.target rootdelay=5 fsck.mode=skip ipv6.disable=1 net.ifnames=0"
        )
        assert made(own).startswith(own + " root=/dev/nfs")

    def test_the_server_moves(self) -> None:
        before = made(BOOKWORM_CMDLINE)
        after = made(before, served=replace(SERVED, server="10.0.0.2", nfs_server="10.0.0.3", nfs_data="/vol1/pi/"))
        assert after == before.replace(NFSROOT, f"nfsroot=10.0.0.3:/vol1/pi/pis/{SERIAL}/3/root")

    def test_words_of_the_fleet_are_added_once(self) -> None:
        pi = Pi(serial=SERIAL, cmdline="cgroup_memory=1  quiet cgroup_memory=1")
        assert added(BOOKWORM_CMDLINE, pi) == ["cgroup_memory=1", "cgroup_memory=1"]
        line = made(BOOKWORM_CMDLINE, pi)
        assert line.endswith(" rootwait quiet cgroup_memory=1\n")
        assert made(line, pi) == line
        assert without(line, ["cgroup_memory=1"]) == made(BOOKWORM_CMDLINE)

    def test_words_of_the_fleet_beat_the_managed_ones(self) -> None:
        pi = Pi(
            serial=SERIAL, cmdline="ip=192.168.1.5::192.168.1.1:255.255.255.0:node-1:eth0:off ro init=/sbin/resize-me"
        )
        line = made(BOOKWORM_CMDLINE, pi)
        assert f"root=/dev/nfs {NFSROOT},vers=3 ro ip=192.168.1.5:" in line
        assert {"rw", "ip=dhcp"}.isdisjoint(words(line))
        assert words(line)[-1] == "init=/sbin/resize-me"

    def test_a_pi_without_a_root_keeps_its_own(self) -> None:
        pi = Pi(serial=SERIAL, root="none", cmdline="modules=loop")
        assert made("console=tty1 root=/dev/ram0 ip=dhcp ro quiet ds=nocloud;s=http://h/", pi) == (
            "console=tty1 root=/dev/ram0 ip=dhcp ro quiet ds=nocloud;s=http://h/ modules=loop\n"
        )
        assert made(BOOKWORM_CMDLINE, pi) == (
            "console=serial0,115200 console=tty1 rootfstype=ext4 rootwait quiet modules=loop\n"
        )
        assert "nfs" not in made(made(BOOKWORM_CMDLINE), pi)

    def test_quotes_hold_words_together(self) -> None:
        assert words('a "b c" d="e f"g \t h\nsecond line') == ["a", '"b c"', 'd="e f"g', "h"]
        assert words('a "never closed b') == ["a", '"never closed b"']


word = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            *TRIXIE_CMDLINE.split(),
            *BOOKWORM_CMDLINE.split(),
            *UBUNTU_CMDLINE.split(),
            "ro",
            "rw",
            "ip=dhcp",
            "resize",
            "nfsroot=1.2.3.4:/x",
            "network-config=disabled",
            "ds=none",
            '"',
            "root=/dev/nfs",
            "root=/dev/ram0",
        ]
    ),
)
lines = st.lists(word, max_size=12).map(" ".join)
wanted = lines.filter(str.isprintable).map(lambda text: text[:200])
all_facts = st.builds(
    TreeFacts,
    initramfs=st.booleans(),
    has_mount_nfs=st.booleans(),
    cloud_init=st.sampled_from([None, (), (22, 4), (25, 1)]),
    kernels=st.just(()),
    boot_kernels=st.just(()),
    has_systemd=st.booleans(),
    boot_folder=st.booleans(),
)
pis = st.builds(
    Pi,
    serial=st.just(SERIAL),
    cmdline=wanted,
    root=st.sampled_from(["nfs", "none"]),
    disks=st.sampled_from([[], [Disk(mount="/var/lib/rancher", size="20G"), Disk(mount="/data", size="1G")]]),
)


@given(original=lines, pi=pis, facts=all_facts)
def test_a_line_made_twice_is_made_once(original: str, pi: Pi, facts: TreeFacts) -> None:
    once = made(original, pi, facts)
    assert made(once, pi, facts) == once
    assert once.count("\n") == 1
    assert once.endswith("\n")
    assert "\r" not in once


@given(original=lines, pi=pis, facts=all_facts)
def test_the_user_s_words_stay_in_their_order(original: str, pi: Pi, facts: TreeFacts) -> None:
    managed = re.compile(
        r'"?(root|nfsroot|ip|network-config|rootfstype|rootflags|fsck\.repair|init|systemd\.\w+)=.*'
        r'|"?(ds=nocloud.*|r[wo]|rootwait|resize|fsck\.repair|rootfstype|rootflags|systemd\.\w+)"?'
    )
    own = [one for one in words(original) if not managed.fullmatch(one) and one not in words(pi.cmdline)]
    kept = [one for one in words(made(original, pi, facts)) if one in own]
    assert kept[: len(own)] == own
    assert set(words(pi.cmdline)) <= set(words(made(original, pi, facts)))


class TestFstab:
    def test_bookworm(self) -> None:
        assert fstab(BOOKWORM_FSTAB, PI, SERVED, "3", FACTS) == (
            "proc            /proc           proc    defaults          0       0\n"
            f"{BOOT} /boot/firmware nfs vers=3,nolock,nofail,_netdev 0 0\n"
            "# a swapfile is not a swap partition, no line here\n"
            "#   use  dphys-swapfile swap[on|off]  for that\n"
        )

    def test_bullseye_has_its_boot_tree_at_boot(self) -> None:
        text = fstab(BULLSEYE_FSTAB, PI, SERVED, "3", replace(FACTS, boot_folder=False))
        assert text.splitlines()[1] == f"{BOOT} /boot nfs vers=3,nolock,nofail,_netdev 0 0"
        assert len(text.splitlines()) == 2

    def test_ubuntu_keeps_its_swap(self) -> None:
        assert fstab(UBUNTU_FSTAB, PI, SERVED, "3", FACTS) == (
            f"{BOOT} /boot/firmware nfs vers=3,nolock,nofail,_netdev 0 0\n/swapfile none swap sw 0 0\n"
        )

    def test_without_mount_nfs_no_line(self) -> None:
        pi = Pi(serial=SERIAL, disks=[Disk(mount="/data", size="1G")])
        text = fstab(UBUNTU_FSTAB, pi, SERVED, "3", replace(FACTS, has_mount_nfs=False))
        assert text == "/swapfile none swap sw 0 0\n"

    def test_an_empty_one_gets_the_boot_tree_where_there_is_a_place(self) -> None:
        assert fstab("", PI, SERVED, "3", FACTS).startswith(BOOT)
        assert fstab("", PI, SERVED, "3", replace(FACTS, boot_folder=False)) == ""

    def test_only_version_4(self) -> None:
        text = fstab(UBUNTU_FSTAB, PI, replace(SERVED, nfs_versions=(4,)), "3", FACTS)
        assert f"{BOOT} /boot/firmware nfs vers=4.1,nofail,_netdev 0 0" in text

    def test_disks(self) -> None:
        pi = Pi(serial=SERIAL, disks=[Disk(mount="/var/lib/rancher", size="20G"), Disk(mount="/data", size="1G")])
        text = fstab(BOOKWORM_FSTAB + "/dev/sda1 /data ext4 defaults 0 2\n", pi, SERVED, "3", FACTS)
        nfs, data, rancher = (line.split() for line in text.splitlines()[-3:])
        assert nfs == [DISKS, "/var/lib/pinetboot/disks", "nfs", "vers=3,nolock,nofail,_netdev", "0", "0"]
        assert data[:3] == ["/var/lib/pinetboot/disks/data.ext4", "/data", "ext4"]
        assert rancher[:3] == ["/var/lib/pinetboot/disks/var-lib-rancher.ext4", "/var/lib/rancher", "ext4"]
        options = rancher[3].split(",")
        assert options[:3] == ["loop", "nofail", "_netdev"]
        assert "x-systemd.requires-mounts-for=/var/lib/pinetboot/disks" in options
        assert "x-systemd.before=k3s-agent.service" in options
        assert "/dev/sda1" not in text

    def test_what_a_pi_cannot_do_without_is_told(self) -> None:
        text = BOOKWORM_FSTAB + (
            "UUID=1-2 /data ext4 defaults 0 2\nUUID=1-3 /more ext4 nofail 0 2\nLABEL=x none swap sw\n#UUID=1 /a ext4\n"
        )
        assert elsewhere(text) == [("UUID=1-2", "/data")]


fstab_lines = st.one_of(
    st.text(alphabet=st.characters(exclude_characters="\n"), max_size=30),
    st.sampled_from([*BOOKWORM_FSTAB.splitlines(), *UBUNTU_FSTAB.splitlines(), *BULLSEYE_FSTAB.splitlines()]),
    st.sampled_from(["x /data ext4 defaults", "x /boot/ vfat", "x / ext4", "tmpfs /var/lib/pinetboot/disks tmpfs"]),
)


@given(original=st.lists(fstab_lines, max_size=10).map("\n".join), pi=pis, facts=all_facts)
def test_a_fstab_made_twice_is_made_once(original: str, pi: Pi, facts: TreeFacts) -> None:
    once = fstab(original, pi, SERVED, "3", facts)
    assert fstab(once, pi, SERVED, "3", facts) == once
    points = [line.split()[1] for line in once.split("\n") if len(line.split()) > 1 and line.split()[0][0] != "#"]
    assert "/" not in points
    for line in original.split("\n"):
        if line.strip() and (line.split()[0].startswith("#") or len(line.split()) < 2):
            assert f"{line}\n" in once


class TestHosts:
    def test_debian(self) -> None:
        assert hosts("127.0.0.1\tlocalhost\n127.0.1.1\t\traspberrypi\n::1 localhost\n", "node-1") == (
            "127.0.0.1\tlocalhost\n127.0.1.1\tnode-1\n::1 localhost\n"
        )

    @given(original=st.text(max_size=60))
    def test_made_twice_is_made_once(self, original: str) -> None:
        once = hosts(original, "node-1")
        assert hosts(once, "node-1") == once
        assert once.count("127.0.1.1\tnode-1\n") >= 1


class TestServed:
    def test_the_port_is_told_where_it_is_not_80(self) -> None:
        assert SERVED.url == "http://192.168.1.10"
        assert replace(SERVED, http_port=8080).url == "http://192.168.1.10:8080"
        assert replace(SERVED, http_port=0).url == ""

    @pytest.mark.parametrize("path", ["/my data", "/a,b", "/a'b", "/%s", "relative", "/ä", "/a#b"])
    def test_a_path_that_no_command_line_can_hold(self, path: str) -> None:
        assert replace(SERVED, nfs_data=path).unusable()

    def test_a_path_that_one_can(self) -> None:
        assert not replace(SERVED, nfs_data="/volume1/pi-boot_2/@x.y").unusable()
