"""Which files the virtual Pi asks for, in which order, and why it stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinetboot.boot.names import normalise
from pinetboot.pi import firmware
from pinetboot.pi.asking import Ask, Booted, Stopped
from pinetboot.pi.download import Fetched, Result
from pinetboot.pi.profiles import PROFILES, Duplicates

SERIALS = {"pi3b-rom": "7285c0f2", "pi3bp": "7285c0f2", "pi4": "5b154510", "pi5": "da591740"}
SERVER = "192.168.1.10"
CMDLINE = b"console=tty1 root=/dev/nfs nfsroot=192.168.1.10:/srv,vers=3 rw ip=dhcp"

PI3_FILES = {
    "start.elf": b"start",
    "fixup.dat": b"fixup",
    "config.txt": b"auto_initramfs=1\ndtoverlay=vc4-kms-v3d\n",
    "cmdline.txt": CMDLINE,
    "bcm2710-rpi-3-b.dtb": b"tree",
    "bcm2710-rpi-3-b-plus.dtb": b"tree",
    "overlays/overlay_map.dtb": b"map",
    "overlays/vc4-kms-v3d.dtbo": b"overlay",
    "kernel8.img": b"kernel",
    "initramfs8": b"initramfs",
}
PI4_FILES = {
    "start4.elf": b"start",
    "fixup4.dat": b"fixup",
    "config.txt": b"arm_64bit=1\nauto_initramfs=1\ndtoverlay=vc4-kms-v3d\n",
    "cmdline.txt": CMDLINE,
    "bcm2711-rpi-4-b.dtb": b"tree",
    "overlays/overlay_map.dtb": b"map",
    "overlays/vc4-kms-v3d.dtbo": b"overlay",
    "kernel8.img": b"kernel",
    "initramfs8": b"initramfs",
}
PI5_FILES = {
    "config.txt": b"auto_initramfs=1\ndtoverlay=vc4-kms-v3d-pi5\n",
    "cmdline.txt": CMDLINE,
    "bcm2712-rpi-5-b.dtb": b"tree",
    "overlays/overlay_map.dtb": b"map",
    "overlays/bcm2712d0.dtbo": b"silicon",
    "overlays/vc4-kms-v3d-pi5.dtbo": b"overlay",
    "kernel_2712.img": b"kernel",
    "initramfs_2712": b"initramfs",
}
FILES = {"pi3b-rom": PI3_FILES, "pi3bp": PI3_FILES, "pi4": PI4_FILES, "pi5": PI5_FILES}
FIRST_LOADER = {"bootcode.bin": b"first"}  # in the root, whatever else is where

# "P" is a probe, "G" a get, "-" either of a file that is not there.
PI3_ROM_ORDER = "G bootcode.bin  - bootsig.bin"
PI3_ORDER = """
    P start.elf  - autoboot.txt  G config.txt  - recovery.elf  G start.elf  G fixup.dat
    - recovery.elf  G config.txt  - dt-blob.bin  - recovery.elf  G config.txt  - bootcfg.txt
    P bcm2710-rpi-3-b.dtb  G bcm2710-rpi-3-b.dtb  G overlays/overlay_map.dtb  G config.txt
    G overlays/vc4-kms-v3d.dtbo  G cmdline.txt
    - recovery8.img  - recovery8-32.img  - recovery7.img  - recovery.img
    - kernel8-32.img  P kernel8.img  - armstub8-32.bin  P initramfs8  G initramfs8  G kernel8.img
"""
PI4_ORDER = """
    P start4.elf
    G config.txt  - vl805.sig  - pieeprom.sig  - recover4.elf  - recovery.elf  G start4.elf  G fixup4.dat
    - recovery.elf  G config.txt  - dt-blob.bin  - recovery.elf  G config.txt  - bootcfg.txt
    P bcm2711-rpi-4-b.dtb  G bcm2711-rpi-4-b.dtb  G overlays/overlay_map.dtb  G config.txt
    G overlays/vc4-kms-v3d.dtbo  G cmdline.txt
    - recovery8.img  - recovery8-32.img  - recovery7l.img  - recovery7.img  - recovery.img
    P kernel8.img  P initramfs8  G initramfs8  - armstub8-gic.bin  G kernel8.img
