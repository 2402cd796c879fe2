"""GRUB with this server's address in it: what of it is changed, for which addresses there is one, and what goes."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from installer.conftest import Add, Run, make_image
from support import require

from pinetboot.installer import beside

ONE, OTHER, LONGEST = (IPv4Address(text) for text in ("10.0.0.2", "192.168.1.10", "255.255.255.255"))
NAMES = ("/bootx64.efi", "/grubx64.efi", *(("/bootx64.img",) if shutil.which("mcopy") else ()))


def obj(kind: int, content: bytes) -> bytes:
    """Make an object of GRUB's image, as grub-mkimage aligns it."""
    size = 8 + -(-len(content) // 8) * 8
    return (struct.pack("<II", kind, size) + content).ljust(size, b"\0")


def image(*objects: bytes, room: int = 256, section: bytes = b"mods", magic: bytes = b"mimg") -> bytes:
    """Make what UEFI's GRUB is in a file: a PE with a section of objects, and a signature behind it."""
    mods = struct.pack("<4sIQQ", magic, 0, 24, 24 + sum(map(len, objects))) + b"".join(objects) + bytes(room)
    pe = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 2, 0, 0, 0, 16, 0) + bytes(16)
    sections = [(b".text", 64, 0x1000, 64, 512), (section, len(mods), 0x2000, len(mods), 576)]
    table = b"".join(struct.pack("<8sIIII16x", *one) for one in sections)
    head = (b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)).ljust(0x80, b"\0") + pe + table
    return head.ljust(512, b"\0") + bytes(range(64)) + mods + b"the signature"


OBJECTS = (obj(0, b"a module"), obj(1, b"memdisk" * 9), obj(2, b"normal (memdisk)/grub.cfg\n\0"), obj(3, b"/grub\0"))
GRUB = image(*OBJECTS)


def prefixes(grub: bytes) -> list[bytes]:
    """Read the prefixes as GRUB does, of whose the last counts."""
    start, found = 576, []
    offset, end = struct.unpack_from("<QQ", grub, start + 8)
    while offset < end:
        kind, size = struct.unpack_from("<II", grub, start + offset)
        if kind == 3:
            found.append(grub[start + offset + 8 : start + offset + size].partition(b"\0")[0])
        offset += size
    assert offset == end
    return found


@pytest.mark.parametrize("address", [ONE, OTHER, LONGEST])
def test_a_prefix_of_ours_is_the_last_and_all_else_stays_where_it_was(address: IPv4Address) -> None:
    made = beside.knowing(GRUB, address)
    assert made is not None
    assert len(made) == len(GRUB)
    assert prefixes(made) == [b"/grub", f"(tftp,{address})/grub".encode()]
    end = 576 + 24 + sum(map(len, OBJECTS))
    assert (made[:592], made[600:end]) == (GRUB[:592], GRUB[600:end])
    assert made.endswith(b"\0the signature")
    # What was made once may be made again, for another address.
    again = beside.knowing(made, OTHER)
    assert again is not None
    assert prefixes(again)[2] == f"(tftp,{OTHER})/grub".encode()


@pytest.mark.parametrize(
    "grub",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"MZ" + bytes(100), id="no PE"),
        pytest.param(image(*OBJECTS, section=b".rsrc"), id="no such section"),
        pytest.param(image(*OBJECTS, magic=b"nope"), id="another magic"),
        pytest.param(image(*OBJECTS, room=24), id="no room"),
        pytest.param(image(*OBJECTS[:3]), id="no prefix"),
        pytest.param(image(*OBJECTS, b"\1\0\0\0\0\0\0\0"), id="an object without a size"),
        pytest.param(GRUB.replace(bytes(256), bytes(9) + b"x" + bytes(246)), id="the room is taken"),
    ],
)
def test_another_image_is_left_alone(grub: bytes) -> None:
    assert beside.knowing(grub, ONE) is None


@given(st.binary(max_size=400), st.integers(0, len(GRUB)), st.integers(0, len(GRUB)))
def test_a_broken_image_is_no_fault(noise: bytes, start: int, end: int) -> None:
    for grub in (noise, GRUB[:end], GRUB[:start] + noise + GRUB[start + len(noise) :]):
        made = beside.knowing(grub, ONE)
        assert made is None or len(made) == len(grub)


def files_of(boot: Path) -> set[str]:
    return {str(path.relative_to(boot)) for path in (boot / "beside").rglob("*")}


