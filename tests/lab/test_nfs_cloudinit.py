"""One whole boot: Debian with systemd and cloud-init, its root over NFS, its seed over HTTP, and word that it is up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lab.estate import CLOUD, DATA, DISK, PHRASE, SERVER, report
from lab.netboot import Netboot
from support import wait_until

pytestmark = pytest.mark.timeout(900)

_SET_UP_S = 400.0


@pytest.fixture
def lab(netboot: Callable[[str], Netboot]) -> Netboot:
    return netboot("exports")


def test_cloud_init_takes_its_seed_leaves_its_mark_and_the_pi_is_shown_online(lab: Netboot) -> None:
    root = f"{DATA}/pis/{CLOUD.serial}/1/root"
    pi = lab.boot(CLOUD, marker="cloud-init", within_s=_SET_UP_S)
    took = pi.until("finished at", _SET_UP_S)
    report(f"cloud-init finished {took:.1f} s after power was given")

    assert lab.server.do(f"cat {root}/var/lib/lab-mark") == PHRASE
    assert lab.server.do(f"cat {root}/etc/hostname").strip() == "cloudy"
    kind, source = lab.server.do(f"cat {root}/var/lib/lab-disk").split()
    assert (kind, source.startswith("/dev/loop")) == ("ext4", True), DISK
    assert lab.server.do(f"cat {root}/var/lib/lab-boot").split() == [
        "nfs",
        f"{SERVER}:{DATA}/pis/{CLOUD.serial}/1/boot",
    ]

    def shown() -> dict[str, Any] | None:
        told: dict[str, Any] = lab.api(CLOUD.serial)
        return told if told["state"] == "online" else None

    told = wait_until(shown, 60.0)
    assert told, lab.api(CLOUD.serial)
    assert (told["serial"], told["mac"], told["hostname"]) == (CLOUD.serial, CLOUD.mac, "cloudy")
    assert (told["address"], told["generation"], told["known"]) == (CLOUD.address, 1, True)
    stages = {stage["name"] for stage in told["boot"]["stages"]}
    # A slow guest counts as online before it asks for its seed: its root has been mounted for two minutes by then.
    assert {"kernel", "root", "online"} <= stages
    assert any(line["event"] == "http seed" and line.get("serial") == CLOUD.serial for line in lab.log)
    pi.end()
