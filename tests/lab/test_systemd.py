"""As a service of a host with systemd: installed from the wheel, upgraded, killed, reloaded, rebooted and taken away.

One host for all of these, in the order of its life.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from lab.estate import report
from lab.lan import INTERFACE, Lan
from lab.service_host import ABLE, ADDRESS, NEXT, SERIAL, ServiceHost
from rawtftp import Client
from support import require, require_root

pytestmark = pytest.mark.timeout(1500)

HOSTS = {"router": ("10.55.0.1/24",), "pi": ()}
SERVER = "10.55.0.2"
MAC = "dc:a6:32:15:45:10"  # what the virtual Pi of that serial has
PI = "/srv/pinetboot/pis/" + SERIAL
UNIT = "/etc/systemd/system/pinetboot.service"


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    """Build a LAN with a router whose DHCP server knows nothing of booting."""
    require_root()
    require("dnsmasq", "ip", "ss")
    made = Lan(tmp_path_factory.mktemp("lan"), HOSTS)
    try:
        made.build()
        made.router({MAC: ADDRESS})
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def host(lan: Lan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceHost]:
    made = ServiceHost.start(lan, tmp_path_factory.mktemp("host"))
    try:
        yield made.up()
    finally:
        made.machine.end()


def boots(lan: Lan) -> None:
    """Have a virtual Pi boot, as a Pi on the LAN does."""
    code, told = lan.rehearse("pi4", SERIAL)
    assert code == 0, told
    assert told["server"] == SERVER


def journal(host: ServiceHost, *flags: str) -> list[dict[str, Any]]:
    """Read what the service told since the host was started."""
    text = host.do(" ".join(["journalctl --boot --output json --unit pinetboot", *flags]))
    return [json.loads(line) for line in text.splitlines()]


def said(host: ServiceHost, event: str) -> list[dict[str, Any]]:
    return journal(host, f"PINETBOOT_EVENT='{event}'")


def timed(what: str, since: float) -> None:
    report(f"systemd, {what}: {time.monotonic() - since:.1f} s")


def test_a_wheel_becomes_a_service_that_boots_a_pi(host: ServiceHost, lan: Lan) -> None:
    began = time.monotonic()
    told = host.pinetboot("systemd", "install")
    timed("install", began)
    assert f"{UNIT} is written." in told
    assert "pinetboot.service was started, and from now on starts with this host." in told
    assert "/opt/pinetboot/bin/pinetboot image add" in told
    assert host.property("ActiveState") == "active"
    assert host.do("systemctl is-enabled pinetboot").strip() == "enabled"

    began = time.monotonic()
    host.machine.keeps_trying(f"test -e {PI}/1 && exportfs -s | grep -q {PI}/1/root", 200)
    boots(lan)
    timed("a Pi booted", began)


def test_nothing_is_found_amiss(host: ServiceHost) -> None:
    began = time.monotonic()
    code, text = host.machine.tries("/opt/pinetboot/bin/pinetboot check --json", 300)
    timed("check", began)
    found = json.loads(text)["findings"]
    # Whether a guest's clock is kept right is not this test's to say.
    assert [one for one in found if "clock" not in one["what"]] == []
    assert code == 0


def test_within_its_sandbox_it_copies_what_only_root_may_make(host: ServiceHost) -> None:
    root = f"{PI}/1/root"
    kinds = host.do(f"cd {root} && stat --format '%F %a %u:%g %t,%T' usr/bin/sudo dev/null dev/sda")
    assert kinds.splitlines() == [
        "regular file 4755 1000:50 0,0",
        "character special file 644 0:0 1,3",
        "block special file 644 0:0 8,0",
    ]
    attribute = f"import os; print(os.getxattr('{root}/usr/bin/ping', 'security.capability').hex())"
    assert host.do(f'python3 -c "{attribute}"').strip() == ABLE
    assert host.do(f"stat --format %s {PI}/disks/*.ext4").strip() == str(64 << 20)
    assert said(host, "unexpected fault, please report it") == []
    assert journal(host, "--priority", "warning") == []


def test_a_line_in_the_journal_is_readable_and_has_its_fields(host: ServiceHost) -> None:
    (ready,) = said(host, "ready")
    assert ready["PRIORITY"] == "6"
    assert ready["SYSLOG_IDENTIFIER"] == "pinetboot"
    assert ready["MESSAGE"].startswith("ready pinetboot=")
    sent = said(host, "file sent")
    assert {line["PINETBOOT_SERIAL"] for line in sent} == {SERIAL}
    assert any(line["MESSAGE"].startswith("file sent client=") for line in sent)
    assert host.do(f"journalctl -u pinetboot PINETBOOT_SERIAL={SERIAL} | grep -c kernel8.img") != "0\n"


def test_upgraded_and_killed_it_is_back_as_the_new_one_and_nothing_was_withdrawn(host: ServiceHost, lan: Lan) -> None:
    before, process = host.exports(), host.property("MainPID")
    assert f"{PI}/1/root" in before
    began = time.monotonic()
    host.do(f"/opt/pinetboot/bin/python3 -m pip install --no-index --no-deps {host.next_wheel}", 300)
    timed("pip", began)
    # Until it is started anew, it goes on as it was.
    assert host.property("MainPID") == process
    boots(lan)

    began = time.monotonic()
    host.do(f"kill -KILL {process}")
    assert host.exports() == before
    host.until_active(process)
    timed("back after a kill", began)
    assert host.property("NRestarts") == "1"
    assert said(host, "ready")[-1]["PINETBOOT_PINETBOOT"].startswith(f"{NEXT}, settings from ")
    boots(lan)
    assert host.exports() == before


def test_a_reload_takes_a_changed_setting(host: ServiceHost, lan: Lan) -> None:
    process = host.property("MainPID")
    host.do("mkdir -p /etc/pinetboot && echo '[tftp]\nmax_blksize = 1024' > /etc/pinetboot/pinetboot.toml")
    host.do("systemctl reload pinetboot")
    host.machine.keeps_trying("journalctl -u pinetboot | grep -q 'settings read again'")
    lan.address("pi", f"{ADDRESS}/24")
    try:
        with lan.inside("pi"):
            client = Client(69, SERVER, timeout_s=20.0)
        with client:
            assert client.answer(f"{SERIAL}/config.txt", blksize=1468).options["blksize"] == "1024"
    finally:
        lan.ip("pi", "address", "flush", "dev", INTERFACE)
    assert host.property("ActiveState") == "active"
    assert host.property("MainPID") == process


def test_after_a_reboot_it_serves_by_itself(host: ServiceHost, lan: Lan) -> None:
    before = host.exports()
    began = time.monotonic()
    host.machine.reboot(400)
    timed("agent after reboot", began)
    host.until_active(within_s=300)
    timed("reboot", began)
    assert host.exports() == before
    boots(lan)
    assert host.exports() == before


def test_uninstalled_it_leaves_data_and_exports(host: ServiceHost) -> None:
    before = host.exports()
    began = time.monotonic()
    told = host.pinetboot("systemd", "uninstall")
    timed("uninstall", began)
    assert said(host, "stopped")
    assert "pinetboot.service is stopped and gone." in told
    assert "Images and Pis stay in /srv/pinetboot, settings in /etc/pinetboot." in told
    assert "/etc/exports.d/pinetboot.exports" in told
    assert host.exports() == before
    host.do(f"test -d {PI}/1/root && test -d /srv/pinetboot/images/raspios && test ! -e {UNIT}")
    assert host.property("LoadState") == "not-found"
    assert host.do("pgrep -f 'pinetboot serve' || true") == ""
