"""rpcbind, rpc.statd and rpc.mountd, the real ones: started, looked after, taken over, and never ended.

Without nfsd in this kernel none of them can do its work; that they are up is asked of them over RPC. What they do for
clients is shown in the laboratory's virtual machines.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from nfshost import NfsHost, nfs_host
from support import require

REPOSITORY = Path(__file__).parent.parent.parent

# Runs in the namespaces: looks after the programs as the server does, every tenth of a second, and says what it tells,
# until it told all that it is asked for or its time is over.
LOOK_AFTER = """
import sys, time
from pathlib import Path
from pinetboot.config import Nfs
from pinetboot.nfs.daemons import Daemons
daemons = Daemons(Nfs(mode="daemons"), Path("/srv/pinetboot"))
daemons._keep_nfsd = lambda now: None  # there is none
end = time.monotonic() + float(sys.argv[1])
wanted = set(sys.argv[2:])
while wanted and time.monotonic() < end:
    for told in daemons.look(time.monotonic()):
        print("+" if told.well else "-", told.what, flush=True)
        wanted.discard(told.what)
    time.sleep(0.1)
"""
ASK = """
from pinetboot.nfs import rpc
for one in sorted(rpc.registered()):
    print(one.program, one.version, one.protocol, one.port)
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[NfsHost]:
    require("ip", "setpriv")
    with nfs_host(tmp_path, "--net") as found:
        found.run("ip", "link", "set", "lo", "up")
        found.run("mount", "-t", "tmpfs", "tmpfs", "/run")
        found.run("mkdir", "-p", "/run/rpcbind")
        try:
            yield found
        finally:
            for pid in running(found):
                os.kill(pid, signal.SIGKILL)


def running(host: NfsHost, name: str = "rpc") -> list[int]:
    """The processes of that name in the host's own network namespace, and no others."""
    network = Path(f"/proc/{host.pid}/ns/net").readlink()
    found = []
    for process in Path("/proc").iterdir():
        try:
            named = process.name.isdigit() and (process / "comm").read_text().startswith(name)
            if named and (process / "ns/net").readlink() == network:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def look_after(host: NfsHost, *until: str, for_s: float = 25) -> list[str]:
    command = (sys.executable, "-c", LOOK_AFTER, str(for_s), *until)
    return host.run("env", f"PYTHONPATH={REPOSITORY}", *command).stdout.splitlines()


def ports(host: NfsHost) -> set[tuple[int, int]]:
    """Program and port of all that is registered over TCP."""
    lines = host.run("env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-c", ASK).stdout.splitlines()
    return {(int(words[0]), int(words[3])) for words in map(str.split, lines) if words[2] == "6"}


def test_they_start_on_the_ports_that_are_set_and_outlive_us(host: NfsHost) -> None:
    told = look_after(host, "rpc.mountd started")
    assert [line for line in told if "started" in line] == [
        "+ rpcbind started",
        "+ rpc.statd started",
        "+ rpc.mountd started",
    ], told
    assert {(100000, 111), (100024, 32765), (100005, 32767)} <= ports(host)
    before = sorted(running(host))
    assert len(before) >= 3
    # We are gone and they are there; whoever comes next takes them over and starts none beside them.
    told = look_after(host, "rpc.mountd runs here already, and is used")
    assert sorted(running(host)) == before
    assert told == [
        "+ rpcbind runs here already, and is used",
        "+ rpc.statd runs here already, and is used",
        "+ rpc.mountd runs here already, and is used",
    ]


def test_one_that_ends_is_started_again_and_registered(host: NfsHost) -> None:
    look_after(host, "rpc.mountd started")
    for name in ("rpc.mountd", "rpcbind"):
        for pid in running(host, name):
            os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    told = look_after(host, "rpc.mountd started", "statd registered with rpcbind again")
    assert "+ rpcbind started" in told
    assert "+ rpc.mountd started" in told
    # statd went on, and the rpcbind that came anew did not know of it.
    assert "+ statd registered with rpcbind again" in told
    assert {(100000, 111), (100024, 32765), (100005, 32767)} <= ports(host)


def test_no_mountd_is_started_beside_another(host: NfsHost) -> None:
    program = dedent("""
        import subprocess, sys, time
        subprocess.Popen(["rpcbind"]).wait()
        time.sleep(0.3)
        subprocess.Popen(["rpc.mountd", "--port", "45678"]).wait()
        time.sleep(0.3)
    """)
    host.run(sys.executable, "-c", program)
    assert (100005, 45678) in ports(host)
    mountds = running(host, "rpc.mountd")
    told = look_after(host, "rpc.mountd started", for_s=3)
    assert [line for line in told if "another rpc.mountd answers at port 45678" in line]
    assert running(host, "rpc.mountd") == mountds
