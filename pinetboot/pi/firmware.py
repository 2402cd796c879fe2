"""The order in which the firmware asks for files, as generators that are sent what each request brought.

Belongs here: the reference's sections 3.4 (prefix), 3.6 (order) and 3.7 (what is required). Never here: sockets, time.
A generator yields Ask and is sent Fetched; it returns Booted, or Stopped with the cause.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from pinetboot import causes
from pinetboot.causes import Cause
from pinetboot.pi import config_txt
from pinetboot.pi.config_txt import ConfigTxt
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.profiles import Duplicates, Profile


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for a file now. `probe` for its size alone; `duplicates` is how the asking stage takes a repeated DATA."""

    name: str
    stage: str
    probe: bool = False
    duplicates: Duplicates = Duplicates.ACKED_AGAIN


@dataclass(frozen=True, slots=True)
class Booted:
    """The kernel has what it needs; `cmdline` is its command line, empty where it comes from inside boot.img."""

    cmdline: bytes
    notes: tuple[str, ...] = ()


class Stopped(Exception):
    """The boot stops in `stage` for `cause`."""

    def __init__(self, stage: str, cause: Cause) -> None:
        super().__init__(cause.what)
        self.stage = stage
        self.cause = cause


Boot = Generator[Ask, Fetched, Booted]
_Step = Generator[Ask, Fetched, Fetched]

_KERNELS = {
    "pi4": ("kernel8.img", "kernel7l.img", "kernel7.img", "kernel.img"),
    "pi5": ("kernel_2712.img", "kernel8.img"),
}
_INITRAMFS = {
    "kernel_2712.img": "initramfs_2712",
    "kernel8.img": "initramfs8",
    "kernel7l.img": "initramfs7l",
    "kernel7.img": "initramfs7",
    "kernel.img": "initramfs",
}
_RECOVERY_KERNELS = ("recovery8.img", "recovery8-32.img", "recovery7l.img", "recovery7.img", "recovery.img")


def boot(profile: Profile, serial: str, server: str) -> Boot:
    """Boot a model from the server at that address; the generator raises Stopped where the firmware would stop."""
    return (_Pi5 if profile.model == "pi5" else _Pi4)(profile, serial, server).run()


