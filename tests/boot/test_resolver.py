"""Which file a name means, and that nothing a Pi can plant in its tree leads out of it."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pinetboot.boot import beneath
from pinetboot.boot.resolver import BootFile, BootTree, Missing, NotServed, Refused, Unreadable

SERIAL = "5b154510"
OTHER = "0badcafe"


@pytest.fixture(params=["openat2", "by hand"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of staying beneath a directory: the kernel's, and ours where it has none."""
    kind: str = request.param
    if kind == "by hand":
        monkeypatch.setattr(beneath, "_kernel_has", lambda _how: False)
    elif not beneath._kernel_has(beneath._BENEATH):
        pytest.skip("this kernel has no openat2")
    return kind


@pytest.fixture
def data(tmp_path: Path, way: str) -> Path:
    """A data directory with secrets beside the boot tree, and a generation for each of two Pis."""
    for name, content in {
        "secret": "secret",
        "boot/plain": "plain",
        "boot/sub/deep": "deep",
        "boot/other/file": "other",
        "cloud-init/default/user-data": "a seed",
        f"pis/{SERIAL}/identity/ssh_host_key": "a key",
        f"pis/{SERIAL}/g1/boot/kernel8.img": "kernel",
        f"pis/{SERIAL}/g1/boot/overlays/a.dtbo": "overlay",
        f"pis/{SERIAL}/g1/root/etc/shadow": "own shadow",
        f"pis/{OTHER}/g1/boot/kernel8.img": "other kernel",
        f"pis/{OTHER}/g1/root/etc/shadow": "other shadow",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for serial in (SERIAL, OTHER):
        (tmp_path / "boot" / serial).symlink_to(f"../pis/{serial}/g1/boot")
    return tmp_path


@pytest.fixture
def tree(data: Path) -> BootTree:
    return BootTree(data / "boot", data / "pis")


Answer = str | type[NotServed]


def answer(opening: Callable[[str], BootFile | None], path: str) -> Answer | None:
    """What is in the file, or the kind of refusal."""
    try:
        file = opening(path)
    except NotServed as refusal:
        return type(refusal)
    return None if file is None else os.pread(file.fd, 1 << 16, 0).decode()


def opened(tree: BootTree, path: str) -> Answer:
    """What open() gives; open_now() has to give the same whenever it gives anything."""
    told = answer(tree.open, path)
    assert told is not None
    for _ in range(2):  # the kernel knows the name now, so that the second look may well be answered
        assert answer(tree.open_now, path) in {None, told}
    return told


def link(data: Path, name: str, target: str | Path) -> None:
    (data / name).symlink_to(target)


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


# Plain trees


def test_a_file_is_opened_with_what_it_was(tree: BootTree, data: Path) -> None:
    file = tree.open("sub/deep")
    found = (data / "boot/sub/deep").stat()
    assert file.path == "sub/deep"
    assert file.size == 4
    assert file.identity == (found.st_dev, found.st_ino, 4, found.st_mtime_ns, found.st_ctime_ns)
    assert file.unchanged()
    assert os.get_inheritable(file.fd) is False


@pytest.mark.parametrize(
    "path", ["missing", "sub/missing", "missing/below", "plain/below", f"{SERIAL}/missing", "00000000/x"]
)
def test_what_is_not_there_is_missing(tree: BootTree, path: str) -> None:
    assert opened(tree, path) is Missing


def test_a_dangling_link_is_missing(tree: BootTree, data: Path) -> None:
    link(data, "boot/dangling", "sub/nowhere")
    assert opened(tree, "dangling") is Missing


@pytest.mark.parametrize("path", ["sub", SERIAL, f"{SERIAL}/overlays"])
def test_a_directory_is_refused(tree: BootTree, path: str) -> None:
    assert opened(tree, path) is Refused


@pytest.mark.parametrize("path", ["n" * 256, "sub/" + "n" * 256, "d/" * 2100 + "f"])
def test_a_name_that_the_kernel_finds_too_long_is_no_fault_of_the_storage(tree: BootTree, path: str) -> None:
    assert opened(tree, path) in {Refused, Missing}


def test_a_tree_that_went_away_is_missing(tmp_path: Path, way: str) -> None:
    tree = BootTree(tmp_path / "gone", tmp_path / "pis")
    assert opened(tree, "file") is Missing
    assert opened(tree, f"{SERIAL}/file") is Missing


def test_a_tree_without_pis_has_no_links_of_ours(data: Path) -> None:
    tree = BootTree(data / "boot")
    assert opened(tree, "plain") == "plain"
    assert opened(tree, f"{SERIAL}/kernel8.img") is Refused


def test_a_folder_made_by_hand_is_served_like_any_other(tree: BootTree, data: Path) -> None:
    (data / "boot" / "11111111").mkdir()
    (data / "boot" / "11111111" / "start4.elf").write_text("by hand")
    link(data, "boot/22222222", "11111111")
    assert opened(tree, "11111111/start4.elf") == "by hand"
    assert opened(tree, "22222222/start4.elf") == "by hand"


# What is no regular file


@pytest.fixture
def special(data: Path) -> Iterator[list[str]]:
    folder = data / "boot" / "special"
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    names = ["fifo", "socket"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "socket"))
        if os.geteuid() == 0:
            nodes = {"null": (stat.S_IFCHR, 1, 3), "ptmx": (stat.S_IFCHR, 5, 2), "loop": (stat.S_IFBLK, 7, 0)}
            with suppress(PermissionError):  # root in a container may lack mknod
                for name, (kind, major, minor) in nodes.items():
                    os.mknod(folder / name, kind | 0o666, os.makedev(major, minor))
                    names.append(name)
        yield names


