"""A generation: what an image becomes for one Pi, whole or not there, whoever dies when."""

from __future__ import annotations

import os
import random
import re
import signal
import stat
import subprocess
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bigtree import grow, mounted
from imagetrees import SERIAL, SERVED, fill, raspios, snapshot
from support import require_root

from pinetboot import files, run
from pinetboot.boot import online
from pinetboot.boot.generated import Served
from pinetboot.causes import Finding
from pinetboot.errors import OperatorError
from pinetboot.fleet import clone, generation, trees
from pinetboot.fleet.pi import Disk, Pi

PI = Pi(serial=SERIAL, hostname="node-1", image="raspios", ssh=True, userconf="pi:$6$x", cmdline="cgroup_memory=1")
WANTS = "etc/systemd/system/multi-user.target.wants"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return raspios(tmp_path)


def make(image: Path, pi: Pi = PI, number: int = 1, served: Served = SERVED) -> list[Finding]:
    return generation.make(data_of(image), pi, image, number, served, lambda _: None, lambda: False)


def data_of(image: Path) -> Path:
    return image.parent.parent


def own(image: Path) -> Path:
    return data_of(image) / "pis" / SERIAL


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestMake:
    def test_the_trees(self, image: Path) -> None:
        before = snapshot(image)
        assert make(image) == []
        assert snapshot(image) == before
        made = own(image) / "1"
        assert entries(own(image)) == ["1", "identity"]
        assert stat.S_IMODE(own(image).stat().st_mode) == 0o700
        boot, root = made / "boot", made / "root"
        nfsroot = f"nfsroot=192.168.1.10:/srv/pinetboot/pis/{SERIAL}/1/root,vers=3"
        assert (boot / "cmdline.txt").read_text() == (
            f"console=serial0,115200 console=tty1 root=/dev/nfs {nfsroot} rw ip=dhcp rootwait quiet cgroup_memory=1\n"
        )
        assert (boot / "ssh").read_bytes() == (root / "boot/firmware/ssh").read_bytes() == b""
        assert (boot / "userconf.txt").read_text() == "pi:$6$x\n"
        assert f"/srv/pinetboot/pis/{SERIAL}/1/boot /boot/firmware nfs vers=3" in (root / "etc/fstab").read_text()
        assert (root / "etc/hostname").read_text() == "node-1\n"
        assert "127.0.1.1\tnode-1\n" in (root / "etc/hosts").read_text()
        assert (boot / "kernel8.img").read_bytes() == (image / "boot/kernel8.img").read_bytes()

    def test_identity_and_services(self, image: Path) -> None:
        make(image)
        root, identity = own(image) / "1" / "root", own(image) / "identity"
        keys = [name for name in entries(root / "etc/ssh") if name.startswith("ssh_host_")]
        assert keys == [name for name in entries(identity) if name.startswith("ssh_host_")]
        for name in keys:
            assert (root / "etc/ssh" / name).read_bytes() == (identity / name).read_bytes()
            assert (root / "etc/ssh" / name).stat().st_mode == (identity / name).stat().st_mode
        assert (root / "etc/machine-id").read_bytes() == (identity / "machine-id").read_bytes()
        units = root / "etc/systemd/system"
        assert entries(root / WANTS) == [online.UNIT, "ssh.service"]
        for name in ("dphys-swapfile", "regenerate_ssh_host_keys", "resize2fs_once"):
            assert str((units / f"{name}.service").readlink()) == "/dev/null"
        assert entries(root / "etc/rc3.d") == []
        assert os.access(root / online.SCRIPT.lstrip("/"), os.X_OK)
        assert (root / WANTS / online.UNIT).resolve() == (units / online.UNIT).resolve()

    def test_cloud_init(self, tmp_path: Path) -> None:
        image = raspios(tmp_path, cloud_init="22.4.2")
        make(image)
        line = (own(image) / "1/boot/cmdline.txt").read_text()
        assert f" ds=nocloud-net;s=http://192.168.1.10/seed/{SERIAL}/ network-config=disabled " in line
        assert "ssh_deletekeys: false" in (own(image) / "1/root/etc/cloud/cloud.cfg.d/90_pinetboot.cfg").read_text()

    def test_nothing_swaps_to_a_file_or_grows_a_partition(self, tmp_path: Path) -> None:
        image = raspios(tmp_path, cloud_init="25.2")
        wants = "etc/systemd/system/local-fs.target.wants"
        fill(
            image / "root",
            {
                "etc/rpi/swap.conf": "[Main]\n#Mechanism=auto\n",
                "etc/dphys-swapfile": "CONF_SWAPSIZE=512\n",
                "usr/lib/systemd/system/rpi-resize.service": "[Unit]\n",
                f"{wants}/": "",
            },
        )
        (image / "root" / wants / "rpi-resize.service").symlink_to("/usr/lib/systemd/system/rpi-resize.service")
        make(image)
        root = own(image) / "1" / "root"
        drop_in = root / "etc/rpi/swap.conf.d/90-pinetboot.conf"
        assert [line for line in drop_in.read_text().splitlines() if not line.startswith("#")] == [
            "[Main]",
            "Mechanism=zram",
        ]
        assert (root / "etc/rpi/swap.conf").read_text() == "[Main]\n#Mechanism=auto\n"
        assert entries(root / wants) == []
        for name in ("dphys-swapfile", "rpi-resize"):
            assert str((root / f"etc/systemd/system/{name}.service").readlink()) == "/dev/null"
        assert "mode: 'off'" in (root / "etc/cloud/cloud.cfg.d/90_pinetboot.cfg").read_text()
        assert " resize " not in (own(image) / "1/boot/cmdline.txt").read_text()

    def test_a_root_without_rpi_swap_gets_no_settings_for_it(self, image: Path) -> None:
        make(image)
        assert not (own(image) / "1/root/etc/rpi").exists()

    def test_the_record(self, image: Path) -> None:
        make(image)
        told = tomllib.loads((own(image) / "1" / "generation.toml").read_text())
        assert (told["image"], told["identity"], told["root"]) == ("raspios", "one", "nfs")
        assert told["cmdlines"] == {"cmdline.txt": (image / "boot/cmdline.txt").read_text()}
        assert "$6$" not in (own(image) / "1" / "generation.toml").read_text()
        assert trees.generations(data_of(image), SERIAL) == [
            trees.Generation(1, "raspios", "one", "nfs", rejected=False)
        ]

    def test_without_a_root(self, image: Path) -> None:
        make(image, Pi(serial=SERIAL, root="none"))
        assert entries(own(image)) == ["1"]
        assert entries(own(image) / "1") == ["boot", "generation.toml"]
        assert "nfs" not in (own(image) / "1/boot/cmdline.txt").read_text()

    def test_identity_and_disks_outlive_it(self, image: Path) -> None:
        pi = PI.model_copy(update={"disks": [Disk(mount="/var/lib/rancher", size="10M")]})
        make(image, pi, 1)
        kept = {name: snapshot(own(image) / name) for name in ("identity", "disks")}
        make(raspios(data_of(image), "other", identity="two"), pi, 2)
        generation.remove(data_of(image), SERIAL, 1)
        assert {name: snapshot(own(image) / name) for name in ("identity", "disks")} == kept
        assert entries(own(image)) == ["2", "disks", "identity"]
        root = own(image) / "2" / "root"
        assert (root / "var/lib/rancher").is_dir()
        assert (root / "var/lib/pinetboot/disks").is_dir()
        assert (
            "/var/lib/pinetboot/disks/var-lib-rancher.ext4 /var/lib/rancher ext4 loop"
            in (root / "etc/fstab").read_text()
        )

    def test_progress_and_cancelling(self, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        grow(image / "root" / "usr" / "share", 2000)
        count = sum(1 for name in ("boot", "root") for _ in (image / name).rglob("*")) + 2
        (image / "image.toml").write_text(f'identity = "one"\nfiles = {count}\n')
        monkeypatch.setattr(run, "_LOOK_S", 0.001)
        told: list[int] = []
        generation.make(data_of(image), PI, image, 1, SERVED, told.append, lambda: False)
        assert told == sorted(told)
        assert told[-1] == 100
        if os.statvfs(image).f_files:  # else the file system does not say how many files it holds
            assert len(set(told)) >= 5
        with pytest.raises(run.Cancelled):
            generation.make(data_of(image), PI, image, 2, SERVED, told.append, lambda: True)
        assert entries(own(image)) == ["1", "identity"]

    def test_findings(self, image: Path) -> None:
        (image / "root/usr/sbin/mount.nfs").unlink()
        with (image / "root/etc/fstab").open("a") as fstab:
            fstab.write("PARTUUID=8a676486-03 /data ext4 defaults 0 2\n")
        found = make(image, PI.model_copy(update={"cmdline": "x" * 1100}))
        assert [one.rule for one in found] == ["", "D31", "D27"]
        assert "/boot/firmware" not in (own(image) / "1/root/etc/fstab").read_text()


class TestRefused:
    def refused(self, image: Path, match: str, **more: object) -> None:
        with pytest.raises(OperatorError, match=match) as told:
            make(image, **more)  # type: ignore[arg-type]
        assert told.value.do
        assert not (own(image) / "9").exists()
        assert not [name for name in entries(own(image)) if name.startswith(".")] if own(image).exists() else True

    def test_no_image(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "images" / "missing", "no image missing", number=9)

    def test_no_root_tree(self, tmp_path: Path) -> None:
        fill(tmp_path / "images" / "bootonly", {"boot/config.txt": ""})
        self.refused(tmp_path / "images" / "bootonly", "no root tree", number=9)

    def test_a_path_that_no_command_line_holds(self, image: Path) -> None:
        self.refused(image, "holds ' '", number=9, served=replace(SERVED, nfs_data="/my data"))

    def test_a_number_that_is_taken(self, image: Path) -> None:
        make(image)
        self.refused(image, "a generation 1 already", number=1)

    def test_a_program_that_is_missing(self, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        there = run.find
        monkeypatch.setattr(run, "find", lambda program: None if program == "cp" else there(program))
        self.refused(image, "cp is not installed", number=9)

    def test_too_little_room_is_said_before_anything_is_copied(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        require_root()
        with mounted("ext4", tmp_path, "60M") as data:
            fill(data / "images/raspios/root", {"large": b"x" * (30 << 20)})
            image = raspios(data)
            with monkeypatch.context() as patch:
                patch.delattr(clone, "clone")
                self.refused(
                    image, "a copy of the image raspios for node-1 needs .* in .*, where .* are free", number=9
                )
            (image / "root/large").unlink()
            with (image / "root/large").open("wb") as file:
                file.truncate(1 << 30)  # a hole takes no room, whatever the record says of its size
            record = (image / "image.toml").read_text()
            (image / "image.toml").write_text(re.sub(r"(?m)^bytes = .*", f"bytes = {1 << 30}", record))
            make(image)
            assert entries(own(image)) == ["1", "identity"]

    def test_a_full_disk(self, tmp_path: Path) -> None:
        require_root()
        with mounted("ext4", tmp_path, "40M") as data:
            image = raspios(data)
            (image / "root" / "large").write_bytes(b"x" * (20 << 20))
            self.refused(image, "No space left on device", number=9)
            os.sync()
            (image / "root" / "large").unlink()
            make(image)
            assert entries(own(image)) == ["1", "identity"]

    def test_a_tree_that_is_no_tree(self, image: Path) -> None:
        (image / "root/etc/hostname").unlink()
        (image / "root/etc/hostname").mkdir()
        with pytest.raises(OperatorError, match="Is a directory"):
            make(image)
        assert entries(own(image)) == ["identity"]


def test_an_image_cannot_make_us_write_elsewhere(image: Path) -> None:
    outside = data_of(image) / "outside"
    fill(outside, {"hostname": "host", "system/": "", "ssh/ssh_host_rsa_key": "host's", "boot/": "", "cmdline": "mine"})
    before = snapshot(outside)
    root = image / "root"
    clone.discard(root / "etc/systemd")
    clone.discard(root / "etc/ssh")
    for link, target in {
        "etc/systemd": str(outside),
        "etc/ssh": str(outside / "ssh"),
        "etc/cloud": "../../../../../../outside",
        "usr/local": str(outside),
        "var": "../../../outside",
    }.items():
        (root / link).symlink_to(target)
    for link in ("etc/hostname", "etc/hosts", "etc/fstab", "etc/machine-id"):
        (root / link).unlink()
        (root / link).symlink_to(outside / "hostname")
    clone.discard(root / "boot/firmware")
    (root / "boot/firmware").symlink_to(outside / "boot")
    for link in ("cmdline.txt", "ssh", "userconf.txt"):
        (image / "boot" / link).unlink(missing_ok=True)
        (image / "boot" / link).symlink_to(outside / "cmdline")
    make(image, PI.model_copy(update={"disks": [Disk(mount="/var/data", size="10M")]}))
    assert snapshot(outside) == before
    boot = own(image) / "1" / "boot"
    assert (boot / "cmdline.txt").read_text().startswith("root=/dev/nfs")  # what the link leads to was not read
    assert not any((boot / name).is_symlink() for name in ("cmdline.txt", "ssh", "userconf.txt"))
    assert (own(image) / "1/root/etc/hostname").read_text() == "node-1\n"


class TestRefresh:
    def line(self, image: Path) -> Path:
        return own(image) / "1" / "boot" / "cmdline.txt"

    def test_nothing_to_do(self, image: Path) -> None:
        make(image)
        before = snapshot(own(image))
        inode = self.line(image).stat().st_ino
        assert not generation.refresh(data_of(image), PI, 1, SERVED)
        assert snapshot(own(image)) == before
        assert self.line(image).stat().st_ino == inode

    def test_a_new_address_and_name_leave_the_root_alone(self, image: Path) -> None:
        make(image)
        before = snapshot(own(image) / "1" / "root")
        pi = PI.model_copy(update={"hostname": "other", "cmdline": "cgroup_memory=1 isolcpus=3"})
        served = replace(SERVED, server="10.9.8.7", nfs_server="10.9.8.7")
        assert generation.refresh(data_of(image), pi, 1, served)
        text = self.line(image).read_text()
        assert "nfsroot=10.9.8.7:/srv" in text
        assert text.endswith(" rootwait quiet cgroup_memory=1 isolcpus=3\n")
        assert snapshot(own(image) / "1" / "root") == before
        assert not generation.refresh(data_of(image), pi, 1, served)

    def test_words_of_an_earlier_fleet_file_go_those_of_the_user_stay(self, image: Path) -> None:
        make(image)
        text = self.line(image).read_text()
        self.line(image).write_text(text.replace("quiet", "splash isolcpus=3"))
        assert generation.refresh(data_of(image), PI.model_copy(update={"cmdline": "maxcpus=2"}), 1, SERVED)
        assert self.line(image).read_text().endswith(" rootwait splash isolcpus=3 maxcpus=2\n")
        # The image's own word is not fleet.toml's to take away.
        assert generation.refresh(data_of(image), PI.model_copy(update={"cmdline": "splash"}), 1, SERVED)
        assert generation.refresh(data_of(image), PI.model_copy(update={"cmdline": ""}), 1, SERVED) is False
        assert self.line(image).read_text().endswith(" rootwait splash isolcpus=3\n")

    def test_a_line_that_is_gone_comes_back_from_the_image(self, image: Path) -> None:
        make(image)
        text = self.line(image).read_text()
        self.line(image).unlink()
        assert generation.refresh(data_of(image), PI, 1, SERVED)
        assert self.line(image).read_text() == text
        self.line(image).write_text("\n\n")
        assert generation.refresh(data_of(image), PI, 1, SERVED)
        assert self.line(image).read_text() == text

    def test_what_the_pi_took_away_comes_back_only_when_it_is_set_anew(self, image: Path) -> None:
        make(image)
        boot = own(image) / "1" / "boot"
        for name in ("ssh", "userconf.txt"):
            (boot / name).unlink()
        assert not generation.refresh(data_of(image), PI, 1, SERVED)
        assert not (boot / "ssh").exists()
        assert generation.refresh(data_of(image), PI.model_copy(update={"userconf": "pi:new"}), 1, SERVED)
        assert (boot / "userconf.txt").read_text() == "pi:new\n"
        off = PI.model_copy(update={"userconf": "", "ssh": False})
        assert generation.refresh(data_of(image), off, 1, SERVED)
        assert not (boot / "userconf.txt").exists()
        assert generation.refresh(data_of(image), PI, 1, SERVED)
        assert (boot / "ssh").exists()
        assert not generation.refresh(data_of(image), PI, 1, SERVED)

    def test_a_pi_cannot_make_us_read_or_write_elsewhere(self, image: Path) -> None:
        make(image)
        secret = own(image) / "secret"
        secret.write_text("quiet secret=1\n")
        self.line(image).unlink()
        self.line(image).symlink_to(secret)
        (own(image) / "1/boot/config.txt").write_text("cmdline=../../secret\nos_prefix=../\n")
        assert generation.refresh(data_of(image), PI, 1, SERVED)
        assert secret.read_text() == "quiet secret=1\n"
        found = [path.read_bytes() for path in (own(image) / "1/boot").rglob("*") if path.is_file()]
        assert not [text for text in found if b"secret=1" in text and b"nfsroot" in text]

    def test_a_folder_in_its_place_is_told(self, image: Path) -> None:
        make(image)
        self.line(image).unlink()
        self.line(image).mkdir()
        with pytest.raises(OperatorError, match="cannot be written"):
            generation.refresh(data_of(image), PI, 1, SERVED)

    def test_a_root_that_will_be_another_s_is_kept_until_then(self, image: Path) -> None:
        make(image)
        text = self.line(image).read_text()
        assert not generation.refresh(data_of(image), PI.model_copy(update={"root": "none"}), 1, SERVED)
        assert self.line(image).read_text() == text

    def test_one_that_is_not_ours(self, image: Path) -> None:
        assert not generation.refresh(data_of(image), PI, 7, SERVED)


class TestRemoveAndSweep:
    def test_remove(self, image: Path) -> None:
        make(image)
        generation.remove(data_of(image), SERIAL, 1)
        generation.remove(data_of(image), SERIAL, 1)
        assert entries(own(image)) == ["identity"]

    def test_what_cannot_be_deleted_is_out_of_the_way(self, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make(image)
        with monkeypatch.context() as patch:
            patch.setattr(clone, "discard", lambda _: None)
            generation.remove(data_of(image), SERIAL, 1)
            assert entries(own(image)) == [".gone-1", "identity"]
            make(image)
            generation.remove(data_of(image), SERIAL, 1)
            assert entries(own(image)) == [".gone-1", ".gone-1~", "identity"]
        generation.sweep(data_of(image))
        assert entries(own(image)) == ["identity"]

    def test_sweep_takes_what_is_half_and_nothing_else(self, image: Path) -> None:
        make(image)
        before = snapshot(own(image))
        fill(
            own(image),
            {
                ".new-2/boot/x": "",
                ".gone-3/root/x": "",
                ".new-identity/machine-id": "",
                ".new-data-disk": "",
                f"1/boot/{files.TEMPORARY}x": "",
                f"1/{files.TEMPORARY}x": "",
            },
        )
        fill(data_of(image) / "pis", {".gone-0badcafe/1/boot/x": "", "0badcafe": "no folder"})
        generation.sweep(data_of(image))
        assert snapshot(own(image)) == before
        assert entries(data_of(image) / "pis") == ["0badcafe", SERIAL]
        generation.sweep(data_of(image) / "nowhere")


def killed_after(seconds: float, work: Callable[[], object]) -> bool:
    """Do some work in a process of its own, killed after a time; whether it was still at it."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # later Pythons warn of fork()
def test_killed_at_any_moment_it_is_whole_or_not_there(image: Path) -> None:
    grow(image / "root" / "usr" / "share", 400)
    data, chance = data_of(image), random.Random(4)  # noqa: S311 - moments

    def whole(number: int) -> dict[str, tuple[int, bytes]]:
        here = f"/{SERIAL}/{number}/".encode()  # a number alone may stand in a key as well
        found = snapshot(own(image) / str(number))
        # Noise may hold anything, the number of a generation too.
        made = {
            name: (mode, content if b"\0" in content else content.replace(here, f"/{SERIAL}/N/".encode()))
            for name, (mode, content) in found.items()
        }
        mode, record = made.pop("generation.toml")
        return {**made, "generation.toml": (mode, re.sub(rb"made = .*", b"", record))}

    began = time.monotonic()
    make(image, number=1)
    took_s = time.monotonic() - began
    reference, identity = whole(1), snapshot(own(image) / "identity")
    half = 0
    for number in range(2, 27):
        half += killed_after(chance.uniform(0, took_s), lambda number=number: make(image, number=number))  # type: ignore[misc]
        for name in entries(own(image)):
            if name.isdigit():
                assert whole(int(name)) == reference
        generation.sweep(data)
        assert {name for name in entries(own(image)) if not name.isdigit()} == {"identity"}
        if not (own(image) / str(number)).exists():
            make(image, number=number)
        assert whole(number) == reference
        killed_after(chance.uniform(0, took_s / 8), lambda number=number: generation.remove(data, SERIAL, number))  # type: ignore[misc]
        if (own(image) / str(number)).exists():
            assert whole(number) == reference
            generation.remove(data, SERIAL, number)
        generation.sweep(data)
        assert entries(own(image)) == ["1", "identity"]
    assert snapshot(own(image) / "identity") == identity
    assert half > 5


def test_killed_before_there_is_an_identity(image: Path) -> None:
    for _ in range(3):
        killed_after(0.03, lambda: make(image))
        generation.sweep(data_of(image))
        if (own(image) / "identity").exists():
            assert len(entries(own(image) / "identity")) == 5
    make(image) if not (own(image) / "1").exists() else None
    assert subprocess.run(["ls", own(image) / "identity"], check=True, capture_output=True).stdout.count(b"\n") == 5