class _Firmware:
    """What the models share: requests below a prefix, and reading config.txt."""

    def __init__(self, profile: Profile, serial: str, server: str) -> None:
        self.profile = profile
        self.server = server
        # Pi 5 firmware puts a slash between a prefix that ends in one and the name (reference 3.4).
        self.prefix = f"{serial}//" if profile.double_slash else f"{serial}/"
        self.folder = f"{serial}/"
        self.config = ConfigTxt()
        self.duplicates = profile.duplicates
        self.notes: list[str] = []

    def get(self, name: str, stage: str, *, probe: bool = False) -> _Step:
        fetched = yield Ask(self.prefix + name, stage, probe, self.duplicates)
        self._check(fetched, stage)
        return fetched

    def required(self, name: str, stage: str, why: str) -> _Step:
        fetched = yield from self.get(name, stage)
        if fetched.result is not Result.OK:
            raise Stopped(stage, causes.file_missing(fetched.name, why))
        return fetched

    def has(self, name: str, stage: str) -> Generator[Ask, Fetched, bool]:
        fetched = yield from self.get(name, stage, probe=True)
        return fetched.result is Result.OK

    def read_config(self, stage: str) -> Generator[Ask, Fetched, None]:
        fetched = yield from self.get("config.txt", stage)
        self._take_config(fetched)
        for name in list(self.config.includes):
            included = yield from self.get(name, stage)
            config_txt.parse(included.content, self.profile.model, self.config)

    def _take_config(self, fetched: Fetched) -> None:
        self.config = config_txt.parse(fetched.content, self.profile.model)
        note = f"config.txt has {fetched.size} bytes; over the network only the first {config_txt.HONOURED} count (D21)"
        if fetched.size > config_txt.HONOURED and note not in self.notes:
            self.notes.append(note)

    def overlays(self, *, first: tuple[str, ...] = ()) -> Generator[Ask, Fetched, None]:
        for name in (*first, *self.config.overlays):
            yield from self.get(f"{self.os_prefix}overlays/{name}.dtbo", "kernel")

    @property
    def os_prefix(self) -> str:
        return self.config.settings.get("os_prefix", "")

    def kernels(self) -> list[str]:
        chosen = self.config.settings.get("kernel")
        if chosen:
            return [self.os_prefix + chosen]
        names = list(_KERNELS[self.profile.model])
        if self.profile.model == "pi4" and not self.config.flag("arm_64bit", default=True):
            names.remove("kernel8.img")
        return [self.os_prefix + name for name in names]

    def initramfs_for(self, kernel: str) -> list[str]:
        if self.config.initramfs:
            return [self.os_prefix + name for name in self.config.initramfs]
        name = _INITRAMFS.get(kernel.removeprefix(self.os_prefix))
        return [self.os_prefix + name] if name and self.config.flag("auto_initramfs") else []

    def command_line(self) -> Generator[Ask, Fetched, bytes]:
        name = self.os_prefix + (self.config.settings.get("cmdline") or "cmdline.txt")
        return (yield from self.get(name, "kernel")).content

    def _check(self, fetched: Fetched, stage: str) -> None:
        """Stop where the firmware would: at silence, at a server without options, at an error that is no absence."""
        name, blocks = fetched.name, self.profile.max_blocks
        if fetched.result is Result.TIMEOUT:
            if fetched.foreign:
                raise Stopped(stage, causes.foreign_source(self.server, fetched.foreign))
            if not fetched.answered:
                raise Stopped(stage, causes.no_answer(self.server))
            if blocks is not None and fetched.blocks >= blocks:
                raise Stopped(stage, causes.no_rollover(name, fetched.size))
            raise Stopped(stage, causes.went_silent(name, fetched.blocks))
        if fetched.result is Result.ERROR:
            raise Stopped(stage, causes.refused(name, fetched.message))
        if fetched.result is Result.OK and not fetched.oack:
            raise Stopped(stage, causes.no_oack(self.server))


class _Pi4(_Firmware):
    def run(self) -> Boot:
        yield from self._find_loader()
        yield from self.read_config("firmware")
        for name in ("vl805.sig", "pieeprom.sig", "recover4.elf", "recovery.elf"):
            yield from self.get(name, "firmware")
        if self.config.flag("boot_ramdisk"):
            return (yield from _from_ramdisk(self))
        start, fixup = _loader_names(self.config)
        yield from self.required(start, "firmware", "config.txt chooses this loader")
        yield from self.required(fixup, "firmware", "every start file needs the fixup file of its version")
        # start4.elf is running from here, with a TFTP client of its own.
        self.duplicates = self.profile.loader_duplicates
        yield from self.get("recovery.elf", "firmware")
        yield from self.read_config("firmware")
        for name in ("dt-blob.bin", "recovery.elf"):
            yield from self.get(name, "firmware")
        yield from self.read_config("firmware")
        yield from self.get("bootcfg.txt", "firmware")
        for name in self.config.initramfs:
            yield from self._initramfs(self.os_prefix + name)
        cmdline = yield from self._device_tree()
        yield from self._kernel()
        return Booted(cmdline, tuple(self.notes))

    def _find_loader(self) -> Generator[Ask, Fetched, None]:
        old = False
        for prefix in (self.prefix, ""):
            self.prefix = prefix
            if (yield from self.has("start4.elf", "firmware")):
                return
            if (yield from self.has("start.elf", "firmware")):
                old = True
                break
        raise Stopped("firmware", causes.old_loader() if old else causes.no_loader(["start4.elf"], self.folder))

    def _initramfs(self, name: str) -> Generator[Ask, Fetched, None]:
        if (yield from self.has(name, "kernel")):
            yield from self.get(name, "kernel")

    def _device_tree(self) -> Generator[Ask, Fetched, bytes]:
        name = self.os_prefix + (self.config.settings.get("device_tree") or "bcm2711-rpi-4-b.dtb")
        if not (yield from self.has(name, "kernel")):
            why = "a Pi 4 shows the rainbow screen and stops without its device tree"
            raise Stopped("kernel", causes.file_missing(self.prefix + name, why))
        yield from self.get(name, "kernel")
        yield from self.get(f"{self.os_prefix}overlays/overlay_map.dtb", "kernel")
        yield from self.read_config("kernel")
        yield from self.overlays()
        return (yield from self.command_line())

    def _kernel(self) -> Generator[Ask, Fetched, None]:
        for name in _RECOVERY_KERNELS:
            yield from self.get(name, "kernel")
        names = self.kernels()
        for kernel in names:
            if not (yield from self.has(kernel, "kernel")):
                continue
            if not self.config.initramfs:
                for initramfs in self.initramfs_for(kernel):
                    yield from self._initramfs(initramfs)
            yield from self.get("armstub8-gic.bin", "kernel")
            yield from self.get(kernel, "kernel")
            return
        why = "a Pi 4 needs a kernel by one of these names, or kernel= in config.txt"
        raise Stopped("kernel", causes.file_missing(", ".join(names), why))