"""
PI5_ORDER = """
    G config.txt  - pieeprom.sig
    G bcm2712-rpi-5-b.dtb  G kernel_2712.img
    G config.txt  G initramfs_2712  G bcm2712-rpi-5-b.dtb  G overlays/overlay_map.dtb
    G config.txt  G overlays/bcm2712d0.dtbo  G overlays/vc4-kms-v3d-pi5.dtbo  G cmdline.txt
    - armstub8-2712.bin  G kernel_2712.img
"""


def lines(order: str) -> list[str]:
    words = order.split()
    return [f"{how} {name}" for how, name in zip(words[::2], words[1::2], strict=True)]


Answer = Callable[[Ask], Fetched | None]


@dataclass
class Played:
    """One boot: what was asked for and how it ended."""

    asks: list[Ask] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    booted: Booted | None = None
    stopped: Stopped | None = None

    @property
    def rule(self) -> str:
        assert self.stopped is not None
        return self.stopped.cause.rule

    @property
    def stage(self) -> str:
        assert self.stopped is not None
        return self.stopped.stage


def play(model: str, files: dict[str, bytes], answer: Answer = lambda _: None) -> Played:
    """Boot from files by name; `answer` may have another say first."""
    played = Played()
    boot = firmware.boot(PROFILES[model], SERIALS[model], SERVER)
    fetched: Fetched | None = None
    try:
        for _ in range(200):
            ask = next(boot) if fetched is None else boot.send(fetched)
            content = files.get(normalise(ask.name))
            fetched = answer(ask)
            if fetched is None and content is not None:
                fetched = Fetched(ask.name, Result.OK, len(content), b"" if ask.probe else content)
            elif fetched is None:
                # An error comes in place of an OACK.
                fetched = Fetched(ask.name, Result.MISSING, message="there is no such file", oack=False)
            played.asks.append(ask)
            how = ("P" if ask.probe else "G") if fetched.result is Result.OK else "-"
            played.asked.append(f"{how} {ask.name}")
    except StopIteration as end:
        played.booted = end.value
    except Stopped as stopped:
        played.stopped = stopped
    else:
        raise AssertionError("it asks for ever")
    return played


def below(prefix: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{prefix}{name}": content for name, content in files.items()}


def own(model: str, *, without: str = "", **changed: bytes) -> dict[str, bytes]:
    """A whole tree in the Pi's own folder, less a file, with another config.txt."""
    files = FILES[model] | {name.replace("_txt", ".txt"): content for name, content in changed.items()}
    files = below(f"{SERIALS[model]}/", {name: content for name, content in files.items() if name != without})
    return files | (FIRST_LOADER if "pi3" in model and without not in FIRST_LOADER else {})


def prefixed(order: str, prefix: str) -> list[str]:
    return [line.replace(" ", f" {prefix}", 1) for line in lines(order)]


class TestOrder:
    def test_a_pi_4_asks_as_the_reference_says(self) -> None:
        played = play("pi4", own("pi4"))
        assert played.asked == prefixed(PI4_ORDER, "5b154510/")
        assert played.booted == Booted(CMDLINE)

    def test_a_pi_5_asks_as_the_reference_says_with_doubled_slashes(self) -> None:
        played = play("pi5", own("pi5"))
        assert played.asked == prefixed(PI5_ORDER, "da591740//")
        assert played.booted == Booted(CMDLINE)

    @pytest.mark.parametrize(("model", "board"), [("pi3b-rom", "3-b"), ("pi3bp", "3-b-plus")])
    def test_a_pi_3_asks_as_the_reference_says_each_board_for_its_own_device_tree(self, model: str, board: str) -> None:
        played = play(model, own(model))
        order = PI3_ORDER.replace("rpi-3-b.dtb", f"rpi-{board}.dtb")
        assert played.asked == [*lines(PI3_ROM_ORDER), *prefixed(order, "7285c0f2/")]
        assert played.booted == Booted(CMDLINE)

    def test_a_pi_3s_three_programs_have_a_client_each(self) -> None:
        asks = play("pi3bp", own("pi3bp")).asks
        assert [ask.program for ask in asks] == sorted(ask.program for ask in asks)
        first = {program: next(ask.name for ask in asks if ask.program == program) for program in (0, 1, 2)}
        assert first == {0: "bootcode.bin", 1: "7285c0f2/start.elf", 2: "7285c0f2/recovery.elf"}

    @pytest.mark.parametrize("model", ["pi3b-rom", "pi4", "pi5"])
    def test_the_firmware_stage_comes_before_the_kernel_stage(self, model: str) -> None:
        stages = [ask.stage for ask in play(model, own(model)).asks]
        assert stages == sorted(stages)
        assert set(stages) == {"firmware", "kernel"}

    def test_a_pi_4s_loader_has_a_client_of_its_own_that_stalls_at_duplicates(self) -> None:
        asks = play("pi4", own("pi4")).asks
        loaded = [ask.name for ask in asks].index("5b154510/fixup4.dat")
        assert {ask.duplicates for ask in asks[: loaded + 1]} == {Duplicates.ACKED_AGAIN}
        assert {ask.duplicates for ask in asks[loaded + 1 :]} == {Duplicates.STALLS}

    def test_a_pi_5_has_one_client(self) -> None:
        assert {ask.duplicates for ask in play("pi5", own("pi5")).asks} == {Duplicates.ACKED_AGAIN}


