"""`pinetboot trace`: what a virtual Pi and the daemon say to each other, in a file that others can read."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from urllib.request import urlopen

import dpkt
from rawtftp import fetch
from support import Daemon, free_port, loopback_config, require, require_root, wait_until, without_privileges

from pinetboot.demo import tree
from pinetboot.dhcp import packet
from pinetboot.dhcp.options import MessageType, Option, encode_serial_machine
from pinetboot.dhcp.packet import BOOTREQUEST, BROADCAST, Message
from pinetboot.net import capture
from pinetboot.net.capture import Wanted

Serve = Callable[..., Daemon]
Seen = tuple[str, int, str, int, bytes]

SERIAL, OTHER = tree.PI4, "00112233"
MAC = bytes.fromhex("dca6322ef8ed")
_LIMIT_S = 20.0


def trace(daemon: Daemon, out: Path, *arguments: str, whom: str = SERIAL) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pinetboot", "trace", whom, "-o", str(out), "--data", str(daemon.data), *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@contextmanager
def taking(daemon: Daemon, out: Path, *arguments: str, whom: str = SERIAL) -> Iterator[list[str]]:
    """Trace while the block runs; what the command said at its end is in the list after it."""
    said: list[str] = []
    with trace(daemon, out, *arguments, whom=whom) as running:
        assert running.stderr is not None
        first = running.stderr.readline()
        assert first.startswith("taking down"), first + running.stderr.read()
        try:
            yield said
        finally:
            running.send_signal(signal.SIGINT)
            _, rest = running.communicate(timeout=_LIMIT_S)
        assert running.returncode == 0, rest
        said += rest.splitlines()


def udp_in(path: Path) -> list[Seen]:
    """Read a pcap by another's eyes: every UDP datagram, as (source, port, destination, port, payload)."""
    found = []
    with path.open("rb") as file:
        for _, octets in dpkt.pcap.Reader(file):
            ip = dpkt.ethernet.Ethernet(octets).data
            if isinstance(ip.data, dpkt.udp.UDP):
                ends = socket.inet_ntoa(ip.src), ip.data.sport, socket.inet_ntoa(ip.dst), ip.data.dport
                found.append((*ends, bytes(ip.data.data)))
    return found


def tcp_in(path: Path) -> bytes:
    with path.open("rb") as file:
        ips = [dpkt.ethernet.Ethernet(octets).data for _, octets in dpkt.pcap.Reader(file)]
    return b"".join(bytes(ip.data.data) for ip in ips if isinstance(ip.data, dpkt.tcp.TCP))


def with_tree(daemon: Daemon) -> Path:
    tree.make(daemon.data, f"http://127.0.0.1:{daemon.http_port}/")
    return daemon.data / "boot"


def names_in(seen: list[Seen]) -> list[str]:
    return [payload[2:].partition(b"\0")[0].decode() for *_, payload in seen if payload[:2] == b"\0\1"]


def test_a_whole_boot_is_in_the_file_in_its_order(serve: Serve, tmp_path: Path) -> None:
    require_root()
    daemon = serve()
    boot = with_tree(daemon)
    out = tmp_path / "boot.pcap"
    with taking(daemon, out) as said:
        command = [sys.executable, "-m", "pinetboot", "rehearse", "--no-dhcp", "--server", "127.0.0.1"]
        command += ["--tftp-port", str(daemon.tftp_port), "--serial", SERIAL]
        booted = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert booted.returncode == 0, booted.stdout
    seen = udp_in(out)
    assert [name for name in names_in(seen) if name.endswith(("start4.elf", "kernel8.img"))] == [
        f"{SERIAL}/{name}" for name in ("start4.elf", "start4.elf", "kernel8.img", "kernel8.img")
    ]
    # The last transfer of the kernel: OACK, ACK 0, then DATA and ACK by turns, and every byte of it.
    at = max(n for n, one in enumerate(seen) if one[4].startswith(f"\0\1{SERIAL}/kernel8.img".encode()))
    client = seen[at][:2]
    transfer = [one for one in seen[at + 1 :] if client in {one[:2], one[2:4]}]
    assert transfer[0][4][:2] == b"\0\6"
    content = b""
    expected = 0
    for *_, payload in transfer[1:]:
        opcode, number = payload[1], int.from_bytes(payload[2:4], "big")
        assert number == expected & 0xFFFF
        if opcode == 4:
            expected += 1
        else:
            assert opcode == 3
            content += payload[4:]
    assert content == (boot / SERIAL / "kernel8.img").read_bytes()
    web = tcp_in(out)
    assert b"GET /user-data HTTP/1.1" in web
    assert b"# Every Pi that asks gets this." in web
    assert len(said) == 1
    assert said[0].endswith(f"packets of {SERIAL} in {out}")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_tcpdump_reads_it_and_finds_every_checksum_right(serve: Serve, tmp_path: Path) -> None:
    require_root()
    require("tcpdump")
    daemon = serve()
    with_tree(daemon)
    out = tmp_path / "boot.pcap"
    with taking(daemon, out):
        # Windows leave as one piece of up to 64 KB, for the network card to cut.
        got = fetch(daemon.tftp_port, f"{SERIAL}/kernel8.img", blksize=1468, windowsize=32)
        with urlopen(f"http://127.0.0.1:{daemon.http_port}/boot/{SERIAL}/config.txt", timeout=10) as answer:
            answer.read()
    shown = subprocess.run(["tcpdump", "-nvvr", str(out)], capture_output=True, text=True, check=True).stdout
    assert "udp sum ok" in shown
    assert "(correct)" in shown
    assert "incorrect" not in shown
    assert "bad" not in shown
    blocks = [payload for *_, payload in udp_in(out) if payload[:2] == b"\0\3"]
    assert max(map(len, blocks)) == 1472
    assert b"".join(block[4:] for block in blocks) == got


