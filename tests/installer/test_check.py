"""`pinetboot check` about machines that are no Pi: each rule by itself, and nothing where all is as it should be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from installer.conftest import Add, make_image

from pinetboot import check
from pinetboot.config import build
from pinetboot.fleet import store
from pinetboot.installer import check as rules
from pinetboot.installer import menus
from pinetboot.installer.beside import DISKS

ONE, TWO = "52:54:00:12:34:56", "52:54:00:12:34:57"
KERNEL = "installers/debian-12/amd64/linux"
MENUS = ["pxelinux.cfg/default", "grub/grub.cfg"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_image(tmp_path / "12")


@pytest.fixture(autouse=True)
def added(add: Add, source: Path, boot: Path) -> None:
    """Every fleet here has Debian 12 for PCs, and disks for HTTP boot as mtools makes them."""
    add(source)
    for name in DISKS:
        (boot / name).touch()


def found(data: Path, **more: dict[str, Any]) -> list[dict[str, Any]]:
    """What the doctor finds, by itself."""
    sections = {"server": {"data": str(data), "address": "127.0.0.1"}, "nfs": {"mode": "off"}, **more}
    report = check.run(build(sections, "test"))
    told = [one for one in report.to_json()["findings"] if "exported by hand" not in one["what"]]
    assert report.ok, "no machine keeps a Pi from booting"
    assert all(one["what"] and one["why"] and one["do"] for one in told)
    return told


def the_one(data: Path, **more: dict[str, Any]) -> dict[str, Any]:
    told = found(data, **more)
    assert len(told) == 1, told
    return told[0]


def fleet(data: Path, *machines: str, write: bool = True) -> None:
    """Write a fleet.toml of machines, each "mac, further lines", and the menus as a daemon does."""
    entries = (machine.partition(", ") for machine in machines)
    text = "".join(f'[[machine]]\nmac = "{mac}"\n{lines}\n' for mac, _, lines in entries)
    (data / "fleet.toml").write_text(text)
    if write:
        known = store.read(build({"server": {"data": str(data)}}, "test")).machines
        menus.write(data / "boot", known, "127.0.0.1")


def test_what_is_whole_and_what_is_not_there_at_all_is_no_finding(data: Path, tmp_path: Path) -> None:
    fleet(data, f'{ONE}, boot = "debian-12"\nhostname = "pc"\npreseed = "pc.cfg"\n[machine.data]\ndisk = "/dev/sda"')
    (data / "preseed").mkdir()
    (data / "preseed/pc.cfg").write_text(
        "d-i partman-auto/disk string {{ data.disk }}\n# {{ pi.mac }} {{ pi.address }} {{ pi.hostname }}\n"
        "# {{ server.address }}:{{ server.http_port }} {{ seed }}\n"
    )
    assert found(data) == []
    (tmp_path / "other/boot").mkdir(parents=True)
    (tmp_path / "other/fleet.toml").write_text(f'[[machine]]\nmac = "{ONE}"\n')
    assert found(tmp_path / "other") == []


def test_the_command_tells_what_why_and_what_to_do(data: Path) -> None:
    fleet(data, f'{ONE}, boot = "debian-13"')
    settings = data.parent / "check.toml"
    settings.write_text('[server]\naddress = "127.0.0.1"\n[nfs]\nmode = "off"\n')
    command = [sys.executable, "-m", "pinetboot", "check", "--files", "--data", str(data), "--config", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:3] == [
        f"warning there is no installer debian-13, which fleet.toml has {ONE} boot",
        "  why   the menu comes up instead, and goes on to the machine's own disk",
        "  do    Run `pinetboot installer add SOURCE --name debian-13`, or name what is there: debian-12.",
    ]
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60, check=False)
    assert [one["severity"] for one in json.loads(told.stdout)["findings"]] == ["warning"]


def test_one_installer_that_is_missing_is_told_once_for_all_its_machines(data: Path) -> None:
    fleet(data, f'{ONE}, boot = "debian-13"', f'{TWO}, boot = "debian-13"')
    assert the_one(data)["what"] == f"there is no installer debian-13, which fleet.toml has {ONE}, {TWO} boot"


def test_a_machine_that_names_an_installer_where_there_is_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty/boot").mkdir(parents=True)
    (tmp_path / "empty/fleet.toml").write_text(f'[[machine]]\nmac = "{ONE}"\nboot = "debian-12"\n')
    told = the_one(tmp_path / "empty")
    assert told["why"] == "there is none at all, and no menu"
    assert told["do"] == "Run `pinetboot installer add SOURCE --name debian-12`."


def test_an_installer_that_lost_a_file_or_a_part_of_it(data: Path, source: Path) -> None:
    kernel = data / "boot" / KERNEL
    whole = kernel.read_bytes()
    kernel.write_bytes(whole[:-1])
    told = the_one(data)
    size = len(whole) + (kernel.parent / "initrd.gz").stat().st_size
    assert told["what"] == (
        "boot/installers/debian-12/amd64 is no whole installer: "
        f"linux and initrd.gz have {size - 1} bytes, where {size} were brought in"
    )
    assert f"`pinetboot installer add {source} --name debian-12`" in told["do"]
    kernel.unlink()
    assert the_one(data)["what"].endswith("it has no linux")
    kernel.write_bytes(whole)
    assert found(data) == []
    record = kernel.parent / "installer.toml"
    record.write_text(record.read_text().replace(f"bytes = {size}", "bytes = 0"))  # made by hand
    kernel.write_bytes(whole * 2)
    assert found(data) == []


def test_an_installer_without_a_record_is_in_no_menu(data: Path) -> None:
    fleet(data, f'{ONE}, boot = "debian-12"')
    (data / "boot/installers/debian-12/amd64/installer.toml").write_text("[")
    record, named = sorted(found(data), key=lambda one: one["what"])
    assert record["what"].endswith("amd64 is no whole installer: installer.toml is missing or cannot be read")
    assert record["why"] == "no menu has it"
    assert "--name debian-12" in record["do"]
    assert named["what"].startswith("there is no installer debian-12")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "there is no file preseed/pc.cfg, which fleet.toml names"),
        ("{{ data.disk }}", "preseed/pc.cfg, line 1: data.disk is not set for this Pi"),
        ("\n{{ pi.hostname }", "preseed/pc.cfg, line 2: unexpected '}'"),
    ],
)
def test_a_preseed_that_cannot_be_made(data: Path, text: str | None, fault: str) -> None:
    fleet(data, f'{ONE}, preseed = "pc.cfg"', f'{TWO}, preseed = "pc.cfg"')
    (data / "preseed").mkdir()
    if text is not None:
        (data / "preseed/pc.cfg").write_text(text)
    told = the_one(data)
    assert told["what"] == f"{ONE}, {TWO}: {fault}"
    assert told["severity"] == "warning"


def test_a_preseed_that_is_no_file_and_one_that_comes_by_no_http(data: Path) -> None:
    fleet(data, f'{ONE}, preseed = "pc.cfg"')
    (data / "preseed/pc.cfg").mkdir(parents=True)
    assert the_one(data)["what"] == f"{ONE}: preseed/pc.cfg cannot be read: Is a directory"
    told = found(data, http={"enabled": False})
    assert [(one["severity"], one["what"]) for one in told] == [
        ("warning", f"{ONE} gets no preseed"),
        ("info", "machines come to their installers over TFTP alone"),
    ]


@pytest.mark.parametrize(
    ("name", "package", "why"),
    [
        ("lpxelinux.0", "pxelinux", "a BIOS PC is told nothing without it"),
        ("menu.c32", "syslinux-common", "a BIOS PC is told lpxelinux.0, which asks for that next"),
        ("bootx64.efi", "shim-signed", "a UEFI x64 PC with iPXE is told nothing without it"),
    ],
)
def test_a_loader_that_is_missing(data: Path, source: Path, name: str, package: str, why: str) -> None:
    (data / "boot" / name).unlink()
    told = the_one(data)
    assert (told["severity"], told["what"]) == ("warning", f"boot/{name} is not there")
    assert told["why"].startswith(why)
    assert told["do"] == (
        f"See that the package {package} is there, and run `pinetboot installer add {source} --name debian-12` again."
    )


def test_a_disk_for_http_boot_that_is_missing(data: Path) -> None:
    (data / "boot/bootx64.img").unlink()
    assert found(data) == []
    (data / "boot/snponly.efi").unlink()  # which took its place
    told = the_one(data)
    assert (told["severity"], told["what"]) == ("info", "boot/bootx64.img is not there")
    assert told["why"] == "a UEFI x64 PC with HTTP boot is told nothing without it"
    assert told["do"].startswith("Install mtools")


def test_a_loader_of_ones_own_and_those_that_another_dhcp_server_names(data: Path) -> None:
    (data / "boot/grubx64.efi").unlink()
    assert the_one(data, dhcp={"mode": "off"})["why"].startswith("a UEFI x64 PC is told bootx64.efi, which asks for")
    told = the_one(data, pxe={"7": "ipxe/own.efi"}, dhcp={"mode": "off"})
    assert (told["what"], told["do"]) == ("boot/ipxe/own.efi is not there", "Put it there, or name another.")
    assert told["why"] == "a UEFI x64 PC that another DHCP server tells to boot it gets no file"
    (data / "boot/ipxe").mkdir()
    (data / "boot/ipxe/own.efi").touch()  # which asks for no GRUB
    assert found(data, pxe={"7": "ipxe/own.efi"}) == []


def test_loaders_are_looked_for_where_an_installer_could_use_them(tmp_path: Path, data: Path, add: Add) -> None:
    (data / "boot/bootx64.efi").unlink()
    assert the_one(data)["what"] == "boot/bootx64.efi is not there"
    assert found(data, pxe={"7": ""}) == []  # UEFI x64 is left alone on purpose
    add(make_image(tmp_path / "arm", "arm64"))
    (data / "boot/bootaa64.efi").unlink()
    assert "boot/bootaa64.efi is not there" in [one["what"] for one in found(data)]


def test_installers_that_nobody_is_offered(data: Path) -> None:
    told = the_one(data, pxe={})
    assert (told["severity"], told["what"]) == ("info", "there are installers, and pinetboot offers them to nobody")


def test_machines_without_http(data: Path) -> None:
    told = the_one(data, http={"enabled": False})
    assert told["severity"] == "info"
    assert told["why"].startswith("http.enabled is false: UEFI that boots by HTTP is told nothing")


@pytest.mark.parametrize("name", MENUS)
def test_a_menu_that_is_somebody_else_s_and_one_that_is_missing(data: Path, name: str) -> None:
    path = data / "boot" / name
    path.write_text("# mine\n")
    fleet(data)  # the daemon leaves it alone
    told = the_one(data)
    assert told["what"] == f"the menu in boot/{name} is somebody else's"
    assert path.read_text() == "# mine\n"
    path.unlink()
    told = the_one(data)
    assert (told["what"], told["why"]) == (f"there is no menu in boot/{name}", "no daemon writes it")
    assert told["do"] == "Start `pinetboot serve`."


def test_a_machine_whose_own_menu_is_not_written_yet_or_somebody_else_s(data: Path) -> None:
    fleet(data, f'{ONE}, boot = "debian-12"', write=False)
    own = ["boot/pxelinux.cfg/01-52-54-00-12-34-56", f"boot/grub/machines/{ONE}.cfg"]
    assert the_one(data)["what"] == f"there is no menu in {own[0]}, {own[1]}"
    (data / own[0]).write_text("# mine\n")
    fleet(data, f'{ONE}, boot = "debian-12"')
    assert the_one(data)["what"] == f"the menu in {own[0]} is somebody else's"


def test_only_the_menus_of_what_there_is_are_looked_for(tmp_path: Path, add: Add, data: Path) -> None:
    add(make_image(tmp_path / "arm", "arm64"))
    for path in (data / "boot/installers/debian-12/amd64").iterdir():
        path.unlink()
    (data / "boot/installers/debian-12/amd64").rmdir()
    (data / "boot/pxelinux.cfg/default").unlink()
    assert found(data) == []


def test_a_rule_that_cannot_look_says_so_and_the_others_go_on(data: Path) -> None:
    menu = data / "boot/grub/grub.cfg"
    menu.unlink()
    menu.mkdir()
    (data / "boot/menu.c32").unlink()
    told = [one["what"] for one in found(data)]
    assert told == ["boot/menu.c32 is not there", "the menus of installers could not be looked at"]
    assert set(rules.RULES) >= {"the menus of installers"}
