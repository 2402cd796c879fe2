"""Looking at NFS for `pinetboot check`, on real hosts: one with Debian's programs, and this one as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nfshost import NfsHost, nfs_host
from support import require, require_root

from pinetboot.config import Config, build
from pinetboot.nfs import check, inotify

SERIAL = "5b154510"
REPOSITORY = Path(__file__).parent.parent.parent
CMDLINE = "console=tty1 root=/dev/nfs nfsroot=10.66.0.2:{data}/pis/{serial}/1/root,vers=3 rw ip=dhcp rootwait\n"

FINDINGS = """
import json, sys
from pathlib import Path
from pinetboot.config import build
from pinetboot.nfs import check
data = Path(sys.argv[1])
config = build({"server": {"data": str(data)}, "nfs": json.loads(sys.argv[2])}, "test")
print(json.dumps([finding.to_json() for finding in check.findings(config, data)]))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with one Pi that boots its first generation."""
    found = tmp_path / "data"
    boot = found / "pis" / SERIAL / "1" / "boot"
    boot.mkdir(parents=True)
    (boot.parent / "root").mkdir()
    (boot / "cmdline.txt").write_text(CMDLINE.format(data=found, serial=SERIAL))
    (found / "boot").mkdir()
    (found / "boot" / SERIAL).symlink_to(f"../pis/{SERIAL}/1/boot")
    (found / "fleet.toml").write_text(f'[[pi]]\nserial = "{SERIAL}"\nhostname = "node-1"\naddress = "10.66.0.5"\n')
    return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[NfsHost]:
    with nfs_host(tmp_path, "--net") as found:
        yield found


def config(data: Path, **nfs: object) -> Config:
    return build({"server": {"data": str(data)}, "nfs": nfs}, "test")


def look(host: NfsHost, data: Path, **nfs: object) -> dict[str, str]:
    """Severity by the words of each finding."""
    done = host.run(sys.executable, "-c", FINDINGS, str(data), json.dumps(nfs))
    found = json.loads(done.stdout)
    return {f"{one['what']}: {one['why']}. {one['do']}": one["severity"] for one in found}


def has(found: dict[str, str], severity: str, *words: str) -> bool:
    return any(all(word in text for word in words) for text, how in found.items() if how == severity)


def test_this_host_without_nfs_is_told_so(data: Path) -> None:
    require_root()
    if "nfsd" in Path("/proc/filesystems").read_text().split():
        pytest.skip("this kernel has nfsd")
    found = check.findings(config(data), data)
    assert [finding.severity for finding in found if "no root file system can be mounted" in finding.what] == ["fatal"]


def test_what_is_not_exported_to_whom_it_should_be(host: NfsHost, data: Path) -> None:
    found = look(host, data, mode="exports")
    assert has(found, "fatal", "node-1 (5b154510)", "2 of 2 trees are not exported")
    assert has(found, "fatal", "node-1 (5b154510) is told to mount its root from 10.66.0.2")
    for kind in ("root", "boot"):
        host.run(
            *("exportfs", "-i", "-o", "rw,sync,no_subtree_check,no_root_squash"),
            f"10.66.0.5/32:{data}/pis/{SERIAL}/1/{kind}",
        )
    assert not any("are not exported" in text for text in look(host, data, mode="exports"))


def test_an_export_of_the_users_own_that_overlaps(host: NfsHost, data: Path) -> None:
    host.write("/etc/exports", f"{data} *(rw)\n")
    assert has(look(host, data, mode="exports"), "warning", f"{data} to *, overlaps")


def test_where_a_pi_was_seen_is_compared_with_whom_it_is_exported_to(host: NfsHost, data: Path) -> None:
    (data / "state").mkdir()
    seen = [{"serial": SERIAL, "mac": "", "model": "pi4", "address": "10.66.0.9", "first": 1.0, "last": 2.0}]
    (data / "state" / "seen.json").write_text(json.dumps(seen))
    assert has(look(host, data, mode="exports"), "warning", "was seen at 10.66.0.9", "10.66.0.5/32 alone")


def test_another_server_that_does_not_answer(data: Path) -> None:
    found = check.findings(config(data, mode="external", address="127.0.0.1", path="/export"), data)
    assert [(finding.severity, finding.rule) for finding in found] == [("fatal", "D29")]


def test_off_is_worth_a_word_where_a_pi_has_a_root(data: Path) -> None:
    (found,) = check.findings(config(data, mode="off"), data)
    assert found.severity == "info"


def test_inotify_instances_that_are_used_up_are_seen() -> None:
    require_root()
    require("unshare")
    assert not inotify.exhausted()
    # A limit of a user namespace of its own, so that nobody else's is touched.
    program = (
        "import ctypes; from pathlib import Path; libc = ctypes.CDLL(None); "
        "Path('/proc/sys/user/max_inotify_instances').write_text('2'); "
        "[libc.inotify_init1(0) for _ in range(2)]; "
        "from pinetboot.nfs import inotify; print(inotify.exhausted())"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert done.stdout == "True\n", done.stderr
