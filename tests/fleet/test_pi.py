"""What may stand in fleet.toml, and every mistake told at once with where it stands."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot import checking
from pinetboot.errors import ConfigError
from pinetboot.fleet import pi as fleet_pi
from pinetboot.fleet.inventory import Inventory, inventory

DOCUMENTED = """
[[pi]]
serial = "5b154510"           # 8 hex digits, what the firmware asks for
mac = "dc:a6:32:2e:f8:ed"     # optional; learned from DHCP
hostname = "node-1"           # default pi-<serial>
image = "raspios-lite"
root = "nfs"                  # nfs | none (initramfs only)
address = "192.168.1.101"     # optional: export to it alone; server mode reserves it
seed = "k3s-agent"            # folder under cloud-init/; default "default"
cmdline = "cgroup_memory=1 cgroup_enable=memory"     # added words
disks = [{ mount = "/var/lib/rancher", size = "20G" }]   # an ext4 file on NFS, by loop: containers need it
boot = "files"                # files | img (boot.img)
ssh = true                    # with userconf = "pi:$6$…"
[pi.data]                     # free keys, for seed templates
role = "agent"

[[machine]]                   # a PXE machine that is no Pi
mac = "52:54:00:12:34:56"
boot = "menu"                 # menu | local | an installer's name
"""


def fleet(text: str) -> Inventory:
    return inventory(fleet_pi.build(checking.parse(text, "fleet.toml"), "fleet.toml"), "fleet.toml")


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as told:
        fleet(text)
    return [str(problem) for problem in told.value.problems]


def test_all_that_is_documented_is_taken() -> None:
    found = fleet(DOCUMENTED)
    (pi,) = found.pis
    assert (pi.serial, pi.mac, pi.name, pi.image) == ("5b154510", "dc:a6:32:2e:f8:ed", "node-1", "raspios-lite")
    assert (pi.disks[0].size_bytes, pi.disks[0].name) == (20 << 30, "var-lib-rancher")
    assert pi.data == {"role": "agent"}
    assert found.by_serial["5b154510"] is found.by_mac["dc:a6:32:2e:f8:ed"] is found.by_address["192.168.1.101"] is pi
    assert found.machines[0].boot == "menu"


def test_a_serial_is_enough() -> None:
    (pi,) = fleet('pi = [{ serial = "10000000A1B2C3D4" }]').pis
    assert (pi.serial, pi.name, pi.root, pi.seed, pi.boot) == ("a1b2c3d4", "pi-a1b2c3d4", "nfs", "default", "files")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[pi]]\nserial = "5b15451"', ["pi 1.serial: '5b15451' is no serial; eight hex digits"]),
        ("[[pi]]\nserial = 12345678", ["pi 1.serial: 12345678 is no serial"]),
        ('[[pi]]\nhostname = "a"', ["pi 1.serial: is missing"]),
        ('[[pi]]\nserial = "5b154510"\nhostnam = "a"', ["pi 1.hostnam: unknown key; did you mean hostname?"]),
        ('[[pi]]\nserial = "5b154510"\nhostname = "a_b"', ["pi 1.hostname: 'a_b' is no host name"]),
        ('[[pi]]\nserial = "5b154510"\nmac = "dc:a6"', ["pi 1.mac: 'dc:a6' is no MAC address"]),
        ('[[pi]]\nserial = "5b154510"\nimage = "../etc"', ["pi 1.image: '../etc' is no name"]),
        ('[[pi]]\nserial = "5b154510"\nseed = ".."', ["pi 1.seed: '..' is no name"]),
        ('[[pi]]\nserial = "5b154510"\ncmdline = "a\\nb"', ["pi 1.cmdline: 'a\\nb' is not one line"]),
        ('[[pi]]\nserial = "5b154510"\naddress = "fe80::1"', ["pi 1.address: 'fe80::1' is no IPv4 address"]),
        ('[[pi]]\nserial = "5b154510"\nroot = "ext4"', ["pi 1.root: 'ext4' is not known here; 'nfs' or 'none'"]),
        (
            '[[pi]]\nserial = "5b154510"\ndisks = [{ mount = "var", size = "20" }]',
            ["pi 1.disks 1.mount: 'var' is no place", "pi 1.disks 1.size: '20' is no size"],
        ),
        ('[[pi]]\nserial = "5b154510"\ndisks = [{ mount = "/a b", size = "1G" }]', ["pi 1.disks 1.mount: '/a b'"]),
        ('pi = "5b154510"', ["pi: '5b154510' is of the wrong type"]),
        ('[[pis]]\nserial = "5b154510"', ["pis: unknown key; did you mean pi?"]),
        ('[[pi]]\nserial = "5b154510"\n[[pi]]\nserial = "5B154510"', ["pi 2.serial: 5b154510 is that of pi 1"]),
        (
            '[[pi]]\nserial = "5b154510"\nhostname = "pi-5b154511"\n[[pi]]\nserial = "5b154511"',
            ["pi 2.hostname: pi-5b154511 is that of pi 1"],
        ),
        (
            '[[pi]]\nserial = "5b154510"\nmac = "dc:a6:32:2e:f8:ed"\n[[machine]]\nmac = "DC-A6-32-2E-F8-ED"',
            ["machine 1.mac: dc:a6:32:2e:f8:ed is the MAC of the Pi 5b154510"],
        ),
        (
            '[[pi]]\nserial = "5b154510"\ndisks = [{ mount = "/a", size = "1G" }, { mount = "/a", size = "2G" }]',
            ["pi 1.disks: two disks are mounted at /a"],
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, told: list[str]) -> None:
    found = problems(text)
    assert len(found) == len(told)
    for line, start in zip(found, told, strict=True):
        assert line.startswith(start)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["pi", "serial", "mac", "disks", "x"]), inner),
    )
)
def test_whatever_stands_there_is_taken_or_told(value: Any) -> None:
    with suppress(ConfigError):
        inventory(fleet_pi.build({"pi": value}, "fleet.toml"), "fleet.toml")
