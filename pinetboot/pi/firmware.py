"""The order in which each model's firmware asks for files, as generators that are sent what each request brought.

Belongs here: the reference's sections 3.4 (prefix), 3.6 (order) and 3.7 (what is required). Never here: sockets, time.
A generator yields Ask and is sent Fetched; it returns Booted, or raises Stopped with the cause.
"""

from __future__ import annotations

from collections.abc import Generator

from pinetboot import causes
from pinetboot.pi import selfupdate
from pinetboot.pi.asking import Ask, Boot, Booted, Firmware, Stopped
from pinetboot.pi.config_txt import ConfigTxt
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.eeprom import Eeprom
from pinetboot.pi.profiles import Profile

_FIXUP_WHY = "every start file needs the fixup file of its version"


def boot(profile: Profile, serial: str, server: str, eeprom: Eeprom | None = None, mac: bytes = b"") -> Boot:
    """Boot a model from the server at that address; the generator raises Stopped where the firmware would stop.

    With what is in its `eeprom` it raises selfupdate.Flashed as well, where it updates itself; `mac` may be its folder.
    """
    made: Firmware = {3: _Pi3, 4: _Pi4, 5: _Pi5}[profile.generation](profile, serial, server)
    if eeprom is not None and profile.generation > 3:  # noqa: PLR2004 - what came before has no EEPROM
        made.equip(eeprom, eeprom.folder(serial, mac))
    return made.run()


def inside(profile: Profile, server: str) -> Firmware:
    """Give the firmware of a model that has its files in memory, where no folder is anybody's; run() boots it."""
    made: Firmware = {3: _Pi3, 4: _Pi4, 5: _Pi5}[profile.generation](profile, "", server)
    made.prefix = made.folder = ""
    return made


class _Pi3(Firmware):
    """A ROM that loads bootcode.bin, that loads start.elf: three programs, each with a TFTP client of its own."""

    def run(self) -> Boot:
        yield from self._first_loader()
        self.program = 1
        yield from self._find_loader()
        yield from self.get("autoboot.txt", "firmware")
        yield from self.read_config("firmware")
        yield from self.get("recovery.elf", "firmware")
        if self.config.flag("boot_ramdisk"):
            return (yield from self.from_ramdisk())
        start, fixup = _loader_names(self.config, "")
        yield from self.required(start, "firmware", "config.txt chooses this loader")
        fetched = yield from self.get(fixup, "firmware")
        if fetched.result is not Result.OK:
            raise Stopped("firmware", causes.no_fixup(fetched.name))
        self.program = 2
        yield from _started(self)
        cmdline = yield from self.tree_and_command_line()
        yield from self._kernel()
        return Booted(cmdline, tuple(self.notes))

    def _first_loader(self) -> Generator[Ask, Fetched, None]:
        """The ROM knows no folders: it asks in the root (reference 3.4)."""
        prefix, self.prefix = self.prefix, ""
        fetched = yield from self.get("bootcode.bin", "firmware")
        if fetched.result is not Result.OK:
            raise Stopped("firmware", causes.no_first_loader())
        yield from self.get("bootsig.bin", "firmware")
        self.prefix = prefix

    def _find_loader(self) -> Generator[Ask, Fetched, None]:
        for prefix in (self.prefix, ""):
            self.prefix = prefix
            if (yield from self.has("start.elf", "firmware")):
                return
        raise Stopped("firmware", causes.no_loader(["start.elf"], self.folder))

    def _kernel(self) -> Generator[Ask, Fetched, None]:
        yield from self.each(("recovery8.img", "recovery8-32.img", "recovery7.img", "recovery.img"), "kernel")
        names = self.kernels()
        for kernel in names:
            if not (yield from self.has(kernel, "kernel")):
                continue
            yield from self.get("armstub8-32.bin" if "kernel8" in kernel else "armstub7.bin", "kernel")
            for initramfs in self.initramfs_for(kernel):
                yield from self.initramfs(initramfs)
            yield from self.get(kernel, "kernel")
            return
        why = "a Pi 3 needs a kernel by one of these names, or kernel= in config.txt"
        raise Stopped("kernel", causes.file_missing(", ".join(names), why))


class _Pi4(Firmware):
    def run(self) -> Boot:
        yield from self._find_loader()
        yield from self.read_config("firmware")
        yield from self.get("vl805.sig", "firmware")
        yield from selfupdate.update(self)
        yield from self.each(("recover4.elf", "recovery.elf"), "firmware")
        if self.config.flag("boot_ramdisk"):
            return (yield from self.from_ramdisk())
        start, fixup = _loader_names(self.config, "4")
        yield from self.required(start, "firmware", "config.txt chooses this loader")
        yield from self.required(fixup, "firmware", _FIXUP_WHY)
        # start4.elf is running from here, with a TFTP client of its own.
        self.program = 1
        self.duplicates = self.profile.loader_duplicates
        yield from _started(self)
        for name in self.config.initramfs:
            yield from self.initramfs(self.os_prefix + name)
        cmdline = yield from self.tree_and_command_line()
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

    def _kernel(self) -> Generator[Ask, Fetched, None]:
        recovery = ("recovery8.img", "recovery8-32.img", "recovery7l.img", "recovery7.img", "recovery.img")
        yield from self.each(recovery, "kernel")
        names = self.kernels()
        for kernel in names:
            if not (yield from self.has(kernel, "kernel")):
                continue
            if not self.config.initramfs:
                for initramfs in self.initramfs_for(kernel):
                    yield from self.initramfs(initramfs)
            yield from self.get("armstub8-gic.bin", "kernel")
            yield from self.get(kernel, "kernel")
            return
        why = "a Pi 4 needs a kernel by one of these names, or kernel= in config.txt"
        raise Stopped("kernel", causes.file_missing(", ".join(names), why))


class _Pi5(Firmware):
    def run(self) -> Boot:
        yield from self._find_config()
        yield from selfupdate.update(self)
        if self.config.flag("boot_ramdisk"):
            return (yield from self.from_ramdisk())
        tree = self.device_tree
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
                self.take_config(fetched)
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


def _started(firmware: Firmware) -> Generator[Ask, Fetched, None]:
    """What start.elf and start4.elf ask for first."""
    yield from firmware.get("recovery.elf", "firmware")
    yield from firmware.read_config("firmware")
    yield from firmware.each(("dt-blob.bin", "recovery.elf"), "firmware")
    yield from firmware.read_config("firmware")
    yield from firmware.get("bootcfg.txt", "firmware")


def _loader_names(config: ConfigTxt, chip: str) -> tuple[str, str]:
    """Say which start and fixup files config.txt chooses, for a Pi 4 with `chip` 4 (reference 3.6)."""
    suffix = ""
    if config.flag("start_x"):
        suffix = "x"
    elif config.flag("start_debug"):
        suffix = "db"
    elif config.settings.get("gpu_mem") == "16":
        suffix = "cd"
    start, fixup = f"start{chip}{suffix}.elf", f"fixup{chip}{suffix}.dat"
    # A Pi 3's short forms have an underscore, but for cd: start_x.elf, fixup_db.dat.
    if not chip and suffix in {"x", "db"}:
        start, fixup = f"start_{suffix}.elf", f"fixup_{suffix}.dat"
    return (config.settings.get("start_file", start), config.settings.get("fixup_file", fixup))