class TestPrefix:
    def test_without_its_folder_a_pi_4_takes_all_from_the_root(self) -> None:
        played = play("pi4", PI4_FILES)
        assert played.asked == ["- 5b154510/start4.elf", "- 5b154510/start.elf", *lines(PI4_ORDER)]
        assert played.booted is not None

    def test_without_its_folder_a_pi_5_takes_all_from_the_root(self) -> None:
        played = play("pi5", PI5_FILES)
        assert played.asked == ["- da591740//config.txt", *lines(PI5_ORDER)]
        assert played.booted is not None

    def test_a_folder_without_the_file_that_is_probed_is_ignored_as_a_whole(self) -> None:
        incomplete = own("pi4", without="start4.elf") | PI4_FILES
        assert play("pi4", incomplete).asked[2:] == lines(PI4_ORDER)
        incomplete = own("pi5", without="config.txt") | PI5_FILES
        assert play("pi5", incomplete).asked[1:] == lines(PI5_ORDER)

    def test_no_loader_anywhere_is_d13(self) -> None:
        played = play("pi4", {})
        assert played.asked == ["- 5b154510/start4.elf", "- 5b154510/start.elf", "- start4.elf", "- start.elf"]
        assert (played.rule, played.stage) == ("D13", "firmware")
        assert played.stopped is not None
        assert "boot/5b154510/" in played.stopped.cause.do

    def test_no_config_txt_anywhere_is_d13_on_a_pi_5(self) -> None:
        played = play("pi5", {"da591740/start4.elf": b"x"})
        assert played.asked == ["- da591740//config.txt", "- config.txt"]
        assert (played.rule, played.stage) == ("D13", "firmware")

    @pytest.mark.parametrize("name", ["5b154510/start.elf", "start.elf"])
    def test_the_loader_of_a_pi_3_alone_is_d14(self, name: str) -> None:
        played = play("pi4", {name: b"old"})
        assert (played.rule, played.stage) == ("D14", "firmware")

    def test_without_its_folder_a_pi_3_takes_all_from_the_root(self) -> None:
        played = play("pi3b-rom", PI3_FILES | FIRST_LOADER)
        assert played.asked == [*lines(PI3_ROM_ORDER), "- 7285c0f2/start.elf", *lines(PI3_ORDER)]
        assert played.booted is not None

    def test_bootcode_bin_in_its_folder_is_of_no_use_to_a_pi_3(self) -> None:
        played = play("pi3bp", below("7285c0f2/", PI3_FILES | FIRST_LOADER))
        assert played.asked == ["- bootcode.bin"]
        assert (played.rule, played.stage) == ("D12", "firmware")