def test_fifos_devices_and_sockets_are_refused_without_waiting(tree: BootTree, data: Path, special: list[str]) -> None:
    for name in special:
        assert opened(tree, f"special/{name}") is Refused
        link(data, f"boot/to-{name}", f"special/{name}")
        assert opened(tree, f"to-{name}") is Refused


def test_a_fifo_in_place_of_a_directory_is_missing(tree: BootTree, special: list[str]) -> None:
    assert opened(tree, "special/fifo/below") is Missing


def test_a_file_that_may_not_be_read_is_refused(way: str) -> None:
    own = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "closed").mkdir()
        for name in ("unreadable", "closed/file"):
            (root / name).write_text("secret")
        (root / "unreadable").chmod(0)
        (root / "closed").chmod(0)
        root.chmod(0o755)
        if own == 0:
            os.seteuid(65534)
        try:
            assert opened(BootTree(root), "unreadable") is Refused
            assert opened(BootTree(root), "closed/file") is Refused
        finally:
            os.seteuid(own)
            (root / "closed").chmod(0o755)


# Symlinks


@pytest.mark.parametrize(
    ("name", "target", "path"),
    [
        ("boot/a", "plain", "a"),
        ("boot/a", "./sub/../plain", "a"),
        ("boot/sub/a", "../plain", "sub/a"),
        ("boot/sub/a", "../other/../plain", "sub/a"),
        ("boot/a", "sub/..", "a/plain"),
        ("boot/a", ".", "a/a/a/plain"),
        ("boot/a", "other/../../boot/plain", None),
    ],
)
def test_a_link_is_followed_within_the_tree_alone(
    tree: BootTree, data: Path, name: str, target: str, path: str | None
) -> None:
    link(data, name, target)
    if path is None:
        # It ends inside, but on its way it was outside.
        assert opened(tree, "a") is Refused
    else:
        assert opened(tree, path) == "plain"


def test_links_to_links_are_followed_as_far_as_the_kernel_does(tree: BootTree, data: Path) -> None:
    link(data, "boot/link1", "plain")
    for number in range(2, 60):
        link(data, f"boot/link{number}", f"link{number - 1}")
    assert opened(tree, "link40") == "plain"
    assert opened(tree, "link41") is Refused


@pytest.mark.parametrize("target", ["..", "../secret", "../boot", "../../../../../../etc/passwd", "sub/../../secret"])
def test_a_link_that_leaves_the_tree_is_refused(tree: BootTree, data: Path, target: str) -> None:
    link(data, "boot/out", target)
    assert opened(tree, "out") is Refused
    assert opened(tree, "out/plain") is Refused
    assert opened(tree, "out/missing") is Refused


@pytest.mark.parametrize("target", ["/", "/etc/passwd", "BOOT/plain"])
def test_an_absolute_link_is_refused_even_where_it_leads_back(tree: BootTree, data: Path, target: str) -> None:
    link(data, "boot/absolute", target.replace("BOOT", str(data / "boot")))
    assert opened(tree, "absolute") is Refused
    assert opened(tree, "absolute/etc/passwd") is Refused


def test_a_link_in_a_circle_is_refused(tree: BootTree, data: Path) -> None:
    link(data, "boot/self", "self")
    link(data, "boot/one", "two")
    link(data, "boot/two", "sub/../one")
    for path in ("self", "one", "two", "self/below"):
        assert opened(tree, path) is Refused


def test_a_magic_link_of_proc_is_refused(way: str, data: Path) -> None:
    with (data / "secret").open() as secret:
        tree = BootTree(Path("/proc/self"))
        for path in ("exe", "root/etc/passwd", "cwd/pyproject.toml", f"fd/{secret.fileno()}"):
            assert opened(tree, path) is Refused
    for number, target in enumerate(("/proc/self/root/etc/passwd", f"/proc/{os.getpid()}/environ")):
        link(data, f"boot/magic{number}", target)
        assert opened(BootTree(data / "boot"), f"magic{number}") is Refused


