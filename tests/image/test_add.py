"""`pinetboot image add`, `list` and `remove`, as a user runs them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from diskimages import BOOT_FILES, MIB, TOOLS, loop_devices, make_disk, make_fat, simple_disk, write_tree, xz
from support import require, require_root, wait_until, without_privileges
from webfiles import Site

from pinetboot.image import fetch

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Listed = Callable[[], list[dict[str, Any]]]
Left = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def root_and_no_leftovers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    require_root()
    require(*TOOLS, "unshare", "mount")
    yield
    assert wait_until(lambda: not loop_devices(tmp_path_factory.getbasetemp()), 5)


def sum_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def well(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def told(done: subprocess.CompletedProcess[str]) -> str:
    """Return the sentence of an import that cannot be done."""
    assert done.returncode == 2, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("pinetboot: ")]
    return line


def pack(disk: Path, kind: str, folder: Path) -> Path:
    path = folder / f"packed-{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(disk, "raspios.img")
            archive.writestr("readme.txt", "read me")
        return path
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gz": lambda content: gzip.compress(content, 1),
        "zst": zstandard.ZstdCompressor(level=1).compress,
        "plain": bytes,
    }
    path.write_bytes(xz(disk).read_bytes() if kind == "xz" else packers[kind](disk.read_bytes()))
    return path


@pytest.mark.parametrize("kind", ["plain", "xz", "gz", "zst", "zip"])
def test_every_packing_gives_the_same_trees(
    disk: Path, tmp_path: Path, data: Path, image: Run, listed: Listed, *, left: Left, kind: str
) -> None:
    source = pack(disk, kind, tmp_path)
    said = well(image("add", source, "--name", "raspios"))
    assert "raspios is there: boot and root" in said
    assert "boots   pi3, pi4, pi5" in said
    trees = data / "images" / "raspios"
    boot = {str(path.relative_to(trees / "boot")): path for path in (trees / "boot").rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in boot.items()} == BOOT_FILES
    assert {path.stat().st_mode & 0o7777 for path in boot.values()} == {0o644}
    assert (trees / "boot" / "overlays").stat().st_mode & 0o7777 == 0o755
    assert (trees / "root" / "etc" / "hostname").read_bytes() == b"raspberrypi\n"
    assert not (trees / "root" / "lost+found").exists()
    assert left() == ["raspios"]
    (one,) = listed()
    assert (one["name"], one["source"], one["sha256"]) == ("raspios", str(source), sum_of(source))
    assert one["image_sha256"] == sum_of(disk)
    assert (one["has_root"], one["models"]) == (True, ["pi3", "pi4", "pi5"])
    assert one["files"] == len(BOOT_FILES) + 2
    assert one["bytes"] == sum(map(len, BOOT_FILES.values())) + 12 + 5000
    assert (data / "images").stat().st_mode & 0o777 == 0o700


@pytest.mark.timeout(60)
def test_gpt_and_the_times_of_boot_files(tmp_path: Path, data: Path, image: Run) -> None:
    boot = write_tree(tmp_path / "boot", BOOT_FILES)
    os.utime(boot / "config.txt", (1_700_000_000, 1_700_000_000))
    disk = make_disk(tmp_path / "d.img", make_fat(tmp_path / "f", boot, bits=32, mib=40), gpt=True, kinds=("uefi",))
    assert "the boot partition alone" in well(image("add", disk))
    assert (data / "images" / "d" / "boot" / "config.txt").stat().st_mtime == 1_700_000_000


def test_what_a_model_lacks_is_told(tmp_path: Path, image: Run, listed: Listed) -> None:
    boot = write_tree(tmp_path / "boot", {"config.txt": b"", "kernel8.img": b"k", "bcm2712-rpi-5-b.dtb": b"d"})
    said = well(image("add", "five", "--boot", boot))
    assert "boots   pi5" in said
    assert "pi4     lacks start4.elf, fixup4.dat, bcm2711-rpi-4-b.dtb" in said
    assert listed()[0]["models"] == ["pi5"]


def test_the_same_again_changes_nothing(packed: Path, data: Path, image: Run, listed: Listed, site: Site) -> None:
    well(image("add", packed, "--name", "a"))
    before = listed()
    assert "nothing has changed" in well(image("add", packed, "--name", "a"))
    assert "nothing has changed" in well(image("add", packed, "--name", "a", "--replace"))
    assert "nothing has changed" in well(image("add", packed, "--name", "a", "--sha256", sum_of(packed).upper()))
    # The same content from elsewhere: known by the sum beside it, without a download.
    site.files = {"b.img.xz": packed.read_bytes(), "b.img.xz.sha256": sum_of(packed).encode()}
    assert "nothing has changed" in well(image("add", site.url("b.img.xz"), "--name", "a"))
    assert not site.asked_for("b.img.xz")
    assert listed() == before
    assert (data / "images" / "a" / "image.toml").stat().st_mode & 0o777 == 0o644


def test_another_image_needs_replace(disk: Path, tmp_path: Path, data: Path, image: Run, listed: Listed) -> None:
    other = simple_disk(tmp_path / "other", {"etc/hostname": b"another\n"})
    well(image("add", disk, "--name", "a"))
    before = listed()
    assert "there is an image a already, made from" in told(image("add", other, "--name", "a"))
    assert listed() == before
    well(image("add", other, "--name", "a", "--replace"))
    (now,) = listed()
    assert now["sha256"] == sum_of(other)
    assert now["identity"] != before[0]["identity"]
    assert (data / "images" / "a" / "root" / "etc" / "hostname").read_bytes() == b"another\n"


def test_a_folder_that_no_import_made_is_not_touched(disk: Path, data: Path, image: Run) -> None:
    (data / "images" / "mine" / "boot").mkdir(parents=True)
    assert "which no import made" in told(image("add", disk, "--name", "mine"))
    assert (data / "images" / "mine" / "boot").is_dir()


def test_from_the_web_with_a_break_and_checked(
    packed: Path, image: Run, listed: Listed, left: Left, site: Site
) -> None:
    content = packed.read_bytes()
    site.files = {"2026/raspios.img.xz": content, "2026/raspios.img.xz.sha256": sum_of(packed).encode()}
    site.dies = [len(content), 5000]  # the sum comes whole, the image breaks off
    well(image("add", site.url("2026/raspios.img.xz")))
    assert site.asked_for("2026/raspios.img.xz") == ["", "bytes=5000-"]
    (one,) = listed()
    assert (one["name"], one["version"]) == ("raspios", site.etag(content))
    assert left() == ["raspios"]
    assert "nothing has changed" in well(image("add", site.url("2026/raspios.img.xz")))
    site.files["2026/raspios.img.xz.sha256"] = b"0" * 64
    assert "there is an image raspios already" in told(image("add", site.url("2026/raspios.img.xz")))
    done = image("add", site.url("2026/raspios.img.xz"), "--replace")
    assert f"has the SHA-256 {sum_of(packed)}, where {'0' * 64} was announced" in told(done)
    assert listed() == [one]
    assert left() == ["raspios"]


def test_without_a_sum_the_etag_tells_and_else_the_content(
    packed: Path, image: Run, listed: Listed, site: Site
) -> None:
    site.files = {"a.img.xz": packed.read_bytes()}
    url = site.url("a.img.xz")
    well(image("add", url))
    before, sent = listed(), site.sent
    assert "nothing has changed" in well(image("add", url))
    assert site.sent == sent
    site.etags = False
    assert "nothing has changed" in well(image("add", url))
    assert site.sent == 2 * sent
    assert listed() == before


@pytest.mark.parametrize("given", ["packed", "unpacked"])
def test_a_sum_may_be_that_of_the_file_or_of_the_image(
    disk: Path, packed: Path, image: Run, listed: Listed, left: Left, *, given: str
) -> None:
    wrong = "1" * 64
    assert f"where {wrong} --sha256 says" in told(image("add", packed, "--sha256", wrong))
    assert left() == []
    well(image("add", packed, "--sha256", sum_of(packed if given == "packed" else disk)))
    assert len(listed()) == 1
    assert "64 hex digits" in told(image("add", packed, "--sha256", "abc"))


def test_a_name_out_of_the_list(disk: Path, packed: Path, image: Run, listed: Listed, site: Site) -> None:
    entry = {
        "name": "Raspberry Pi OS Lite (64-bit)",
        "url": site.url("raspios_lite_arm64/2026-raspios-arm64-lite.img.xz"),
        "extract_sha256": sum_of(disk),
        "extract_size": disk.stat().st_size,
        "image_download_sha256": sum_of(packed),
        "image_download_size": packed.stat().st_size,
        "devices": ["pi4-64bit"],
    }
    content = {"os_list": [{"name": "Raspberry Pi OS (other)", "subitems": [entry]}]}
    site.files = {
        "list.json": json.dumps(content).encode(),
        "raspios_lite_arm64/2026-raspios-arm64-lite.img.xz": packed.read_bytes(),
    }
    config = f'[images]\nlist_url = "{site.url("list.json")}"\n'
    well(image("add", "raspios-lite-arm64", config=config))
    (one,) = listed()
    assert (one["name"], one["source"]) == ("raspios-lite-arm64", entry["url"])
    assert "nothing has changed" in well(image("add", "raspios-lite-arm64", config=config))
    done = image("add", "rasbios-lite", config=config)
    assert "rasbios-lite is neither a file here nor an image of the list" in told(done)
    assert "raspios-lite-arm64" in done.stderr
    entry["image_download_sha256"] = "2" * 64
    site.files["list.json"] = json.dumps(content).encode()
    assert "was announced" in told(image("add", "raspios-lite-arm64", "--name", "b", config=config))
    assert "cannot be had" in told(image("add", "x", config='[images]\nlist_url = "http://127.0.0.1:1/"\n'))


def bad_sources(folder: Path, disk: Path) -> dict[str, tuple[Path, str]]:
    """Make one source of each bad kind, with a part of the sentence that tells it."""
    folder.mkdir()
    packed = xz(disk).read_bytes()
    content = disk.read_bytes()
    half = len(content) // 2
    made: dict[str, tuple[bytes, str]] = {
        "truncated.img.xz": (packed[: len(packed) // 2], "is cut short"),
        "text.img": (b"This is a text file.\n" * 1000, "has no partition table"),
        "text.img.gz": (gzip.compress(b"text " * 1000), "has no partition table"),
        "past-the-end.img": (content[:half], "partition 2 ends at byte"),
        "empty.img": (b"", "has no partition table"),
    }
    with tarfile.open(folder / "tar.img", "w") as archive:
        archive.add(disk.parent / "boot-files", "boot")
    made["tar.img"] = ((folder / "tar.img").read_bytes(), "has no partition table")
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        archive.writestr("../one.img", content[:1000])
        archive.writestr("/two.img", content[:1000])
    made["two.zip"] = ((folder / "two.zip").read_bytes(), "holds 2 files that could be the image")
    ext4 = disk.parent / "ext4"
    made["no-fat.img"] = (make_disk(folder / "x", ext4, kinds=("83",)).read_bytes(), "has no FAT boot partition")
    found = {}
    for name, (bytes_, sentence) in made.items():
        (folder / name).write_bytes(bytes_)
        found[name] = (folder / name, sentence)
    return found


def test_bad_sources_are_one_sentence_each_and_leave_nothing(
    disk: Path, tmp_path: Path, image: Run, left: Left
) -> None:
    for name, (path, sentence) in bad_sources(tmp_path / "bad", disk).items():
        line = told(image("add", path))
        assert str(path) in line, name
        assert sentence in line, name
        assert left() == [], name


def test_a_url_that_dies_is_one_sentence(
    packed: Path, image: Run, left: Left, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PAUSES_S", (0.0, 0.0, 0.0, 0.0))
    site.files = {"a.img.xz": packed.read_bytes()}
    site.etags = False
    site.always_dies_at = packed.stat().st_size * 4 // 10
    assert "and 5 tries" in told(image("add", site.url("a.img.xz")))
    assert left() == []
    assert "404 Not Found" in told(image("add", site.url("b.img.xz")))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk image that is nearly full."""
    return xz(simple_disk(tmp_path_factory.mktemp("large"), {"large": os.urandom(22 * MIB)}))


