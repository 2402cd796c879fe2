"""`pinetboot installer add`, `list` and `remove`: what lies in the boot tree afterwards, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from installer.conftest import Add, Run, make_image
from webfiles import serving

from pinetboot.errors import OperatorError
from pinetboot.fleet.pi import Machine
from pinetboot.image.watch import Unwatched
from pinetboot.installer import adding, library
from pinetboot.installer.menu import MARK

MAC = "52:54:00:12:34:56"


def tarball(image: Path, screens: str = "text") -> Path:
    """Pack it as Debian's netboot.tar.gz is."""
    path = image.with_suffix(".tar.gz")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(image / screens, ".")
    return path


def files_below(boot: Path) -> set[str]:
    found = (path for path in boot.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(boot)) for path in found}


BIOS_AND_X64 = {
    *("lpxelinux.0", "ldlinux.c32", "libutil.c32", "menu.c32", "bootx64.efi", "grubx64.efi", "snponly.efi"),
    *("pxelinux.cfg/default", "grub/grub.cfg", "debian-installer/amd64/grub/grub.cfg"),
    *(f"installers/debian-12/amd64/{name}" for name in ("linux", "initrd.gz", "installer.toml")),
}


def test_a_package_s_folder_comes_in_with_loaders_and_menus(tmp_path: Path, boot: Path, add: Add) -> None:
    image = make_image(tmp_path / "12")
    make_image(image, screens="gtk")
    added = add(image)
    (one,) = added.installers
    assert (one.name, one.architecture, one.title) == ("debian-12", "amd64", "Debian 12 (bookworm)")
    assert (one.build, added.foreign) == ("20230607+deb12u15", [])
    assert files_below(boot) == BIOS_AND_X64
    assert (boot / "installers/debian-12/amd64/linux").read_text() == "kernel amd64 12 (bookworm) text"
    assert (boot / "bootx64.efi").read_text() == "bootx64.efi of the host"
    assert library.installers(boot) == [one]


def test_a_tarball_comes_in_alike_from_a_file_and_from_a_url(tmp_path: Path, data: Path, boot: Path, add: Add) -> None:
    packed = tarball(make_image(tmp_path / "12"))
    add(packed)
    before = {name: (boot / name).read_bytes() for name in files_below(boot) if not name.endswith(".toml")}
    assert set(before) | {"installers/debian-12/amd64/installer.toml"} == BIOS_AND_X64
    with serving() as site:
        site.files["netboot.tar.gz"] = packed.read_bytes()
        add(site.url("netboot.tar.gz"), sha256=hashlib.sha256(packed.read_bytes()).hexdigest().upper())
    assert {name: (boot / name).read_bytes() for name in before} == before
    assert list((data / "state" / "downloads").iterdir()) == []


def test_what_is_not_the_expected_sum_changes_nothing(tmp_path: Path, boot: Path, add: Add) -> None:
    packed = tarball(make_image(tmp_path / "12"))
    with pytest.raises(OperatorError, match=f"has the SHA-256 [0-9a-f]{{64}}, where {'0' * 64} was expected"):
        add(packed, sha256="0" * 64)
    assert files_below(boot) == set()


def test_releases_and_architectures_lie_side_by_side_and_go_one_by_one(
    tmp_path: Path, boot: Path, add: Add, installer: Run
) -> None:
    add(make_image(tmp_path / "12"))
    add(make_image(tmp_path / "13", version="13 (trixie)"))
    done = installer("add", make_image(tmp_path / "arm", "arm64"))
    assert done.returncode == 0, done.stderr
    assert "debian-12 is there for arm64: Debian 12 (bookworm)" in done.stdout
    assert "with Secure Boot on, a machine beside another DHCP server has to boot by HTTP" in done.stdout
    assert (boot / "bootaa64.efi").read_bytes() == b"shim of the image"
    listed = json.loads(installer("list", "--json").stdout)["installers"]
    assert [(one["name"], one["architecture"]) for one in listed] == [
        ("debian-12", "amd64"),
        ("debian-12", "arm64"),
        ("debian-13", "amd64"),
    ]
    menu = (boot / "grub/grub.cfg").read_text()
    assert [menu.count(f"/installers/{name}/linux ") for name in ("debian-12/amd64", "debian-12/arm64")] == [1, 1]
    assert "KERNEL installers/debian-13/amd64/linux" in (boot / "pxelinux.cfg/default").read_text()
    assert installer("remove", "debian-12").stdout == "debian-12 is removed\n"
    assert "debian-12" not in (boot / "pxelinux.cfg/default").read_text()
    assert not (boot / "bootaa64.efi").exists()
    assert (boot / "lpxelinux.0").exists()
    assert installer("remove", "debian-13").returncode == 0
    assert files_below(boot) == set()
    assert installer("list").stdout == "no installer yet; `pinetboot installer add` brings one in\n"


