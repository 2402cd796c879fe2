"""A boot tried out on disk comes to the same end as the firmware's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinetboot.boot.resolver import BootTree
from pinetboot.demo import tree as demo
from pinetboot.fleet.dryrun import Tried, boots


@pytest.fixture
def tree(tmp_path: Path) -> BootTree:
    demo.make(tmp_path, "http://192.0.2.1/")
    return BootTree(tmp_path / "boot")


def cause(tried: Tried | None) -> str:
    assert tried is not None
    assert tried.cause is not None
    return tried.cause.rule


SERIALS = {"pi3": demo.PI3, "pi4": demo.PI4, "pi5": demo.PI5}


@pytest.mark.parametrize(("model", "serial"), SERIALS.items())
def test_a_whole_tree_boots_with_its_command_line(tree: BootTree, model: str, serial: str) -> None:
    tried = boots(tree, model, serial)
    assert tried == Tried(cmdline=(tree.root / serial / "cmdline.txt").read_bytes())


@pytest.mark.parametrize(
    ("model", "gone", "rule"),
    [
        ("pi3", "start.elf", "D13"),
        ("pi3", "fixup.dat", "D23"),
        ("pi3", "kernel8.img", "D27"),
        ("pi4", "start4.elf", "D13"),
        ("pi4", "fixup4.dat", "D27"),
        ("pi4", "bcm2711-rpi-4-b.dtb", "D27"),
        ("pi4", "kernel8.img", "D27"),
        ("pi5", "config.txt", "D13"),
        ("pi5", "bcm2712-rpi-5-b.dtb", "D15"),
        ("pi5", "kernel_2712.img", "D15"),
    ],
)
def test_a_missing_file_is_named_by_its_rule(tree: BootTree, model: str, gone: str, rule: str) -> None:
    (tree.root / SERIALS[model] / gone).unlink()
    assert cause(boots(tree, model, SERIALS[model])) == rule


def test_a_pi_3_needs_its_first_loader_in_the_root_and_one_board_s_device_tree(tree: BootTree) -> None:
    folder = tree.root / demo.PI3
    (folder / "bcm2710-rpi-3-b.dtb").unlink()
    assert boots(tree, "pi3", demo.PI3) == Tried(cmdline=(folder / "cmdline.txt").read_bytes())
    (folder / "bcm2710-rpi-3-b-plus.dtb").rename(folder / "bcm2710-rpi-3-b.dtb")
    assert boots(tree, "pi3", demo.PI3) == Tried(cmdline=(folder / "cmdline.txt").read_bytes())
    (folder / "bcm2710-rpi-3-b.dtb").unlink()
    assert cause(boots(tree, "pi3", demo.PI3)) == "D27"
    (tree.root / "bootcode.bin").rename(folder / "bootcode.bin")
    assert cause(boots(tree, "pi3", demo.PI3)) == "D12"


def test_what_is_refused_stops_it(tree: BootTree) -> None:
    path = tree.root / demo.PI4 / "kernel8.img"
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert cause(boots(tree, "pi4", demo.PI4)) == "D45"


def test_a_prefix_that_leads_out_finds_nothing(tree: BootTree) -> None:
    (tree.root / demo.PI4 / "config.txt").write_text("os_prefix=../../../../\n")
    assert cause(boots(tree, "pi4", demo.PI4)) == "D27"


def test_boot_img_is_not_looked_into(tree: BootTree) -> None:
    folder = tree.root / demo.PI5
    (folder / "config.txt").write_text("boot_ramdisk=1\n")
    assert cause(boots(tree, "pi5", demo.PI5)) == "D27"
    (folder / "boot.img").write_bytes(b"x")
    assert boots(tree, "pi5", demo.PI5) == Tried(cmdline=None)


def test_no_tree_at_all_and_a_model_that_is_not_known(tree: BootTree, tmp_path: Path) -> None:
    assert cause(boots(BootTree(tmp_path / "nowhere"), "pi4", demo.PI4)) == "D13"
    assert cause(boots(BootTree(tmp_path / "nowhere"), "pi3", demo.PI3)) == "D12"
    assert boots(tree, "pi2", demo.PI4) is None
    assert boots(tree, "", demo.PI4) is None
