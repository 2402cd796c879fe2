"""Why a machine that is no Pi goes no further: what it fetched, and what it did not ask for after that.

Belongs here: the sentences, one constructor a reason. The reference's rules are about Pis: these have no number.
"""

from __future__ import annotations

from pinetboot.causes.cause import Cause

_SCREEN = "Look at its screen"


def machine_finds_nothing(name: str) -> Cause:
    """Nothing was sent to it: not even the first file that it asked for is there."""
    return Cause(
        "",
        f"{name}, the first file that it asked for, is not there",
        "whatever told it that name, a DHCP server or its own settings, names no file of the boot tree",
        "Put the file there, or have it told another name; `pinetboot installer add` brings loaders and menus.",
    )


def machine_lacks(name: str) -> Cause:
    """A file that it cannot go on without."""
    return Cause(
        "",
        f"{name} is not there, and it asked for nothing more",
        "what it loaded before needs this file as well",
        "Add the installer anew (`pinetboot installer add`), or put the file there.",
    )


def machine_refused(name: str) -> Cause:
    """A file that is there and was not given."""
    return Cause(
        "",
        f"{name} was refused, and it asked for nothing more",
        "the file may not be read, is no regular file, or is a symlink that leaves its tree",
        "Run `chmod a+r` on it, or put the file itself in place of the link.",
    )


def machine_broke_off(name: str, size: int, sent: int) -> Cause:
    """A file came in part; `size` and `sent` are bytes, a size of 0 where it is not known."""
    of = f" of {size:,}" if size else ""
    return Cause(
        "",
        f"{name} stopped at {sent:,}{of} bytes, and it asked for nothing more",
        "it was switched off or reset, its cable was pulled, packets are lost on the way, or its memory is full",
        f"{_SCREEN}, its cable and its switch port; `ip -s link` on this host counts what is lost here.",
    )


def machine_has_no_menu(loader: str, name: str) -> Cause:
    """Its boot loader came, and found no menu."""
    return Cause(
        "",
        f"{loader} found no menu: {name} is not there",
        "menus are written as soon as there is an installer",
        "Add one (`pinetboot installer add`), or write a menu of your own by that name.",
    )


def machine_has_half(came: str, other: str) -> Cause:
    """Of an installer's kernel and initramfs it fetched one alone."""
    return Cause(
        "",
        f"it fetched {came}, and never asked for {other}",
        "an installer starts with both: it was switched off or reset in between, or its memory is full",
        f"{_SCREEN}; 1 GB of memory is enough for Debian's.",
    )


def grub_asks_elsewhere(name: str, giver: str) -> Cause:
    """GRUB beside another DHCP server, `giver`; empty where that is not known."""
    other = f"{giver}, which gave the address," if giver else "the DHCP server that gave the address"
    return Cause(
        "",
        f"it fetched {name}, and asked for no menu here",
        f"GRUB asks {other} for its menu; or Secure Boot refused what came",
        'Where its screen has GRUB\'s prompt, name this host as next-server there, or set dhcp.mode = "server" here.',
    )


def grub_not_signed(name: str) -> Cause:
    """A GRUB that was made to know its server, which its signature does not outlive."""
    return Cause(
        "",
        f"it fetched {name}, and asked for no menu",
        "this GRUB knows its server and is not signed for that: shim refuses it where Secure Boot is on",
        'Switch Secure Boot off in its firmware, have it boot by HTTP, or set dhcp.mode = "server" here.',
    )


def ipxe_not_signed(name: str) -> Cause:
    """Debian's iPXE, and nothing after it."""
    return Cause(
        "",
        f"it fetched {name}, and iPXE was not heard of",
        "Debian's iPXE is not signed, and firmware refuses it where Secure Boot is on",
        'Switch Secure Boot off in its firmware, or have dhcp.mode = "server" here, by which it gets shim and GRUB.',
    )


def loader_alone(name: str) -> Cause:
    """A UEFI boot loader, and nothing after it."""
    return Cause(
        "",
        f"it fetched {name}, and asked for nothing more",
        "Secure Boot refused it as not signed by somebody whom its firmware knows, or it hangs in it",
        f"{_SCREEN}; switch Secure Boot off in its firmware to see whether it is that.",
    )