def test_loaders_that_are_missing_are_named_with_their_packages(tmp_path: Path, boot: Path) -> None:
    image = make_image(tmp_path / "12")
    with pytest.raises(OperatorError) as error:
        adding.add(adding.Wanted(tmp_path, boot, str(image), system=tmp_path / "nothing"), Unwatched())
    assert "lpxelinux.0, ldlinux.c32, libutil.c32, menu.c32, bootx64.efi, grubx64.efi" in error.value.what
    assert "apt-get install pxelinux syslinux-common shim-signed grub-efi-amd64-signed" in error.value.do
    assert files_below(boot) == set()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nowhere", "there is no file or directory"),
        ("empty", "holds no installer: no linux beside an initrd.gz"),
        ("text.tar.gz", "is neither a directory nor a tar"),
    ],
)
def test_what_is_no_installer_is_told_in_one_sentence(
    tmp_path: Path, boot: Path, installer: Run, source: str, sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar.gz").write_text("no tar at all")
    done = installer("add", tmp_path / source)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("pinetboot: ")]
    assert sentence in line
    assert "netboot.tar.gz" in done.stderr
    assert "Traceback" not in done.stderr
    assert files_below(boot) == set()


@pytest.mark.parametrize("escapes", [True, False], ids=["a name that leads out", "a link that leads out"])
def test_a_tarball_makes_no_file_outside_and_takes_none_from_there(
    tmp_path: Path, boot: Path, add: Add, *, escapes: bool
) -> None:
    (tmp_path / "secret").write_text("secret")
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        names = [("debian-installer/amd64/linux", str(tmp_path / "secret")), *([("../escaped", "")] if escapes else [])]
        for name, link in names:
            entry = tarfile.TarInfo(name)
            content = b"" if link else b"escaped"
            entry.type, entry.linkname, entry.size = (tarfile.SYMTYPE, link, 0) if link else (b"0", "", len(content))
            archive.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo("debian-installer/amd64/initrd.gz")
        archive.addfile(entry, io.BytesIO(b""))
    with pytest.raises(OperatorError):
        add(path, name="evil")
    assert not (tmp_path / "escaped").exists()
    assert files_below(boot) == set()
    assert not any(path.is_file() and path.read_text() == "secret" for path in boot.rglob("*"))


def test_files_of_somebody_else_stay_as_they_are_and_are_named(tmp_path: Path, boot: Path, add: Add) -> None:
    (boot / "lpxelinux.0").write_text("an own loader")
    (boot / "pxelinux.cfg").mkdir()
    (boot / "pxelinux.cfg/default").write_text("an own menu")
    added = add(make_image(tmp_path / "12"))
    assert sorted(added.foreign) == ["lpxelinux.0", "pxelinux.cfg/default"]
    adding.remove(boot, "debian-12", (), "")
    assert files_below(boot) == {"lpxelinux.0", "pxelinux.cfg/default"}
    assert (boot / "lpxelinux.0").read_text() == "an own loader"


def test_a_newer_one_takes_the_place_of_an_older_with_its_loaders(
    tmp_path: Path, boot: Path, system: Path, add: Add
) -> None:
    add(make_image(tmp_path / "12"))
    image = make_image(tmp_path / "later")
    (image / "text/debian-installer/amd64/linux").write_text("a later kernel")
    (system / "usr/lib/shim/shimx64.efi.signed").write_text("a later shim")
    assert add(image).foreign == []
    assert (boot / "installers/debian-12/amd64/linux").read_text() == "a later kernel"
    assert (boot / "bootx64.efi").read_text() == "a later shim"
    assert [path.name for path in (boot / "installers").iterdir() if path.is_dir()] == ["debian-12"]


def test_each_machine_has_its_menus_and_its_installer_cannot_be_removed(tmp_path: Path, boot: Path, add: Add) -> None:
    machines = (
        Machine(mac=MAC, boot="debian-12", preseed="server.cfg"),
        Machine(mac="52:54:00:aa:aa:aa", boot="local"),
        Machine(mac="52:54:00:bb:bb:bb", preseed="server.cfg"),
    )
    add(make_image(tmp_path / "12"), machines=machines, server="10.55.0.2:8080")
    own = (boot / "pxelinux.cfg/01-52-54-00-12-34-56").read_text()
    assert own.startswith(MARK)
    assert "ONTIMEOUT debian-12-amd64" in own
    url = "url=http://10.55.0.2:8080/preseed/52-54-00-12-34-56"
    assert f"  APPEND vga=788 auto=true priority=critical {url} --- quiet" in own
    assert (boot / f"grub/machines/{MAC}.cfg").read_text().splitlines()[1:] == [
        "set default=debian-12",
        "set timeout=5",
        f'set words="auto=true priority=critical {url}"',
    ]
    assert "ONTIMEOUT local" in (boot / "pxelinux.cfg/01-52-54-00-bb-bb-bb").read_text()
    assert {path.name for path in (boot / "grub/machines").iterdir()} == {f"{MAC}.cfg", "52:54:00:bb:bb:bb.cfg"}
    with pytest.raises(OperatorError, match=f"is what {MAC} boots"):
        adding.remove(boot, "debian-12", machines, "")
    with pytest.raises(OperatorError, match="there is no installer debian-11"):
        adding.remove(boot, "debian-11", machines, "")


@pytest.mark.parametrize("name", ["menu", "local", "../up", "with space"])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, boot: Path, add: Add, name: str) -> None:
    with pytest.raises(OperatorError):
        add(make_image(tmp_path / "12"), name=name)
    assert files_below(boot) == set()


def test_a_damaged_record_is_no_installer_and_stops_nothing(tmp_path: Path, boot: Path, add: Add) -> None:
    add(make_image(tmp_path / "12"))
    add(make_image(tmp_path / "13", version="13"))
    (boot / "installers/debian-12/amd64/installer.toml").write_bytes(b"\xff\xfe")
    (boot / "installers/debian-14").write_text("a file")
    assert [one.name for one in library.installers(boot)] == ["debian-13"]
