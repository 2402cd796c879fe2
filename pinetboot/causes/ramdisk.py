"""Why a boot stops at its boot.img: not there, too large, not what was signed.

Belongs here: the sentences of D41 and their kind, one constructor a rule (reference 3.5, 4.4).
"""

from __future__ import annotations

from pinetboot.causes.cause import Cause


def http_boot_lacks(names: list[str]) -> Cause:
    """D41: HTTP boot wants an image and its signature."""
    return Cause(
        "D41",
        f"it boots over HTTP, and {' and '.join(names)} is not served",
        "HTTP boot takes boot.img and boot.sig, signed with a key that is in the bootloader, and nothing else",
        'Set boot = "img" for it, or put both into its boot tree; a CM4 with a bootloader of 2025-08-27 needs a newer '
        "one to get over it.",
    )


def http_boot_refused() -> Cause:
    """D41: it has both files, and starts over."""
    return Cause(
        "D41",
        "it got boot.img and boot.sig over HTTP, and starts over, again and again",
        "its bootloader has not the public half of the key that signed them, or cannot boot what is in boot.img",
        "Program the key with `pinetboot eeprom`, and see `pinetboot check` for what is in its boot tree.",
    )


def http_silent(url: str, why: str) -> Cause:
    """D41: the web server of HTTP boot."""
    return Cause(
        "D41",
        f"{url} did not come: {why}",
        "no web server runs there, a firewall drops its TCP port, or it stops in the middle",
        "Start the server, and see that HTTP_HOST, HTTP_PORT and HTTP_PATH in the bootloader's settings name it.",
    )


def signature_unread(url: str) -> Cause:
    """D41: boot.sig is none, or holds no signature."""
    return Cause(
        "D41",
        f"{url} holds no RSA signature",
        "HTTP boot from a server of one's own wants one, with or without secure boot",
        "Name a key as boot_img.key_file, and program its public half with `pinetboot eeprom`.",
    )


def ramdisk_tampered(url: str) -> Cause:
    """D41: boot.img is not what boot.sig was made for."""
    return Cause(
        "D41",
        f"{url} is not the file that boot.sig was made for",
        "it was changed after it was signed, or replaced while it was fetched",
        "Have `pinetboot serve` make both anew, or sign it again.",
    )


def ramdisk_by_another_key(url: str) -> Cause:
    """D41: boot.sig is by a key that the bootloader does not have."""
    return Cause(
        "D41",
        f"{url} was signed with another key than the bootloader has",
        "boot_img.key_file is another one by now, or the bootloader was never given its public half",
        "Program the public half of boot_img.key_file with `pinetboot eeprom`.",
    )


def ramdisk_too_large(size: int, most: int) -> Cause:
    """D17: more than the bootloader has room for."""
    return Cause(
        "D17",
        f"boot.img has {size:,} bytes",
        f"the bootloader takes {most:,}",
        "Take files of other models out of its boot tree, or make its initramfs smaller (MODULES=dep).",
    )


def ramdisk_unreadable(why: str) -> Cause:
    """D41: what is in boot.img is no file system to boot from."""
    return Cause(
        "D41", f"boot.img cannot be read: {why}", "it is no FAT file system, or a damaged one", "Make it anew."
    )
