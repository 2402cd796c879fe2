"""Fifty Pis from one image: hardly more room than the image itself where the file system shares blocks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bigtree import grow, mounted, used_bytes
from imagetrees import SERVED, raspios
from support import require, require_root

from pinetboot import subvolume
from pinetboot.fleet import generation, identity
from pinetboot.fleet.pi import Pi

PIS = 50
ENTRIES = 1000
DIFFERS = 128 << 10  # identity, texts, and the blocks they take


@pytest.mark.parametrize("kind", ["xfs", "btrfs", "ext4"])
def test_fifty_pis(tmp_path: Path, kind: str) -> None:
    require_root()
    require(*{"xfs": ["mkfs.xfs"], "btrfs": ["mkfs.btrfs", "btrfs"], "ext4": ["mke2fs"]}[kind])
    with mounted(kind, tmp_path, "4G") as data:
        empty = used_bytes(data)
        (data / "images" / "raspios").mkdir(parents=True)
        subvolume.make(data / "images" / "raspios" / "root", 0o755)  # as an import does
        image = raspios(data, cloud_init="25.2")
        grow(image / "root" / "usr" / "share", ENTRIES)
        entries = sum(1 for _ in image.rglob("*"))
        alone = used_bytes(data) - empty

        def one(number: int) -> None:
            pi = Pi(serial=f"{number:08x}", hostname=f"node-{number}", image="raspios")
            own = data / "pis" / pi.serial
            own.mkdir(parents=True)
            # What takes the time is copied from the first: this is about room.
            identity.ensure(own, pi.name) if number == 0 else (own / "identity").mkdir()
            generation.make(data, pi, image, 1, SERVED, lambda _: None, lambda: False)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, range(PIS)))
        used = used_bytes(data) - empty
        most = alone * 1.05 + PIS * (entries * 1000 + DIFFERS)
        assert (used <= most) == (kind != "ext4"), f"{used:,} bytes of {most:,.0f}"
        for number in (0, PIS - 1):
            root = data / "pis" / f"{number:08x}" / "1" / "root"
            assert sum(1 for _ in root.rglob("*")) > sum(1 for _ in (image / "root").rglob("*"))
            assert (root / "etc/hostname").read_text() == f"node-{number}\n"