@pytest.mark.parametrize("mib", [1, 40, 56], ids=["for nothing", "for the image", "for image and trees"])
def test_a_small_disk_is_told_and_nothing_is_left(large: Path, data: Path, image: Run, mib: int) -> None:
    data.mkdir()
    script = 'mount -t tmpfs -o size="$1"M none "$2" && shift 2 && "$@"; code=$?; ls -A "$0/images" >&2; exit $code'
    inside = ["unshare", "--mount", "sh", "-c", script, str(data), str(mib), str(data)]
    done = image("add", large, inside=inside)
    assert "are free" in told(done)
    assert done.stderr.splitlines()[-1] == ".lock"


def test_a_disk_that_fills_up_meanwhile_is_told(disk: Path, tmp_path: Path, data: Path, image: Run) -> None:
    """Gzip tells no size beyond 4 GiB: here its figure is a lie, and the disk fills while it is unpacked."""
    content = bytearray(gzip.compress(os.urandom(20 * MIB), 1))
    content[-4:] = (1000).to_bytes(4, "little")
    source = tmp_path / "liar.img.gz"
    source.write_bytes(content)
    data.mkdir()
    script = 'mount -t tmpfs -o size=10M none "$0" && "$@"; code=$?; ls -A "$0/images" >&2; exit $code'
    done = image("add", source, inside=["unshare", "--mount", "sh", "-c", script, str(data)])
    assert "ran out of space while unpacking" in told(done)
    assert done.stderr.splitlines()[-1] == ".lock"


