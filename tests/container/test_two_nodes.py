"""Two containers on two nodes, with one data directory between them and a virtual IP that moves: what a Pi notices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import containers
import pytest
from containers import Container
from fleet.test_reconcile import image
from lab.lan import HOSTS, SWITCH, Lan
from lab.test_failover import NODES, VIP, Cluster, complaints, outcome, rehearsal
from support import Daemon, require, require_root, wait_until

from pinetboot.demo import tree

pytestmark = pytest.mark.timeout(900)  # the first one builds the image

# Not the serials of the demonstration's trees, which are made by hand.
FIRST, SECOND, THIRD = "00000001", "00000002", "00000003"
SETTINGS = f'[server]\nstop_s = 1\naddress = "{VIP}"\n[nfs]\nmode = "off"\n'


@dataclass
class Nodes(Cluster):
    """A container on each node."""

    def start(self, node: str, config: str = SETTINGS) -> Daemon:
        folder = self.lan.folder / f"container-{node}"
        made = Container(folder, config, network=self.lan.namespace(node), shared=self.data)
        self.lan.daemons.append(made)
        self.daemons[node] = made
        return made.start()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    require_root()
    require("ip", "ss", "curl", "tc", "dnsmasq")
    containers.image()
    lan = Lan(tmp_path, hosts={**HOSTS, "twin": (f"{NODES['twin']}/24",)})
    try:
        lan.build()
        lan.address("client", "10.55.0.50/24")
        yield Nodes(lan, tmp_path / "shared")
    finally:
        lan.close()


def test_the_address_moves_and_a_boot_goes_on_with_the_other_and_one_alone_keeps_the_fleet(nodes: Nodes) -> None:
    nodes.lan.router()
    nodes.give("server")
    first, second = nodes.start("server"), nodes.start("twin")
    assert nodes.readyz("server")[1]["standby"] is False
    assert nodes.readyz("twin") == (
        200,
        {
            "ready": True,
            "standby": True,
            "services": {"tftp": "ready", "dhcp": "standby", "http": "ready", "address": "standby"},
        },
    )
    # As slow as it takes to be met in the midst of its kernel.
    tree.make(nodes.data, f"http://{VIP}/")
    shaped = ("tc", "qdisc", "add", "dev", "pi", "root", "tbf", "rate", "16mbit", "burst", "32kb", "latency", "400ms")
    assert nodes.lan.run(SWITCH, *shaped).returncode == 0
    pi = rehearsal(nodes, "pi3b-rom", tree.PI3)
    try:
        assert wait_until(lambda: any("start" in line["path"] for line in first.said("file sent")), 40), first.text
        time.sleep(0.5)
        nodes.move("twin")
    finally:
        code, report = outcome(pi)
    assert code == 0 or report["cause"]["rule"] == "D19"
    if code:  # silence is what the firmware waits out, a file's time; then it begins anew
        code, report = outcome(rehearsal(nodes, "pi3b-rom", tree.PI3))
    assert (code, report["ok"], report["server"]) == (0, True, VIP), report["cause"]
    assert second.said("file sent")

    image(nodes.data, "a")
    nodes.fleet(FIRST)
    assert wait_until(lambda: nodes.made("twin") == [FIRST], 40), second.text
    nodes.move("server")
    nodes.fleet(FIRST, SECOND)
    assert wait_until(lambda: nodes.made("server") == [SECOND], 40), first.text
    # The one that keeps it is taken away, as an upgrade does.
    nodes.take()
    assert first.stop() == 0
    nodes.give("twin")
    nodes.fleet(FIRST, SECOND, THIRD)
    assert wait_until(lambda: nodes.made("twin") == [FIRST, THIRD], 60), second.text
    assert nodes.made("server") == [SECOND]
    # What the Pi had begun there when the address left is all that ended with it.
    assert {line["event"] for line in complaints(first)} <= {"transfer ended by our stop"}
    assert second.stop() == 0
    assert complaints(second) == []
