"""The daemon and its exports: with Debian's own exportfs, and on a host that has no NFS at all."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from imagetrees import raspios
from nfshost import NfsHost, nfs_host
from support import Daemon, free_port, loopback_config, require, require_root, wait_until

from pinetboot.nfs.exports import Export, parse, parse_listed, tree_of

Serve = Callable[..., Daemon]

SERIAL, OTHER = "5b154510", "5b154511"
OURS = "/etc/exports.d/pinetboot.exports"
SERVER, PI, STRANGER = "10.55.0.2", "10.55.0.5", "10.55.0.9"
TESTS = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _needs() -> None:
    require_root()
    require("cp")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[NfsHost]:
    require("ip")
    with nfs_host(tmp_path, "--net") as found:
        found.run("ip", "link", "set", "lo", "up")
        found.run("ip", "link", "add", "lan", "type", "bridge")
        for address in (SERVER, PI, STRANGER):
            found.run("ip", "address", "add", f"{address}/24", "dev", "lan")
        found.run("ip", "link", "set", "lan", "up")
        yield found


@pytest.fixture
def daemon(host: NfsHost, tmp_path: Path, daemons: list[Daemon]) -> Daemon:
    config = loopback_config(free_port(), free_port(socket.SOCK_STREAM), more='[nfs]\nmode = "exports"\n')
    found = Daemon(tmp_path / "daemon", config, inside=host.inside, environment=host.environment)
    raspios(found.data)
    raspios(found.data, "other", identity="two")
    daemons.append(found)
    return found


def fleet(daemon: Daemon, *entries: str) -> None:
    new = daemon.data / "fleet.toml.new"
    new.write_text("".join(f"[[pi]]\n{entry}\n" for entry in entries))
    new.replace(daemon.data / "fleet.toml")


def pi(serial: str = SERIAL, image: str = "raspios", more: str = f'address = "{PI}"') -> str:
    return f'serial = "{serial}"\nimage = "{image}"\n{more}'


def listed(host: NfsHost) -> list[Export]:
    return parse_listed(host.run("exportfs", "-s").stdout)


def trees(exports: list[Export]) -> set[tuple[str, int, str, str]]:
    """Serial, generation, kind and client of each."""
    return {(*tree[1:], export.client) for export in exports if (tree := tree_of(export.path))}


def both(*numbers: int, serial: str = SERIAL, client: str = f"{PI}/32") -> set[tuple[str, int, str, str]]:
    return {(serial, number, kind, client) for number in numbers for kind in ("boot", "root")}


def exported(host: NfsHost, wanted: set[tuple[str, int, str, str]]) -> None:
    assert wait_until(lambda: trees(listed(host)) == wanted, 20), trees(listed(host))


def pinetboot(host: NfsHost, daemon: Daemon, *words: str, code: int = 0) -> str:
    where = ("--data", str(daemon.data), "--config", str(daemon.settings))
    done = host.run(sys.executable, "-m", "pinetboot", *words, *where, code=code)
    return done.stdout + done.stderr


def ask_for_files(host: NfsHost, daemon: Daemon, client: str) -> None:
    port = daemon.config.split("[tftp]\nport = ")[1].split()[0]
    program = (
        "from rawtftp import fetch; from sys import argv; fetch(int(argv[1]), argv[2], server=argv[3], local=argv[4])"
    )
    command = (sys.executable, "-c", program, port, f"{SERIAL}/cmdline.txt", SERVER, client)
    host.run("env", f"PYTHONPATH={TESTS}", *command)


def test_each_pi_has_its_trees_to_its_own_address_and_the_file_says_the_same(host: NfsHost, daemon: Daemon) -> None:
    fleet(daemon, pi(), pi(OTHER, more=f'address = "{STRANGER}"'))
    daemon.start()
    exported(host, both(1) | both(1, serial=OTHER, client=f"{STRANGER}/32"))
    found = listed(host)
    assert trees(parse(host.read(OURS))) == trees(found)
    assert {export.path for export in parse(host.read(OURS))} == {export.path for export in found}
    assert all(Path(export.path).is_dir() for export in found)
    assert all("no_root_squash" in export.options for export in found)
    assert len(daemon.said("exports changed")) >= 1


def test_a_new_generation_is_exported_before_the_pi_is_sent_to_it(host: NfsHost, daemon: Daemon) -> None:
    fleet(daemon, pi())
    daemon.start()
    exported(host, both(1))
    fleet(daemon, pi(image="other"))
    assert wait_until(lambda: [line for line in daemon.said("Pi made ready") if line["generation"] == 2], 20), (
        daemon.text
    )
    told = [(line["event"], line) for line in daemon.lines]
    at = next(
        number for number, (event, line) in enumerate(told) if event == "Pi made ready" and line["generation"] == 2
    )
    before = [path for event, line in told[:at] if event == "exports changed" for path in line.get("added", ())]
    assert [path for path in before if path.endswith("/2/root")]
    exported(host, both(2))


def test_what_a_client_has_mounted_stays_exported_and_on_disk(host: NfsHost, daemon: Daemon) -> None:
    fleet(daemon, pi())
    daemon.config = daemon.config + "[fleet]\nkeep_generations = 1\n"
    daemon.start()
    exported(host, both(1))
    root = next(export.path for export in listed(host) if export.path.endswith("root"))
    host.write("/var/lib/nfs/rmtab", f"{PI}:{root}:0x00000001\n")
    assert wait_until(
        lambda: [line for line in daemon.lines if line.get("generation") == 1 and line.get("client") == PI]
    )
    fleet(daemon, pi(image="other"))
    assert wait_until(lambda: (daemon.data / "boot" / SERIAL).readlink().parts[3] == "2", 20), daemon.text
    time.sleep(2.5)
    assert (SERIAL, 1, "root", f"{PI}/32") in trees(listed(host))
    assert (SERIAL, 1, "root", f"{PI}/32") in trees(parse(host.read(OURS)))
    assert Path(root).is_dir()
    # The Pi mounts its new root: it has left the old one.
    newer = root.replace("/1/", "/2/")
    host.write("/var/lib/nfs/rmtab", f"{PI}:{root}:0x00000001\n{PI}:{newer}:0x00000001\n")
    exported(host, both(2))
    # Nor is a Pi's export taken from under it because somebody took it out of the fleet.
    fleet(daemon)
    time.sleep(2.5)
    assert (SERIAL, 2, "root", f"{PI}/32") in trees(listed(host))


def test_an_address_is_exported_the_moment_it_asks_for_its_files(host: NfsHost, daemon: Daemon) -> None:
    fleet(daemon, pi(more=""))
    daemon.start()
    assert wait_until((daemon.data / "boot" / SERIAL).is_symlink, 20)
    assert trees(listed(host)) == set()
    ask_for_files(host, daemon, PI)
    assert wait_until(lambda: trees(listed(host)) == both(1), 2), daemon.text
    # Another machine that asks for the same files does not take the export from the Pi.
    ask_for_files(host, daemon, STRANGER)
    exported(host, both(1) | both(1, client=f"{STRANGER}/32"))


def test_a_network_of_clients_and_other_options_are_taken_while_running(host: NfsHost, daemon: Daemon) -> None:
    fleet(daemon, pi())
    daemon.start()
    exported(host, both(1))
    daemon.settings.write_text(daemon.config + 'clients = "10.55.0.0/24"\noptions = "rw,async,no_root_squash"\n')
    daemon.signal(signal.SIGHUP)
    exported(host, both(1, client="10.55.0.0/24"))
    assert all("async" in export.options.split(",") for export in listed(host))


def test_nothing_is_withdrawn_at_stop_nor_at_a_crash_nor_with_a_broken_fleet(host: NfsHost, daemon: Daemon) -> None:
    fleet(daemon, pi())
    daemon.start()
    exported(host, both(1))
    file = host.read(OURS)
    assert daemon.stop() == 0
    assert trees(listed(host)) == both(1)
    fleet(daemon, "serial = 7")
    daemon.start()
    time.sleep(2.5)
    assert trees(listed(host)) == both(1)
    assert daemon.process is not None
    daemon.signal(signal.SIGKILL)
    daemon.process.wait()
    assert trees(listed(host)) == both(1)
    assert host.read(OURS) == file
    fleet(daemon, pi())
    daemon.start()
    time.sleep(2.5)
    assert trees(listed(host)) == both(1)
    assert not daemon.said("exports changed")


def test_exports_of_others_stay_and_ours_come_back(host: NfsHost, daemon: Daemon) -> None:
    (daemon.folder / "theirs").mkdir(parents=True)
    host.run("exportfs", "-o", "ro", f"10.55.0.0/24:{daemon.folder}/theirs")
    fleet(daemon, pi())
    daemon.start()
    exported(host, both(1))
    theirs = [export for export in listed(host) if export.path.endswith("theirs")]
    assert theirs
    host.run("exportfs", "-ua")
    exported(host, both(1))
    # A restart of the host's NFS server reads our file.
    host.run("exportfs", "-ua")
    host.run("exportfs", "-ra")
    assert trees(listed(host)) == both(1)
    fleet(daemon)
    exported(host, set())


def test_a_data_directory_that_cannot_be_exported_from_is_told_once(host: NfsHost, daemon: Daemon) -> None:
    host.run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/etc/exports.d")
    fleet(daemon, pi())
    daemon.start()
    assert wait_until(lambda: [line for line in daemon.said("nfs") if "cannot be written" in line["what"]], 20)
    assert wait_until((daemon.data / "boot" / SERIAL).is_symlink, 20)
    assert trees(listed(host)) == set()
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.text


def without_nfs(text: str) -> None:
    if "nfsd" in Path("/proc/filesystems").read_text().split():
        pytest.skip(f"this kernel has nfsd: {text}")


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("auto", "all else is served"),
        ("exports", "Pis with a root over NFS find none here"),
        ("daemons", "NFS cannot be served"),
    ],
)
def test_without_nfsd_one_sentence_says_what_will_not_work_and_the_rest_goes_on(
    serve: Serve, mode: str, told: str
) -> None:
    without_nfs("what is missing cannot be shown")
    daemon = serve(more=f'[nfs]\nmode = "{mode}"\n')
    raspios(daemon.data)
    fleet(daemon, pi())
    assert wait_until((daemon.data / "boot" / SERIAL).is_symlink, 20), daemon.text
    assert wait_until(lambda: daemon.said("nfs")), daemon.text
    (line,) = daemon.said("nfs")
    assert told in line["what"]
    assert line["level"] == "warning"
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.text


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ('mode = "off"', "off"),
        ('mode = "external"\naddress = "10.0.0.2"\npath = "/export/pi"', "served by 10.0.0.2 as /export/pi"),
    ],
)
def test_what_another_serves_is_left_to_it(serve: Serve, section: str, told: str) -> None:
    daemon = serve(more=f"[nfs]\n{section}\n")
    raspios(daemon.data)
    fleet(daemon, pi())
    assert wait_until((daemon.data / "boot" / SERIAL).is_symlink, 20), daemon.text
    (ready,) = daemon.said("ready")
    assert told in ready["nfs"]
    if "external" in section:
        cmdline = (daemon.data / "boot" / SERIAL / "cmdline.txt").read_text()
        assert "nfsroot=10.0.0.2:/export/pi/pis/" in cmdline
    assert not daemon.said("nfs")
    assert not daemon.said("exports changed")


def test_a_purge_is_refused_while_a_client_is_known_to_use_the_trees(host: NfsHost, daemon: Daemon) -> None:
    fleet(daemon, pi())
    daemon.start()
    exported(host, both(1))
    # No kernel here tells of clients: a folder that looks like nfsd's own stands in for it.
    host.run("mount", "-t", "tmpfs", "tmpfs", "/proc/fs/nfsd")
    host.run("mkdir", "-p", "/proc/fs/nfsd/clients/3")
    host.write("/proc/fs/nfsd/clients/3/info", f'address: "{PI}:812"\nstatus: confirmed\nseconds from last renew: 3\n')
    said = pinetboot(host, daemon, "pi", "remove", SERIAL, "--purge", "--yes", code=2)
    assert f"{PI} has it mounted" in said
    assert (daemon.data / "pis" / SERIAL / "1" / "root").is_dir()
    host.run("rm", "-r", "/proc/fs/nfsd/clients/3")
    pinetboot(host, daemon, "pi", "remove", SERIAL, "--purge", "--yes")
    assert not (daemon.data / "pis" / SERIAL).exists()
    exported(host, set())
