"""Why a boot stops at its files: what TFTP gave the firmware, or did not.

Belongs here: the sentences of D12 to D27 and their kind, one constructor a rule.
"""

from __future__ import annotations

from pinetboot.causes.cause import Cause


def foreign_source(asked: str, answered: str) -> Cause:
    """D08: the answer came from another address than the one asked."""
    return Cause(
        "D08",
        f"the answer to a request to {asked} came from {answered}",
        "there is a NAT, a container bridge or a server with several addresses in between",
        "Run the server with host networking, bound to the one address that Pis are told.",
    )


def no_loader(names: list[str], prefix: str) -> Cause:
    """D13: no loader in the Pi's folder, nor in the root."""
    return Cause(
        "D13",
        f"none of {', '.join(names)} is served, neither below {prefix} nor in the root of the boot tree",
        "the boot tree of this Pi is missing, empty, or may not be read",
        f"Put the files of an image's boot partition into boot/{prefix} (lower case), readable for the server.",
    )


def old_loader() -> Cause:
    """D14: only the loader of Pi 3 and older is there."""
    return Cause(
        "D14",
        "start.elf is there, start4.elf is not",
        "the boot tree was made for a Pi 3 or older",
        "Copy the boot files of a current image.",
    )


def file_missing(name: str, why: str) -> Cause:
    """D27: a file that this model cannot boot without."""
    return Cause(
        "D27",
        f"{name} is not served",
        why,
        "Use an image that has the files of this model; copy the whole boot partition, `overlays/` included.",
    )


def not_for_pi5(names: list[str]) -> Cause:
    """D15: the operating system has no files for a Pi 5."""
    return Cause(
        "D15",
        f"none of {', '.join(names)} is served",
        "the image is older than the Pi 5, and its firmware says that the OS does not indicate support",
        "Use a newer image; os_check=0 in config.txt is for tests only.",
    )


def no_rollover(name: str, size: int, *, pi3: bool = False) -> Cause:
    """D17: the file is too large for this firmware, a Pi 3's or a bootloader's."""
    if pi3:
        return Cause(
            "D17",
            f"{name} has {size:,} bytes, more than 65535 blocks of 512",
            "the firmware of a Pi 3 asks for no larger blocks, and its counter does not begin anew",
            "Make the file smaller than 32 MiB (initramfs with MODULES=dep).",
        )
    return Cause(
        "D17",
        f"{name} has {size:,} bytes, more than 65535 blocks",
        "bootloaders before 2025-09-23 stop at block 65535",
        "Update the bootloader EEPROM, or make the file smaller (initramfs with MODULES=dep).",
    )


def no_answer(server: str) -> Cause:
    """D18: nobody answers TFTP."""
    return Cause(
        "D18",
        f"{server} does not answer TFTP requests",
        "no TFTP server runs there, or a firewall drops UDP port 69 or the ports that answers leave from",
        "Start the server; open UDP 69 and its data ports (tftp.data_ports gives them a fixed range).",
    )


def went_silent(name: str, block: int, silence_s: float = 30.0) -> Cause:
    """D19: the server stopped in the middle of a file."""
    return Cause(
        "D19",
        f"{name} stopped after block {block}: nothing came for {silence_s:g} seconds",
        "packets are lost on the way, or the server's disk stalls",
        "Look at the link (`ip -s link`), at the server's load and at its log.",
    )


def no_oack(server: str) -> Cause:
    """D20: the server ignores tsize and blksize."""
    return Cause(
        "D20",
        f"{server} answered without an OACK",
        "its TFTP server does not know the options tsize and blksize, or has them switched off",
        "Use a TFTP server that has them.",
    )


def packets_doubled(name: str) -> Cause:
    """D22: a Pi 3 takes no OACK twice."""
    return Cause(
        "D22",
        f"{name} was lost: the answer to its request came twice",
        "packets are doubled on their way (two network cards in one LAN, a loop of bridges), or the server repeats "
        "them too soon",
        "Take the second way out; have the server wait a second or more before it repeats an answer.",
    )


def no_fixup(name: str) -> Cause:
    """D23: without it a Pi 3 has 128 MB of memory."""
    return Cause(
        "D23",
        f"{name} did not come",
        "without the one of its start.elf's version a Pi 3 has 128 MB of memory, or does not start",
        "Serve start.elf and fixup.dat of one release, and look for lost or doubled packets.",
    )


