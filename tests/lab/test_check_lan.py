"""`pinetboot check` looks at a LAN: who gives addresses, who would fight us, and what is closed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab.dhcp_servers import start_server
from lab.lan import INTERFACE, SWITCH
from support import require, wait_until, without_privileges

if TYPE_CHECKING:
    from lab.lan import Lan

pytestmark = pytest.mark.timeout(60)

SERVER, ROUTER, OTHER = "10.55.0.2", "10.55.0.1", "10.55.0.50"
PROXY = '[dhcp]\nmode = "proxy"\n'
HOLDING = """
import socket, sys, time
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 69))
tcp = socket.socket()
tcp.bind(("127.0.0.1", 80))
tcp.listen()
print("held", flush=True)
time.sleep(60)
"""
RULES = """
table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        udp dport { 67, 68 } accept
    }
}
"""


def check(lan: Lan, config: str = PROXY, *before: str) -> tuple[int, list[dict[str, Any]]]:
    """Run it on the host `server`: exit code, and the findings about the host and its LAN."""
    settings, data = lan.folder / "check.toml", lan.folder / "check"
    data.mkdir(exist_ok=True)
    settings.write_text(f'{config}\n[nfs]\nmode = "off"\n')
    command = [*before, sys.executable, "-m", "pinetboot", "check", "--json"]
    done = lan.run("server", *command, "--config", str(settings), "--data", str(data), within_s=40.0)
    assert done.returncode in {0, 1}, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is (done.returncode == 0)
    assert all(one["what"] and one["why"] and one["do"] for one in told["findings"])
    # Whether this machine's clock is kept right is not this test's to say.
    return done.returncode, [one for one in told["findings"] if "clock" not in one["what"]]


def short(findings: list[dict[str, Any]]) -> list[str]:
    return [f"{one['severity']} {one['rule']} {one['what']}" for one in findings]


def test_beside_a_router_and_a_daemon_of_our_own_there_is_nothing_to_say(lan: Lan) -> None:
    lan.router()
    daemon = lan.serve()
    assert check(lan) == (0, [])
    # It was asked as a Pi would ask, and took it for none.
    assert daemon.said("boot offered") == []


def test_where_nobody_gives_addresses_no_pi_boots(lan: Lan) -> None:
    code, found = check(lan)
    assert (code, short(found)) == (1, [f"fatal D03 no DHCP server answers on {INTERFACE}"])


def test_who_else_tells_pis_to_boot_is_named(lan: Lan) -> None:
    # The router takes what says architecture 0 for a PC, and a pinetboot of another host tells Pis to boot from there.
    start_server(lan, "dnsmasq", lines="pxe-service=x86PC,Install,lpxelinux\npxe-prompt=Boot,1\n")
    lan.address("client", f"{OTHER}/24")
    lan.serve(host="client")
    lan.serve()
    code, found = check(lan)
    assert code == 0
    router, other = (f"on {INTERFACE} ({lan.mac(host).hex(':')})" for host in ("router", "client"))
    assert short(found) == [
        f"warning D06 the boot server {ROUTER} {router} offers a PC's way to boot to Pis",
        f"warning D43 another boot server, {OTHER} {other}, tells Pis to boot from {OTHER}",
    ]


def test_a_server_of_its_own_lan_is_alone_on_it(lan: Lan) -> None:
    # As it comes, dnsmasq pings an address for three seconds before it offers it to a client that is new to it.
    require("dnsmasq")
    command = [*lan.command("router"), "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="]
    command += ["--port=0", "--user=root", f"--dhcp-leasefile={lan.folder / 'leases'}", "--dhcp-authoritative"]
    command += ["--dhcp-range=10.55.0.100,10.55.0.199,255.255.255.0,10m"]
    lan.running.append(subprocess.Popen(command))
    assert wait_until(lambda: lan.run("router", "ss", "-Huln", "sport", "=", ":67").stdout)

    code, found = check(lan, '[dhcp]\nmode = "server"\nrange = "10.55.0.100-10.55.0.199"\n')
    (line,) = short(found)
    assert code == 1
    assert line.startswith(f"fatal  another DHCP server, {ROUTER}, answers on {INTERFACE} and offers 10.55.0.1")


def test_ports_rules_and_the_switch_are_looked_at_together(lan: Lan) -> None:
    require("nft")
    # A forwarding delay of 2 s is the shortest that the standard knows; the kernel's bridge speaks the slow version.
    lan.ip(SWITCH, "link", "set", "bridge", "type", "bridge", "forward_delay", "200", "hello_time", "100")
    lan.ip(SWITCH, "link", "set", "bridge", "type", "bridge", "stp_state", "1")
    lan.router()
    command = [*lan.command("server"), sys.executable, "-c", HOLDING]
    holding = subprocess.Popen(command, stdout=subprocess.PIPE)
    lan.running.append(holding)
    assert holding.stdout is not None
    assert holding.stdout.readline() == b"held\n"
    (lan.folder / "rules").write_text(RULES)
    done = lan.run("server", "nft", "-f", str(lan.folder / "rules"))
    assert done.returncode == 0, done.stderr
    assert wait_until(lambda: forwarding(lan), 20.0)

    code, found = check(lan)
    assert code == 1
    python = f"{command_name(holding.pid)} (process {holding.pid})"
    assert short(found) == [
        f"fatal  UDP port 69, which TFTP needs, is held by {python}",
        f"fatal  TCP port 80, which HTTP needs, is held by {python}",
        f"warning D18 this host's firewall drops UDP 69 and TCP 80 on {INTERFACE}",
        f"info D05 the switch behind {INTERFACE} speaks spanning tree",
    ]
    holding.stdout.close()


def forwarding(lan: Lan) -> bool:
    """Whether every port of the switch forwards."""
    shown = json.loads(lan.ip(SWITCH, "-json", "-details", "link", "show", "master", "bridge"))
    return all(port["linkinfo"]["info_slave_data"]["state"] == "forwarding" for port in shown)


def command_name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_what_this_user_may_not_do_is_said(lan: Lan) -> None:
    code, found = check(lan, PROXY, *without_privileges())
    assert code == 1
    assert short(found) == [
        "fatal  this user may not listen on the ports that Pis ask",
        "info  the LAN was not asked for its DHCP servers",
        "info  CAP_NET_RAW is missing",
    ]
