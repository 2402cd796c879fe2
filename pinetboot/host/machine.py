"""What is wrong with this host itself, as findings: ports, privileges, firewall, clock.

Belongs here: a small function for each rule, from what was seen to sentences. What is wrong on its LANs is in
`findings`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pinetboot.causes import Finding
from pinetboot.host.scene import Scene

_HOUR_S: Final = 3600
_ASKED: Final = {"tftp.port": 69, "dhcp.port": 67}


def _held(scene: Scene) -> list[Finding]:
    found = []
    for held in scene.held:
        port = f"{held.protocol.upper()} port {held.port}"
        asked = _ASKED.get(held.setting)
        if held.setting == "dhcp.port" and scene.may_raw and scene.config.dhcp.mode == "proxy":
            found.append(
                Finding(
                    "info",
                    f"{port} is held by {held.by}",
                    "pinetboot hears it all the same, beside that program",
                    "Nothing, where that is the DHCP server that gives addresses.",
                )
            )
            continue
        found.append(
            Finding(
                "fatal",
                f"{port}, which {held.service} needs, is held by {held.by}",
                "pinetboot does not start as long as it is",
                f"Stop that program, or set another {held.setting}"
                + (f": Pis ask port {asked} alone, so that is for other clients." if asked else "."),
            )
        )
    return found


def _privileges(scene: Scene) -> list[Finding]:
    if scene.serving:
        return []
    found = []
    if not scene.may_bind:
        found.append(
            Finding(
                "fatal",
                "this user may not listen on the ports that Pis ask",
                "those below 1024 need CAP_NET_BIND_SERVICE",
                "Run as root, or give pinetboot that capability (AmbientCapabilities= in its unit).",
            )
        )
    if not scene.may_raw and scene.config.dhcp.mode != "off":
        found.append(
            Finding(
                "info",
                "CAP_NET_RAW is missing",
                "without it pinetboot neither hears DHCP beside a program that holds port 67, nor asks a LAN for its "
                "DHCP servers, nor whether an address is in use before it leases it",
                "Give it, where one of these is wanted; run `pinetboot check` as the user that the daemon runs as.",
            )
        )
    if scene.no_roots:
        found.append(
            Finding(
                "warning",
                f"this user may not make root trees: {scene.no_roots}",
                "the files in them belong to many users",
                "Run the daemon as root where Pis have a root of their own; those with boot trees alone need none.",
            )
        )
    return found


def _firewall(scene: Scene) -> list[Finding]:
    found = [
        Finding(
            "warning",
            f"this host's firewall drops {' and '.join(closed.packets)} on {', '.join(closed.interfaces)}",
            f"{closed.chain} lets none of it in"
            + (", not even answers to what was sent" if closed.established else "; Pis get no answer"),
            "Let it in there: `nft add rule …`, `ufw allow …` or `firewall-cmd --add-service=…`, as it is kept.",
            "D18",
        )
        for closed in scene.closed
    ]
    if scene.unlisted_firewall:
        found.append(
            Finding(
                "info",
                "the firewall of this host was not looked at",
                "it is kept by iptables of the old kind, or nft is not installed",
                "See that it lets in UDP 67 and 69, and TCP 80: `iptables -S INPUT`.",
                "D18",
            )
        )
    return found


def _clock(scene: Scene) -> list[Finding]:
    if scene.slow_s > _HOUR_S:
        hours = int(scene.slow_s // _HOUR_S)
        return [
            Finding(
                "warning",
                f"the clock of this host is slow, by {hours} h at least",
                "the files of pinetboot itself are from later; certificates seem not valid yet, and so no image can be "
                "fetched, and what Pis write has times in the future",
                "Set it (`timedatectl set-ntp true`).",
            )
        ]
    if scene.synchronised is False:
        return [
            Finding(
                "info",
                "nothing keeps the clock of this host right",
                "a Pi has no clock of its own and takes its time from the network; where the two differ, the times of "
                "files on its root and in logs do as well",
                "Run an NTP client: systemd-timesyncd or chrony.",
            )
        ]
    return []


RULES: Final[tuple[Callable[[Scene], list[Finding]], ...]] = (_held, _privileges, _firewall, _clock)