def test_without_privileges_the_boot_partition_comes_and_the_rest_is_told(
    packed: Path, data: Path, image: Run, listed: Listed, left: Left
) -> None:
    done = image("add", packed, "--name", "a", inside=without_privileges())
    assert "the boot partition alone" in well(done)
    assert "there is no root tree: it needs the capabilities" in done.stderr
    (one,) = listed()
    assert (one["has_root"], one["models"]) == (False, ["pi3", "pi4", "pi5"])
    assert sorted(path.name for path in (data / "images" / "a").iterdir()) == ["boot", "image.toml"]
    assert "nothing has changed" in well(image("add", packed, "--name", "a", inside=without_privileges()))
    # With root the rest comes, without --replace: it is the same image.
    assert "boot and root" in well(image("add", packed, "--name", "a"))
    assert listed()[0]["has_root"]
    assert left() == ["a"]


def test_a_journal_is_replayed_in_a_copy(disk: Path, tmp_path: Path, data: Path, image: Run) -> None:
    """The flag that says so is set by hand; the kernel finds an empty journal and is content."""
    require("debugfs")
    source = tmp_path / "dirty.img"
    content = bytearray(disk.read_bytes())
    ext4 = (disk.parent / "ext4").read_bytes()
    start = content.index(ext4[1024:4096]) - 1024
    dirty = tmp_path / "ext4"
    dirty.write_bytes(ext4)
    subprocess.run(["debugfs", "-w", "-R", "feature needs_recovery", dirty], check=True, capture_output=True)
    content[start : start + len(ext4)] = dirty.read_bytes()
    source.write_bytes(content)
    before = sum_of(source)
    assert "boot and root" in well(image("add", source))
    assert sum_of(source) == before
    assert sorted(path.name for path in (data / "images" / "dirty").iterdir()) == ["boot", "image.toml", "root"]


