"""A daemon with the ConfigMap of the chart, mounted as kubelet does it: what changes is taken without a restart."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from fleet.test_reconcile import SERIAL, image, ready, served
from kubernetes.manifests import rendered, text_of
from kubernetes.mounted import Mounted
from support import Daemon, free_port, require, require_root, wait_until

OTHER = "5b154511"
PI = f'[[pi]]\nserial = "{SERIAL}"\nimage = "a"\nroot = "none"\n'


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path / "etc")


@pytest.fixture
def put(mounted: Mounted) -> Callable[..., None]:
    """Change the ConfigMap: the fleet, and settings by section."""

    def change(pis: str, **config: dict[str, Any]) -> None:
        quiet = {"tftp": {"data_ports": ""}, "dhcp": {"mode": "off"}, "server": {"stop_s": 1}}
        objects, _ = rendered({"fleet": pis, "config": quiet | config})
        files = {name: text_of(objects, name) for name in ("pinetboot.toml", "fleet.toml")}
        # Where it is mounted is another place than in a pod.
        files["pinetboot.toml"] = files["pinetboot.toml"].replace("/etc/pinetboot", str(mounted.folder))
        mounted.put(files)

    return change


@pytest.fixture
def daemon(tmp_path: Path, mounted: Mounted, daemons: list[Daemon], put: Callable[..., None]) -> Daemon:
    require_root()  # trees have owners
    require("cp")
    put(PI)
    tftp, http = free_port(), free_port(socket.SOCK_STREAM)
    flags = ("--config", str(mounted.folder / "pinetboot.toml"), "--tftp-port", str(tftp), "--http-port", str(http))
    found = Daemon(tmp_path / "daemon", "", flags, tftp_port=tftp, http_port=http)
    daemons.append(found)
    image(found.data, "a")
    return found.start()


def read_again(daemon: Daemon) -> list[dict[str, Any]]:
    return daemon.said("settings read again")


def test_pis_come_and_change_with_the_configmap(daemon: Daemon, put: Callable[..., None]) -> None:
    ready(daemon)
    put(f'{PI}cmdline = "spoken=1"\n[[pi]]\nserial = "{OTHER}"\nimage = "a"\nroot = "none"\n')
    ready(daemon, serial=OTHER)
    assert wait_until(lambda: b"spoken=1" in served(daemon, f"{SERIAL}/cmdline.txt"), 20), daemon.text
    assert not (daemon.data / "fleet.toml").exists()
    for path in ("healthz", "readyz"):
        with urlopen(f"http://127.0.0.1:{daemon.http_port}/{path}", timeout=10) as answer:
            assert answer.status == 200
    # Settings stayed as they were, the file being another; and nothing was written where it comes from.
    assert all("at_restart" not in line for line in read_again(daemon))
    assert daemon.said("ready") == daemon.said("ready")[:1]


def test_settings_are_taken_with_the_configmap_and_broken_ones_are_not(
    daemon: Daemon, mounted: Mounted, put: Callable[..., None]
) -> None:
    put(PI, fleet={"keep_generations": 5}, server={"stop_s": 2})
    assert wait_until(lambda: read_again(daemon), 20), daemon.text
    good = {name: (mounted.folder / name).read_text() for name in ("pinetboot.toml", "fleet.toml")}
    mounted.put(good | {"pinetboot.toml": good["pinetboot.toml"] + "\n[server]\n"})
    assert wait_until(lambda: daemon.said("settings left as they were"), 20), daemon.text
    mounted.put(good)
    assert wait_until(lambda: len(read_again(daemon)) == 2, 20), daemon.text
    assert len(daemon.said("settings left as they were")) == 1
    assert daemon.stop() == 0
    assert daemon.said("stopping")[0]["running_transfers_may_finish_s"] == 2


def test_what_waits_for_a_restart_is_named(daemon: Daemon, put: Callable[..., None]) -> None:
    put(PI, netconsole={"port": 7777})
    assert wait_until(lambda: read_again(daemon), 20), daemon.text
    assert read_again(daemon)[0]["at_restart"] == ["netconsole.port"]


def test_commands_say_that_the_fleet_is_kept_elsewhere(daemon: Daemon, mounted: Mounted) -> None:
    require("unshare", "mount")
    before = (mounted.folder / "fleet.toml").read_text()
    read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    inside = ["unshare", "--mount", "sh", "-c", read_only, str(mounted.folder), sys.executable, "-m", "pinetboot"]
    same = ["--config", str(mounted.folder / "pinetboot.toml"), "--data", str(daemon.data)]
    told = f"pinetboot: {mounted.folder}/fleet.toml is read-only here, and kept elsewhere\n"
    for words in (["add", OTHER], ["remove", SERIAL]):
        done = subprocess.run([*inside, "pi", *words, *same], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(told)
        assert "the daemon takes it up by itself" in done.stderr
    listed = subprocess.run([*inside, "pi", "list", *same], capture_output=True, text=True, timeout=60, check=True)
    assert SERIAL in listed.stdout
    assert (mounted.folder / "fleet.toml").read_text() == before