def test_there_is_one_for_each_address_and_none_for_one_that_is_gone(boot: Path) -> None:
    for name in ("grubx64.efi", "bootx64.efi"):
        (boot / name).write_bytes(GRUB if name.startswith("grub") else b"shim")
    (boot / "bootaa64.efi").write_bytes(b"a shim without a GRUB")
    beside.write(boot, [ONE, OTHER])
    both = {f"beside/{one}{name}" for one in (ONE, OTHER) for name in ("", *NAMES)}
    assert files_of(boot) == both
    assert (boot / f"beside/{OTHER}/grubx64.efi").read_bytes() == beside.knowing(GRUB, OTHER)
    assert (boot / f"beside/{OTHER}/bootx64.efi").read_bytes() == b"shim"
    before = (boot / f"beside/{ONE}/grubx64.efi").stat().st_ino
    beside.write(boot, [ONE])
    assert files_of(boot) == {name for name in both if str(OTHER) not in name}
    assert (boot / f"beside/{ONE}/grubx64.efi").stat().st_ino == before
    # What somebody else has there stays.
    for name in ("beside/own/grubx64.efi", f"beside/{ONE}/own.efi"):
        (boot / name).parent.mkdir(exist_ok=True)
        (boot / name).write_bytes(b"own")
    (boot / "grubx64.efi").unlink()
    beside.write(boot, [ONE])
    assert files_of(boot) == {"beside/own", "beside/own/grubx64.efi", f"beside/{ONE}", f"beside/{ONE}/own.efi"}


def test_a_grub_that_is_made_otherwise_is_not_changed_and_on_the_disk_alone(boot: Path) -> None:
    (boot / "grubx64.efi").write_bytes(b"of somebody else")
    (boot / "bootx64.efi").write_bytes(b"shim")
    beside.write(boot, [ONE])
    assert files_of(boot) <= {f"beside/{ONE}", f"beside/{ONE}/bootx64.img"}


def test_the_disk_has_shim_and_grub_as_they_were_signed_and_is_made_anew_only_where_they_change(boot: Path) -> None:
    require("mcopy", "fsck.fat")
    for name in ("grubx64.efi", "bootx64.efi"):
        (boot / name).write_bytes(GRUB if name.startswith("grub") else b"shim")
    beside.write(boot, [ONE])
    disk = boot / f"beside/{ONE}/bootx64.img"

    def on_it(name: str) -> bytes:
        return subprocess.run(["mtype", "-i", disk, f"::{name}"], capture_output=True, check=True, timeout=20).stdout

    assert on_it("EFI/BOOT/BOOTX64.EFI") == b"shim"
    assert on_it("EFI/BOOT/grubx64.efi") == GRUB
    for place in ("grub", "debian-installer/amd64/grub"):
        assert on_it(f"{place}/grub.cfg").decode() == beside.disk_menu(ONE)
    assert subprocess.run(["fsck.fat", "-n", disk], check=False, capture_output=True, timeout=20).returncode == 0
    before = disk.stat().st_ino
    beside.write(boot, [ONE])
    assert disk.stat().st_ino == before
    (boot / "bootx64.efi").write_bytes(b"another shim")
    beside.write(boot, [ONE])
    assert on_it("EFI/BOOT/BOOTX64.EFI") == b"another shim"
    assert not list(disk.parent.glob(".*"))
    # One who was killed left this; another is at it.
    for name, age_s in ((".new-left", 7200), (".new-now", 60)):
        (disk.parent / name / "tree").mkdir(parents=True)
        os.utime(disk.parent / name, (time.time() - age_s,) * 2)
    beside.write(boot, [ONE])
    assert [path.name for path in disk.parent.glob(".*")] == [".new-now"]


def test_it_comes_with_the_first_installer_and_goes_with_the_last(
    tmp_path: Path, boot: Path, system: Path, add: Add, installer: Run
) -> None:
    (system / "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed").write_bytes(GRUB)
    image = make_image(tmp_path / "12")
    add(image, addresses=(OTHER,))
    assert files_of(boot) == {
        f"beside/{OTHER}",
        *(f"beside/{OTHER}{name}" for name in NAMES),
    }
    assert (boot / "grubx64.efi").read_bytes() == GRUB
    assert installer("remove", "debian-12").returncode == 0
    assert list(boot.iterdir()) == [boot / "installers"]
