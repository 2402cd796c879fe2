"""`pinetboot check`: each rule found by itself, a healthy fleet found healthy, and words, shapes and exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from imagetrees import fill, raspios

from pinetboot import check
from pinetboot.causes import Finding
from pinetboot.check import Report
from pinetboot.config import Config, build
from pinetboot.fleet import examine, generation, identity, state, store, told, trees
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.progress import Progress
from pinetboot.host import look
from pinetboot.net.links import Links

ONE, TWO = "5b154510", "da591740"
SECRET = "hunter2-correct-horse"  # noqa: S105 - an example, and nobody's
FLEET = f'[[pi]]\nserial = "{ONE}"\nhostname = "node-1"\nimage = "raspios"\naddress = "192.0.2.7"\n'
SETTINGS: dict[str, dict[str, Any]] = {"server": {"address": "127.0.0.1"}, "nfs": {"mode": "off"}}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with an image that has cloud-init, and a fleet of one Pi 4 that is not made yet."""
    raspios(tmp_path, cloud_init="25.2")
    for name in ("boot", "pis", "state", "cloud-init"):
        (tmp_path / name).mkdir()
    (tmp_path / "fleet.toml").write_text(FLEET)
    state.keep_seen(tmp_path, [{"serial": ONE, "mac": "dc:a6:32:2e:f8:ed", "model": "Pi 4", "address": "192.0.2.7"}])
    return tmp_path


def settings(data: Path, **more: dict[str, Any]) -> Config:
    sections = {**SETTINGS, **more}
    return build({**sections, "server": {"data": str(data), **sections["server"]}}, "test")


def make(data: Path, serial: str = ONE, **more: dict[str, Any]) -> Path:
    """Make what the daemon would make for a Pi; returns its generation."""
    config = settings(data, **more)
    pi = store.read(config).by_serial[serial]
    served = told.served(config, Links(), pi, "")
    assert served is not None
    number = trees.next_number(data, serial)
    generation.make(data, pi, data / "images" / pi.image, number, served, lambda _: None, lambda: False)
    trees.switch(data, serial, number)
    return data / "pis" / serial / str(number)


def run(data: Path, **more: dict[str, Any]) -> Report:
    return check.run(settings(data, **more))


def texts(report: Report) -> list[str]:
    """Each finding in a line: severity, rule, what, why."""
    told = [one for one in report.to_json()["findings"] if "exported by hand" not in one["what"]]  # nfs.mode is off
    assert all(one["what"] and one["why"] and one["do"] for one in told), told
    return [f"{one['severity']} {one['rule']} {one['what']} | {one['why']}" for one in told]


def the_one(report: Report) -> str:
    found = texts(report)
    assert len(found) == 1, found
    return found[0]


