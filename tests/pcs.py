"""A PC on loopback, beside a daemon that hears DHCP there: what a real one said, sent by this host itself."""

from __future__ import annotations

import socket
from pathlib import Path

from golden import load
from support import Daemon, free_port, loopback_config, wait_until

MAC = "52:54:00:12:34:56"
LOADER = "bootx64.efi"
_CAPTURES = Path(__file__).parent / "dhcp" / "golden"


def daemon_with_dhcp(folder: Path) -> tuple[Daemon, int]:
    """Make a daemon with a ProxyDHCP on loopback and a loader in its boot tree, and tell its DHCP port."""
    tftp_port, http_port, dhcp_port = free_port(), free_port(socket.SOCK_STREAM), free_port()
    text = loopback_config(tftp_port, http_port)
    text = text.replace('mode = "off"', f"port = {dhcp_port}").replace("[server]", '[server]\ninterfaces = ["lo"]')
    daemon = Daemon(folder, text)
    daemon.tftp_port, daemon.http_port = tftp_port, http_port
    (daemon.data / "boot").mkdir(parents=True)
    (daemon.data / "boot" / LOADER).write_bytes(b"x" * 5000)
    return daemon, dhcp_port


def discover(daemon: Daemon, dhcp_port: int) -> None:
    """Say the DISCOVER of a PC with UEFI, which was captured, until the daemon offers it a boot."""
    (datagram,) = load("discover-ovmf", _CAPTURES)

    def offered() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(datagram, ("127.0.0.1", dhcp_port))
        return any(line.get("mac") == MAC for line in daemon.said("boot offered"))

    assert wait_until(offered), daemon.text