def refused(name: str, message: str) -> Cause:
    """D45: the server has the file and does not give it."""
    return Cause(
        "D45",
        f"{name} was refused: {message}",
        "the file may not be read, is no regular file, or is a symlink that leaves its tree",
        "Run `chmod a+r` on it, or put the file itself in place of the link.",
    )


def no_first_loader() -> Cause:
    """D12: the first file of a Pi 3, which is asked for in the root."""
    return Cause(
        "D12",
        "bootcode.bin is not served from the root of the boot tree",
        "the ROM of a Pi 3 asks for it there, never in the Pi's own folder",
        "Put the bootcode.bin of an image into boot/, or name an image for Pi 3s as fleet.default_image.",
    )


def asked_elsewhere(told: str, asked: str) -> Cause:
    """D08: requests come in on another address than the one that Pis are told, and nothing gets back."""
    return Cause(
        "D08",
        f"it was told to boot from {told}, its requests come in on {asked}, and no answer got through to it",
        "there is a NAT, a container bridge or a second network card in between",
        "Run pinetboot with host networking, or set server.address to the address that Pis are to use.",
    )


def unheard(name: str, times: int) -> Cause:
    """D18: the same request again and again: no answer arrives."""
    return Cause(
        "D18",
        f"{name} was asked for {times} times from one port, and none of it was acknowledged",
        "answers leave from other ports than 69, and something drops them: a firewall, or a way back that differs",
        "Set tftp.data_ports to a fixed range and open these UDP ports as well, on this host and on the way.",
    )


def client_silent(name: str, size: int, sent: int) -> Cause:
    """D19: the Pi went silent in the middle of a file."""
    return Cause(
        "D19",
        f"{name} stopped at {sent:,} of {size:,} bytes: the Pi acknowledged nothing more",
        "packets are lost on the way, its cable was pulled, or its power failed",
        "Look at cable, switch port and power supply; `ip -s link` on this host counts what is lost here.",
    )


def fell_silent(name: str) -> Cause:
    """D19: it asked for files, and then for nothing more."""
    return Cause(
        "D19",
        f"it asked for nothing more after {name}",
        "its cable or its power went, packets are lost, or its firmware hangs over something that it does not say here",
        "Look at cable, power supply and screen; netconsole.enabled has its bootloader's log shown here.",
    )


def late(name: str, seconds: float) -> Cause:
    """D19: a long silence before a request, as after a file that did not come in time."""
    return Cause(
        "D19",
        f"{seconds:.0f} seconds passed before it asked for {name}",
        "a file did not come within TFTP_FILE_TIMEOUT: packets are lost, the disk stalls, or another server is silent",
        "Look at the link (`ip -s link`), at this host's load and at its log; a Pi 5 has to be powered off and on.",
    )


def config_too_long(size: int) -> Cause:
    """D21: some stages read the beginning of config.txt alone."""
    return Cause(
        "D21",
        f"config.txt has {size:,} bytes",
        "over the network some stages of the firmware read the first 4096 alone",
        "Make it shorter: comments and the sections of other models can go.",
    )


def copies(where: str) -> Cause:
    """D22: what the Pi sends comes twice."""
    return Cause(
        "D22",
        f"its DISCOVERs come twice, {where}",
        "packets are doubled on their way: two network cards in one LAN, or a loop of bridges",
        "Take the second way out, or name one interface in server.interfaces.",
    )


def update_loop() -> Cause:
    """D25: the bootloader is flashed again at each start."""
    return Cause(
        "D25",
        "it takes pieeprom.upd and starts over, again and again",
        "the update in its boot tree is an old one, or does not get into its EEPROM",
        "Delete pieeprom.upd and pieeprom.sig from its boot tree, or set FREEZE_VERSION=1 in its bootloader.",
    )


def ramdisk_dropped() -> Cause:
    """D26: a signed boot.img over TFTP."""
    return Cause(
        "D26",
        "it gave boot.img up, and never asked for boot.sig",
        "bootloaders with secure boot have a fault with signed images over TFTP (CM5)",
        "Boot it over HTTP, or without SIGNED_BOOT.",
    )


def file_empty(name: str) -> Cause:
    """D45: a file without a byte in it."""
    return Cause(
        "D45",
        f"{name} was sent, and is empty",
        "it was cut off when it was copied, or its disk is full",
        "Copy the boot files of the image anew.",
    )
