"""What a Pi's own trees say that its image cannot know: kernel command line, fstab, names.

Belongs here: texts made from texts (reference 5.1 to 5.3, 6.1), each of which made anew from itself stays as it is.
Only the words and lines that are managed change; what the user wrote stays, in its order.
Never here: a look at any file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pinetboot.fleet.pi import Pi

# Where a Pi mounts the folder of its disks; each is a file in there, mounted by loop.
DISKS: Final = "/var/lib/pinetboot/disks"

_NOCLOUD_OVER_HTTP: Final = (23,)
_NFS_3, _NFS_4 = 3, 4

# What must not start before a disk is there: `nofail` alone would let it write below the mount point.
_BEFORE: Final = ("cloud-config", "containerd", "docker", "k3s", "k3s-agent", "kubelet")

# The kernel takes blanks between double quotes as part of a word (next_arg() in lib/cmdline.c).
_WORD: Final = re.compile(r'(?:[^ \t\r\v\f"]|"[^"]*(?:"|$))+')
_UNIQUE_ID: Final = "nfs.nfs4_unique_id"
_FIRST_BOOT: Final = re.compile(r"init=.*(?:resize|firstboot|first_boot).*")
_FIRST_RUN: Final = ("systemd.run", "systemd.run_success_action", "systemd.run_failure_action")
_FIRST_RUN_TARGET: Final = "systemd.unit=kernel-command-line.target"
_OF_A_DISK: Final = re.compile(r"root=(?:PARTUUID|PARTLABEL|UUID|LABEL)=.*|root=/dev/(?:mmcblk|sd|nvme|nfs|disk/).*")
_NO_WORD_OF_A_PATH: Final = re.compile(r"[\s,\"'%;\\#]|[^\x21-\x7e]")


@dataclass(frozen=True, slots=True)
class Served:
    """What a Pi is told of its servers.

    `server` is this host's IPv4 address as that Pi is told it, `nfs_server` the same or that of an external NFS server,
    `nfs_data` the path under which the NFS server knows the data directory. An `http_port` of 0: there is no HTTP.
    """

    server: str
    http_port: int
    nfs_server: str
    nfs_data: str
    nfs_versions: tuple[int, ...] = (_NFS_3, _NFS_4)

    @property
    def url(self) -> str:
        """Where HTTP is served, without a slash at the end; empty where it is not."""
        if not self.http_port:
            return ""
        return f"http://{self.server}" + ("" if self.http_port == 80 else f":{self.http_port}")  # noqa: PLR2004 - RFC 9110

    def unusable(self) -> str:
        """Say what is wrong with the NFS path for a kernel command line; empty where nothing is."""
        found = _NO_WORD_OF_A_PATH.search(self.nfs_data)
        if found:
            return f"holds {found[0]!r}, which no path on a kernel command line may"
        return "" if self.nfs_data.startswith("/") else "does not begin with a slash"


@dataclass(frozen=True, slots=True)
class TreeFacts:
    """What was found in a boot tree and the root that belongs to it.

    `initramfs`: the tree boots with one (reference 5.2). `cloud_init` is its version in the root, empty where that is
    not known, None where it is not installed. `kernels` are the releases that have modules, `boot_kernels` those of the
    kernels in the boot tree, as far as they can be told. `cmdlines` are the names under which the firmware asks for the
    command line. `boot_folder`: the root has /boot/firmware.
    """

    initramfs: bool
    has_mount_nfs: bool
    cloud_init: tuple[int, ...] | None
    kernels: tuple[str, ...]
    boot_kernels: tuple[str, ...]
    has_systemd: bool
    cmdlines: tuple[str, ...] = ("cmdline.txt",)
    boot_folder: bool = True


def cmdline(original: str, pi: Pi, served: Served, generation: str, facts: TreeFacts) -> str:
    """Make a Pi's cmdline.txt from the one that stands: one line (reference 5.1).

    The managed words stand where the first of them stood, else at the end. What fleet.toml's `cmdline` says is added
    once, and takes the place of a managed word of the same name (an `ip=` of the user's own, say).
    """
    wanted = words(pi.cmdline)
    managed = _managed(pi, served, generation, facts)
    chosen = {_key(word): [one for one in wanted if _key(one) == _key(word)] or [word] for word in managed}
    block = [word for choice in chosen.values() for word in choice]
    # A managed word that fleet.toml names, and that this Pi would not have had, belongs to the block as well.
    block += [word for word in wanted if _is_managed(word, pi) and word not in block]
    before: list[str] = []
    after: list[str] = []
    place = before
    for word in words(original):
        if word in block or _is_managed(word, pi) or (_must_go(word, pi) and word not in wanted):
            place = after
        else:
            place.append(word)
    line = [*before, *block, *after]
    for word in wanted:
        if word not in line:
            line.append(word)
    return " ".join(line) + "\n"


def words(text: str) -> list[str]:
    """Part a command line into its words, of which the kernel sees those of the first line that has any."""
    line = next((line for line in re.split(r"[\r\n]", text) if line.strip(" \t\v\f")), "")
    return [word + '"' * (word.count('"') % 2) for word in _WORD.findall(line)]


def without(text: str, unwanted: list[str]) -> str:
    """Take words out of a command line that were added to it earlier."""
    return " ".join(word for word in words(text) if word not in unwanted) + "\n"


def added(original: str, pi: Pi) -> list[str]:
    """Say which words of fleet.toml's `cmdline` a line did not have by itself."""
    there = words(original)
    return [word for word in words(pi.cmdline) if word not in there]


def _managed(pi: Pi, served: Served, generation: str, facts: TreeFacts) -> list[str]:
    if pi.root == "none":
        return []
    root = f"{served.nfs_server}:{served.nfs_data.rstrip('/')}/pis/{pi.serial}/{generation}/root"
    options = _root_options(served, facts)
    managed = ["root=/dev/nfs", f"nfsroot={root},{options}", "rw", "ip=dhcp", "rootwait"]
    if options.startswith("vers=4"):
        # Before any root is there every kernel has the same name, by which nfsd would take one Pi for another that was
        # started anew, and end the other's opens and locks (RFC 8881 section 18.35.4; the kernel's nfs-client.rst).
        managed.append(f"{_UNIQUE_ID}={pi.serial}")
    if facts.cloud_init is not None:
        if served.url:
            managed.append(f"ds={_datasource(facts.cloud_init)};s={served.url}/seed/{pi.serial}/")
        # A seed over HTTP comes too late to keep cloud-init from the card that the root hangs on (reference 5.3).
        managed.append("network-config=disabled")
    return managed


def _root_options(served: Served, facts: TreeFacts) -> str:
    """The version, and the transport for the kernel alone: klibc's nfsmount refuses both 4 and `proto=`."""
    if facts.initramfs:
        return "vers=3"
    return "vers=4.1,proto=tcp" if _NFS_4 in served.nfs_versions else "vers=3,proto=tcp"


def _datasource(version: tuple[int, ...]) -> str:
    """Name NoCloud as that version reads a seed over HTTP: before 23 only under a name of its own (reference 6.1)."""
    return "nocloud" if version >= _NOCLOUD_OVER_HTTP else "nocloud-net"


def _key(word: str) -> str:
    name = word.lstrip('"').partition("=")[0].strip('"')
    return "rw" if name == "ro" else name


def _is_managed(word: str, pi: Pi) -> bool:
    key, bare = _key(word), word.strip('"')
    if pi.root == "none":
        return key == "nfsroot" or _OF_A_DISK.fullmatch(bare) is not None
    if key == "ds":
        return bare.startswith("ds=nocloud")
    return bare in {"rw", "ro", "rootwait"} or (
        "=" in bare and key in {"root", "nfsroot", "ip", "network-config", _UNIQUE_ID}
    )


def _must_go(word: str, pi: Pi) -> bool:
    """Whether a word belongs to a first boot from a card (reference 5.1), or to a root on a disk."""
    key, bare = _key(word), word.strip('"')
    if pi.root == "nfs" and key in {"rootfstype", "rootflags"}:
        return True
    first_boot = _FIRST_BOOT.fullmatch(bare) is not None or bare in {"resize", _FIRST_RUN_TARGET}
    return first_boot or key == "fsck.repair" or key in _FIRST_RUN


def fstab(original: str, pi: Pi, served: Served, generation: str, facts: TreeFacts) -> str:
    """Make the fstab of a Pi's root: no root line, the boot tree and the disks over NFS, all else as it was.

    Without mount.nfs in the root there is nothing to mount them with, and their lines are left out.
    """
    lines = original.split("\n")
    if not lines[-1]:
        lines.pop()
    points = [_point(line) for line in lines]
    boot = next((name for name in ("/boot/firmware", "/boot") if name in points), "")
    if not boot and facts.boot_folder:
        boot = "/boot/firmware"
    ours = {"/", "/boot", "/boot/firmware", DISKS, *(disk.mount for disk in pi.disks)}
    mounted = f"{_nfs(pi, served, f'{generation}/boot')} {boot} nfs {_mount_options(served)},nofail,_netdev 0 0"
    made: list[str] = []
    for line, point in zip(lines, points, strict=True):
        if boot and point == boot and facts.has_mount_nfs and mounted not in made:
            made.append(mounted)
        elif point not in ours:
            made.append(line)
    if facts.has_mount_nfs:
        if boot and mounted not in made:
            made.append(mounted)
        made += _disk_lines(pi, served)
    return "".join(f"{line}\n" for line in made)


def _point(line: str) -> str:
    """Where a line of fstab(5) mounts; empty for a comment, a blank line, and swap."""
    fields = line.split()
    if len(fields) < 2 or fields[0].startswith("#"):  # noqa: PLR2004 - device and mount point
        return ""
    return fields[1].rstrip("/") or "/"


def elsewhere(text: str) -> list[tuple[str, str]]:
    """List what a fstab mounts from a disk of its own and cannot do without: (device, mount point)."""
    found = []
    for line in text.split("\n"):
        fields = line.split()
        point = _point(line)
        options = fields[3].split(",") if len(fields) > 3 else []  # noqa: PLR2004 - fstab(5)'s fourth field
        of_a_disk = point.startswith("/") and re.match(
            r"(?:PARTUUID|PARTLABEL|UUID|LABEL)=|/dev/(?:mmcblk|sd|nvme)", fields[0]
        )
        if of_a_disk and point not in {"/", "/boot", "/boot/firmware"} and not {"nofail", "noauto"} & set(options):
            found.append((fields[0], point))
    return found


def disk_file(name: str) -> str:
    """Name the file of a disk, by Disk.name."""
    return f"{name}.ext4"


def _disk_lines(pi: Pi, served: Served) -> list[str]:
    if not pi.disks:
        return []
    waits = ["remote-fs.target", *(f"{name}.service" for name in _BEFORE)]
    orders = [f"x-systemd.requires-mounts-for={DISKS}", *(f"x-systemd.before={unit}" for unit in waits)]
    options = ",".join(["loop", "nofail", "_netdev", *orders])
    return [
        f"{_nfs(pi, served, 'disks')} {DISKS} nfs {_mount_options(served)},nofail,_netdev 0 0",
        *(
            f"{DISKS}/{disk_file(disk.name)} {disk.mount} ext4 {options} 0 0"
            for disk in sorted(pi.disks, key=lambda disk: disk.mount)
        ),
    ]


def _nfs(pi: Pi, served: Served, folder: str) -> str:
    path = f"{served.nfs_server}:{served.nfs_data.rstrip('/')}/pis/{pi.serial}/{folder}"
    return path.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")


def _mount_options(served: Served) -> str:
    return "vers=3,nolock" if _NFS_3 in served.nfs_versions else "vers=4.1"


def hosts(original: str, name: str) -> str:
    """Make /etc/hosts with the name of the Pi at 127.0.1.1, as Debian has it; all else stays."""
    own = f"127.0.1.1\t{name}"
    lines = original.split("\n")
    if not lines[-1]:
        lines.pop()
    made: list[str] = []
    for line in lines:
        if line.split()[:1] != ["127.0.1.1"]:
            made.append(line)
        elif own not in made:
            made.append(own)
    return "".join(f"{line}\n" for line in ([*made] if own in made else [*made, own]))
