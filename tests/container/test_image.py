"""The image of container/Containerfile at work: who may run it, what it takes, and that a virtual Pi boots from it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import containers
import pytest
from containers import AS_KUBERNETES, ENTRY, SERVING, USER, Container
from diskimages import TOOLS, simple_disk
from imagetrees import SERIAL, fill
from lab.lan import Lan
from lab.virtual_pis import HOSTS, SERIALS, assert_booted, boot, dress, plant
from support import require, require_root, wait_until

pytestmark = pytest.mark.timeout(900)  # the first one builds the image

MIB = 1 << 20
SERVER = "10.55.0.2"
MODELS = ("pi3b-rom", "pi5")
SETTINGS = "[server]\nstop_s = 1\n[nfs]\nmode = 'off'\n"
TREES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")

# As Debian has them; machines of either architecture boot from a server of either.
LOADERS = (
    *("/usr/lib/PXELINUX/lpxelinux.0", "/usr/lib/syslinux/modules/bios/ldlinux.c32"),
    *("/usr/lib/shim/shimx64.efi.signed", "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"),
    *("/usr/lib/shim/shimaa64.efi.signed", "/usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed"),
)

Start = Callable[..., Container]


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    require_root()
    require("ip", "ss", "dnsmasq")
    containers.image()
    made = Lan(tmp_path, {"server": (f"{SERVER}/24",), "router": ("10.55.0.1/24",), **HOSTS})
    try:
        made.build()
        dress(made)
        yield made
    finally:
        made.close()


@pytest.fixture
def start(lan: Lan) -> Start:
    def start(*, ready: bool = True, **how: object) -> Container:
        folder = lan.folder / f"container-{len(lan.daemons)}"
        made = Container(folder, SETTINGS, network=lan.namespace("server"), **how)  # type: ignore[arg-type]
        plant(made.data, SERVER)
        lan.daemons.append(made)
        made.start(ready=ready)
        return made

    return start


def mask(*names: str) -> int:
    """The bits of capabilities, as /proc/PID/status has them."""
    bits = {"NET_BIND_SERVICE": 10, "NET_RAW": 13}
    return sum(1 << bits[name] for name in names)


def held(container: Container) -> dict[str, int]:
    """The capabilities of the container's first process, by set."""
    lines = container.does("cat", "/proc/1/status").stdout.splitlines()
    return {line[3:6]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}


def test_it_is_small_and_says_what_it_is() -> None:
    name = containers.image()
    assert containers.bytes_of(name) < 400 * MIB
    told = json.loads(containers.run("image", "inspect", name).stdout)[0]
    config = told["Config"]
    assert (config["Entrypoint"], config["Cmd"]) == ([ENTRY], ["serve"])
    assert config["StopSignal"] in {"SIGTERM", "15"}
    assert list(config["Volumes"]) == ["/srv/pinetboot"]
    assert told["HealthCheck" if "HealthCheck" in told else "Healthcheck"]["Test"][0] == "CMD"


def test_pis_boot_from_it_as_no_root_with_two_capabilities_of_a_file(lan: Lan, start: Start) -> None:
    lan.router()
    container = start(user=USER, entry=AS_KUBERNETES)
    assert held(container) == {
        "Inh": 0,
        "Amb": 0,
        "Prm": mask(*SERVING),
        "Eff": mask(*SERVING),
        "Bnd": mask(*SERVING),
    }
    assert_booted(boot(lan, MODELS), SERVER)
    assert containers.is_healthy(container)
    found = json.loads(container.does("pinetboot", "status", "--json").stdout)["pis"]
    assert {pi["serial"] for pi in found} >= {SERIALS[model] for model in MODELS}
    # What it wrote is its user's, and stays.
    assert container.stop() == 0
    assert container.said("stopped")
    assert (container.data / "state").stat().st_uid == USER
    assert not [line for line in container.lines if line.get("level") == "error"]


def test_pis_boot_from_it_as_root_that_can_gain_nothing(lan: Lan, start: Start) -> None:
    lan.router()
    container = start(more=("--security-opt", "no-new-privileges"))
    assert held(container)["Eff"] == mask(*SERVING)
    assert_booted(boot(lan, MODELS), SERVER)
    done = container.does("pinetboot", "check", "--json")
    findings = {finding["what"]: finding["severity"] for finding in json.loads(done.stdout)["findings"]}
    assert "fatal" not in findings.values(), findings
    assert done.returncode == 0
    assert container.does("ls", *LOADERS).returncode == 0
    assert container.stop() == 0


def test_it_says_what_is_missing_where_it_may_not_open_its_ports(start: Start) -> None:
    # No new privileges are the capabilities of files as well.
    bound = start(ready=False, user=USER, entry=AS_KUBERNETES, more=("--security-opt", "no-new-privileges"))
    nothing = start(ready=False, user=USER, capabilities=())
    for container in (bound, nothing):
        assert wait_until(lambda: container.process_ended, 40), container.text  # noqa: B023
        assert container.stop() == 2
        assert "UDP port 69 may not be opened by this user" in container.text
        assert "CAP_NET_BIND_SERVICE" in container.text


def test_an_image_and_a_pi_s_own_trees_are_made_with_six_capabilities_more(lan: Lan, start: Start) -> None:
    require(*TOOLS)
    boot_tree, root_tree = lan.folder / "boot", lan.folder / "root"
    firmware = dict.fromkeys(("start4.elf", "bcm2711-rpi-4-b.dtb", "kernel8.img", "config.txt", "cmdline.txt"), "x\n")
    fill(boot_tree, firmware)
    fill(root_tree, {"etc/fstab": "", "usr/bin/ping": "x", "home/pi/.profile": "", "dev/": "", "sbin/init": ""})
    os.mknod(root_tree / "dev/null", 0o20666, os.makedev(1, 3))
    for path in ("home/pi", "home/pi/.profile"):
        os.chown(root_tree / path, 1000, 1000)
    (root_tree / "usr/bin/ping").chmod(0o4755)
    bits = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(root_tree / "usr/bin/ping", "security.capability", bits)
    container = start(capabilities=(*SERVING, *TREES))
    given = ("--volume", f"{lan.folder}:/given:ro", "--volume", f"{container.data}:/srv/pinetboot")
    wanted = ("image", "add", "--name", "mine", "--boot", "/given/boot", "--root", "/given/root")
    here = lan.namespace("server")
    refused = containers.once(here, *wanted, flags=given)
    assert refused.returncode == 2
    assert "it needs the capabilities CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP" in refused.stderr
    added = containers.once(here, *wanted, capabilities=TREES, flags=given)
    assert added.returncode == 0, added.stderr
    # The two file systems of a disk image are got at with more.
    disk = simple_disk(lan.folder, {"etc/fstab": b"", "sbin/init": b""})
    whole = ("image", "add", f"/given/{disk.name}", "--name", "from-disk")
    added = containers.once(here, *whole, capabilities=("ALL",), flags=given)
    assert added.returncode == 0, added.stderr
    assert (container.data / "images/from-disk/root/sbin/init").is_file()
    done = container.does("pinetboot", "pi", "add", SERIAL, "--image", "mine")
    assert done.returncode == 0, done.stderr
    assert wait_until(lambda: container.said("Pi made ready"), 60), container.text
    made = container.data / "pis" / SERIAL / "1" / "root"
    assert (made / "home/pi/.profile").stat().st_uid == 1000
    assert (made / "dev/null").stat().st_rdev == os.makedev(1, 3)
    assert (made / "usr/bin/ping").stat().st_mode & 0o7777 == 0o4755
    assert os.getxattr(made / "usr/bin/ping", "security.capability") == bits