def test_the_kernels_way_and_ours_agree_on_links_through_files(tree: BootTree, data: Path) -> None:
    link(data, "boot/through", "plain/../sub/deep")
    link(data, "boot/slash", "plain/")
    link(data, "boot/dot", "plain/.")
    for path in ("through", "slash", "dot"):
        assert opened(tree, path) is Missing


# Our own links into generations


def test_our_own_link_leads_into_the_pis_generation(tree: BootTree) -> None:
    assert opened(tree, f"{SERIAL}/kernel8.img") == "kernel"
    assert opened(tree, f"{SERIAL}/overlays/a.dtbo") == "overlay"
    assert opened(tree, f"{OTHER}/kernel8.img") == "other kernel"


def test_our_own_link_may_be_switched_at_any_time(tree: BootTree, data: Path) -> None:
    second = data / "pis" / SERIAL / "2024-07.b_2" / "boot"
    second.mkdir(parents=True)
    (second / "kernel8.img").write_text("second kernel")
    before = tree.open(f"{SERIAL}/kernel8.img")
    link(data, "boot/new", f"../pis/{SERIAL}/2024-07.b_2/boot")
    (data / "boot/new").rename(data / "boot" / SERIAL)
    assert opened(tree, f"{SERIAL}/kernel8.img") == "second kernel"
    assert os.pread(before.fd, 100, 0) == b"kernel"
    assert before.unchanged()


def test_a_link_within_a_generation_is_followed(tree: BootTree, data: Path) -> None:
    link(data, f"pis/{SERIAL}/g1/boot/current", "overlays/../kernel8.img")
    link(data, f"pis/{SERIAL}/g1/boot/overlays/up", "../kernel8.img")
    assert opened(tree, f"{SERIAL}/current") == "kernel"
    assert opened(tree, f"{SERIAL}/overlays/up") == "kernel"


@pytest.mark.parametrize(
    "target",
    [
        f"../../../{OTHER}/g1/root/etc/shadow",
        f"../../../{OTHER}/g1/boot/kernel8.img",
        "../root/etc/shadow",
        "../boot/kernel8.img",
        "../../identity/ssh_host_key",
        "../../../../cloud-init/default/user-data",
        "../../../../secret",
        "../../../../boot/plain",
        "overlays/../../root/etc/shadow",
        "DATA/cloud-init/default/user-data",
        "DATA/boot/plain",
        "/etc/passwd",
        "/proc/self/environ",
    ],
)
def test_a_link_that_a_pi_plants_leads_nowhere_else(tree: BootTree, data: Path, target: str) -> None:
    planted = Path(target.replace("DATA", str(data)))
    link(data, f"pis/{SERIAL}/g1/boot/planted", planted)
    assert opened(tree, f"{SERIAL}/planted") is Refused
    link(data, f"pis/{SERIAL}/g1/boot/folder", planted.parent)
    assert opened(tree, f"{SERIAL}/folder/{planted.name}") is Refused


def test_a_hard_link_is_the_file_itself(tree: BootTree, data: Path) -> None:
    os.link(data / f"pis/{SERIAL}/g1/boot/kernel8.img", data / f"pis/{SERIAL}/g1/boot/second-name")
    assert opened(tree, f"{SERIAL}/second-name") == "kernel"


@pytest.mark.parametrize(
    "target",
    [
        f"../pis/{OTHER}/g1/boot",
        f"../pis/{SERIAL}/g1/root",
        f"../pis/{SERIAL}/g1",
        f"../pis/{SERIAL}/g1/boot/overlays",
        f"../pis/{SERIAL}/../{OTHER}/g1/boot",
        f"../pis/{SERIAL}/./g1/boot",
        f"../pis/{SERIAL}/../{SERIAL}/boot",
        f"../pis//{SERIAL}/g1/boot",
        f"../pis/{SERIAL}/g1/boot\n",
        f"../boot/../pis/{SERIAL}/g1/boot",
        "../cloud-init/default",
        "..",
        "DATA/pis/5b154510/g1/boot",
    ],
)
def test_a_link_of_another_shape_is_not_ours(tree: BootTree, data: Path, target: str) -> None:
    (data / "boot" / SERIAL).unlink()
    link(data, f"boot/{SERIAL}", target.replace("DATA", str(data)))
    for path in ("kernel8.img", "etc/shadow", "user-data", "boot/kernel8.img", "a.dtbo", "secret"):
        assert opened(tree, f"{SERIAL}/{path}") is Refused