class _Pi5(_Firmware):
    def run(self) -> Boot:
        yield from self._find_config()
        yield from self.get("pieeprom.sig", "firmware")
        if self.config.flag("boot_ramdisk"):
            return (yield from _from_ramdisk(self))
        tree = self.os_prefix + (self.config.settings.get("device_tree") or "bcm2712-rpi-5-b.dtb")
        kernel = yield from self._checked_os(tree)
        yield from self.read_config("kernel")
        for name in self.initramfs_for(kernel):
            yield from self.get(name, "kernel")
        yield from self.get(tree, "kernel")
        yield from self.get(f"{self.os_prefix}overlays/overlay_map.dtb", "kernel")
        yield from self.read_config("kernel")
        yield from self.overlays(first=("bcm2712d0",))
        cmdline = yield from self.command_line()
        yield from self.get("armstub8-2712.bin", "kernel")
        yield from self.required(kernel, "kernel", "it was there a moment ago")
        return Booted(cmdline, tuple(self.notes))

    def _find_config(self) -> Generator[Ask, Fetched, None]:
        """config.txt is the test of the prefix: without it the root is asked (reference 3.4)."""
        for prefix in (self.prefix, ""):
            self.prefix = prefix
            fetched = yield from self.get("config.txt", "firmware")
            if fetched.result is Result.OK:
                self._take_config(fetched)
                return
        raise Stopped("firmware", causes.no_loader(["config.txt"], self.folder))

    def _checked_os(self, tree: str) -> Generator[Ask, Fetched, str]:
        """Do the bootloader's os_check: a device tree for this board, and a kernel."""
        fetched = yield from self.get(tree, "kernel")
        if fetched.result is not Result.OK and self.config.flag("os_check", default=True):
            raise Stopped("kernel", causes.not_for_pi5([tree]))
        names = self.kernels()
        for kernel in names:
            fetched = yield from self.get(kernel, "kernel")
            if fetched.result is Result.OK:
                return kernel
        raise Stopped("kernel", causes.not_for_pi5(names))


def _from_ramdisk(firmware: _Firmware) -> Boot:
    yield from firmware.required("boot.img", "kernel", "boot_ramdisk=1 in config.txt asks for it")
    firmware.notes.append("all else comes from inside boot.img, which is not looked into")
    return Booted(b"", tuple(firmware.notes))


def _loader_names(config: ConfigTxt) -> tuple[str, str]:
    """Say which start and fixup files config.txt chooses (reference 3.6)."""
    suffix = ""
    if config.flag("start_x"):
        suffix = "x"
    elif config.flag("start_debug"):
        suffix = "db"
    elif config.settings.get("gpu_mem") == "16":
        suffix = "cd"
    return (
        config.settings.get("start_file", f"start4{suffix}.elf"),
        config.settings.get("fixup_file", f"fixup4{suffix}.dat"),
    )
