"""The kernel's own DHCP client, `ip=dhcp` without an initramfs, gets its lease from pinetboot.

Such a kernel is built by the test of the Pi's kernel: run with PINETBOOT_LAB=full alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from lab import pikernel
from lab.machines import Machine
from support import require

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(90)

MAC = "dc:a6:32:2e:f8:01"
FLEET = f"""
[[pi]]
serial = "5b154510"
mac = "{MAC}"
hostname = "node-1"
address = "10.55.0.77"
"""
CONFIG = """
[dhcp]
mode = "server"
range = "10.55.0.100-10.55.0.199"
allow_other_server = true
router = "10.55.0.1"
dns = ["9.9.9.9"]
[nfs]
mode = "off"
"""


def test_a_kernel_with_ip_dhcp_gets_a_lease(lan: Lan) -> None:
    require("qemu-system-x86_64")
    if not pikernel.kept().is_file():
        pytest.skip("there is no kernel with CONFIG_IP_PNP_DHCP: test_nfs_pi_kernel.py builds and keeps one")
    data = lan.folder / "daemon-0" / "data"
    data.mkdir(parents=True)
    (data / "fleet.toml").write_text(FLEET)
    lan.serve(CONFIG)
    guest = Machine(lan, lan.folder, "kernel")
    try:
        # Without a root it ends with a panic, and -no-reboot with that.
        cmdline = "console=ttyS0 ip=dhcp panic=-1 net.ifnames=0"
        guest.start(pikernel.kept(), None, cmdline, mac=MAC, memory="256M")
        guest.until("nameserver0=9.9.9.9", 60.0)
        told = guest.text
    finally:
        guest.end()
    assert "IP-Config: Got DHCP answer from 10.55.0.2, my address is 10.55.0.77" in told
    assert "host=node-1" in told
    assert "mask=255.255.255.0, gw=10.55.0.1" in told
    kept = [json.loads(line) for line in (data / "state" / "leases.json").read_text().splitlines()]
    assert [(line["address"], line["state"]) for line in kept][-1] == ("10.55.0.77", "leased")
