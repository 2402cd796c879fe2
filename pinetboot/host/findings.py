"""What is wrong with the host and the LANs around it, as findings: from what was seen to sentences.

Belongs here: a small function for each rule about a LAN. What is looked at, and how, is `look`'s; what is wrong with
the host itself is in `machine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

from pinetboot.causes import Finding
from pinetboot.dhcp.asking import Neighbour
from pinetboot.dhcp.options import encode_pxe_menu
from pinetboot.host import machine
from pinetboot.host.scene import Lan, Scene

_ROM_S: Final = 25  # five DISCOVERs, five seconds apart (reference 2.4)


def of(scene: Scene) -> list[Finding]:
    """Everything that can be said of the host and its LANs."""
    return [finding for rule in (*_RULES, *machine.RULES) for finding in rule(scene)]


def _no_addresses(scene: Scene) -> list[Finding]:
    """D03: a Pi gets an address from somebody else than a ProxyDHCP."""
    asked = [lan for lan in scene.lans if not lan.unasked]
    without = [lan for lan in asked if not any(one.offered for one in lan.neighbours)]
    if scene.config.dhcp.mode == "server" or not without:
        return []
    # A server that knows its clients answers them alone.
    served = [lan for lan in without if any(lan.holds(address) for address in scene.known)]
    nowhere = len(without) == len(asked)
    severity: Literal["fatal", "warning", "info"] = "info"
    if served:
        severity = "warning"
    elif nowhere:
        severity = "fatal"
    elif scene.config.server.interfaces:
        severity = "warning"
    return [
        Finding(
            severity,
            f"no DHCP server answers on {_names(without)}",
            f'a Pi needs an address, and with dhcp.mode "{scene.config.dhcp.mode}" pinetboot gives none',
            'Switch on DHCP in the router, or set dhcp.mode = "server" on a LAN without one; nothing is to be done '
            "where no Pi is, or where a DHCP server answers those alone that it knows.",
            "D03",
        )
    ]


def _nobody_says_boot(scene: Scene) -> list[Finding]:
    """D02: with `dhcp.mode = "off"` the LAN's own server has to say where to boot from."""
    if scene.config.dhcp.mode != "off":
        return []
    silent = [
        lan
        for lan in scene.lans
        if any(one.offered for one in lan.neighbours) and not any(one.boots_pis for one in lan.neighbours)
    ]
    found = []
    if silent:
        found.append(
            Finding(
                "warning",
                f"no DHCP server on {_names(silent)} tells Pis to boot",
                'dhcp.mode is "off", so that pinetboot does not either; but for a Pi with TFTP_IP in its EEPROM',
                'Add to that server what `pinetboot dhcp-lines` prints, or set dhcp.mode = "proxy".',
                "D02",
            )
        )
    for lan, one in _all(scene):
        if one.boots_pis and not _leads_here(scene, one):
            found.append(
                Finding(
                    "warning",
                    f"the DHCP server {one.server} on {lan.interface} tells Pis to boot from {one.boot_server}",
                    "that is no address of this host",
                    "Have it tell the address of this host: `pinetboot dhcp-lines` prints what to add.",
                    "D02",
                )
            )
    return found


def _competitors(scene: Scene) -> list[Finding]:
    """D43, D06: who else tells Pis where to boot from."""
    if scene.config.dhcp.mode == "off":
        return []
    found = []
    for lan, one in _all(scene):
        if _is_ours(scene, one):
            continue
        who = f"{one.server} on {lan.interface} ({'this host' if one.own_host else one.mac})"
        if one.boots_pis and not _leads_here(scene, one):
            found.append(
                Finding(
                    "warning",
                    f"another boot server, {who}, tells Pis to boot from {one.boot_server}",
                    "a Pi takes either answer, so that some boots go there",
                    "Stop the other one (a ProxyDHCP, piserver, options 43 or 66 of a router), or have it leave out "
                    'Pis; where it is the one to be used, set dhcp.mode = "off" here.',
                    "D43",
                )
            )
        elif one.boots_others:
            found.append(
                Finding(
                    "warning",
                    f"the boot server {who} offers a PC's way to boot to Pis",
                    "they call themselves architecture 0, as PCs with a BIOS do; older firmware may take its word",
                    "Have it leave out what has a MAC of Raspberry Pi's, or a Pi's option 97.",
                    "D06",
                )
            )
    return found


def _other_server(scene: Scene) -> list[Finding]:
    """Say who else gives addresses on a LAN that is to be ours; `serve` refuses to start beside one."""
    dhcp = scene.config.dhcp
    if dhcp.mode != "server":
        return []
    if scene.misplaced is not None:
        return [Finding("fatal", scene.misplaced[0], "pinetboot does not start with it", scene.misplaced[1])]
    others = [(lan, one) for lan, one in _all(scene) if one.offered and not _is_ours(scene, one)]
    return [
        Finding(
            "info" if dhcp.allow_other_server else "fatal",
            f"another DHCP server, {one.server}, answers on {lan.interface} and offers {one.offered.ip}",
            "two that know nothing of each other may give one address to two machines"
            + ("" if dhcp.allow_other_server else "; pinetboot does not start beside it"),
            'Switch it off, or set dhcp.mode = "proxy" to boot beside it.',
        )
        for lan, one in others
        if one.offered
    ]


def _spanning(scene: Scene) -> list[Finding]:
    found = []
    for lan in scene.lans:
        tree = lan.spanning
        if tree is None or not tree.silent_s:
            continue
        slow = not tree.rapid and tree.silent_s > _ROM_S
        found.append(
            Finding(
                "warning" if slow else "info",
                f"the switch behind {lan.interface} speaks {'rapid ' if tree.rapid else ''}spanning tree",
                f"a port that is not set as an edge port forwards nothing for {tree.silent_s:.0f} s after its link "
                f"came up; a Pi 3B gives up after {_ROM_S} s, an EEPROM after 45 s",
                "Set the ports of the Pis to edge (portfast); nothing is to be done where they are.",
                "D05",
            )
        )
    return found


def _unasked(scene: Scene) -> list[Finding]:
    whys = {lan.unasked: lan for lan in scene.lans if lan.unasked}
    return [
        Finding(
            "info",
            "the LAN was not asked for its DHCP servers",
            why,
            "Run `pinetboot check` as root.",
        )
        for why in whys
    ]


def _all(scene: Scene) -> Iterable[tuple[Lan, Neighbour]]:
    return ((lan, one) for lan in scene.lans for one in lan.neighbours)


def _leads_here(scene: Scene, one: Neighbour) -> bool:
    named = scene.config.server.address
    return one.boot_server in {str(address) for address in scene.own} or one.boot_server == named


def _is_ours(scene: Scene, one: Neighbour) -> bool:
    """Whether a pinetboot on this very host answered: it says what ours would, and one serves here."""
    if not (one.own_host and scene.serving):
        return False
    if scene.config.dhcp.mode == "proxy":
        # Every answer of ours names itself in option 66, which dnsmasq does not.
        return one.offered is None and one.tftp_server == str(one.server)
    return one.menu in {b"", encode_pxe_menu(scene.config.dhcp.pxe_menu)} and one.tftp_server in {"", str(one.server)}


def _names(lans: Iterable[Lan]) -> str:
    return ", ".join(lan.interface for lan in lans)


_RULES: Final[tuple[Callable[[Scene], list[Finding]], ...]] = (
    _no_addresses,
    _nobody_says_boot,
    _other_server,
    _competitors,
    _spanning,
    _unasked,
)
