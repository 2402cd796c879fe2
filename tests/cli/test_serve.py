"""`pinetboot serve` as a process: its words, its exit codes, its signals."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
from support import Daemon, free_port, loopback_config, wait_until, without_privileges

Serve = Callable[..., Daemon]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pinetboot", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_second_daemon_says_which_port_is_taken_and_leaves_the_first_alone(serve: Serve, tmp_path: Path) -> None:
    first = serve()
    for what, port, other in (
        ("UDP", first.tftp_port, ["--http-port", str(free_port(socket.SOCK_STREAM))]),
        ("TCP", first.http_port, ["--tftp-port", str(free_port())]),
    ):
        second = run("serve", "--config", str(first.settings), "--data", str(tmp_path / "other"), *other)
        assert second.returncode == 2
        assert f"{what} port {port} is taken by another program" in second.stderr
        assert "Traceback" not in second.stderr
    with urlopen(f"http://127.0.0.1:{first.http_port}/readyz", timeout=5) as answer:
        assert answer.status == 200
    assert first.stop() == 0


def test_every_mistake_in_the_settings_is_told_at_once(tmp_path: Path) -> None:
    settings = tmp_path / "pinetboot.toml"
    settings.write_text('[server]\nadress = "x"\n[tftp]\nport = "69"\ndata_ports = "9-1"\n[dhcp]\nmode = "prox"\n')
    done = run("serve", "--config", str(settings))
    assert done.returncode == 2
    for told in (
        "server.adress: unknown key; did you mean address?",
        "tftp.port: '69' is of the wrong type; a whole number is right",
        "tftp.data_ports: '9-1' is no port range",
        "dhcp.mode: 'prox' is not known here; 'proxy', 'server' or 'off' is right",
    ):
        assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--config", "/nonexistent.toml"], "/nonexistent.toml that --config names does not exist"),
        (["--data", "/proc/nowhere"], "the data directory /proc/nowhere cannot be made"),
        (["--address", "300.1.1.1"], "--address: '300.1.1.1' is no IPv4 address"),
        (["--address", "0.0.0.0"], "--address: 0.0.0.0 is no address that a Pi could boot from"),
        (["--tftp-port", "70000"], "--tftp-port: 70000 will not do"),
        (["--log-level", "loud"], "--log-level: 'loud' is not known here"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments: list[str], told: str, tmp_path: Path) -> None:
    data = [] if "--data" in arguments else ["--data", str(tmp_path)]
    done = run("serve", *data, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreadable_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, no directory")
    done = run("serve", "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert "cannot be made" in done.stderr


def test_a_missing_privilege_is_told(tmp_path: Path) -> None:
    command = [*without_privileges(), sys.executable, "-m", "pinetboot", "serve", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "may not be opened by this user" in done.stderr
    assert "CAP_NET_BIND_SERVICE" in done.stderr


def test_sigint_and_sigterm_end_it_with_0(serve: Serve) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        daemon = serve()
        daemon.signal(number)
        assert daemon.process is not None
        assert daemon.process.wait(10) == 0


def test_sighup_takes_good_settings_and_refuses_broken_ones(serve: Serve) -> None:
    daemon = serve()
    good = daemon.settings.read_text()
    daemon.settings.write_text(good + "\n[netconsole]\nnonsense = 1\n")
    daemon.signal(signal.SIGHUP)
    refused = wait_until(lambda: daemon.said("settings left as they were"))
    assert "netconsole.nonsense: unknown key" in refused[0]["why"]
    daemon.settings.write_text(good.replace("stop_s = 2", "stop_s = 3") + "\n[netconsole]\nport = 7777\n")
    daemon.signal(signal.SIGHUP)
    taken = wait_until(lambda: daemon.said("settings read again"))
    assert taken[0]["at_restart"] == ["netconsole.port"]
    assert daemon.stop() == 0
    assert daemon.said("stopping")[0]["running_transfers_may_finish_s"] == 3


def test_a_settings_file_that_changes_is_taken_by_itself_once_it_is_whole(serve: Serve) -> None:
    daemon = serve()
    good = daemon.settings.read_text()
    # An editor that writes slowly: each part of it is a settings file too, with other settings.
    parts = good.replace("stop_s = 2", "stop_s = 3").splitlines(keepends=True)
    slowest, last = 0.0, time.monotonic()
    with daemon.settings.open("w") as file:
        for part in parts * 2:
            if file.tell() >= len("".join(parts)):
                file.seek(0)
                file.truncate()
            file.write(part)
            file.flush()
            time.sleep(0.1)
            slowest, last = max(slowest, time.monotonic() - last), time.monotonic()
    taken = wait_until(lambda: daemon.said("settings read again"))
    assert len(taken) == 1 or slowest > 0.9, "half a file was taken"
    broken = daemon.settings.with_suffix(".new")
    broken.write_text(good + "[nonsense]\n")
    broken.replace(daemon.settings)
    assert wait_until(lambda: daemon.said("settings left as they were"))
    # One that is gone is no change.
    daemon.settings.unlink()
    time.sleep(2.5)
    assert daemon.stop() == 0
    assert daemon.said("stopping")[0]["running_transfers_may_finish_s"] == 3
    assert len(daemon.said("settings left as they were")) == 1


def test_systemd_is_told(tmp_path: Path, daemons: list[Daemon]) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(10)
        config = loopback_config(free_port(), free_port(socket.SOCK_STREAM))
        asked = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        daemon = Daemon(tmp_path / "daemon", config, environment=asked)
        daemons.append(daemon)
        daemon.start()
        heard = [manager.recv(4096).decode() for _ in range(4)]
        assert heard[0].startswith("READY=1")
        assert heard[1:] == ["WATCHDOG=1"] * 3
        daemon.signal(signal.SIGHUP)
        while not (said := manager.recv(4096).decode()).startswith("RELOADING=1"):
            assert said == "WATCHDOG=1"
        assert "MONOTONIC_USEC=" in said
        daemon.signal(signal.SIGTERM)
        while not manager.recv(4096).startswith(b"STOPPING=1"):
            pass


def test_the_file_descriptor_limit_is_raised(serve: Serve) -> None:
    daemon = serve()
    assert daemon.process is not None
    limits = Path(f"/proc/{daemon.process.pid}/limits").read_text()
    soft, hard = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5]
    assert int(soft) == int(hard) or int(soft) >= 9216
