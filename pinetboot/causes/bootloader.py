"""Why a boot stops, as the bootloader itself says in its log.

Belongs here: the sentences for what it says, one constructor a line that it writes (reference 4.5).
"""

from __future__ import annotations

from pinetboot.causes.cause import Cause


def says_no_support() -> Cause:
    """D15: the operating system does not say that it knows this model."""
    return Cause(
        "D15",
        "its bootloader says that the operating system does not indicate support for this Pi",
        "the boot tree has no device tree or kernel for it: the image is older than this model",
        "Use a newer image; os_check=0 in config.txt is for tests only.",
    )


def says_incompatible() -> Cause:
    """D27: kernel and device tree do not go together."""
    return Cause(
        "D27",
        "its bootloader says that kernel or device tree is not there or not compatible",
        "the files in its boot tree are another model's, or of different images",
        "Serve kernel, device tree and overlays of one image that is made for this model.",
    )


def says_line_too_long() -> Cause:
    """D27: the command line does not fit."""
    return Cause(
        "D27",
        "its bootloader says that the command line is too long",
        "cmdline.txt and what the device tree adds to it are longer than the bootloader takes",
        "Take words out of the image's cmdline.txt, or out of `cmdline` in fleet.toml.",
    )


def says_timeouts(times: int) -> Cause:
    """D19: its own TFTP gave up."""
    return Cause(
        "D19",
        f"its bootloader gave a file up after {times} time-outs",
        "packets are lost on the way, or a server is silent",
        "Look at the link (`ip -s link`), at this host's load and at its log.",
    )


def says_other_server(address: str) -> Cause:
    """D43: it boots from somebody else."""
    return Cause(
        "D43",
        f"its bootloader takes its files from {address}, which is no address of this host",
        "another server answers with a boot menu as well, or TFTP_IP in its bootloader names that address",
        "Stop the other server (an older dnsmasq or piserver, say), or take TFTP_IP out of its bootloader.",
    )


def says_old_after_reboot(dated: str, mended: str) -> Cause:
    """D38: an early bootloader that does not boot from the network every time."""
    return Cause(
        "D38",
        f"its bootloader is of {dated}, and boots from the network only now and then",
        f"until {mended} some boards of this model found no network after a reboot, or after a first attempt",
        "Update its bootloader: sudo rpi-eeprom-update -a, or pinetboot eeprom with --image.",
    )


def says_old_breaks_network(dated: str, mended: str) -> Cause:
    """D39: an early bootloader that leaves the network card in disorder."""
    return Cause(
        "D39",
        f"its bootloader is of {dated}; Linux may lose the network when it boots from elsewhere after a failed attempt",
        f"until {mended} the bootloader left the network card as it was after an attempt to boot from the network",
        "Update its bootloader: sudo rpi-eeprom-update -a, or pinetboot eeprom with --image.",
    )
