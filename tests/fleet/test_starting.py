"""What a firmware that is no Pi's starts of a boot tree, told by config.txt."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.fleet.starting import Start, start
from pinetboot.installer.menu import Choice, Root, ipxe


def tree(folder: Path, config: str, *names: str, cmdline: str = "root=/dev/nfs rw") -> Path:
    boot = folder / "boot"
    boot.mkdir()
    (boot / "config.txt").write_text(config)
    for name in names:
        (boot / name).parent.mkdir(exist_ok=True)
        (boot / name).write_text(cmdline if name.endswith("cmdline.txt") else name)
    return boot


WORDS = ("root=/dev/nfs", "rw")


@pytest.mark.parametrize(
    ("config", "names", "found"),
    [
        ("kernel=vmlinuz\ninitramfs initrd.img followkernel", ("vmlinuz", "initrd.img"), ("vmlinuz", "initrd.img")),
        ("auto_initramfs=1", ("kernel8.img", "initramfs8", "kernel_2712.img"), ("kernel8.img", "initramfs8")),
        ("", ("kernel_2712.img", "initramfs_2712"), ("kernel_2712.img",)),
        ("[pi5]\nkernel=five\n[all]\nkernel=every", ("five", "every"), ("every",)),
        ("kernel=a\ninitramfs b,c", ("a", "b"), ("a", "b")),
        ("os_prefix=current/\nkernel=vmlinuz", ("current/vmlinuz", "current/cmdline.txt"), ("current/vmlinuz",)),
    ],
)
def test_kernel_and_initramfs_are_those_of_config_txt(
    tmp_path: Path, config: str, names: tuple[str, ...], found: tuple[str, ...]
) -> None:
    boot = tree(tmp_path, config, "cmdline.txt", *names)
    assert start(boot) == Start(found[0], found[1:], WORDS)


@pytest.mark.parametrize("config", ["", "kernel=gone", "kernel=../outside", "kernel=folder", "\x00\xff=["])
def test_without_a_kernel_there_is_nothing_to_start(tmp_path: Path, config: str) -> None:
    (tmp_path / "outside").write_text("of somebody else")
    boot = tree(tmp_path, config, "folder/file", "kernel")
    assert start(boot) is None
    assert start(tmp_path / "nowhere") is None


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), max_size=5))
def test_a_script_says_words_as_they_are_or_not_at_all(words: list[str]) -> None:
    words = [word for text in words for word in text.split()]
    root = Root("Boot box", "http://10.0.0.2/boot/5b154510/kernel8.img", (), tuple(words))
    if not root.sayable:
        assert any(
            "${" in word or word[0] == "#" or word in {"||", "&&"} or not word.isascii() for word in words
        ) or any(not word.isprintable() for word in words)
        return
    (line,) = [line for line in ipxe([], Choice(), "http://10.0.0.2/boot/", root=root).split("\n") if "kernel8" in line]
    assert line.split() == ["kernel", root.kernel, *words, "||", "goto", "failed"]


def test_a_machine_with_a_root_boots_it_by_itself_and_may_choose_otherwise() -> None:
    base = "http://10.0.0.2/boot/5b154510/"
    root = Root("Boot box (trixie)", f"{base}current/vmlinuz", (f"{base}current/initrd.img",), WORDS)
    script = ipxe([], Choice(), "http://10.0.0.2/boot/", root=root).split("\n")
    assert "choose --default root --timeout 5000 picked || goto local" in script
    at = script.index(":root")
    assert script[at + 1 : at + 4] == [
        f"initrd --name initrd.img {base}current/initrd.img || goto failed",
        f"kernel {base}current/vmlinuz initrd=initrd.img root=/dev/nfs rw || goto failed",
        "boot || goto failed",
    ]
    assert script[-3:] == [":local", "exit", ""]