def pinetboot(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (data / "pinetboot.toml").write_text('[server]\naddress = "127.0.0.1"\n[nfs]\nmode = "off"\n')
    command = [sys.executable, "-m", "pinetboot", *arguments]
    command += ["--config", str(data / "pinetboot.toml"), "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done


class TestTheCommand:
    def test_a_healthy_fleet(self, data: Path) -> None:
        (data / "fleet.toml").write_text(FLEET + 'root = "none"\n')
        make(data)
        done = pinetboot(data, "check", "--files")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "Nothing found: 1 Pi and 1 image were looked at.\n"
        assert json.loads(pinetboot(data, "check", "--files", "--json").stdout) == {"ok": True, "findings": []}

    def test_what_is_wrong_why_and_what_to_do_the_worst_first(self, data: Path) -> None:
        serials = [f"0000000{number}" for number in range(1, 7)]
        lines = "".join(f'[[pi]]\nserial = "{serial}"\nimage = "raspios"\n' for serial in serials)
        (data / "fleet.toml").write_text(FLEET + lines)
        make(data)
        (data / "pis" / ONE / "1/root/usr/sbin/mount.nfs").unlink()
        done = pinetboot(data, "check", "--files")
        assert done.returncode == 1
        assert done.stderr == ""
        lines_told = done.stdout.splitlines()
        assert lines_told[0] == (
            "fatal   pi-00000001, pi-00000002, pi-00000003, pi-00000004 and 2 more: "
            "its trees are not made from the image raspios yet"
        )
        assert lines_told[1] == f"  why   no daemon keeps {data}"
        assert lines_told[2] == "  do    Start `pinetboot serve`."
        assert lines_told[3].startswith(f"warning node-1 ({ONE}): /boot/firmware is not mounted on the Pi")
        assert lines_told[-1] == "6 of 7 Pis could not boot: 6 fatal, 1 warning, 1 info."
        assert len(lines_told) == 10

    def test_the_shape_that_scripts_rely_on(self, data: Path) -> None:
        done = pinetboot(data, "check", "--files", "--json")
        assert done.returncode == 1
        found = json.loads(done.stdout)
        assert found["ok"] is False
        (finding,) = found["findings"]
        assert finding == {
            "rule": "",
            "severity": "fatal",
            "what": f"node-1 ({ONE}): its trees are not made from the image raspios yet",
            "why": f"no daemon keeps {data}",
            "do": "Start `pinetboot serve`.",
            "serial": ONE,
        }

    def test_settings_that_cannot_be_read_are_exit_code_2(self, data: Path) -> None:
        (data / "other.toml").write_text("[server]\nadress = 1\n")
        command = [sys.executable, "-m", "pinetboot", "check", "--config", str(data / "other.toml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert "server.adress: unknown key; did you mean address?" in done.stderr
        assert "Traceback" not in done.stderr

    def test_pi_show_tells_the_same_of_one_pi(self, data: Path) -> None:
        tree = make(data)
        (tree / "boot/start4.elf").unlink()
        done = pinetboot(data, "pi", "show", ONE)
        assert done.returncode == 0
        assert "fatal        start.elf is there, start4.elf is not: the boot tree was made for a Pi 3" in done.stdout
        shown = json.loads(pinetboot(data, "pi", "show", ONE, "--json").stdout)
        checked = json.loads(pinetboot(data, "check", "--files", "--json").stdout)
        assert [one["rule"] for one in shown["findings"]] == ["D14"]
        assert [f"node-1 ({ONE}): {one['what']}" for one in shown["findings"]] == [
            one["what"] for one in checked["findings"] if one["serial"] == ONE
        ]

    def test_a_data_directory_that_is_not_there(self, tmp_path: Path) -> None:
        assert the_one(run(tmp_path / "nowhere")).startswith("warning  there is no data directory")
        assert not (tmp_path / "nowhere").exists()

    def test_nothing_is_changed_by_looking(self, data: Path) -> None:
        make(data)
        before = {path: path.lstat().st_mtime_ns for path in data.rglob("*")}
        assert run(data).ok
        assert {path: path.lstat().st_mtime_ns for path in data.rglob("*")} == before


class TestTheFleet:
    def test_a_broken_file_is_fatal_and_the_rest_is_looked_at_all_the_same(self, data: Path) -> None:
        (data / "fleet.toml").write_text('[[pi]]\nserial = "zz"\n')
        report = run(data, fleet={"default_image": "gone"})
        first, second = texts(report)
        assert first.startswith(
            f"fatal  {data / 'fleet.toml'} cannot be used as it is | pi 1.serial: 'zz' is no serial"
        )
        assert second.startswith("warning  there is no image gone, which fleet.default_image names")
        assert report.pis == 0

    def test_a_file_that_may_not_be_read(self, data: Path) -> None:
        (data / "fleet.toml").unlink()
        (data / "fleet.toml").mkdir()
        assert the_one(run(data)).startswith("fatal  the fleet cannot be read | ")

    def test_an_image_that_is_not_there_stops_a_pi_that_has_no_trees(self, data: Path) -> None:
        tree = make(data)
        shutil.rmtree(data / "images/raspios")
        assert run(data).ok  # it has what it boots
        (data / "fleet.toml").write_text(FLEET.replace('"raspios"', '"other"'))
        assert the_one(run(data)) == (
            f"warning  node-1 ({ONE}): no generation can be made for it | there is no image other"
        )
        trees.unlink(data, ONE)
        shutil.rmtree(tree)
        assert (
            the_one(run(data)) == f"fatal  node-1 ({ONE}): no generation can be made for it | there is no image other"
        )

    def test_an_image_without_a_root(self, data: Path) -> None:
        shutil.rmtree(data / "images/raspios/root")
        assert "has no root tree, which node-1 needs" in the_one(run(data))
        (data / "fleet.toml").write_text(FLEET + 'root = "none"\n')
        assert "not made from the image raspios yet" in the_one(run(data))

    def test_a_damaged_record(self, data: Path) -> None:
        make(data)
        (data / "images/raspios/image.toml").write_text("nonsense = 1\n")
        assert the_one(run(data)).startswith("warning  the image raspios cannot be used | name: is missing")

    def test_a_generation_that_is_being_made_is_no_fault(self, data: Path) -> None:
        progress = Progress(data)
        progress.wait(ONE, "raspios", 1)
        progress.begin(ONE)
        progress.at(ONE, 43)
        progress.tell()
        report = run(data)
        assert report.ok
        assert "the daemon is at it: copying 43 %" in the_one(report)
        progress.close()
        assert not run(data).ok

    def test_a_generation_that_is_not_booted(self, data: Path) -> None:
        make(data)
        trees.unlink(data, ONE)
        assert the_one(run(data)).startswith(f"fatal  node-1 ({ONE}): it does not boot its generation 1 yet")

    def test_a_folder_of_the_users_own(self, data: Path) -> None:
        shutil.copytree(data / "images/raspios/boot", data / "boot" / ONE)
        (data / "boot" / ONE / "cmdline.txt").write_text("root=/dev/nfs nfsroot=192.0.2.1:/x,vers=3 ip=dhcp\n")
        assert the_one(run(data)).startswith(f"warning  node-1 ({ONE}): it boots from {data / 'boot' / ONE}, a folder")
        (data / "fleet.toml").write_text(FLEET.replace('image = "raspios"\n', ""))
        assert the_one(run(data)).startswith(f"info  node-1 ({ONE}): it boots from {data / 'boot' / ONE}, a folder")

    def test_two_pis_with_one_identity(self, data: Path) -> None:
        (data / "fleet.toml").write_text(
            FLEET + f'[[pi]]\nserial = "{TWO}"\nimage = "raspios"\naddress = "192.0.2.8"\n'
        )
        make(data)
        shutil.copytree(data / "pis" / ONE / "identity", data / "pis" / TWO / "identity")
        make(data, TWO)
        found = texts(run(data))
        assert [one.partition(" | ")[0] for one in found] == [
            f"warning  {ONE}, {TWO} have the same machine-id",
            f"warning  {ONE}, {TWO} have the same ssh host key",
        ]
        (data / "pis" / TWO / "identity/machine-id").write_text("another\n")
        (line,) = texts(run(data))
        assert "the same ssh host key" in line

    def test_the_tree_is_served_from_elsewhere(self, data: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        root = tmp_path_factory.mktemp("elsewhere")
        make(data)
        found = texts(run(data, tftp={"root": str(root)}))
        assert any(one.startswith(f"warning  {root} is served, and the trees of the fleet are in") for one in found)

    def test_a_rule_that_fails_is_a_finding(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: object) -> list[Finding]:
            raise RuntimeError(SECRET)

        make(data)
        monkeypatch.setitem(examine._RULES, "its disks", fail)
        monkeypatch.setitem(check._RULES, "the images", fail)
        first, second = texts(run(data))
        assert first.startswith("warning  the images could not be looked at | RuntimeError in ")
        assert second.startswith(f"warning  node-1 ({ONE}): its disks could not be looked at | RuntimeError in ")
        assert SECRET not in first + second

    async def test_a_fault_of_looking_around_hides_nothing(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def fail(_: Config) -> list[Finding]:
            raise RuntimeError(SECRET)

        make(data)
        (data / "images/raspios/image.toml").write_text("nonsense = 1\n")
        monkeypatch.setattr(look, "look", fail)
        found = texts(await check.whole(settings(data)))
        assert sorted(line.partition(" | ")[0] for line in found) == [
            "warning  the host and its LANs could not be looked at",
            "warning  the image raspios cannot be used",
        ]
        assert SECRET not in str(found)

    def test_what_this_user_may_not_read_is_said(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> str:
            raise PermissionError(13, "Permission denied", str(data / "pis"))

        make(data)
        monkeypatch.setattr(identity, "machine_id", refuse)
        line = the_one(run(data))
        assert line.startswith("warning  what is one Pi's alone could not be looked at | ")
        assert "Permission denied" in line


class TestTheTrees:
    @pytest.mark.parametrize(
        ("spoil", "severity", "rule", "words"),
        [
            (lambda boot, _: (boot / "start4.elf").unlink(), "fatal", "D14", "start.elf is there, start4.elf is not"),
            (lambda boot, _: (boot / "bcm2711-rpi-4-b.dtb").unlink(), "fatal", "D27", "bcm2711-rpi-4-b.dtb is not"),
            (lambda boot, _: _lead_out(boot / "fixup4.dat"), "fatal", "D45", "fixup4.dat was refused"),
            (lambda boot, _: (boot / "cmdline.txt").unlink(), "fatal", "D28", "cmdline.txt is missing or empty"),
            (
                lambda boot, _: (boot / "cmdline.txt").write_text("console=tty1\n"),
                "fatal",
                "D28",
                "cmdline.txt names no root=",
            ),
            (
                lambda boot, _: _append(boot / "cmdline.txt", " x" * 600),
                "warning",
                "D27",
                "may be cut off by the firmware",
            ),
            (
                lambda boot, _: (boot / "cmdline.txt").write_text(
                    "root=/dev/nfs nfsroot=192.0.2.1:/x,vers=4.1,proto=tcp ip=dhcp rw "
                    "ds=nocloud;s=http://192.0.2.1/seed/ network-config=disabled\n"
                ),
                "fatal",
                "D29",
                "vers=4.1, proto=tcp among the options of nfsroot",
            ),
            (
                lambda _, root: (root / "usr/lib/modules").rename(root / "usr/lib/none"),
                "warning",
                "D27",
                "no modules for the kernel",
            ),
            (lambda _, root: (root / "usr/sbin/mount.nfs").unlink(), "warning", "", "has no mount.nfs"),
            (
                lambda _, root: _append(root / "etc/fstab", "PARTUUID=8a676486-03 /data ext4 defaults 0 2\n"),
                "warning",
                "D31",
                "its etc/fstab mounts PARTUUID=8a676486-03 at /data",
            ),
        ],
    )
    def test_each_fault_is_told_by_itself(
        self, data: Path, spoil: Callable[[Path, Path], object], severity: str, rule: str, words: str
    ) -> None:
        tree = make(data)
        spoil(tree / "boot", tree / "root")
        report = run(data)
        line = the_one(report)
        assert line.startswith(f"{severity} {rule} node-1 ({ONE}): ")
        assert words in line
        assert report.ok == (severity != "fatal")

    def test_a_model_that_was_not_seen_yet_needs_the_files_of_any(self, data: Path) -> None:
        tree = make(data)
        (data / "state/seen.json").unlink()
        assert texts(run(data)) == []
        (tree / "boot/start4.elf").unlink()
        assert texts(run(data)) == []  # it may be a Pi 3 or a Pi 5
        (tree / "boot/kernel8.img").unlink()
        assert any("has the files of no Pi model" in line for line in texts(run(data)))

    def test_a_pi_5_and_an_image_without_its_files(self, data: Path) -> None:
        tree = make(data)
        state.keep_seen(data, [{"serial": ONE, "model": "Pi 5"}])
        assert texts(run(data)) == []
        (tree / "boot/bcm2712-rpi-5-b.dtb").unlink()
        assert the_one(run(data)).startswith(f"fatal D15 node-1 ({ONE}): ")

    def test_version_4_alone_and_an_initramfs(self, data: Path) -> None:
        make(data)
        line = the_one(run(data, nfs={"mode": "off", "versions": [4]}))
        assert line.startswith(f"fatal D29 node-1 ({ONE}): its root cannot be mounted")

    def test_a_disk_that_came_after_the_generation(self, data: Path) -> None:
        make(data)
        (data / "fleet.toml").write_text(FLEET + 'disks = [{ mount = "/var/lib/rancher", size = "10M" }]\n')
        assert the_one(run(data)).startswith(f"warning  node-1 ({ONE}): the disk for /var/lib/rancher is not there")


def _append(path: Path, text: str) -> None:
    """Add to the last line, or a line."""
    before = path.read_text()
    path.write_text(before.rstrip("\n") + text + "\n" if text.startswith(" ") else before + text)


def _lead_out(path: Path) -> None:
    """Put a link that leads out of the tree in place of a file."""
    path.unlink()
    path.symlink_to("../../../../fleet.toml")


class TestSeeds:
    def seed(self, data: Path, text: str, more: str = "") -> None:
        fill(data / "cloud-init/k3s", {"user-data": text})
        (data / "fleet.toml").write_text(FLEET + f'seed = "k3s"\n[pi.data]\ntoken = "{SECRET}"\n{more}')
        make(data)

    def test_a_template_is_filled_in_for_each_pi(self, data: Path) -> None:
        self.seed(data, "#cloud-config\n# {{ pi.mac }} {{ pi.generation }} {{ server.address }}\nx: {{ data.token }}\n")
        assert texts(run(data)) == []

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("#cloud-config\n{{ data.tokken }}\n", "cloud-init/k3s/user-data, line 2: data.tokken is not set"),
            ("#cloud-config\n{% if %}\n", "cloud-init/k3s/user-data, line 2: "),
            (
                "#cloud-config\na: [{{ data.token }}\n",
                "cloud-init/k3s/user-data, as this Pi gets it: line 3 is no YAML",
            ),
            ("{{ data.token }}: 1\n", "it begins with nothing that cloud-init knows"),
        ],
    )
    def test_what_is_wrong_is_told_with_file_and_name_and_no_secret(self, data: Path, text: str, words: str) -> None:
        self.seed(data, text)
        report = run(data)
        line = the_one(report)
        assert line.startswith(f"fatal D34 node-1 ({ONE}): ")
        assert words in line
        assert SECRET not in json.dumps(report.to_json())
        assert not report.ok

    def test_a_folder_that_is_missing(self, data: Path) -> None:
        (data / "fleet.toml").write_text(FLEET + 'seed = "k3s"\n')
        make(data)
        assert "there is no folder cloud-init/k3s" in the_one(run(data))

    def test_a_seed_of_no_pi_yet(self, data: Path) -> None:
        fill(data / "cloud-init/spare", {"user-data": "#cloud-config\n{{ pii.serial }}\n"})
        make(data)
        line = the_one(run(data))
        assert line.startswith("warning D34 cloud-init/spare/user-data, line 2: pii is unknown")

    def test_an_instance_id_that_all_pis_have(self, data: Path) -> None:
        folder = data / "cloud-init/default"
        fill(folder, {"meta-data": "instance-id: my-pi\n"})
        make(data)
        line = the_one(run(data))
        assert line.startswith(f"warning D37 node-1 ({ONE}): cloud-init/default/meta-data gives every Pi the same")
        (folder / "meta-data").write_text("instance-id: {{ pi.serial }}-{{ pi.generation }}\n")
        assert texts(run(data)) == []

    def test_an_image_that_reads_no_seed(self, data: Path) -> None:
        self.seed(data, "#cloud-config\n{{ data.tokken }}\n")
        shutil.rmtree(data / "pis" / ONE / "1/root/usr/lib/python3")
        severities = [line.split()[0] for line in texts(run(data))]
        assert severities == ["warning", "warning"]  # no cloud-init, and the template

    def test_http_is_off(self, data: Path) -> None:
        make(data, http={"enabled": False})
        assert "ds=" not in (data / "pis" / ONE / "1/boot/cmdline.txt").read_text()
        assert "no seed is served" in the_one(run(data, http={"enabled": False}))


class TestThisHost:
    def test_an_address_that_is_elsewhere(self, data: Path) -> None:
        make(data)
        line = the_one(run(data, server={"address": "192.0.2.99"}))
        assert line.startswith("info  192.0.2.99, which server.address says, is not on this host now")

    def test_an_interface_that_is_not_there(self, data: Path) -> None:
        make(data)
        report = run(data, server={"address": "127.0.0.1", "interfaces": ["nosuch0"]})
        assert not report.ok
        assert the_one(report).startswith("fatal  there is no network interface nosuch0")

    def test_little_room(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make(data)
        monkeypatch.setattr(check, "_FEW_BYTES", 1 << 62)
        assert "has room for" in the_one(run(data))

    def test_a_directory_that_may_not_be_written(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make(data)
        allowed = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: path != data / "pis" and allowed(path, mode))
        assert the_one(run(data)).startswith(f"warning  {data / 'pis'} may not be written by this user")


def test_a_pi_is_named_by_its_host_name_and_serial() -> None:
    finding = Finding("info", "it is so", "why", "do")
    assert examine.named(Pi(serial=ONE, hostname="node-1"), finding).what == f"node-1 ({ONE}): it is so"
    assert examine.named(Pi(serial=ONE), finding).what == f"pi-{ONE}: it is so"


def test_a_range_of_no_network_of_this_host_is_fatal(data: Path) -> None:
    report = run(data, dhcp={"mode": "server", "range": "203.0.113.5-203.0.113.9"})
    found = [one.finding for one in report.findings if "dhcp.range" in one.finding.what]
    assert [one.severity for one in found] == ["fatal"]
    assert found[0].what == "no network of this host holds dhcp.range 203.0.113.5-203.0.113.9"