class TestMissing:
    @pytest.mark.parametrize(
        ("model", "missing", "rule", "stage"),
        [
            ("pi3bp", "bootcode.bin", "D12", "firmware"),
            ("pi3bp", "start.elf", "D13", "firmware"),
            ("pi3bp", "fixup.dat", "D23", "firmware"),
            ("pi3bp", "bcm2710-rpi-3-b-plus.dtb", "D27", "kernel"),
            ("pi3bp", "kernel8.img", "D27", "kernel"),
            ("pi4", "fixup4.dat", "D27", "firmware"),
            ("pi4", "bcm2711-rpi-4-b.dtb", "D27", "kernel"),
            ("pi4", "kernel8.img", "D27", "kernel"),
            ("pi5", "bcm2712-rpi-5-b.dtb", "D15", "kernel"),
            ("pi5", "kernel_2712.img", "D15", "kernel"),
        ],
    )
    def test_what_is_required(self, model: str, missing: str, rule: str, stage: str) -> None:
        played = play(model, own(model, without=missing))
        assert (played.rule, played.stage) == (rule, stage)
        assert played.stopped is not None
        assert missing in played.stopped.cause.what

    @pytest.mark.parametrize(
        ("model", "missing"),
        [
            *(("pi4", name) for name in ("config.txt", "initramfs8", "overlays/overlay_map.dtb")),
            *(("pi4", name) for name in ("overlays/vc4-kms-v3d.dtbo", "cmdline.txt")),
            *(("pi5", name) for name in ("initramfs_2712", "overlays/overlay_map.dtb", "overlays/bcm2712d0.dtbo")),
            ("pi5", "cmdline.txt"),
        ],
    )
    def test_what_is_not(self, model: str, missing: str) -> None:
        played = play(model, own(model, without=missing))
        assert played.booted == Booted(b"" if missing == "cmdline.txt" else CMDLINE)

    def test_a_kernel_of_another_name_will_do(self) -> None:
        files = own("pi4", without="kernel8.img") | {"5b154510/kernel7l.img": b"k", "5b154510/initramfs7l": b"i"}
        kernels = [line for line in play("pi4", files).asked if "kernel" in line or "initramfs" in line]
        assert kernels == [
            "- 5b154510/kernel8.img",
            "P 5b154510/kernel7l.img",
            "P 5b154510/initramfs7l",
            "G 5b154510/initramfs7l",
            "G 5b154510/kernel7l.img",
        ]

    def test_a_pi_5_takes_kernel8_too(self) -> None:
        files = own("pi5", without="kernel_2712.img") | {"da591740/kernel8.img": b"k", "da591740/initramfs8": b"i"}
        played = play("pi5", files)
        assert played.booted is not None
        assert "G da591740//initramfs8" in played.asked
        assert played.asked[-1] == "G da591740//kernel8.img"

    def test_os_check_0_goes_on_without_a_device_tree(self) -> None:
        played = play("pi5", own("pi5", without="bcm2712-rpi-5-b.dtb", config_txt=b"os_check=0\n"))
        assert played.booted is not None


