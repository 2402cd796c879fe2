"""Real DHCP servers and relays on hosts of a Lan: dnsmasq, Kea, ISC dhcpd; dhcrelay and dnsmasq as a relay."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import require, wait_until

if TYPE_CHECKING:
    from lab.lan import Lan

# dnsmasq may hold its port for itself or share it. Kea hears through packet sockets or through plain UDP, as its
# `dhcp-socket-type` says; with UDP it hears nothing but relays.
SERVERS = ("dnsmasq", "dnsmasq-shared", "kea-raw", "dhcpd")
RELAYED_ONLY = "kea-udp"
RELAYS = ("dhcrelay", "dnsmasq")
START_S = 15.0

_PROGRAMS = {
    "dnsmasq": "dnsmasq",
    "dnsmasq-shared": "dnsmasq",
    "kea-raw": "kea-dhcp4",
    "kea-udp": "kea-dhcp4",
    "dhcpd": "dhcpd",
}
_READY = {
    "dnsmasq": "DHCP, IP range",
    "dnsmasq-shared": "DHCP, IP range",
    "kea-raw": "DHCP4_STARTED",
    "kea-udp": "DHCP4_STARTED",
    "dhcpd": "Server starting service.",
}


@dataclass(frozen=True)
class Subnet:
    """A network to give addresses of: its pool, its router, further addresses by MAC, and options as octets.

    `interface` is where it is; empty for one that is reached through a relay. `next_server` and `filename` go into the
    header (siaddr, file).
    """

    network: str = "10.55.0.0/24"
    pool: tuple[str, str] = ("10.55.0.100", "10.55.0.199")
    router: str = "10.55.0.1"
    interface: str = "eth0"
    lease_s: int = 600
    reserved: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[int, bytes] = field(default_factory=dict)
    next_server: str = ""
    filename: str = ""

    @property
    def net(self) -> IPv4Network:
        return IPv4Network(self.network)


@dataclass
class Running:
    """A server or relay that runs on a host; it ends with the Lan at the latest."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_server(
    lan: Lan, name: str, host: str = "router", subnets: Sequence[Subnet] = (Subnet(),), *, lines: str = ""
) -> Running:
    """Start one of SERVERS, or RELAYED_ONLY, on a host and wait until it answers there.

    `lines` is what a user adds to its configuration: lines of dnsmasq.conf or of dhcpd.conf (global ones, at its end);
    for Kea JSON, merged into "Dhcp4".
    """
    require(_PROGRAMS[name])
    folder = _folder(lan, f"{name}-{host}")
    interfaces = [subnet.interface for subnet in subnets if subnet.interface]
    if name.startswith("dnsmasq"):
        command = _dnsmasq(folder, subnets, lines)
        command += ["--bind-interfaces"] if name == "dnsmasq-shared" else []
    elif name.startswith("kea"):
        command = _kea(folder, subnets, json.loads(lines or "{}"), name.removeprefix("kea-"))
    else:
        command = _dhcpd(folder, subnets, lines) + interfaces
    return _start(lan, host, command, folder, (name, _READY[name]))


def start_relay(lan: Lan, name: str, host: str, *, near: tuple[str, str], far: str, asked: Sequence[str]) -> Running:
    """Start one of RELAYS on a host: `near` are the interface towards the clients and its address, `far` the other.

    `asked` are the servers' addresses.
    """
    folder = _folder(lan, f"relay-{name}-{host}")
    if name == "dhcrelay":
        require("dhcrelay")
        # Option 82 is added (-a) and has to come back.
        command = ["dhcrelay", "-4", "-d", "--no-pid", "-a", "-id", near[0], "-iu", far, *asked]
        return _start(lan, host, command, folder, (name, "Sending on   Socket/"))
    require("dnsmasq")
    command = [*_dnsmasq_bare(folder), f"--interface={near[0]}", f"--interface={far}"]
    command += [f"--dhcp-relay={near[1]},{server}" for server in asked]
    return _start(lan, host, command, folder, (name, "DHCP relay from"))


def _folder(lan: Lan, name: str) -> Path:
    number = sum(1 for _ in lan.folder.glob(f"{name}-*"))
    folder = lan.folder / f"{name}-{number}"
    folder.mkdir()
    return folder


