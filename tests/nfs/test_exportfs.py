"""Debian's own exportfs: it reads the file that we write, and what it lists is read back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from nfshost import NfsHost, nfs_host

from pinetboot.nfs import exports
from pinetboot.nfs.exports import Export, alike, parse, parse_listed, render

OPTIONS = "rw,sync,no_subtree_check,no_root_squash"
OURS = "/etc/exports.d/pinetboot.exports"
ODD = [
    "a b",
    'a"b',
    "a\\b",
    "a#b",
    "a\tb",
    "ä ö",
    "a'b",
    "a(b)",
    "a,b",
    "-a",
    "a\nb",
    "\udcff\udcfe",
    "a\\b c",
    "*",
    "a:b",
]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[NfsHost]:
    with nfs_host(tmp_path) as found:
        yield found


def listed(host: NfsHost) -> dict[tuple[str, str], Export]:
    return {export.key: export for export in parse_listed(host.run("exportfs", "-s").stdout)}


def test_it_reads_our_file_with_every_odd_path(host: NfsHost, tmp_path: Path) -> None:
    wanted = []
    for number, name in enumerate(ODD):
        folder = tmp_path / "data" / name
        os.makedirs(folder)  # noqa: PTH103 - one of the names is no text
        wanted.append(Export(str(folder), f"10.0.0.{number}/32", f"{OPTIONS},fsid={70000 + number}"))
    host.write(OURS, render(wanted))
    host.run("exportfs", "-ra")
    found = listed(host)
    assert found.keys() == {export.key for export in wanted}
    assert all(alike(export, found[export.key]) for export in wanted)
    # Its own table is spelt as our file is.
    assert {export.key for export in parse(host.read("/var/lib/nfs/etab"))} == found.keys()


def test_a_single_export_is_added_and_taken_away_and_those_of_others_stay(host: NfsHost, tmp_path: Path) -> None:
    theirs, by_hand, waiting, ours = (tmp_path / name for name in ("theirs", "by hand", "waiting", "our\nown#x"))
    for folder in (theirs, by_hand, waiting, ours):
        folder.mkdir()
    host.write("/etc/exports", f"{theirs} 10.0.0.0/24(ro)\n")
    host.run("exportfs", "-ra")
    host.run("exportfs", "-o", "rw", f"10.1.0.0/24:{by_hand}")
    host.write("/etc/exports", f"{theirs} 10.0.0.0/24(rw)\n{waiting} 10.0.0.0/24(ro)\n")
    before = listed(host)
    assert len(before) == 2
    export = Export(str(ours), "10.0.0.5/32", OPTIONS)
    host.run("exportfs", "-i", "-o", OPTIONS, exports.argument(export))
    after = listed(host)
    assert alike(after.pop(export.key), export)
    # Neither what was exported by hand is gone, nor is a file applied that its user did not apply yet.
    assert after == before
    changed = Export(export.path, export.client, "ro,fsid=77777")
    host.run("exportfs", "-i", "-o", changed.options, exports.argument(changed))
    assert alike(listed(host)[export.key], changed)
    host.run("exportfs", "-u", exports.argument(export))
    assert listed(host) == before


def test_one_address_of_two_goes_without_the_other(host: NfsHost, tmp_path: Path) -> None:
    one, two = (Export(str(tmp_path), f"10.0.0.{number}/32", "rw") for number in (5, 6))
    host.run("exportfs", "-i", "-o", "rw", exports.argument(one), exports.argument(two))
    host.run("exportfs", "-u", exports.argument(one))
    assert listed(host).keys() == {two.key}


def test_an_ipv6_network_is_exported_to(host: NfsHost, tmp_path: Path) -> None:
    export = Export(str(tmp_path), "fd00::/64", "rw")
    host.run("exportfs", "-i", "-o", "rw", exports.argument(export))
    assert listed(host).keys() == {export.key}
    host.write(OURS, render([export]))
    host.run("exportfs", "-ra")
    assert listed(host).keys() == {export.key}


def test_a_file_as_an_administrator_writes_it_is_read_as_exportfs_reads_it(host: NfsHost, tmp_path: Path) -> None:
    for name in ("home", "my files", "pub", "a b"):
        (tmp_path / name).mkdir()
    text = f"""# shares
{tmp_path}/home   10.0.0.0/24(rw,sync) 10.1.0.0/24(ro)   # both
"{tmp_path}/my files" -rw,no_root_squash 10.0.0.7/32 \\
      10.0.0.8/32(ro)
{tmp_path}/pub *(ro)
{tmp_path}/a\\040b *(ro)
"""
    host.write("/etc/exports", text)
    host.run("exportfs", "-ra")
    found = listed(host)
    mine = {export.key: export for export in parse(text)}
    assert found.keys() == mine.keys()
    assert all(alike(mine[key], found[key]) for key in mine)
