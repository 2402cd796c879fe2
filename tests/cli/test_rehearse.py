"""`pinetboot rehearse`: steps, verdicts, JSON and exit codes, without DHCP."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from support import Daemon, free_port, wait_until

from pinetboot.demo import tree

Serve = Callable[..., Daemon]


def rehearse(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pinetboot", "rehearse", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def against(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return rehearse("--no-dhcp", "--server", "127.0.0.1", "--tftp-port", str(daemon.tftp_port), *arguments)


def with_tree(daemon: Daemon) -> Path:
    tree.make(daemon.data, f"http://127.0.0.1:{daemon.http_port}/")
    return daemon.data / "boot"


@pytest.mark.parametrize(("model", "serial"), [("pi4", tree.PI4), ("pi5", tree.PI5)])
def test_a_boot_is_told_in_the_shape_that_scripts_rely_on(serve: Serve, model: str, serial: str) -> None:
    daemon = serve()
    boot = with_tree(daemon)
    done = against(daemon, "--model", model, "--serial", serial, "--json")
    assert done.returncode == 0, done.stdout
    told = json.loads(done.stdout)
    assert (told["ok"], told["model"], told["serial"], told["server"]) == (True, model, serial, "127.0.0.1")
    assert told["stopped_at"] is None
    assert told["cause"] is None
    assert [step["stage"] for step in told["steps"]] == ["firmware", "kernel", "seed"]
    assert all(step["ok"] and step["ms"] >= 0 and step["what"] for step in told["steps"])
    whole = {file["name"].replace("//", "/"): file["bytes"] for file in told["files"] if file["bytes"]}
    for path in (boot / serial).rglob("*"):
        if path.is_file():
            assert whole[str(path.relative_to(boot))] == path.stat().st_size
    assert {file["result"] for file in told["files"]} == {"ok", "missing"}
    assert told["bytes"] == sum(file["bytes"] for file in told["files"])
    doubled = [file["name"] for file in told["files"] if "//" in file["name"].removeprefix("http://")]
    assert bool(doubled) == (model == "pi5")


def test_the_log_knows_the_pi_by_its_serial(serve: Serve) -> None:
    daemon = serve()
    with_tree(daemon)
    assert against(daemon, "--serial", tree.PI4).returncode == 0
    seeds = daemon.said("http seed")
    assert {line["path"] for line in seeds} == {"/network-config", "/meta-data", "/user-data", "/vendor-data"}
    assert all(line["serial"] == tree.PI4 and line["client"] == "127.0.0.1" for line in seeds)


@pytest.mark.parametrize(
    ("model", "gone", "stage", "rule"),
    [
        ("pi4", "start4.elf", "firmware", "D13"),
        ("pi4", "fixup4.dat", "firmware", "D27"),
        ("pi4", "bcm2711-rpi-4-b.dtb", "kernel", "D27"),
        ("pi4", "kernel8.img", "kernel", "D27"),
        ("pi4", "cmdline.txt", "root", "D28"),
        ("pi5", "config.txt", "firmware", "D13"),
        ("pi5", "bcm2712-rpi-5-b.dtb", "kernel", "D15"),
        ("pi5", "kernel_2712.img", "kernel", "D15"),
    ],
)
def test_a_missing_file_stops_the_boot_where_the_firmware_would(
    serve: Serve, model: str, gone: str, stage: str, rule: str
) -> None:
    daemon = serve()
    serial = tree.PI4 if model == "pi4" else tree.PI5
    (with_tree(daemon) / serial / gone).unlink()
    done = against(daemon, "--model", model, "--serial", serial, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["ok"], told["stopped_at"], told["cause"]["rule"]) == (False, stage, rule)
    assert all(told["cause"][key].strip() for key in ("what", "why", "do"))


def test_a_seed_that_cannot_be_had_stops_it(serve: Serve) -> None:
    daemon = serve()
    tree.make(daemon.data, "http://127.0.0.1:9/")
    done = against(daemon, "--serial", tree.PI4)
    assert done.returncode == 1
    assert "stops at seed" in done.stdout
    assert "(D34)" in done.stdout


def test_the_root_serves_a_pi_without_a_folder_of_its_own(serve: Serve) -> None:
    daemon = serve()
    boot = with_tree(daemon)
    for path in (boot / tree.PI4).iterdir():
        path.rename(boot / path.name)
    told = json.loads(against(daemon, "--serial", "00112233", "--json").stdout)
    assert told["ok"]
    assert told["files"][0] | {"ms": 0} == {
        "name": "00112233/start4.elf",
        "bytes": 0,
        "ms": 0,
        "result": "missing",
        "probe": True,
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--serial", "5B154510", "--no-dhcp", "--server", "127.0.0.1"], "no serial"),
        ([], "--serial is missing"),
        (["--serial", "5b154510", "--no-dhcp"], "Add --server IP"),
        (["--serial", "5b154510", "--no-dhcp", "--server", "nas.local"], "no IPv4 address"),
        (["--serial", "5b154510", "--model", "pi9"], "there is no model 'pi9'"),
        (["--serial", "5b154510", "--interface", "nosuch0"], "there is no network interface nosuch0"),
        (["--serial", "5b154510", "--mac", "12"], "no MAC address"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(arguments: list[str], told: str) -> None:
    done = rehearse(*arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import dataclasses, sys\n"
        "from pinetboot.pi import profiles\n"
        "pi4 = profiles.PROFILES['pi4']\n"
        "profiles.PROFILES['pi4'] = dataclasses.replace(pi4, file_timeout_s=1.0, rrq_retry_s=0.2)\n"
        "from pinetboot.cli import main\n"
        "main()\n"
    )
    arguments = [
        "rehearse",
        "--serial",
        "5b154510",
        "--no-dhcp",
        "--server",
        "127.0.0.1",
        "--tftp-port",
        str(free_port()),
    ]
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1, done.stderr
    assert "127.0.0.1 does not answer TFTP requests (D18)" in done.stdout


def test_a_seed_for_another_address_is_said_and_no_fault(serve: Serve) -> None:
    daemon = serve()
    with_tree(daemon)
    (daemon.data / "fleet.toml").write_text(f'[[pi]]\nserial = "{tree.PI4}"\naddress = "192.0.2.7"\n')
    assert wait_until(lambda: [line for line in daemon.said("fleet read") if line["pis"] == 1])
    done = against(daemon, "--serial", tree.PI4, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["stopped_at"]) == (0, True, None)
    last = told["steps"][-1]
    assert (last["stage"], last["ok"]) == ("seed", True)
    assert last["what"] == (
        f"the seed of {tree.PI4} is told to 192.0.2.7 alone, and this rehearsal comes from 127.0.0.1: not a fault"
    )
    assert "not a fault" in against(daemon, "--serial", tree.PI4).stdout


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_seed_that_somebody_else_refuses_is_a_fault(serve: Serve, status: int) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status, "the seed is told to nobody")

        def log_message(self, *_: object) -> None:
            return

    daemon = serve()
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tree.make(daemon.data, f"http://127.0.0.1:{server.server_port}/")
        done = against(daemon, "--serial", tree.PI4, "--json")
        server.shutdown()
    told = json.loads(done.stdout)
    assert (done.returncode, told["stopped_at"], told["cause"]["rule"]) == (1, "seed", "D34")


def pis(daemon: Daemon) -> dict[str, dict[str, Any]]:
    with urlopen(f"http://127.0.0.1:{daemon.http_port}/api/pis") as answer:
        return {pi["serial"]: pi for pi in json.load(answer)["pis"]}


def test_it_comes_online_where_it_is_told_to_and_not_of_itself(serve: Serve) -> None:
    daemon = serve()
    with_tree(daemon)
    for flags, state in (((), "booting"), (("--online",), "online")):
        done = against(daemon, "--serial", tree.PI4, "--json", *flags)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        # Without DHCP its kernel has no address to ask for.
        stages = [step["stage"] for step in told["steps"]]
        assert stages == ["firmware", "kernel", "seed", *(["online"] if flags else [])]
        assert told["ok"]
        assert told["steps"][-1]["ok"]
        assert pis(daemon)[tree.PI4]["state"] == state


def test_it_does_not_speak_for_a_pi_that_is_known_elsewhere(serve: Serve) -> None:
    daemon = serve()
    with_tree(daemon)
    (daemon.data / "fleet.toml").write_text(f'[[pi]]\nserial = "{tree.PI4}"\nroot = "none"\naddress = "127.9.9.9"\n')
    assert wait_until(lambda: pis(daemon).get(tree.PI4, {}).get("known"))
    done = against(daemon, "--serial", tree.PI4, "--json", "--online")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["steps"][-1]["stage"], told["steps"][-1]["ok"]) == (
        0,
        True,
        "online",
        True,
    )
    assert "not a fault" in told["steps"][-1]["what"]
    assert pis(daemon)[tree.PI4]["state"] == "booting"