def _start(lan: Lan, host: str, command: Sequence[str], folder: Path, told: tuple[str, str]) -> Running:
    name, ready = told
    log = folder / "log"
    environment = os.environ | {"KEA_PIDFILE_DIR": str(folder), "KEA_LOCKFILE_DIR": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen([*lan.command(host), *command], stdout=output, stderr=output, env=environment)
    lan.running.append(process)
    running = Running(name, process, log)
    wait_until(lambda: process.poll() is not None or ready in running.text, START_S)
    if process.poll() is not None or ready not in running.text:
        raise AssertionError(f"{name} does not run: {running.text}")
    return running


def _dnsmasq_bare(folder: Path) -> list[str]:
    command = ["dnsmasq", "--keep-in-foreground", "--pid-file=", "--user=root", "--group=root", "--port=0"]
    return [*command, "--no-ping", "--log-dhcp", "--log-facility=-", f"--dhcp-leasefile={folder / 'leases'}"]


def _dnsmasq(folder: Path, subnets: Sequence[Subnet], lines: str) -> list[str]:
    settings = ["dhcp-authoritative"]
    for number, subnet in enumerate(subnets):
        tag = f"net{number}"
        settings += [f"interface={subnet.interface}"] if subnet.interface else []
        settings.append(f"dhcp-range=set:{tag},{','.join(subnet.pool)},{subnet.net.netmask},{subnet.lease_s}")
        settings.append(f"dhcp-option=tag:{tag},3,{subnet.router}")
        for code, value in subnet.options.items():
            settings.append(f"dhcp-option-force=tag:{tag},{code},{value.hex(':')}")
        if subnet.next_server or subnet.filename:
            settings.append(f"dhcp-boot=tag:{tag},{subnet.filename},,{subnet.next_server}")
        settings += [f"dhcp-host={mac},{address}" for mac, address in subnet.reserved.items()]
    path = folder / "dnsmasq.conf"
    path.write_text("\n".join([*settings, lines, ""]))
    return [*_dnsmasq_bare(folder), f"--conf-file={path}"]


def _kea(folder: Path, subnets: Sequence[Subnet], more: Mapping[str, Any], socket_type: str) -> list[str]:
    settings: dict[str, Any] = {
        "interfaces-config": {
            "interfaces": [subnet.interface for subnet in subnets if subnet.interface],
            "dhcp-socket-type": socket_type,
        },
        "lease-database": {"type": "memfile", "persist": False},
        "authoritative": True,
        "loggers": [
            {
                "name": "kea-dhcp4",
                "severity": "DEBUG",
                "debuglevel": 15,
                "output_options": [{"output": "stdout", "flush": True}],
            }
        ],
        "subnet4": [_kea_subnet(number, subnet) for number, subnet in enumerate(subnets, 1)],
    }
    path = folder / "kea.json"
    path.write_text(json.dumps({"Dhcp4": settings | dict(more)}, indent=1))
    return ["kea-dhcp4", "-c", str(path)]


def _kea_subnet(number: int, subnet: Subnet) -> dict[str, Any]:
    options: list[dict[str, Any]] = [{"name": "routers", "data": subnet.router}]
    options += [
        {"code": code, "csv-format": False, "data": value.hex(), "always-send": True}
        for code, value in subnet.options.items()
    ]
    made: dict[str, Any] = {
        "id": number,
        "subnet": subnet.network,
        "pools": [{"pool": " - ".join(subnet.pool)}],
        "valid-lifetime": subnet.lease_s,
        "option-data": options,
        "reservations": [{"hw-address": mac, "ip-address": address} for mac, address in subnet.reserved.items()],
    }
    made |= {"interface": subnet.interface} if subnet.interface else {}
    made |= {"next-server": subnet.next_server} if subnet.next_server else {}
    return made | ({"boot-file-name": subnet.filename} if subnet.filename else {})


def _dhcpd(folder: Path, subnets: Sequence[Subnet], lines: str) -> list[str]:
    settings = ["authoritative;", "ping-check false;"]
    defined: dict[int, str] = {}
    for subnet in subnets:
        for code in subnet.options:
            if code not in defined:
                # A name of our own for each code: dhcpd's own names have types of their own.
                defined[code] = f"lab-{code}"
                settings.append(f"option {defined[code]} code {code} = string;")
    for subnet in subnets:
        settings.append(f"subnet {subnet.net.network_address} netmask {subnet.net.netmask} {{")
        settings += [f"  range {' '.join(subnet.pool)};", f"  option routers {subnet.router};"]
        settings += [f"  default-lease-time {subnet.lease_s};", f"  max-lease-time {subnet.lease_s};"]
        settings += [f"  option {defined[code]} {value.hex(':')};" for code, value in subnet.options.items()]
        settings += [f"  next-server {subnet.next_server};"] if subnet.next_server else []
        settings += [f'  filename "{subnet.filename}";'] if subnet.filename else []
        settings.append("}")
        for mac, address in subnet.reserved.items():
            settings.append(f"host h{mac.replace(':', '')} {{ hardware ethernet {mac}; fixed-address {address}; }}")
    path, leases = folder / "dhcpd.conf", folder / "leases"
    path.write_text("\n".join([*settings, lines, ""]))
    leases.touch()
    return ["dhcpd", "-4", "-f", "-d", "-cf", str(path), "-lf", str(leases), "-pf", str(folder / "pid")]