@pytest.mark.parametrize("name", ["5B154510", "5b15451", "5b1545100", "pi-one"])
def test_only_a_serial_is_a_name_for_our_own_link(tree: BootTree, data: Path, name: str) -> None:
    link(data, f"boot/{name}", f"../pis/{SERIAL}/g1/boot")
    assert opened(tree, f"{name}/kernel8.img") is Refused


def test_our_own_link_reached_through_another_link_is_not_followed(tree: BootTree, data: Path) -> None:
    link(data, "boot/alias", SERIAL)
    assert opened(tree, "alias/kernel8.img") is Refused


@pytest.mark.parametrize("step", [f"pis/{SERIAL}", f"pis/{SERIAL}/g1", f"pis/{SERIAL}/g1/boot"])
def test_a_link_in_the_way_to_a_generation_is_refused(tree: BootTree, data: Path, step: str) -> None:
    moved = data / "moved"
    (data / step).rename(moved)
    link(data, step, os.path.relpath(moved, (data / step).parent))
    assert opened(tree, f"{SERIAL}/kernel8.img") is Refused


def test_a_generation_that_is_not_there_is_missing(tree: BootTree, data: Path) -> None:
    (data / "boot" / SERIAL).unlink()
    link(data, f"boot/{SERIAL}", f"../pis/{SERIAL}/g9/boot")
    assert opened(tree, f"{SERIAL}/kernel8.img") is Missing


# Without waiting


def test_what_the_kernel_knows_is_answered_without_waiting(tree: BootTree, data: Path, way: str) -> None:
    at_once = way == "openat2" and beneath._kernel_has(beneath._CACHED)
    for path in ("plain", f"{SERIAL}/kernel8.img"):
        assert answer(tree.open, path) is not None
        told = answer(tree.open_now, path)
        assert told == (answer(tree.open, path) if at_once else None)
    if at_once:
        assert answer(tree.open, "missing") is Missing
        assert answer(tree.open_now, "missing") is Missing


def test_a_tree_on_a_local_file_system_is_not_remote(tree: BootTree) -> None:
    assert not tree.is_remote()


# Change, and descriptors


def test_a_file_that_is_renamed_over_or_removed_stays_what_it_was(tree: BootTree, data: Path) -> None:
    file = tree.open("plain")
    (data / "boot/new").write_text("new")
    (data / "boot/new").rename(data / "boot/plain")
    assert file.unchanged()
    (data / "boot/plain").unlink()
    assert file.unchanged()
    assert os.pread(file.fd, 100, 0) == b"plain"


def test_a_file_that_is_written_to_is_not_unchanged(tree: BootTree, data: Path) -> None:
    path = data / "boot/plain"
    for write in (
        lambda: os.truncate(path, 1),
        lambda: path.write_text("same!"),
        lambda: path.write_text("longer than it was"),
        lambda: os.utime(path),
    ):
        path.write_text("plain")
        os.utime(path, (1, 1))
        file = tree.open("plain")
        assert file.unchanged()
        write()
        assert not file.unchanged()


def test_two_contents_have_two_identities(tree: BootTree, data: Path) -> None:
    first = tree.open("plain").identity
    assert tree.open("plain").identity == first
    (data / "boot/new").write_text("other")
    (data / "boot/new").rename(data / "boot/plain")
    second = tree.open("plain").identity
    assert second != first
    assert tree.open("sub/deep").identity not in {first, second}


def test_descriptors_are_given_back_whatever_the_answer(tree: BootTree, data: Path, special: list[str]) -> None:
    link(data, "boot/out", "../secret")
    link(data, "boot/self", "self")
    link(data, f"pis/{SERIAL}/g1/boot/planted", "../root/etc/shadow")
    paths = ["plain", "sub/deep", "sub", "missing", "plain/below", "out", "self", "n" * 300]
    paths += [f"special/{name}" for name in special]
    paths += [f"{SERIAL}/{name}" for name in ("kernel8.img", "planted", "missing", "overlays")]
    before = descriptors()
    for turn in range(1000):
        path = paths[turn % len(paths)]
        answer(tree.open, path)
        answer(tree.open_now, path)
    assert descriptors() == before


def test_a_descriptor_lives_as_long_as_somebody_holds_the_file(tree: BootTree) -> None:
    before = descriptors()
    file = tree.open("plain")
    second = file
    del file
    assert os.pread(second.fd, 100, 0) == b"plain"
    del second
    assert descriptors() == before


def test_a_failing_storage_is_neither_missing_nor_refused(tree: BootTree, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_fd: int, path: str) -> int:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(beneath, "open_beneath", broken)
    with pytest.raises(Unreadable, match="the storage failed: Input/output error"):
        tree.open("plain")