class TestConfig:
    @pytest.mark.parametrize(
        ("text", "start", "fixup"),
        [
            (b"start_x=1\n", "start4x.elf", "fixup4x.dat"),
            (b"start_debug=1\n", "start4db.elf", "fixup4db.dat"),
            (b"gpu_mem=16\n", "start4cd.elf", "fixup4cd.dat"),
            (b"start_file=my.elf\nfixup_file=my.dat\n", "my.elf", "my.dat"),
        ],
    )
    def test_it_chooses_the_loader(self, text: bytes, start: str, fixup: str) -> None:
        files = own("pi4", config_txt=text) | {f"5b154510/{name}": b"x" for name in (start, fixup)}
        played = play("pi4", files)
        assert played.booted is not None
        assert f"G 5b154510/{start}" in played.asked
        assert f"G 5b154510/{fixup}" in played.asked
        assert "G 5b154510/start4.elf" not in played.asked
        assert play("pi4", own("pi4", config_txt=text)).rule == "D27"

    @pytest.mark.parametrize(
        ("text", "start", "fixup"),
        [(b"start_x=1\n", "start_x.elf", "fixup_x.dat"), (b"gpu_mem=16\n", "startcd.elf", "fixupcd.dat")],
    )
    def test_it_chooses_the_loader_of_a_pi_3(self, text: bytes, start: str, fixup: str) -> None:
        files = own("pi3bp", config_txt=text) | {f"7285c0f2/{name}": b"x" for name in (start, fixup)}
        played = play("pi3bp", files)
        assert played.booted is not None
        assert f"G 7285c0f2/{start}" in played.asked
        assert f"G 7285c0f2/{fixup}" in played.asked

    def test_linux_itself_has_another_name_for_a_pi_3s_chip(self) -> None:
        files = own("pi3b-rom", without="bcm2710-rpi-3-b.dtb", config_txt=b"[pi3]\nupstream_kernel=1\n")
        assert play("pi3b-rom", files | {"7285c0f2/bcm2837-rpi-3-b.dtb": b"tree"}).booted is not None
        assert play("pi3b-rom", files).rule == "D27"

    def test_it_chooses_kernel_command_line_device_tree_and_initramfs(self) -> None:
        text = b"kernel=my.img\ncmdline=my.txt\ndevice_tree=my.dtb\ninitramfs one,two followkernel\nauto_initramfs=1\n"
        extra = below("5b154510/", dict.fromkeys(("my.img", "my.txt", "my.dtb", "one", "two"), b"mine"))
        played = play("pi4", own("pi4", config_txt=text) | extra)
        assert played.booted == Booted(b"mine")
        assert [line for line in played.asked if "/one" in line or "/two" in line] == [
            "P 5b154510/one",
            "G 5b154510/one",
            "P 5b154510/two",
            "G 5b154510/two",
        ]
        assert played.asked[-1] == "G 5b154510/my.img"
        assert not [line for line in played.asked if "kernel8" in line or "initramfs8" in line or "bcm2711" in line]

    def test_it_chooses_the_initramfs_of_a_pi_5(self) -> None:
        files = own("pi5", config_txt=b"initramfs one followkernel\nauto_initramfs=1\n") | {"da591740/one": b"mine"}
        asked = play("pi5", files).asked
        assert [line for line in asked if "initramfs" in line or "/one" in line] == ["G da591740//one"]

    def test_a_chosen_kernel_that_is_not_there_has_no_substitute(self) -> None:
        played = play("pi4", own("pi4", config_txt=b"kernel=my.img\n"))
        assert played.rule == "D27"
        assert "- 5b154510/my.img" in played.asked
        assert "P 5b154510/kernel8.img" not in played.asked

    def test_arm_64bit_0_leaves_kernel8_out(self) -> None:
        played = play("pi4", own("pi4", config_txt=b"arm_64bit=0\n") | {"5b154510/kernel7l.img": b"k"})
        assert "P 5b154510/kernel8.img" not in played.asked
        assert played.asked[-1] == "G 5b154510/kernel7l.img"

    def test_os_prefix_goes_before_what_belongs_to_the_system(self) -> None:
        system = ("cmdline.txt", "bcm2711-rpi-4-b.dtb", "kernel8.img", "overlays/overlay_map.dtb")
        moved = below("5b154510/new/", {name: PI4_FILES[name] for name in system})
        loader = own("pi4", config_txt=b"os_prefix=new/\n")
        played = play("pi4", {name: loader[name] for name in loader if name.rpartition("/")[2] not in system} | moved)
        assert played.booted == Booted(CMDLINE)
        assert played.asked[-1] == "G 5b154510/new/kernel8.img"

    def test_included_files_are_asked_for_each_time(self) -> None:
        files = own("pi4", config_txt=b"include extra.txt\n") | {"5b154510/extra.txt": b"dtoverlay=w1-gpio\n"}
        asked = play("pi4", files).asked
        reads = [at for at, line in enumerate(asked) if line == "G 5b154510/config.txt"]
        assert [asked[at + 1] for at in reads] == ["G 5b154510/extra.txt"] * 4
        assert "- 5b154510/overlays/w1-gpio.dtbo" in asked

    @pytest.mark.parametrize("model", ["pi4", "pi5"])
    def test_boot_ramdisk_asks_for_boot_img_and_nothing_after_it(self, model: str) -> None:
        files = own(model, config_txt=b"boot_ramdisk=1\n")
        with_image = files | {f"{SERIALS[model]}/boot.img": b"image"}
        played = play(model, with_image)
        assert played.asked[-1].endswith("/boot.img")
        assert played.booted is not None
        assert played.booted.cmdline == b""
        assert played.booted.notes
        assert (play(model, files).rule, play(model, files).stage) == ("D27", "kernel")

    @pytest.mark.parametrize("model", ["pi4", "pi5"])
    def test_one_that_is_too_long_is_noted_once(self, model: str) -> None:
        text = FILES[model]["config.txt"]
        whole = play(model, own(model, config_txt=text.ljust(4096, b"#"))).booted
        too_long = play(model, own(model, config_txt=text.ljust(4097, b"#"))).booted
        assert whole is not None
        assert whole.notes == ()
        assert too_long is not None
        (note,) = too_long.notes
        assert "4097 bytes" in note
        assert "D21" in note


def on(name: str, fetched: Fetched) -> Answer:
    """Answer one name so; all else comes from the files."""
    return lambda ask: fetched if ask.name.endswith(name) else None


