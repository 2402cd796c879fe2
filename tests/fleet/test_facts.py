"""What a tree can do, told by looking: never more than a look, and never a fault."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imagetrees import RELEASE, SERIAL, SERVED, fill, kernel, raspios

from pinetboot.boot.generated import Served, TreeFacts
from pinetboot.fleet import kernels
from pinetboot.fleet.facts import boot_names, look
from pinetboot.fleet.lacking import findings, of_the_command_line, of_the_mount
from pinetboot.fleet.pi import Disk, Pi


def test_raspios(tmp_path: Path) -> None:
    image = raspios(tmp_path)
    assert look(image / "boot", image / "root") == TreeFacts(
        initramfs=True,
        has_mount_nfs=True,
        cloud_init=None,
        kernels=(RELEASE,),
        boot_kernels=(RELEASE,),
        has_systemd=True,
        cmdlines=("cmdline.txt",),
        boot_folder=True,
    )
    pi = Pi(serial=SERIAL)
    assert findings(pi, look(image / "boot", image / "root"), boot_names(image / "boot"), "pi5", SERVED) == []


def test_trees_that_are_not_there(tmp_path: Path) -> None:
    found = look(tmp_path / "boot", tmp_path / "root")
    assert not found.initramfs
    assert found.cmdlines == ("cmdline.txt",)
    assert look(tmp_path / "boot", None).kernels == ()
    assert boot_names(tmp_path / "boot") == []


@pytest.mark.parametrize(
    ("config", "names", "expected"),
    [
        ("auto_initramfs=1\n", ["initramfs8"], True),
        ("auto_initramfs=1\n", [], False),
        ("auto_initramfs=0\n", ["initramfs8"], False),
        ("", ["initramfs8"], False),
        ("initramfs initrd.img followkernel\n", ["initrd.img"], True),
        ("initramfs initrd.img followkernel\n", [], False),
        ("[pi5]\nauto_initramfs=1\n", ["initramfs_2712"], True),
        ("[cm4]\nauto_initramfs=1\n[all]\n", ["initramfs8"], True),
        ("auto_initramfs=1\n[pi4]\nauto_initramfs=0\n", ["initramfs8"], True),
        ("include more.txt\n", ["more.txt", "initramfs8"], True),
        ("os_prefix=current/\ninitramfs initrd.img followkernel\n", ["current/initrd.img"], True),
        ("os_prefix=current/\nauto_initramfs=1\n", ["initramfs8"], True),
    ],
)
def test_initramfs(tmp_path: Path, config: str, names: list[str], expected: bool) -> None:
    fill(tmp_path, {"config.txt": config, **dict.fromkeys(names, "auto_initramfs=1\n")})
    assert look(tmp_path, None).initramfs is expected


@pytest.mark.parametrize(
    ("config", "names", "expected"),
    [
        ("", ["cmdline.txt"], ("cmdline.txt",)),
        ("os_prefix=current/\n", ["current/cmdline.txt"], ("current/cmdline.txt",)),
        ("os_prefix=current/\n", ["cmdline.txt"], ("cmdline.txt",)),
        ("cmdline=nobtcmd.txt\n", [], ("nobtcmd.txt",)),
        ("[pi4]\ncmdline=four.txt\n", ["cmdline.txt", "four.txt"], ("four.txt", "cmdline.txt")),
    ],
)
def test_where_the_command_line_is(tmp_path: Path, config: str, names: list[str], expected: tuple[str, ...]) -> None:
    fill(tmp_path, {"config.txt": config, **dict.fromkeys(names, "x")})
    assert look(tmp_path, None).cmdlines == expected


class TestKernels:
    @pytest.mark.parametrize(
        "image",
        [
            kernel(packed=False),
            kernel(),
            b"MZ" + kernel(packed=False, before=(1 << 20) - (1 << 12)),  # the banner lies across two reads
            os.urandom(20_000).replace(b"\x1f\x8b", b"xx") + kernel(),  # a zImage
        ],
    )
    def test_the_release_is_in_the_bytes(self, tmp_path: Path, image: bytes) -> None:
        fill(tmp_path, {"kernel8.img": image})
        assert look(tmp_path, None).boot_kernels == (RELEASE,)

    @pytest.mark.parametrize(
        "image", [b"", b"x" * 5000, gzip.compress(b"x" * 5000, mtime=0)[:-20], b"\x1f\x8b\x08" + b"\xff" * 99]
    )
    def test_what_is_no_kernel_says_nothing(self, tmp_path: Path, image: bytes) -> None:
        fill(tmp_path, {"kernel8.img": image})
        assert look(tmp_path, None).boot_kernels == ()

    def test_names_tell_as_well(self, tmp_path: Path) -> None:
        fill(tmp_path, dict.fromkeys(["vmlinuz-6.1.0-18-arm64", "initrd.img-6.1.0-17-arm64", "vmlinuz"], "x"))
        assert look(tmp_path, None).boot_kernels == ("6.1.0-17-arm64", "6.1.0-18-arm64")

    def test_a_copy_is_not_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fill(tmp_path, {"one/kernel8.img": kernel("6.6.6-once")})
        assert look(tmp_path / "one", None).boot_kernels == ("6.6.6-once",)
        monkeypatch.delattr(kernels, "_find")
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        assert look(tmp_path / "two", None).boot_kernels == ("6.6.6-once",)

    @given(content=st.binary(max_size=200))
    def test_no_bytes_are_a_fault(self, tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
        folder = tmp_path_factory.mktemp("kernels")
        fill(
            folder, {"kernel8.img": content, "config.txt": content, "vmlinuz": b"\x1f\x8b\x08\0\0\0\0\0\0\3" + content}
        )
        look(folder, folder)


class TestCloudInit:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ({"usr/lib/python3/dist-packages/cloudinit/version.py": '__VERSION__ = "22.4.2"\n'}, (22, 4, 2)),
            ({"usr/lib/python3.12/site-packages/cloudinit/version.py": "__VERSION__ = '24.1'\n"}, (24, 1)),
            ({"usr/lib/python3/dist-packages/cloudinit/version.py": "x = 1\n"}, ()),
            (
                {
                    "usr/bin/cloud-init": "",
                    "var/lib/dpkg/status": "Package: a\nVersion: 1\n\nPackage: cloud-init\nState: x\nVersion: 25.2-1\n",
                },
                (25, 2),
            ),
            ({"usr/bin/cloud-init": ""}, ()),
            ({"var/lib/dpkg/status": "Package: cloud-init\nVersion: 25.2-1\n"}, None),
            ({}, None),
        ],
    )
    def test_version(self, tmp_path: Path, content: dict[str, str], expected: tuple[int, ...] | None) -> None:
        fill(tmp_path, content)
        assert look(tmp_path, tmp_path).cloud_init == expected

    def test_a_link_out_of_the_tree_finds_nothing(self, tmp_path: Path) -> None:
        fill(tmp_path, {"out/cloudinit/version.py": '__VERSION__ = "25.1"\n', "root/usr/lib/python3/": ""})
        (tmp_path / "root/usr/lib/python3/dist-packages").symlink_to(tmp_path / "out")
        assert look(tmp_path, tmp_path / "root").cloud_init is None


class TestFindings:
    facts = TreeFacts(
        initramfs=True,
        has_mount_nfs=True,
        cloud_init=(25, 1),
        kernels=("6.6",),
        boot_kernels=("6.6",),
        has_systemd=True,
    )
    names = ("config.txt", "bcm2712-rpi-5-b.dtb", "kernel_2712.img")

    def rules(
        self, pi: Pi | None = None, model: str | None = "pi5", served: Served = SERVED, **facts: object
    ) -> list[str]:
        changed = TreeFacts(**{**{name: getattr(self.facts, name) for name in TreeFacts.__slots__}, **facts})
        found = findings(pi or Pi(serial=SERIAL), changed, self.names, model, served)
        assert all(one.what and one.why and one.do for one in found)
        return [f"{one.severity} {one.rule}".strip() for one in found]

    def test_nothing_is_wrong(self) -> None:
        assert self.rules() == []
        assert self.rules(model=None) == []

    def test_each_by_its_own(self) -> None:
        for name in ("pi4-2020", "Pi 4", "Pi 3B+ or earlier"):
            assert self.rules(model=name) == ["warning D13"]
        assert self.rules(model="Pi 5") == self.rules(model="Raspberry Pi") == []
        assert self.rules(has_mount_nfs=False) == ["warning"]
        assert self.rules(boot_kernels=("6.6", "6.12")) == ["warning D27"]
        assert self.rules(Pi(serial=SERIAL, seed="k3s-agent"), cloud_init=None) == ["warning D35"]
        assert self.rules(has_systemd=False) == ["info"]
        four = Served("10.0.0.1", 80, "10.0.0.1", "/srv", (4,))
        assert self.rules(served=four) == ["fatal D29"]
        assert self.rules(served=four, initramfs=False) == []

    def test_a_pi_without_a_root_lacks_none(self) -> None:
        pi = Pi(serial=SERIAL, root="none", disks=[Disk(mount="/data", size="1G")])
        assert self.rules(pi, has_mount_nfs=False, has_systemd=False, boot_kernels=("6.12",)) == []

    def test_a_tree_for_no_model(self) -> None:
        (found,) = findings(Pi(serial=SERIAL, root="none"), self.facts, ["README"], None)
        assert "no Pi model" in found.what
        assert set(found.to_json()) == {"rule", "severity", "what", "why", "do"}

    def test_a_long_command_line(self) -> None:
        assert of_the_command_line("x" * 1023 + "\n") == []
        assert of_the_command_line("x" * 1024 + "\n")[0].rule == "D27"

    @pytest.mark.parametrize(
        ("options", "refused"),
        [
            ("vers=3", ""),
            ("vers=3,tcp,nolock", ""),
            ("vers=4.1,proto=tcp", "vers=4.1, proto=tcp"),
            ("nfsvers=4", "nfsvers=4"),
            ("v4.2,rsize=1024", "v4.2"),
            ("vers=3,proto=tcp", "proto=tcp"),
        ],
    )
    def test_what_an_initramfs_would_refuse(self, options: str, refused: str) -> None:
        line = f"console=tty1 root=/dev/nfs nfsroot=10.0.0.1:/srv/root,{options} ip=dhcp"
        found = of_the_mount(line, self.facts)
        assert [one.rule for one in found] == (["D29"] if refused else [])
        assert all(f"has {refused} among" in one.what for one in found)
        kernel_alone = TreeFacts(
            **{**{name: getattr(self.facts, name) for name in TreeFacts.__slots__}, "initramfs": False}
        )
        assert of_the_mount(line, kernel_alone) == []