def test_one_pi_is_told_from_all_others(serve: Serve, tmp_path: Path) -> None:
    require_root()
    daemon = serve()
    with_tree(daemon)
    (daemon.data / "boot" / OTHER).mkdir()
    (daemon.data / "boot" / OTHER / "config.txt").write_text("other\n")
    (daemon.data / "boot" / "shared.bin").write_bytes(b"shared")
    one, all_ = tmp_path / "one.pcap", tmp_path / "all.pcap"
    with taking(daemon, one), taking(daemon, all_, whom="--all"):
        for host, serial in (("127.0.0.2", SERIAL), ("127.0.0.3", OTHER)):
            fetch(daemon.tftp_port, f"{serial}/config.txt", local=host)
            time.sleep(0.1)  # who the Pi is is known by now, and the kernel shows no others any more
            fetch(daemon.tftp_port, "shared.bin", local=host)
    assert names_in(udp_in(one)) == [f"{SERIAL}/config.txt", "shared.bin"]
    assert all("127.0.0.2" in {seen[0], seen[2]} for seen in udp_in(one))
    assert len(names_in(udp_in(all_))) == 4
    assert {"127.0.0.2", "127.0.0.3"} <= {seen[0] for seen in udp_in(all_)}


def test_dhcp_is_in_it_both_ways(tmp_path: Path, daemons: list[Daemon]) -> None:
    require_root()
    tftp_port, http_port, dhcp_port = free_port(), free_port(socket.SOCK_STREAM), free_port()
    config = loopback_config(tftp_port, http_port).replace('mode = "off"', f"port = {dhcp_port}")
    daemon = Daemon(
        tmp_path / "daemon", config.replace("[server]", '[server]\naddress = "127.0.0.1"\ninterfaces = ["lo"]')
    )
    daemons.append(daemon)
    daemon.start()
    out = tmp_path / "dhcp.pcap"
    options = {
        int(Option.MESSAGE_TYPE): bytes([MessageType.DISCOVER]),
        int(Option.VENDOR_CLASS): b"PXEClient:Arch:00000:UNDI:002001",
        int(Option.MACHINE_IDENTIFIER): encode_serial_machine(SERIAL),
    }
    asked = Message(BOOTREQUEST, 0x1234, MAC, options, flags=BROADCAST)
    with taking(daemon, out), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind(("127.0.0.1", 0))
        sock.sendto(packet.encode(asked), ("127.255.255.255", dhcp_port))
        assert wait_until(lambda: daemon.said("boot offered")), daemon.text
    messages = [packet.parse(payload) for *_, payload in udp_in(out)]
    assert [one.type for one in messages] == [MessageType.DISCOVER, MessageType.OFFER]
    assert messages[1].address(Option.SERVER_IDENTIFIER) == IPv4Address("127.0.0.1")