class TestCauses:
    @pytest.mark.parametrize("model", ["pi3b-rom", "pi4", "pi5"])
    @pytest.mark.parametrize(
        ("fetched", "rule"),
        [
            pytest.param(Fetched("f", Result.TIMEOUT, answered=False), "D18", id="silence"),
            pytest.param(Fetched("f", Result.TIMEOUT, answered=False, foreign="10.0.0.9"), "D08", id="a stranger"),
            pytest.param(Fetched("f", Result.TIMEOUT, blocks=10), "D19", id="silence in the middle"),
            pytest.param(Fetched("f", Result.TIMEOUT, blocks=65534), "D19", id="silence before the counter's end"),
            pytest.param(Fetched("f", Result.TIMEOUT, 1 << 27, blocks=65535), "D17", id="the counter's end"),
            pytest.param(Fetched("f", Result.ERROR, message="pinetboot may not read it"), "D45", id="a refusal"),
            pytest.param(Fetched("f", Result.OK, 3, b"abc", oack=False), "D20", id="no options"),
            pytest.param(Fetched("f", Result.ERROR, doubled=True), "D22", id="doubled packets"),
        ],
    )
    def test_any_file_can_stop_the_boot(self, model: str, fetched: Fetched, rule: str) -> None:
        for name, stage in (("config.txt", "firmware"), ("cmdline.txt", "kernel"), ("overlay_map.dtb", "kernel")):
            played = play(model, own(model), on(name, fetched))
            assert (played.rule, played.stage) == (rule, stage)
            assert played.asks[-1].name.endswith(name)

    def test_a_pi_3_says_its_own_limits(self) -> None:
        long = Fetched("f", Result.TIMEOUT, 40 << 20, blocks=65535)
        quiet = Fetched("f", Result.TIMEOUT, blocks=10)
        for fetched, words in ((long, "65535 blocks of 512"), (quiet, "nothing came for 10 seconds")):
            played = play("pi3bp", own("pi3bp"), on("kernel8.img", fetched))
            assert played.stopped is not None
            assert words in played.stopped.cause.what

    def test_a_time_out_is_no_absence(self) -> None:
        silent = on("start4.elf", Fetched("5b154510/start4.elf", Result.TIMEOUT, answered=False))
        played = play("pi4", {"5b154510/start.elf": b"old"}, silent)
        assert played.rule == "D18"
        assert len(played.asks) == 1

    @pytest.mark.parametrize("rule", ["D08", "D18", "D20"])
    def test_the_server_is_named(self, rule: str) -> None:
        fetched = {
            "D08": Fetched("f", Result.TIMEOUT, foreign="10.0.0.9"),
            "D18": Fetched("f", Result.TIMEOUT, answered=False),
            "D20": Fetched("f", Result.OK, oack=False),
        }[rule]
        played = play("pi5", own("pi5"), on("config.txt", fetched))
        assert played.rule == rule
        assert played.stopped is not None
        assert SERVER in played.stopped.cause.what


texts = st.lists(
    st.sampled_from(
        [
            *(
                "[pi4]",
                "[pi5]",
                "[all]",
                "boot_ramdisk=1",
                "os_check=0",
                "auto_initramfs=1",
                "arm_64bit=0",
                "start_x=1",
            ),
            *("include config.txt", "include extra.txt", "initramfs a,b", "kernel=../x", "kernel=", "os_prefix=p/"),
            *("dtoverlay=a", "dtoverlay=a", "device_tree=", "cmdline=c", "gpu_mem=16", "nonsense"),
        ]
    ),
    max_size=12,
).map(lambda some: "\n".join(some).encode())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    model=st.sampled_from(["pi3b-rom", "pi3bp", "pi4", "pi5"]),
    text=texts,
    missing=st.sets(st.sampled_from([*PI3_FILES, *PI4_FILES, *PI5_FILES])),
    fates=st.lists(
        st.sampled_from(
            [None] * 20 + [Fetched("f", Result.ERROR), Fetched("f", Result.TIMEOUT), Fetched("f", Result.OK, 1, b"=")]
        ),
        max_size=60,
    ),
)
def test_whatever_the_server_has_and_answers_the_boot_ends(
    model: str, text: bytes, missing: set[str], fates: list[Fetched | None]
) -> None:
    files = below(f"{SERIALS[model]}/", FILES[model] | {"config.txt": text, "extra.txt": text, "boot.img": b"image"})
    files = {name: content for name, content in files.items() if name.partition("/")[2] not in missing} | FIRST_LOADER
    coming = iter(fates)
    played = play(model, files, lambda _: next(coming, None))
    assert (played.booted is None) is (played.stopped is not None)
    assert all(ask.stage in {"firmware", "kernel"} and ask.name for ask in played.asks)
