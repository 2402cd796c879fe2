"""Who holds a port: real sockets of real programs, and what this process may do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from support import Daemon, free_port, loopback_config, require_root, without_privileges

from pinetboot.host import ports, system
from pinetboot.host.ports import Holder
from pinetboot.host.system import Capability


def test_a_program_is_found_by_its_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_INET6) as tcp:
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("::1", 0))
        one, two = udp.getsockname()[1], tcp.getsockname()[1]
        # TCP that is bound and does not listen keeps nobody out.
        assert ports.holders({("tcp", two)}) == []
        tcp.listen()
        name = Path("/proc/self/comm").read_text().strip()
        found = ports.holders({("udp", one), ("tcp", two)})
        assert {(one.protocol, one.port, one.pid, one.program) for one in found} == {
            ("udp", one, os.getpid(), name),
            ("tcp", two, os.getpid(), name),
        }
    assert ports.holders({("udp", one), ("tcp", two)}) == []


def test_a_daemon_of_ours_is_known(tmp_path: Path) -> None:
    tftp, http = free_port(), free_port(socket.SOCK_STREAM)
    daemon = Daemon(tmp_path, loopback_config(tftp, http)).start()
    try:
        assert daemon.process is not None
        found = set(ports.holders({("udp", tftp), ("tcp", http)}))
        assert found == {
            Holder("udp", tftp, daemon.process.pid, "pinetboot", ours=True),
            Holder("tcp", http, daemon.process.pid, "pinetboot", ours=True),
        }
    finally:
        daemon.stop()


def test_capabilities_are_those_of_this_process() -> None:
    program = "from pinetboot.host import system; print(sorted(system.capabilities()))"
    done = subprocess.run(
        [*without_privileges(), sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    if os.geteuid() == 0:
        assert done.stdout == "[]\n"
        assert Capability.NET_BIND_SERVICE in system.capabilities()
    assert 0 <= system.first_free_port() <= 65536


def test_the_kernel_tells_of_its_clock() -> None:
    assert system.is_synchronised() in {True, False, None}


def test_what_is_permitted_is_put_in_effect_and_what_is_not_is_left() -> None:
    require_root()
    program = """
import ctypes, struct
from pinetboot.host import system
from pinetboot.host.system import Capability
libc = ctypes.CDLL(None)
header, sets = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0)), ctypes.create_string_buffer(24)
assert libc.capget(header, sets) == 0
# As with a file's capabilities that are permitted alone: nothing in effect, NET_RAW permitted.
assert libc.capset(header, struct.pack("=6I", 0, 1 << Capability.NET_RAW, 0, 0, 0, 0)) == 0
print(sorted(system.capabilities()))
system.put_in_effect(Capability)
print(sorted(system.capabilities()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == ["[]", f"[{int(Capability.NET_RAW)}]"]
