"""What is known of a Pi and of this host beside its boots: what its boot is judged with.

Belongs here: the value. Whoever knows these things joins them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinetboot.causes import Cause, Finding


@dataclass(frozen=True, slots=True)
class Outlook:
    """What can be expected of a boot, and what was found out about it.

    `ours`: it boots a generation with a root, which is heard of later. `hears_dhcp`: what Linux says over DHCP is heard
    here. `model` is as DHCP told it, empty where it did not. `leases`: addresses are given by pinetboot itself, `giver`
    is another server that a client took one from lately. `menu` is dhcp.pxe_menu. `reached` is the address at which the
    kernel's neighbour table has its MAC. `rival` is (serial, address) of a Pi that asks from the same address.
    `findings` is what a look at its trees and exports found, `log` what its bootloader says itself.
    """

    model: str = ""
    hostname: str = ""
    ours: bool = False
    hears_dhcp: bool = True
    leases: bool = False
    giver: str = ""
    menu: str = ""
    reached: str = ""
    rival: tuple[str, str] | None = None
    findings: tuple[Finding, ...] = ()
    log: Cause | None = None
