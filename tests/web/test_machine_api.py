"""Machines that are no Pi over HTTP, from a running daemon: in the list, one by one, and as they change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from pcs import LOADER, MAC, daemon_with_dhcp, discover
from rawtftp import TransferFailed, fetch
from support import Daemon, wait_until

OTHER, STRANGER = "52:54:00:aa:aa:aa", "02:00:00:00:00:01"
FLEET = f'[[machine]]\nmac = "{OTHER}"\nboot = "local"\nhostname = "nuc"\n'


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, int]]:
    daemon, dhcp_port = daemon_with_dhcp(tmp_path_factory.mktemp("pcs") / "daemon")
    daemon.start()
    try:
        yield daemon, dhcp_port
    finally:
        daemon.stop()


def get(daemon: Daemon, path: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", daemon.http_port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


class Stream:
    """A listener as a browser is one."""

    def __init__(self, daemon: Daemon) -> None:
        self.connection = HTTPConnection("127.0.0.1", daemon.http_port, timeout=20)
        self.connection.request("GET", "/api/events")
        self.answer = self.connection.getresponse()

    def next(self) -> tuple[str, Any]:
        """Read one event, its name and its data."""
        name = data = ""
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if name and not line:
                return name, json.loads(data)
            field, _, value = line.partition(": ")
            name = value if field == "event" else name
            data = value if field == "data" else data

    def until(self, name: str, **wanted: Any) -> Any:
        """Read events up to the one that is waited for."""
        while True:
            found, told = self.next()
            if found == name and all(told[key] == value for key, value in wanted.items()):
                return told


def test_a_machine_is_told_of_in_the_list_by_its_mac_and_as_it_changes(heard: tuple[Daemon, int]) -> None:
    daemon, dhcp_port = heard
    stream = Stream(daemon)
    name, whole = stream.next()
    assert (name, whole["machines"]) == ("pis", json.loads(get(daemon, "/api/pis")[1])["machines"])
    discover(daemon, dhcp_port)
    assert stream.until("machine", mac=MAC)["machine"] == "UEFI x64 PC"
    fetch(daemon.tftp_port, LOADER)
    with pytest.raises(TransferFailed):
        fetch(daemon.tftp_port, "grubx64.efi")
    assert get(daemon, f"/boot/{LOADER}")[0] == 200
    assert get(daemon, "/installers/debian-12/amd64/linux")[0] == 404
    shown = stream.until("machine", mac=MAC, stage="kernel")
    assert (shown["state"], shown["files"], shown["bytes"], shown["installer"]) == ("booting", 2, 10000, "debian-12")

    status, text = get(daemon, f"/api/machines/{MAC.replace(':', '-').upper()}")
    one = json.loads(text)
    assert status == 200
    assert [(file["name"], file["by"], file["result"], file["bytes"]) for file in one["boot"]["files"]] == [
        (LOADER, "tftp", "ok", 5000),
        ("grubx64.efi", "tftp", "missing", 0),
        (LOADER, "http", "ok", 5000),
        ("installers/debian-12/amd64/linux", "http", "missing", 0),
    ]
    assert [stage["name"] for stage in one["boot"]["stages"]] == ["seen", "firmware", "kernel"]
    listed = json.loads(get(daemon, "/api/pis")[1])["machines"]
    detail = {"files", "more_files", "files_lost"}
    assert listed == [one | {"boot": {key: one["boot"][key] for key in one["boot"].keys() - detail}}]

    (daemon.data / "fleet.toml").write_text(FLEET)
    assert stream.until("machine", mac=OTHER)["hostname"] == "nuc"
    assert json.loads(get(daemon, f"/api/machines/{OTHER}")[1])["boot"] is None
    (daemon.data / "fleet.toml").write_text("")
    assert stream.until("machine-gone", mac=OTHER) == {"mac": OTHER}
    stream.connection.close()


def test_a_machine_that_nobody_knows_is_said_in_one_sentence(heard: tuple[Daemon, int]) -> None:
    daemon, _ = heard
    assert get(daemon, f"/api/machines/{STRANGER}") == (
        404, f"{STRANGER} is no machine of fleet.toml, and was never seen to boot\n",
    )  # fmt: skip
    for name in ("5b154510", "52:54:00:12:34", "52:54-00:12:34:56", "%0a", "x" * 300):
        status, text = get(daemon, f"/api/machines/{name}")
        assert (status, text) == (404, "a MAC is six pairs of hex digits, 52:54:00:12:34:56 say\n")


def test_a_file_that_a_client_did_not_take_to_its_end_did_not_come_whole(heard: tuple[Daemon, int]) -> None:
    daemon, dhcp_port = heard
    (daemon.data / "boot" / "installers").mkdir(exist_ok=True)
    with (daemon.data / "boot" / "installers" / "initrd.gz").open("wb") as large:
        large.truncate(200 << 20)
    discover(daemon, dhcp_port)
    connection = HTTPConnection("127.0.0.1", daemon.http_port, timeout=10)
    connection.request("GET", "/boot/installers/initrd.gz")
    connection.getresponse().read(1000)

    def files() -> Any:
        return json.loads(get(daemon, f"/api/machines/{MAC}")[1])["boot"]["files"]

    assert [(file["name"], file["result"], file["seconds"]) for file in files()] == [
        ("installers/initrd.gz", "running", None)
    ]
    connection.close()
    assert wait_until(lambda: files()[0]["result"] == "aborted")
    assert 1000 <= files()[0]["sent_bytes"] < files()[0]["bytes"] == 200 << 20
