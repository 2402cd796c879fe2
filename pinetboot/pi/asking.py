"""What the firmware of every model has in common: a request, reading config.txt, and where it stops.

Belongs here: requests below a prefix (reference 3.4), what config.txt decides, and causes to stop. The order in which
a model asks is `firmware`'s. Never here: sockets, time.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.pi import config_txt
from pinetboot.pi.config_txt import ConfigTxt
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.eeprom import Eeprom
from pinetboot.pi.profiles import Duplicates, Profile


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for a file now. `probe` for its size alone; `duplicates` is how the asking program takes a repeated DATA.

    `whole`: all of its content is wanted, however large.
    `program` counts the programs that boot a Pi one after another, each with a TFTP client of its own (reference 1).
    """

    name: str
    stage: str
    probe: bool = False
    duplicates: Duplicates = Duplicates.ACKED_AGAIN
    program: int = 0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Booted:
    """The kernel has what it needs; `cmdline` is its command line, empty where it comes from inside boot.img."""

    cmdline: bytes
    notes: tuple[str, ...] = ()
    ramdisk: bool = False


class Stopped(Exception):
    """The boot stops in `stage` for `cause`."""

    def __init__(self, stage: str, cause: Cause) -> None:
        super().__init__(cause.what)
        self.stage = stage
        self.cause = cause


Boot = Generator[Ask, Fetched, Booted]
Step = Generator[Ask, Fetched, Fetched]

_PI3, _PI5 = 3, 5

# By generation of the board, in the order in which they are looked for.
_KERNELS = {
    3: ("kernel8-32.img", "kernel8.img", "kernel7.img", "kernel.img"),
    4: ("kernel8.img", "kernel7l.img", "kernel7.img", "kernel.img"),
    5: ("kernel_2712.img", "kernel8.img"),
}
_INITRAMFS = {
    "kernel_2712.img": "initramfs_2712",
    "kernel8.img": "initramfs8",
    "kernel7l.img": "initramfs7l",
    "kernel7.img": "initramfs7",
    "kernel.img": "initramfs",
}


