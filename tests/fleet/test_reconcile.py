"""A daemon that makes its fleet true: over real sockets, with real trees, cut off at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rawtftp import TransferFailed, fetch
from support import Daemon, require, require_root, wait_until

from pinetboot.fleet import progress

Serve = Callable[..., Daemon]

SERIAL, OTHER = "5b154510", "5b154511"
MAC = "dc:a6:32:2e:f8:ed"
CMDLINE = "console=serial0,115200 root=PARTUUID=1234-02 rootfstype=ext4 fsck.repair=yes rootwait quiet\n"
FSTAB = """proc /proc proc defaults 0 0
PARTUUID=1234-01 /boot/firmware vfat defaults 0 2
PARTUUID=1234-02 / ext4 defaults,noatime 0 1
"""


@pytest.fixture(autouse=True)
def _needs() -> None:
    require_root()  # trees have owners and device nodes
    require("cp")


def image(data: Path, name: str, *, identity: str = "", files: int = 3) -> None:
    """An image as an import leaves it, in place of the one that stands."""
    new = data / "images" / f".new-{name}"
    shutil.rmtree(new, ignore_errors=True)
    boot, root = new / "boot", new / "root"
    for folder in (boot / "overlays", root / "etc", root / "boot" / "firmware", root / "usr" / "sbin", root / "lib"):
        folder.mkdir(parents=True)
    (boot / "config.txt").write_text("[all]\n")
    (boot / "cmdline.txt").write_text(CMDLINE)
    (boot / "bootcode.bin").write_text(f"loader of {name}")
    (boot / "kernel8.img").write_bytes(os.urandom(100_000))
    (root / "etc" / "fstab").write_text(FSTAB)
    (root / "etc" / "hostname").write_text("raspberrypi\n")
    (root / "usr" / "sbin" / "mount.nfs").write_text("")
    for number in range(files):
        (root / "lib" / f"file{number}").write_text(f"{name} {number}")
    record = {
        "name": name,
        "source": "test",
        "sha256": "0" * 64,
        "identity": identity or name,
        "added": "2026-01-01T00:00:00Z",
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in record.items()]
    (new / "image.toml").write_text(
        "\n".join([*lines, "has_root = true", "files = 9", "bytes = 9", "models = []"]) + "\n"
    )
    standing = data / "images" / name
    if standing.exists():
        standing.rename(data / "images" / f".gone-{name}")
    new.rename(standing)
    shutil.rmtree(data / "images" / f".gone-{name}", ignore_errors=True)


def fleet(daemon: Daemon, text: str) -> None:
    new = daemon.data / "fleet.toml.new"
    new.write_text(text)
    new.replace(daemon.data / "fleet.toml")


def pinetboot(daemon: Daemon, *arguments: str, code: int = 0) -> str:
    command = [
        sys.executable,
        "-m",
        "pinetboot",
        *arguments,
        "--data",
        str(daemon.data),
        "--config",
        str(daemon.settings),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def booted(daemon: Daemon, serial: str = SERIAL) -> str:
    try:
        return (daemon.data / "boot" / serial).readlink().parts[3]
    except OSError:
        return ""


def ready(daemon: Daemon, number: str = "1", serial: str = SERIAL) -> None:
    assert wait_until(lambda: booted(daemon, serial) == number, 20), daemon.text


def served(daemon: Daemon, name: str) -> bytes:
    return fetch(daemon.tftp_port, name.encode())


@pytest.fixture
def daemon(serve: Serve) -> Daemon:
    found = serve(more='[nfs]\nmode = "off"')
    image(found.data, "a")
    image(found.data, "b")
    return found


def test_a_line_in_fleet_toml_is_all_it_takes(daemon: Daemon) -> None:
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nmac = "{MAC}"\nimage = "a"\nhostname = "node-1"\n')
    ready(daemon)
    cmdline = served(daemon, f"{SERIAL}/cmdline.txt").decode()
    assert "nfsroot=" in cmdline
    assert f"/pis/{SERIAL}/1/root" in cmdline
    assert "PARTUUID" not in cmdline
    assert "console=serial0,115200" in cmdline
    for name in (SERIAL.upper(), MAC.replace(":", "-"), MAC.replace(":", "-").upper()):
        assert served(daemon, f"{name}/cmdline.txt").decode() == cmdline
    root = daemon.data / "pis" / SERIAL / "1" / "root"
    assert (root / "etc" / "hostname").read_text() == "node-1\n"
    assert "/boot/firmware nfs" in (root / "etc" / "fstab").read_text()
    (line,) = daemon.said("Pi made ready")
    assert (line["serial"], line["image"], line["generation"]) == (SERIAL, "a", 1)


def test_what_is_there_is_left_alone_by_a_restart(daemon: Daemon) -> None:
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "a"\n')
    ready(daemon)
    tree = daemon.data / "pis" / SERIAL
    before = {path: path.lstat().st_mtime_ns for path in tree.rglob("*")}
    daemon.stop()
    daemon.start()
    time.sleep(2.5)
    assert {path: path.lstat().st_mtime_ns for path in tree.rglob("*")} == before
    assert booted(daemon) == "1"


def test_another_image_is_another_generation_and_rollback_goes_back(daemon: Daemon) -> None:
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}" # mine\nimage = "a"\n')
    ready(daemon)
    identity = daemon.data / "pis" / SERIAL / "identity"
    keys = {path.name: path.read_bytes() for path in identity.rglob("*") if path.is_file()}
    assert keys
    pinetboot(daemon, "pi", "set", SERIAL, "--image", "b")
    ready(daemon, "2")
    assert (daemon.data / "pis" / SERIAL / "2" / "root" / "lib" / "file0").read_text() == "b 0"
    assert "generation 1 (a)" in pinetboot(daemon, "pi", "rollback", SERIAL)
    ready(daemon, "1")
    assert (daemon.data / "fleet.toml").read_text() == f'[[pi]]\nserial = "{SERIAL}" # mine\nimage = "a"\n'
    time.sleep(2.5)
    assert booted(daemon) == "1"
    assert keys == {path.name: path.read_bytes() for path in identity.rglob("*") if path.is_file()}
    pinetboot(daemon, "pi", "rollback", SERIAL, code=1)


def test_a_newer_image_is_taken_when_asked_for(daemon: Daemon) -> None:
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "a"\n[[pi]]\nserial = "{OTHER}"\nimage = "a"\n')
    ready(daemon)
    ready(daemon, serial=OTHER)
    image(daemon.data, "a", identity="newer", files=4)
    time.sleep(2.5)
    assert booted(daemon) == booted(daemon, OTHER) == "1"
    pinetboot(daemon, "pi", "upgrade", SERIAL)
    ready(daemon, "2")
    assert (daemon.data / "pis" / SERIAL / "2" / "root" / "lib" / "file3").exists()
    assert booted(daemon, OTHER) == "1"
    pinetboot(daemon, "pi", "rollback", SERIAL)
    ready(daemon, "1")


def test_a_fleet_that_is_broken_changes_nothing(daemon: Daemon) -> None:
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "a"\n')
    ready(daemon)
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimagge = "b"\n')
    assert wait_until(lambda: daemon.said("fleet left as it was"))
    (line,) = daemon.said("fleet left as it was")
    assert "pi 1.imagge: unknown key; did you mean image?" in line["why"]
    assert booted(daemon) == "1"
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "b"\n')
    ready(daemon, "2")


def test_a_pi_without_an_image_is_told_once_and_made_when_the_image_comes(daemon: Daemon) -> None:
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "c"\n')
    assert wait_until(lambda: daemon.said("Pi not as it should be"))
    time.sleep(2.2)
    (line,) = daemon.said("Pi not as it should be")
    assert "there is no image c" in line["why"]
    image(daemon.data, "c")
    ready(daemon)


def test_a_mounted_configmap_is_followed(daemon: Daemon) -> None:
    for turn, name in enumerate("ab", 1):
        folder = daemon.data / f"..2026_{turn}"
        folder.mkdir()
        (folder / "fleet.toml").write_text(f'[[pi]]\nserial = "{SERIAL}"\nimage = "{name}"\n')
        (daemon.data / "..data_tmp").symlink_to(folder.name)
        (daemon.data / "..data_tmp").replace(daemon.data / "..data")
        if turn == 1:
            (daemon.data / "fleet.toml").symlink_to("..data/fleet.toml")
        ready(daemon, str(turn))


def test_a_folder_of_the_users_own_is_served_and_said(daemon: Daemon) -> None:
    own = daemon.data / "boot" / SERIAL
    own.mkdir()
    (own / "config.txt").write_text("by hand")
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "a"\n')
    assert wait_until(lambda: daemon.said("Pi not as it should be"))
    assert "folder of your own" in daemon.said("Pi not as it should be")[0]["why"]
    assert served(daemon, f"{SERIAL}/config.txt") == b"by hand"


def test_a_tree_is_not_changed_in_the_middle_of_a_boot(daemon: Daemon) -> None:
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "a"\n')
    ready(daemon)
    served(daemon, f"{SERIAL}/config.txt")
    pinetboot(daemon, "pi", "set", SERIAL, "--image", "b")
    assert wait_until((daemon.data / "pis" / SERIAL / "2").exists, 20)
    time.sleep(2.5)
    assert booted(daemon) == "1"


def test_a_pi_that_asks_shows_up_and_is_added_with_what_is_known(daemon: Daemon) -> None:
    with pytest.raises(TransferFailed):
        served(daemon, f"{OTHER}/start4.elf")
    assert wait_until(lambda: OTHER in pinetboot(daemon, "pi", "list"), 15)
    found = json.loads(pinetboot(daemon, "pi", "list", "--json"))["pis"]
    assert [(pi["serial"], pi["known"], pi["address"]) for pi in found] == [(OTHER, False, "127.0.0.1")]
    pinetboot(daemon, "pi", "add", OTHER, "--image", "a")
    ready(daemon, serial=OTHER)
    (pi,) = json.loads(pinetboot(daemon, "pi", "list", "--json"))["pis"]
    assert (pi["known"], pi["image"], pi["generation"], pi["hostname"]) == (True, "a", 1, f"pi-{OTHER}")


def test_a_second_daemon_serves_what_the_first_makes_and_takes_over_when_that_is_gone(
    daemon: Daemon, serve: Serve
) -> None:
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "a"\n')
    ready(daemon)
    second = serve(more='[nfs]\nmode = "off"', flags=("--data", str(daemon.data)))
    second.shared = daemon.data
    assert wait_until(lambda: second.said("the fleet is kept by another daemon"))
    (line,) = second.said("the fleet is kept by another daemon")
    assert (line["level"], f"(process {daemon.process.pid})" in line["by"]) == ("warning", True)  # type: ignore[union-attr]
    assert wait_until(lambda: _or_nothing(second, f"{SERIAL}/config.txt") == b"[all]\n")
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "a"\n[[pi]]\nserial = "{OTHER}"\nimage = "a"\n')
    ready(daemon, serial=OTHER)
    assert wait_until(lambda: _or_nothing(second, f"{OTHER}/config.txt") == b"[all]\n")
    assert wait_until(lambda: len(daemon.said("Pi made ready")) == 2)
    daemon.signal(signal.SIGKILL)
    daemon.process.wait()  # type: ignore[union-attr]
    assert wait_until(lambda: second.said("keeping the fleet"), 8)
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "b"\n')
    assert wait_until((daemon.data / "pis" / SERIAL / "2").exists, 20), second.text
    assert len(daemon.said("Pi made ready")) == 2


def test_adoption_by_itself(serve: Serve) -> None:
    daemon = serve(more='[nfs]\nmode = "off"\n[fleet]\nadopt = "auto"\ndefault_image = "a"')
    image(daemon.data, "a")
    with pytest.raises(TransferFailed):
        served(daemon, f"{OTHER}/start4.elf")
    ready(daemon, serial=OTHER)
    assert served(daemon, f"{OTHER}/config.txt") == b"[all]\n"
    assert f'serial = "{OTHER}"' in (daemon.data / "fleet.toml").read_text()


def test_the_loader_of_the_default_image_stands_in(serve: Serve) -> None:
    daemon = serve(more='[nfs]\nmode = "off"\n[fleet]\ndefault_image = "a"')
    image(daemon.data, "a")
    image(daemon.data, "b")
    assert wait_until(lambda: _or_nothing(daemon, "bootcode.bin") == b"loader of a")


def _or_nothing(daemon: Daemon, name: str) -> bytes:
    try:
        return served(daemon, name)
    except TransferFailed:
        return b""


def test_removal_says_what_goes_and_keeps_what_it_can(daemon: Daemon) -> None:
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "a"\n[[pi]]\nserial = "{OTHER}"\nimage = "a"\n')
    ready(daemon)
    ready(daemon, serial=OTHER)
    assert "is kept" in pinetboot(daemon, "pi", "remove", SERIAL)
    assert (daemon.data / "pis" / SERIAL / "1").exists()
    assert not booted(daemon)
    said = pinetboot(daemon, "pi", "remove", OTHER, "--purge", "--yes")
    assert "1 generation" in said
    assert not (daemon.data / "pis" / OTHER).exists()
    assert [pi["known"] for pi in json.loads(pinetboot(daemon, "pi", "list", "--json"))["pis"]] in (
        [],
        [False],
        [False] * 2,
    )


def test_killed_at_any_moment_it_is_finished_next_time(daemon: Daemon) -> None:
    pis = [f"0000000{number}" for number in range(6)]
    image(daemon.data, "a", files=400)
    image(daemon.data, "b", files=400)
    for turn in range(10):
        wanted = "ab"[turn % 2]
        fleet(daemon, "".join(f'[[pi]]\nserial = "{serial}"\nimage = "{wanted}"\n' for serial in pis))
        time.sleep(turn * 0.2)
        daemon.signal(signal.SIGKILL)
        daemon.process.wait()  # type: ignore[union-attr]
        for serial in pis:
            if number := booted(daemon, serial):
                tree = daemon.data / "pis" / serial / number
                assert len(list((tree / "root" / "lib").glob("file*"))) == 400
                assert (tree / "boot" / "cmdline.txt").read_text().count("\n") == 1
        daemon.start()
    for serial in pis:
        last = wait_until(lambda: _image_of(daemon, serial) == wanted, 60)  # noqa: B023
        assert last, daemon.text
    assert wait_until(lambda: not list(daemon.data.glob("pis/*/.*")), 20)


def _image_of(daemon: Daemon, serial: str) -> str:
    record = daemon.data / "pis" / serial / (booted(daemon, serial) or "none") / "generation.toml"
    text = record.read_text() if record.exists() else ""
    return next((line.split('"')[1] for line in text.splitlines() if line.startswith("image ")), "")


def test_what_is_being_made_is_shown_and_what_a_dead_daemon_made_is_not(daemon: Daemon) -> None:
    image(daemon.data, "a", files=15000)
    record = daemon.data / "images" / "a" / "image.toml"
    record.write_text(record.read_text().replace("files = 9", "files = 15020"))
    # So many that they are at it for seconds, on many processors as well: it is told once a second.
    pis = [f"000000{number:02}" for number in range(min(96, 8 * (os.cpu_count() or 1)))]
    fleet(daemon, "".join(f'[[pi]]\nserial = "{serial}"\nimage = "a"\n' for serial in pis))
    seen: set[str] = set()

    def words() -> bool:
        seen.update(re.sub(r"[0-9]+", "N", str(one)) for one in progress.read(daemon.data).values())
        return {"copying N %", "waiting"} <= seen

    assert wait_until(words, 20), f"{seen} {daemon.text}"
    daemon.signal(signal.SIGKILL)
    daemon.process.wait()  # type: ignore[union-attr]
    found = json.loads(pinetboot(daemon, "pi", "list", "--json"))["pis"]
    assert [pi["making"] for pi in found] == [None] * len(pis)
    assert "copying" not in pinetboot(daemon, "pi", "list")
    pis = pis[:2]
    fleet(daemon, "".join(f'[[pi]]\nserial = "{serial}"\nimage = "a"\n' for serial in pis))
    daemon.start()
    for serial in pis:
        ready(daemon, serial=serial)
    assert wait_until(lambda: not progress.read(daemon.data))
    begun = daemon.said("making a generation")
    assert {line["serial"] for line in begun} <= set(pis)
    assert begun[0]["hostname"] == f"pi-{begun[0]['serial']}"
    assert (begun[0]["image"], begun[0]["level"]) == ("a", "info")


def test_pi_list_says_how_far_a_copy_is(daemon: Daemon) -> None:
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "missing"\n[[pi]]\nserial = "{OTHER}"\nimage = "missing"\n')
    assert wait_until(lambda: len(daemon.said("Pi not as it should be")) == 2)
    daemon.stop()
    told = progress.Progress(daemon.data)
    for serial in (SERIAL, OTHER):
        told.wait(serial, "missing", 1)
    told.begin(SERIAL)
    told.at(SERIAL, 43)
    told.tell()
    listed = pinetboot(daemon, "pi", "list")
    assert "copying 43 %" in listed
    assert "waiting" in listed
    (first, second) = json.loads(pinetboot(daemon, "pi", "list", "--json"))["pis"]
    assert first["making"] == {"generation": 1, "percent": 43}
    assert (second["making"], first["ready"]) == ({"generation": 1, "percent": None}, False)
    told.close()
    assert "not ready" in pinetboot(daemon, "pi", "list")


def test_disks_and_identity_are_the_same_byte_for_byte_through_set_and_rollback(daemon: Daemon, tmp_path: Path) -> None:
    require("mke2fs", "debugfs", "e2fsck")
    disk = '{ mount = "/var/lib/rancher", size = "64M" }'
    fleet(daemon, f'[[pi]]\nserial = "{SERIAL}"\nimage = "a"\ndisks = [{disk}]\n')
    ready(daemon)
    own = daemon.data / "pis" / SERIAL
    path = own / "disks" / "var-lib-rancher.ext4"
    written = tmp_path / "written"
    written.write_bytes(os.urandom(3 << 20))
    subprocess.run(["debugfs", "-w", "-R", f"write {written} content", path], check=True, capture_output=True)
    with path.open("r+b") as file:
        file.seek(60 << 20)
        file.write(b"far beyond what a file system check looks at")

    def state() -> dict[str, tuple[int, int, int, int, str]]:
        found = {}
        for name in ("disks", "identity"):
            for one in sorted((own / name).rglob("*")):
                status = one.stat()
                digest = hashlib.sha256(one.read_bytes()).hexdigest()
                found[one.name] = (status.st_ino, status.st_mode, status.st_blocks, status.st_mtime_ns, digest)
        return found

    before = state()
    assert len(before) == 6
    pinetboot(daemon, "pi", "set", SERIAL, "--image", "b")
    ready(daemon, "2")
    assert state() == before
    pinetboot(daemon, "pi", "rollback", SERIAL)
    ready(daemon, "1")
    assert state() == before
    daemon.stop()
    assert state() == before
    told = subprocess.run(["debugfs", "-R", "cat content", path], check=True, capture_output=True).stdout
    assert told == written.read_bytes()