def test_a_damaged_root_is_an_error_and_not_a_missing_root(disk: Path, tmp_path: Path, image: Run, left: Left) -> None:
    source = tmp_path / "damaged.img"
    content = bytearray(disk.read_bytes())
    ext4 = (disk.parent / "ext4").read_bytes()
    start = content.index(ext4[1024:4096]) - 1024
    content[start + 2048 : start + 20 * 4096] = os.urandom(20 * 4096 - 2048)
    source.write_bytes(content)
    line = told(image("add", source))
    assert "is damaged" in line or "failed" in line
    assert left() == []


def test_wrong_usage_is_told(tmp_path: Path, image: Run, data: Path) -> None:
    assert "nothing is named" in told(image("add"))
    assert "there is no file /nowhere.img" in told(image("add", "/nowhere.img"))
    assert "is a directory" in told(image("add", tmp_path))
    assert "is no regular file" in told(image("add", "/dev/null"))
    assert "--root is given without --boot" in told(image("add", "a", "--root", tmp_path))
    assert "the image has no name" in told(image("add", "--boot", tmp_path))
    assert "is no name" in told(image("add", "--boot", tmp_path, "--name", "../x"))
    assert "are two sources" in told(image("add", "http://x/a.img", "--boot", tmp_path))
    assert not (data / "images").exists()


def test_list_and_remove(disk: Path, data: Path, image: Run, left: Left) -> None:
    assert "no image yet" in well(image("list"))
    well(image("add", disk, "--name", "a"))
    table = well(image("list"))
    assert "pi3, pi4, pi5" in table
    assert str(disk) in table
    fleet = data / "fleet.toml"
    fleet.write_text('[[pi]]\nserial = "5b154510"\nimage = "a"\n')
    assert "the image a is that of pi-5b154510 in fleet.toml" in told(image("remove", "a"))
    fleet.unlink()
    assert "is fleet.default_image" in told(image("remove", "a", config='[fleet]\ndefault_image = "a"\n'))
    assert "there is no image b" in told(image("remove", "b"))
    assert "a is removed" in well(image("remove", "a"))
    assert left() == []


def test_two_imports_at_once_are_one_after_the_other(packed: Path, data: Path, image: Run, listed: Listed) -> None:
    data.mkdir()
    (data / "images").mkdir()
    holder = subprocess.Popen(["flock", data / "images" / ".lock", "sleep", "1"])
    done = image("add", packed, "--name", "a")
    holder.wait()
    assert "another import is at work" in done.stderr
    assert "boot and root" in well(done)


def test_boot_img_is_a_word_about_the_image_that_stays(tmp_path: Path, image: Run, listed: Listed) -> None:
    write_tree(tmp_path / "boot", BOOT_FILES)
    source = ("--boot", str(tmp_path / "boot"), "--name", "netboot")
    well(image("add", *source))
    assert listed()[0]["boot_img"] is False
    identity = listed()[0]["identity"]
    assert "gets a boot.img" in well(image("add", *source, "--boot-img"))
    assert "nothing has changed" in well(image("add", *source))
    assert (listed()[0]["boot_img"], listed()[0]["identity"]) == (True, identity)
    (tmp_path / "boot" / "config.txt").write_text("another")
    well(image("add", *source, "--replace"))
    assert listed()[0]["boot_img"] is True
    well(image("add", *source, "--no-boot-img"))
    assert listed()[0]["boot_img"] is False
