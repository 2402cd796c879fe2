"""Why a boot stops or would, as values: a rule of the reference's section 7, what was seen, why, and what to do.

Belongs here: the sentences, one constructor a rule, so that rehearsal, timeline and doctor say the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason. `rule` is D01 to D47; `what`, `why` and `do` are one sentence each."""

    rule: str
    what: str
    why: str
    do: str

    def to_json(self) -> dict[str, str]:
        """The shape that scripts rely on."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was looked at and is not as it should be. `rule` is empty where the reference has none for it.

    `fatal`: a Pi cannot boot, or comes up without what sets it up; `warning`: something it should have will not work;
    `info`: worth knowing.
    """

    severity: Literal["fatal", "warning", "info"]
    what: str
    why: str
    do: str
    rule: str = ""

    def to_json(self) -> dict[str, str]:
        """The shape that scripts rely on."""
        return asdict(self)


def no_boot_offer(menu: str) -> Cause:
    """D02: an address was offered, the text that the firmware looks for was not."""
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


def foreign_source(asked: str, answered: str) -> Cause:
    """D08: the answer came from another address than the one asked."""
    return Cause(
        "D08",
        f"the answer to a request to {asked} came from {answered}",
        "there is a NAT, a container bridge or a server with several addresses in between",
        "Run the server with host networking, bound to the one address that Pis are told.",
    )


def option66_is_a_name(name: str) -> Cause:
    """D11: option 66 must be an address."""
    return Cause(
        "D11",
        f"option 66 says {name!r}, which is no IPv4 address",
        "the firmware has no DNS",
        "Have the DHCP server send the address of the TFTP server as option 66, or leave the option out.",
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


def no_rollover(name: str, size: int) -> Cause:
    """D17: the file is too large for this firmware."""
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


def went_silent(name: str, block: int) -> Cause:
    """D19: the server stopped in the middle of a file."""
    return Cause(
        "D19",
        f"{name} stopped after block {block}: nothing came for 30 seconds",
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


def refused(name: str, message: str) -> Cause:
    """D45: the server has the file and does not give it."""
    return Cause(
        "D45",
        f"{name} was refused: {message}",
        "the file may not be read, is no regular file, or is a symlink that leaves its tree",
        "Run `chmod a+r` on it, or put the file itself in place of the link.",
    )


def no_root(what: str) -> Cause:
    """D28: the kernel would not find its root."""
    return Cause(
        "D28",
        what,
        "the firmware passes nothing of the network to Linux, all has to stand in cmdline.txt",
        "Write root=/dev/nfs nfsroot=SERVER:/PATH,vers=3 rw ip=dhcp rootwait into cmdline.txt.",
    )


def no_seed(url: str, why: str) -> Cause:
    """D34: cloud-init does not get its seed."""
    return Cause(
        "D34",
        f"{url} gave {why}",
        "cloud-init asks for every file eleven times, a second apart, and gives up without meta-data or user-data",
        "Check the ds=nocloud address in cmdline.txt, and that HTTP is on in the server's settings.",
    )


def no_request(server: str) -> Cause:
    """D10: it was told to boot from here, and asks for nothing."""
    return Cause(
        "D10",
        f"it was told to boot from {server}, and no TFTP request came from it",
        "a firewall drops UDP port 69, another boot server's offer was taken, or no route leads from it to this server",
        "Open UDP port 69 on this host, see that no other PXE server answers, and put both into one subnet.",
    )


def no_first_loader() -> Cause:
    """D12: the first file of a Pi 3, which is asked for in the root."""
    return Cause(
        "D12",
        "bootcode.bin is not served from the root of the boot tree",
        "the ROM of a Pi 3 asks for it there, never in the Pi's own folder",
        "Put the bootcode.bin of an image into boot/, or name an image for Pi 3s as fleet.default_image.",
    )


def no_linux() -> Cause:
    """D27: all files were sent, and no kernel asked for an address."""
    return Cause(
        "D27",
        "a kernel was sent, and did not ask for an address",
        "kernel, device tree and initramfs do not fit this model or one another, or cmdline.txt lacks ip=dhcp",
        "Look at its screen or serial console; serve kernel, device tree, overlays and initramfs of one image.",
    )


def no_mount() -> Cause:
    """D29: Linux is up, its root is not."""
    return Cause(
        "D29",
        "Linux asked for an address, and its root was not mounted",
        "the export is missing or for another address, UDP and TCP ports 111 and 2049 or mountd's are closed, or the "
        "initramfs refuses an option of nfsroot=",
        "Run `pinetboot check`, and look at `exportfs -v` on the NFS server.",
    )