def test_it_ends_by_itself_and_writes_to_standard_output(serve: Serve) -> None:
    require_root()
    daemon = serve()
    with_tree(daemon)
    with subprocess.Popen(
        [sys.executable, "-m", "pinetboot", "trace", "--all", "-o", "-", "--packets", "3", "--data", str(daemon.data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith(b"taking down")
        fetch(daemon.tftp_port, f"{SERIAL}/config.txt")
        out, said = running.communicate(timeout=_LIMIT_S)
    assert (running.returncode, said) == (0, b"3 packets of every Pi\n")
    assert out[:4] == b"\xd4\xc3\xb2\xa1"
    began = time.monotonic()
    with trace(daemon, Path(os.devnull), "--seconds", "0.5") as short:
        short.communicate(timeout=_LIMIT_S)
    assert short.returncode == 0
    assert time.monotonic() - began < _LIMIT_S


def test_a_daemon_without_the_privilege_says_so(tmp_path: Path, daemons: list[Daemon]) -> None:
    prefix = without_privileges()
    daemon = Daemon(tmp_path / "daemon", loopback_config(free_port(), free_port(socket.SOCK_STREAM)), inside=prefix)
    daemons.append(daemon)
    daemon.start()
    with trace(daemon, tmp_path / "none.pcap") as running:
        _, said = running.communicate(timeout=_LIMIT_S)
    assert running.returncode == 2
    assert "without the capability CAP_NET_RAW" in said
    assert not (tmp_path / "none.pcap").exists()


def test_another_user_is_refused(serve: Serve) -> None:
    require_root()
    require("setpriv")
    daemon = serve()
    program = (
        "import socket, sys; sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); sock.bind('');"
        "sock.connect('\\0' + sys.argv[1]); sock.send(b''); print(sock.recvmsg(9999, 999)[:2])"
    )
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    found = daemon.data.stat()
    command = [*as_nobody, sys.executable, "-I", "-c", program, f"pinetboot/trace/{found.st_dev:x}-{found.st_ino:x}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=True)
    assert "this daemon is another user" in done.stdout
    assert "[]" in done.stdout  # and no socket with it


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with trace(Daemon(tmp_path, ""), tmp_path / "x.pcap") as running:
        _, said = running.communicate(timeout=_LIMIT_S)
    assert running.returncode == 1
    assert f"no daemon of {tmp_path / 'data'} answers" in said


def test_letters_that_mean_nothing_do_no_harm(serve: Serve, tmp_path: Path) -> None:
    require_root()
    daemon = serve()
    found = daemon.data.stat()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(f"\0pinetboot/trace/{found.st_dev:x}-{found.st_ino:x}")
        sock.send(b"\xff" * 5000)
        sock.send(b"")
        sock.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, (0).to_bytes(4, "little") * 3)])
    with taking(daemon, tmp_path / "x.pcap"):
        fetch_missing(daemon)
    assert names_in(udp_in(tmp_path / "x.pcap")) == [f"{SERIAL}/nothing"]
    assert not daemon.said("unexpected fault, please report it")


def fetch_missing(daemon: Daemon) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(f"\0\1{SERIAL}/nothing\0octet\0".encode(), ("127.0.0.1", daemon.tftp_port))
        sock.settimeout(5)
        sock.recv(600)


def test_nfs_is_left_out_by_the_kernel_and_what_is_lost_is_counted() -> None:
    require_root()
    port = free_port()
    seeing = capture.opened(Wanted((), 0, addresses={"127.0.0.9"}))
    with seeing, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        for to in (("127.0.0.9", 2049), ("127.0.0.8", port), ("127.0.0.9", port)):
            sock.sendto(b"for " + to[0].encode(), to)
        seen = wait_until(lambda: capture.receive(seeing))
        assert seen is not None
        assert seen.octets.endswith(b"for 127.0.0.9")
        assert int.from_bytes(seen.octets[36:38], "big") == port
        assert abs(seen.at - time.time()) < 60
        assert capture.receive(seeing) is None
        assert capture.lost(seeing) == 0
        seeing.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(100):
            sock.sendto(bytes(4000), ("127.0.0.9", port))
        kept = 0
        while capture.receive(seeing) is not None:
            kept += 1
        assert kept < 100
        assert capture.lost(seeing) == 100 - kept
        capture.narrow(seeing, Wanted((port,), 0, addresses={"127.0.0.7"}))
        sock.sendto(b"dhcp", ("127.0.0.8", port))
        assert wait_until(lambda: capture.receive(seeing)).octets.endswith(b"dhcp")