class Firmware:
    """What the models share: requests below a prefix, and reading config.txt."""

    def __init__(self, profile: Profile, serial: str, server: str) -> None:
        self.profile = profile
        self.server = server
        self.prefix = self.folder = ""
        self._ask_in(f"{serial}/")
        self.config = ConfigTxt()
        self.duplicates = profile.duplicates
        self.program = 0
        self.notes: list[str] = []
        self.eeprom: Eeprom | None = None

    def equip(self, eeprom: Eeprom, folder: str) -> None:
        """Give it what is in its EEPROM, and the folder that this has it ask in."""
        self.eeprom = eeprom
        self._ask_in(folder)

    def _ask_in(self, folder: str) -> None:
        # Pi 5 firmware puts a slash between a prefix that ends in one and the name (reference 3.4).
        self.folder, self.prefix = folder, f"{folder}/" if self.profile.double_slash and folder else folder

    def run(self) -> Boot:
        """Boot the model."""
        raise NotImplementedError

    def get(self, name: str, stage: str, *, probe: bool = False, whole: bool = False) -> Step:
        """Ask for a file, which need not be there. Raises Stopped where the firmware would stop at the answer."""
        fetched = yield Ask(self.prefix + name, stage, probe, self.duplicates, self.program, whole)
        self._check(fetched, stage)
        return fetched

    def required(self, name: str, stage: str, why: str) -> Step:
        """Ask for a file that must be there. Raises Stopped."""
        fetched = yield from self.get(name, stage)
        if fetched.result is not Result.OK:
            raise Stopped(stage, causes.file_missing(fetched.name, why))
        return fetched

    def has(self, name: str, stage: str) -> Generator[Ask, Fetched, bool]:
        """Probe for a file."""
        fetched = yield from self.get(name, stage, probe=True)
        return fetched.result is Result.OK

    def each(self, names: tuple[str, ...], stage: str) -> Generator[Ask, Fetched, None]:
        """Ask for files that are not there as a rule."""
        for name in names:
            yield from self.get(name, stage)

    def read_config(self, stage: str) -> Generator[Ask, Fetched, None]:
        """Read config.txt and what it includes."""
        fetched = yield from self.get("config.txt", stage)
        self.take_config(fetched)
        for name in list(self.config.includes):
            included = yield from self.get(name, stage)
            config_txt.parse(included.content, self.profile.model, self.config)

    def take_config(self, fetched: Fetched) -> None:
        """Take config.txt as it came."""
        self.config = config_txt.parse(fetched.content, self.profile.model)
        note = f"config.txt has {fetched.size} bytes; over the network only the first {config_txt.HONOURED} count (D21)"
        if fetched.size > config_txt.HONOURED and note not in self.notes:
            self.notes.append(note)

    def overlays(self, *, first: tuple[str, ...] = ()) -> Generator[Ask, Fetched, None]:
        """Ask for the overlays that config.txt names."""
        for name in (*first, *self.config.overlays):
            yield from self.get(f"{self.os_prefix}overlays/{name}.dtbo", "kernel")

    def initramfs(self, name: str) -> Generator[Ask, Fetched, None]:
        """Ask for an initramfs, without which a boot goes on."""
        if (yield from self.has(name, "kernel")):
            yield from self.get(name, "kernel")

    @property
    def os_prefix(self) -> str:
        """What goes before the names of all that belongs to the operating system."""
        return self.config.settings.get("os_prefix", "")

    @property
    def device_tree(self) -> str:
        """The name of the board's device tree."""
        name = self.profile.device_tree
        if self.config.flag("upstream_kernel"):
            name = name.replace("bcm2710", "bcm2837")  # what Linux itself calls the chip of a Pi 3
        return self.os_prefix + (self.config.settings.get("device_tree") or name)

    def kernels(self) -> list[str]:
        """Names of kernels, in the order in which they are looked for."""
        chosen = self.config.settings.get("kernel")
        if chosen:
            return [self.os_prefix + chosen]
        names = list(_KERNELS[self.profile.generation])
        if self.profile.generation < _PI5 and not self.config.flag("arm_64bit", default=True):
            names.remove("kernel8.img")
        return [self.os_prefix + name for name in names]

    def initramfs_for(self, kernel: str) -> list[str]:
        """Names of the initramfs files that go with a kernel."""
        if self.config.initramfs:
            return [self.os_prefix + name for name in self.config.initramfs]
        name = _INITRAMFS.get(kernel.removeprefix(self.os_prefix))
        return [self.os_prefix + name] if name and self.config.flag("auto_initramfs") else []

    def tree_and_command_line(self) -> Generator[Ask, Fetched, bytes]:
        """Ask for device tree, overlays and command line as start.elf and start4.elf do (reference 3.6)."""
        name = self.device_tree
        if not (yield from self.has(name, "kernel")):
            why = f"a Pi {self.profile.generation} shows the rainbow screen and stops without its device tree"
            raise Stopped("kernel", causes.file_missing(self.prefix + name, why))
        yield from self.get(name, "kernel")
        yield from self.get(f"{self.os_prefix}overlays/overlay_map.dtb", "kernel")
        yield from self.read_config("kernel")
        yield from self.overlays()
        return (yield from self.command_line())

    def command_line(self) -> Generator[Ask, Fetched, bytes]:
        """Ask for the kernel's command line; empty where there is none."""
        name = self.os_prefix + (self.config.settings.get("cmdline") or "cmdline.txt")
        return (yield from self.get(name, "kernel")).content

    def from_ramdisk(self) -> Boot:
        """Ask for boot.img, and for nothing after it."""
        yield from self.required("boot.img", "kernel", "boot_ramdisk=1 in config.txt asks for it")
        self.notes.append("all else comes from inside boot.img, which is not looked into")
        return Booted(b"", tuple(self.notes), ramdisk=True)

    def _check(self, fetched: Fetched, stage: str) -> None:
        """Stop where the firmware would: at silence, at a server without options, at an error that is no absence."""
        name, blocks = fetched.name, self.profile.max_blocks
        if fetched.result is Result.TIMEOUT:
            if fetched.foreign:
                raise Stopped(stage, causes.foreign_source(self.server, fetched.foreign))
            if not fetched.answered:
                raise Stopped(stage, causes.no_answer(self.server))
            if blocks is not None and fetched.blocks >= blocks:
                raise Stopped(stage, causes.no_rollover(name, fetched.size, pi3=self.profile.generation == _PI3))
            raise Stopped(stage, causes.went_silent(name, fetched.blocks, self.profile.file_timeout_s))
        if fetched.doubled:
            raise Stopped(stage, causes.packets_doubled(name))
        if fetched.result is Result.ERROR:
            raise Stopped(stage, causes.refused(name, fetched.message))
        if fetched.result is Result.OK and not fetched.oack:
            raise Stopped(stage, causes.no_oack(self.server))
