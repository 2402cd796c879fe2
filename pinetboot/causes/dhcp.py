"""Why a boot stops before its first file: what DHCP said, or did not.

Belongs here: the sentences of D01 to D11 and their kind, one constructor a rule.
"""

from __future__ import annotations

from pinetboot.causes.cause import Cause


def no_boot_offer(menu: str, other: str = "") -> Cause:
    """D02: an address was offered, the text that the firmware looks for was not; `other` is what was there instead."""
    if other:
        return Cause(
            "D02",
            f'an address was offered, but the boot menu in option 43 says "{other}", where this Pi looks for "{menu}"',
            "the firmware acts on no other text; PXE_OPTION43 in its bootloader changes which that is",
            "Set dhcp.pxe_menu to the text that the Pi looks for; three spaces behind it serve every model.",
        )
    return Cause(
        "D02",
        f'an address was offered, but no answer carried "{menu.strip()}" in option 43 or an address in option 66',
        "pinetboot does not run on this LAN, its answers do not get here, or its pxe_menu was changed",
        "Start `pinetboot serve` on this LAN with UDP ports 67 and 69 open, and leave dhcp.pxe_menu as it comes.",
    )


def no_address(boot_offer: bool) -> Cause:
    """D03: nobody gave an address."""
    return Cause(
        "D03",
        "a boot server answered, but nobody offered an address" if boot_offer else "no DHCP server answered",
        "a ProxyDHCP adds to a LAN's own DHCP server and gives no addresses itself",
        "Switch on DHCP in your router, or check the cable, the VLAN and the switch port of this machine.",
    )


def no_ack(server: str) -> Cause:
    """D03: the address that was offered was not confirmed."""
    return Cause(
        "D03",
        f"{server} offered an address and never confirmed it",
        "the DHCP server is out of addresses, or refuses this MAC",
        "Look into that server's log.",
    )


def rom_asleep() -> Cause:
    """D04: the ROM of a Pi 3B had all that it needs, and did not look at it."""
    return Cause(
        "D04",
        "all five tries were answered, and the ROM of the Pi 3B acted on none",
        "it looks at an answer only when a packet comes more than a second after its request, and gives a try up at a "
        "second without any",
        "Answer it at 0.6 and at 1.2 seconds (dhcp.rom_offers_s), or put bootcode.bin alone on an SD card.",
    )


def no_request(server: str, reached: str = "") -> Cause:
    """D10: it was told to boot from here, and asks for nothing; `reached` is an address from which it looked for us."""
    if reached:
        return Cause(
            "D10",
            f"it was told to boot from {server}, looked for it from {reached}, and no TFTP request came from there",
            "a firewall on this host or on the way drops UDP port 69",
            "Open UDP port 69 on this host; `pinetboot check` looks for what closes it.",
        )
    return Cause(
        "D10",
        f"it was told to boot from {server}, and no TFTP request came from it",
        "a firewall drops UDP port 69, another boot server's offer was taken, or no route leads from it to this server",
        "Open UDP port 69 on this host, see that no other PXE server answers, and put both into one subnet.",
    )


def no_network_in_order(order: str) -> Cause:
    """D01: its bootloader does not try the network."""
    return Cause(
        "D01",
        f"its bootloader's BOOT_ORDER is {order}, and that has no network boot",
        "it boots from what the order names, or from nothing",
        "Flash an order with the network in it: `pinetboot eeprom SERIAL --order network,usb,sd` writes it.",
    )


def option66_is_a_name(name: str) -> Cause:
    """D11: option 66 must be an address."""
    return Cause(
        "D11",
        f"option 66 says {name!r}, which is no IPv4 address",
        "the firmware has no DNS",
        "Have the DHCP server send the address of the TFTP server as option 66, or leave the option out.",
    )


def relayed_rom(relay: str) -> Cause:
    """D42: the mask ROM of a Pi 3B asks through a relay (reference 2.4)."""
    return Cause(
        "D42",
        f"the ROM of a Pi 3B asks through the relay {relay}",
        "that ROM mishandles answers that come through a relay, and cannot reach a TFTP server of another network",
        "Give the server an address in the Pi's own network, or the Pi an SD card with bootcode.bin alone on it.",
    )


def offers_ignored(server: str, giver: str) -> Cause:
    """D02: a Pi that could have an address takes none, with a way to boot beside it; `giver` gives addresses here."""
    return Cause(
        "D02",
        f"it asks again and again, and takes neither the address that {giver} gives nor what {server} offers it",
        "it looks for another text in option 43 (PXE_OPTION43 in its bootloader), or no answer gets to it",
        "Leave dhcp.pxe_menu as it comes, or set it to the text that this Pi looks for; then look at its switch port.",
    )


def menu_changed(menu: str) -> Cause:
    """D02: the text that every Pi looks for is not offered."""
    return Cause(
        "D02",
        f'the boot menu that is offered says "{menu.strip()}"',
        'the firmware acts on "Raspberry Pi Boot" alone, unless PXE_OPTION43 in its bootloader says otherwise',
        "Leave dhcp.pxe_menu as it comes: three spaces behind the text serve every model.",
    )


def port_late(tries: int) -> Cause:
    """D05: the first of the five tries of a Pi 3B's ROM were not heard."""
    return Cause(
        "D05",
        f"only {tries} of the five tries of this Pi 3B came here",
        "a switch port with spanning tree passes nothing on for half a minute after the link comes up, and the ROM "
        "does not ask a sixth time",
        "Switch its port to edge (portfast) or spanning tree off there, then power the Pi off and on.",
    )


def address_shared(address: str, other: str) -> Cause:
    """D40: two Pis ask for files from one address."""
    return Cause(
        "D40",
        f"it asks from {address}, and so does {other}",
        "two machines have one address (CLIENT_IP in a bootloader, say), or a NAT is between them and this host",
        "Give each an address of its own, by DHCP where nothing speaks against it, and no NAT on the way.",
    )


def unasked(address: str) -> Cause:
    """D40: files are asked for, and no DHCP was heard before."""
    return Cause(
        "D40",
        f"it asks for files from {address} without a word of DHCP before",
        "its bootloader has CLIENT_IP and TFTP_IP set, or its DHCP does not come to this host; "
        "then nobody here gave it that address",
        "See that no other machine has that address; take CLIENT_IP out of its bootloader to have it use DHCP.",
    )


def never_seen() -> Cause:
    """D01: nothing came from it yet."""
    return Cause(
        "D01",
        "nothing was heard of it yet",
        "it is off, boots from SD or USB first (BOOT_ORDER), has no network boot switched on (a Pi 3B), or its cable "
        "leads to another network",
        "Power it; see that BOOT_ORDER has a 2 before what else it could boot from, and that a Pi 3B's OTP bit is set.",
    )
