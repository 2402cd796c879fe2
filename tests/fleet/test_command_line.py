"""What a command line that somebody wrote by hand lacks for an NFS root."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinetboot.boot import generated
from pinetboot.boot.generated import Served, TreeFacts
from pinetboot.fleet import command_line
from pinetboot.fleet.pi import Pi

FACTS = TreeFacts(initramfs=True, has_mount_nfs=True, cloud_init=(25, 2), kernels=(), boot_kernels=(), has_systemd=True)
GOOD = (
    "console=tty1 root=/dev/nfs nfsroot=10.0.0.1:/srv/1/root,vers=3 rw ip=dhcp rootwait "
    "ds=nocloud;s=http://10.0.0.1/seed/5b154510/ network-config=disabled"
)


def rules(text: str, facts: TreeFacts = FACTS) -> list[tuple[str, str]]:
    return [(found.rule, found.severity) for found in command_line.findings(text, facts)]


@pytest.mark.parametrize("cloud_init", [(25, 2), (22, 4), (), None])
@pytest.mark.parametrize("initramfs", [True, False])
def test_nothing_is_wrong_with_a_line_that_pinetboot_makes(cloud_init: tuple[int, ...] | None, initramfs: bool) -> None:
    facts = replace(FACTS, cloud_init=cloud_init, initramfs=initramfs)
    served = Served(server="10.0.0.1", http_port=80, nfs_server="10.0.0.1", nfs_data="/srv", nfs_versions=(3, 4))
    pi = Pi(serial="5b154510")
    made = generated.cmdline("console=tty1 root=PARTUUID=1-02 init=/x/firstboot", pi, served, "1", facts)
    assert rules(made, facts) == []


@pytest.mark.parametrize(
    ("took", "put", "facts", "wanted"),
    [
        (" ip=dhcp", "", {"initramfs": False}, [("D28", "fatal")]),
        (" ip=dhcp", "", {}, []),
        (",vers=3", ",vers=3,udp", {}, [("D30", "warning")]),
        (",vers=3", ",vers=3,proto=udp", {}, [("D30", "warning")]),
        (" rw", " rw init=/usr/lib/raspi-config/init_resize.sh", {}, [("D31", "warning")]),
        ("ds=nocloud;s=http://10.0.0.1/seed/5b154510/", "", {}, [("D35", "info")]),
        ("ds=nocloud;s=http://10.0.0.1/seed/5b154510/", "", {"cloud_init": None}, []),
        ("5b154510/", "5b154510", {"cloud_init": (22, 4, 2)}, [("D36", "warning")]),
        ("5b154510/", "5b154510", {}, []),
        ("5b154510/", "?f=%s", {"cloud_init": (22, 4, 2)}, []),
        (" network-config=disabled", "", {}, [("D47", "warning")]),
        (" network-config=disabled", "", {"cloud_init": None}, []),
        ("root=/dev/nfs", "root=/dev/sda2", {"initramfs": False}, []),
    ],
)  # fmt: skip
def test_each_fault_of_a_line_made_by_hand_is_found(
    took: str, put: str, facts: dict[str, object], wanted: list[tuple[str, str]]
) -> None:
    assert took in GOOD
    assert rules(GOOD) == []
    assert rules(GOOD.replace(took, put), replace(FACTS, **facts)) == wanted  # type: ignore[arg-type]
