"""Why a boot stops once a kernel was sent: command line, NFS root and seed.

Belongs here: the sentences of D27 to D37 and their kind, one constructor a rule.
"""

from __future__ import annotations

from pinetboot.causes.cause import Cause


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


def seed_of_another(address: str) -> Cause:
    """D34: a seed may hold secrets, and is told to its Pi's own address alone."""
    return Cause(
        "D34",
        f"its seed was not told to {address}, from where it asked",
        "a seed is told to the Pi's own address alone, which is another one in fleet.toml or was learned elsewhere",
        "Correct `address` in fleet.toml, or have the DHCP server reserve that address for its MAC.",
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


def command_line_too_long(size: int) -> Cause:
    """D27: the end of a command line may be lost."""
    return Cause(
        "D27",
        f"cmdline.txt has {size:,} bytes",
        "more than 1023 may be cut off by the firmware or the kernel",
        "Take words out of the image's cmdline.txt, or out of `cmdline` in fleet.toml.",
    )


def unaddressed(server: str) -> Cause:
    """D46: the kernel took a proxy's offer for an address."""
    return Cause(
        "D46",
        f"Linux took the offer of {server} for an address, and requests 0.0.0.0",
        "a ProxyDHCP server answers clients that are no PXE clients, and Linux takes the first offer that comes",
        "Have that server answer PXEClient requests alone, or stop it.",
    )


def others_root(serial: str, address: str) -> Cause:
    """D28: the root of another Pi is mounted."""
    return Cause(
        "D28",
        f"the root of {serial} was mounted from its address, {address}, and its own was not",
        "its cmdline.txt is a copy of another Pi's",
        "Correct nfsroot= in its cmdline.txt, and shut it down before both write to that root.",
    )


def joined_seed(path: str) -> Cause:
    """D36: the address of the seed ends without a slash."""
    return Cause(
        "D36",
        f"cloud-init asks for {path}, which is no seed file",
        "an older cloud-init puts the name right behind the address of ds=nocloud",
        "End the address in cmdline.txt with a slash.",
    )


def address_changed(before: str, after: str) -> Cause:
    """D32: the address that the root is mounted from is given up."""
    return Cause(
        "D32",
        f"its root was mounted from {before}, then it asked for {after}, and nothing more came",
        "its network was set up anew while the root hangs on it: NetworkManager, dhcpcd or cloud-init with another "
        "client identifier",
        "Give addresses by MAC, and have the root's network card left alone (network-config=disabled for cloud-init).",
    )


def network_anew() -> Cause:
    """D47: cloud-init sets up the network that the root hangs on."""
    return Cause(
        "D47",
        "its root was mounted, then it asked for an address anew, and nothing more came",
        "cloud-init sets the network up by itself, and the root hangs on it",
        "Write network-config=disabled into cmdline.txt.",
    )


def stranger_mounts(address: str, own: str) -> Cause:
    """Its root is mounted from an address that is not its own; the reference has no rule for it."""
    return Cause(
        "",
        f"its root is mounted from {address}, and its own address is {own}",
        "another machine uses the root of this Pi, or it has a second address",
        "See who has that address; keep nfs.clients empty, and each root is exported to its own Pi alone.",
    )


def mac_changed(before: str, after: str) -> Cause:
    """D44: the same serial with another MAC."""
    return Cause(
        "D44",
        f"it comes with the MAC {after}, and had {before} before",
        "MAC_ADDRESS in its bootloader was changed, or fleet.toml has another board's",
        "Write the MAC that it has into fleet.toml, and into reservations of your DHCP server.",
    )


def serial_twice(one: str, other: str) -> Cause:
    """D44: two boards in turn with one serial."""
    return Cause(
        "D44",
        f"{one} and {other} come in turn with this serial",
        "two boards have the same last eight digits of their serial, and share trees, root and seed",
        "Give one of them a folder by MAC (TFTP_PREFIX=2 in its bootloader).",
    )


def sent_back(fled: int, to: int, after_s: float) -> Cause:
    """A new generation did not come online, and its Pi boots an earlier one; the reference has no rule for it."""
    return Cause(
        "",
        f"it was sent back from generation {fled} to generation {to}",
        f"generation {fled} was not online within {after_s:g} seconds (fleet.rollback_after_s)",
        "See why its boots stopped; `pinetboot pi upgrade SERIAL` tries the newest of its image again.",
    )


def shared_identity(kind: str, others: str) -> Cause:
    """What must be one Pi's alone is another's as well; the reference has no rule for it."""
    why = {
        "machine-id": "they get one another's addresses from DHCP servers that go by it, and share a name in logs",
        "ssh host key": "whoever has the key of one can pass for the other",
    }
    return Cause(
        "",
        f"it has the same {kind} as {others}",
        why[kind],
        "Delete the folder `identity` of one of them below pis/: its next generation gets one of its own.",
    )
