"""The boot.img of a generation: of its tree as it is, signed, and nobody else's files in it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bootkeys
import pytest
from imagetrees import SERIAL, fill
from support import require

from pinetboot import run
from pinetboot.bootimg import fat, layout
from pinetboot.config import build
from pinetboot.eeprom import signature
from pinetboot.errors import OperatorError
from pinetboot.events import BootImgMade, Event, FleetFault
from pinetboot.fleet import made, ramdisk, ramdisks
from pinetboot.fleet.fence import ALONE, Lost
from pinetboot.fleet.made import Made
from pinetboot.fleet.pi import Pi
from pinetboot.fleet.ramdisk import Keys, Ready
from pinetboot.fleet.ramdisk_tree import Unsettled
from pinetboot.fleet.surroundings import Image, Surroundings
from pinetboot.pi.fat import Fat

PI = Pi.model_validate({"serial": SERIAL, "boot": "img"})
TREE: dict[str, str | bytes] = {
    "config.txt": "arm_64bit=1\nboot_ramdisk=1\n",
    "cmdline.txt": "quiet\n",
    "kernel8.img": b"kernel" * 1000,
}


@pytest.fixture(autouse=True)
def _needs() -> None:
    require("mcopy", "mformat")


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    found = tmp_path / "data" / "pis" / SERIAL / "1"
    fill(found / "boot", TREE)
    (found / made.NAME).write_text(made.to_text(Made("raspios", "one", "2026-01-01T00:00:00Z", "nfs")))
    return found


def prepare(generation: Path, key: str = "") -> Ready | None:
    return ramdisk.prepare(generation, PI, key, lambda: False)


def renew(generation: Path, key: str = "") -> bytes:
    ready = prepare(generation, key)
    assert ready is not None
    ramdisk.place(ready)
    assert [path.name for path in generation.parent.iterdir()] == [generation.name]
    return (generation / "boot" / "boot.img").read_bytes()


def inside(image: bytes, name: str) -> bytes | None:
    system = Fat(memoryview(image))
    found = system.find(name)
    return None if found is None else system.read(found, 1 << 20)


class TestMade:
    def test_it_holds_the_tree_and_openssl_accepts_its_signature(self, generation: Path) -> None:
        key = bootkeys.pair()
        image = renew(generation, str(key.private))
        assert inside(image, "kernel8.img") == TREE["kernel8.img"]
        sig, path = (generation / "boot" / "boot.sig").read_bytes(), generation / "boot" / "boot.img"
        assert sig.splitlines()[0].decode() == hashlib.sha256(image).hexdigest()
        assert sig.splitlines()[1].startswith(b"ts: ")
        assert key.verifies(sig, path)
        assert path.stat().st_mode & 0o777 == 0o644

    def test_it_is_the_same_from_the_same_tree(self, generation: Path, tmp_path: Path) -> None:
        image = renew(generation)
        other = tmp_path / "elsewhere" / SERIAL / "7"
        shutil.copytree(generation / "boot", other / "boot")
        assert renew(other) == image

    def test_without_a_key_it_is_not_signed(self, generation: Path) -> None:
        image = renew(generation)
        told = signature.parse((generation / "boot" / "boot.sig").read_bytes())
        assert told is not None
        assert (told.digest, told.rsa) == (hashlib.sha256(image).digest(), b"")

    def test_inside_nothing_asks_for_a_boot_img(self, generation: Path) -> None:
        assert inside(renew(generation), "config.txt") == b"arm_64bit=1\n"
        assert (generation / "boot" / "config.txt").read_text() == TREE["config.txt"]

    def test_it_is_not_inside_itself_nor_is_what_updates_the_bootloader(self, generation: Path) -> None:
        first = renew(generation)
        fill(generation / "boot", {"pieeprom.upd": "x", "pieeprom.sig": "x", ".pinetboot-new-0123": "x"})
        assert ramdisk.is_current(generation, "")
        (generation / "boot" / "config.txt").write_text("arm_64bit=0\n")
        second = renew(generation)
        assert len(second) == len(first)
        assert [inside(second, name) for name in ("boot.img", "boot.sig", "pieeprom.upd")] == [None] * 3

    def test_a_link_leads_nowhere_but_within_the_tree(self, generation: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret of another")
        boot = generation / "boot"
        (boot / "out").symlink_to(tmp_path / "secret")
        (boot / "up").symlink_to("../generation.toml")
        (boot / "folder").symlink_to(tmp_path)
        (boot / "own").symlink_to("kernel8.img")
        os.mkfifo(boot / "pipe")
        image = renew(generation)
        assert b"secret of another" not in image
        assert [inside(image, name) for name in ("out", "up", "folder/secret", "pipe")] == [None] * 4
        assert inside(image, "own") == TREE["kernel8.img"]


class TestCurrent:
    def test_it_is_until_anything_in_the_tree_changes(self, generation: Path) -> None:
        assert not ramdisk.is_current(generation, "")
        image = renew(generation)
        assert ramdisk.is_current(generation, "")
        cmdline = generation / "boot" / "cmdline.txt"
        times = cmdline.stat()
        cmdline.write_text("quite\n")
        os.utime(cmdline, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert not ramdisk.is_current(generation, "")
        assert inside(renew(generation), "cmdline.txt") == b"quite\n"
        (generation / "boot" / "new").touch()
        assert not ramdisk.is_current(generation, "")
        assert renew(generation) != image

    def test_a_file_that_was_only_touched_changes_nothing(self, generation: Path) -> None:
        renew(generation)
        boot = generation / "boot"
        before = [(boot / name).stat().st_ctime_ns for name in ("boot.img", "boot.sig")]
        (boot / "cmdline.txt").touch()
        assert not ramdisk.is_current(generation, "")
        assert prepare(generation) is None
        assert ramdisk.is_current(generation, "")
        assert [(boot / name).stat().st_ctime_ns for name in ("boot.img", "boot.sig")] == before

    @pytest.mark.parametrize("name", ["boot.img", "boot.sig"])
    @pytest.mark.parametrize("how", ["changed", "gone", "a folder", "a link"])
    def test_one_that_somebody_changed_is_made_anew(self, generation: Path, name: str, how: str) -> None:
        image = renew(generation)
        path = generation / "boot" / name
        content = bytearray(path.read_bytes())
        path.unlink()
        if how == "changed":
            content[20] ^= 1
            path.write_bytes(content)
        elif how == "a folder":
            path.mkdir()
        elif how == "a link":
            path.symlink_to("/etc/passwd")
        assert not ramdisk.is_current(generation, "")
        if how == "a folder":
            ready = prepare(generation)
            assert ready is not None
            with pytest.raises(OperatorError, match="cannot be put in place"):
                ramdisk.place(ready)
            path.rmdir()
        assert renew(generation) == image
        assert not path.is_symlink()
        assert ramdisk.is_current(generation, "")

    def test_another_key_has_it_signed_anew(self, generation: Path) -> None:
        keys, key, other = Keys(), str(bootkeys.pair().private), str(bootkeys.pair("other").private)
        assert keys.name("") == ""
        renew(generation, key)
        assert ramdisk.is_current(generation, keys.name(key))
        assert not ramdisk.is_current(generation, keys.name(other))
        assert not ramdisk.is_current(generation, "")
        renew(generation, other)
        assert ramdisk.is_current(generation, keys.name(other))
        assert bootkeys.pair("other").verifies(
            (generation / "boot" / "boot.sig").read_bytes(), generation / "boot" / "boot.img"
        )

    def test_a_key_is_read_again_when_its_file_is_another(self, tmp_path: Path) -> None:
        keys, path = Keys(), tmp_path / "key"
        shutil.copy(bootkeys.pair().private, path)
        first = keys.name(str(path))
        assert keys.name(str(path)) == first
        shutil.copy(bootkeys.pair("other").private, path)
        assert keys.name(str(path)) != first
        path.chmod(0o640)
        with pytest.raises(OperatorError, match="others"):
            keys.name(str(path))

    def test_a_record_that_is_none_is_passed_over(self, generation: Path) -> None:
        renew(generation)
        for text in ("", "[]", "{}", '{"tree": 1}', "\xff", '{"tree":"","key":"","sha256":"","size":"x","written":1}'):
            (generation / "boot-img.json").write_text(text)
            assert ramdisk.record(generation) is None
            assert not ramdisk.is_current(generation, "")


class TestRefused:
    def refusal(self, generation: Path, key: str = "") -> str:
        with pytest.raises(OperatorError) as refused:
            prepare(generation, key)
        assert [path.name for path in generation.parent.iterdir()] == [generation.name]
        return str(refused.value)

    def test_a_tree_that_fits_none(self, generation: Path) -> None:
        (generation / "boot" / "CONFIG.TXT").write_text("")
        assert "one name to FAT" in self.refusal(generation)

    def test_a_tree_that_is_too_large(self, generation: Path) -> None:
        with (generation / "boot" / "huge").open("wb") as file:
            file.truncate(layout.MOST + 1)
        assert "more than 512 MiB" in self.refusal(generation)

    def test_a_key_that_others_may_read(self, generation: Path, tmp_path: Path) -> None:
        key = tmp_path / "key"
        shutil.copy(bootkeys.pair().private, key)
        key.chmod(0o644)
        assert "chmod 600" in self.refusal(generation, str(key))
        assert "No such file" in self.refusal(generation, str(tmp_path / "none"))

    def test_a_host_without_mtools(self, generation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fat, "is_there", lambda: False)
        assert "Install mtools" in self.refusal(generation)

    def test_a_tree_that_changes_meanwhile_is_tried_again(
        self, generation: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def meddle(text: bytes) -> bytes:
            (generation / "boot" / "cmdline.txt").write_text("other words\n")
            return text

        monkeypatch.setattr("pinetboot.fleet.ramdisk_tree.without_ramdisk", meddle)
        with pytest.raises(Unsettled):
            prepare(generation)
        assert [path.name for path in generation.parent.iterdir()] == [generation.name]

    def test_it_is_cut_off_when_nobody_wants_it_any_more(self, generation: Path) -> None:
        with pytest.raises(run.Cancelled):
            ramdisk.prepare(generation, PI, "", lambda: True)
        assert not (generation / "boot" / "boot.img").exists()

    def test_whoever_lost_the_claim_changes_nothing(self, generation: Path) -> None:
        class Gone:
            mark = "7-"
            lost = True

            def check(self) -> None:
                raise Lost

            @contextmanager
            def held(self) -> Iterator[None]:
                raise Lost
                yield

        ready = ramdisk.prepare(generation, PI, "", lambda: False, Gone())
        assert ready is not None
        with pytest.raises(Lost):
            ramdisk.place(ready, Gone())
        assert not (generation / "boot" / "boot.img").exists()


class House:
    """Ramdisks as the daemon has them, over a data directory."""

    def __init__(self, generation: Path, key: Path | None = None) -> None:
        self.data = generation.parent.parent.parent
        section = {"key_file": str(key)} if key else {}
        config = build({"server": {"data": str(self.data)}, "boot_img": section}, "test")
        self.told: list[Event] = []
        self.free = asyncio.Event()
        self.free.set()
        self.waits = asyncio.Event()
        self.ramdisks = ramdisks.Ramdisks(
            lambda: config,
            self._in_thread,
            self._unheld,
            self.told.append,
            slots=asyncio.Semaphore(1),
            stopping=lambda: False,
        )

    async def _in_thread(self, _place: str, work: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(work)

    async def _unheld(self, _serial: str) -> None:
        self.waits.set()
        await self.free.wait()

    async def look(self, pi: Pi = PI, *, boot_img: bool | None = None, booted: bool = True) -> None:
        images = () if boot_img is None else (Image("raspios", "one", "", has_loader=False, boot_img=boot_img),)
        await self.ramdisks.look_after(pi, 1, Surroundings(None, images, (), 0), ALONE, booted=booted)


class TestKept:
    async def test_it_comes_with_the_setting_and_goes_with_it(self, generation: Path) -> None:
        house = House(generation, bootkeys.pair().private)
        image, sig = generation / "boot" / "boot.img", generation / "boot" / "boot.sig"
        await house.look(Pi(serial=SERIAL))
        assert not image.exists()
        await house.look()
        assert ramdisk.is_current(generation, Keys().name(str(bootkeys.pair().private)))
        (told,) = house.told
        assert isinstance(told, BootImgMade)
        assert (told.serial, told.generation, told.bytes, told.signed) == (SERIAL, 1, image.stat().st_size, True)
        await house.look()
        assert len(house.told) == 1
        await house.look(Pi.model_validate({"serial": SERIAL, "boot": "files"}))
        assert not image.exists()
        assert not sig.exists()
        assert not (generation / "boot-img.json").exists()

    async def test_an_image_has_its_pis_get_one_unless_fleet_toml_says_otherwise(self, generation: Path) -> None:
        house, image = House(generation), generation / "boot" / "boot.img"
        silent = Pi(serial=SERIAL)
        await house.look(Pi.model_validate({"serial": SERIAL, "boot": "files"}), boot_img=True)
        assert not image.exists()
        await house.look(silent, boot_img=True)
        assert image.exists()
        await house.look(silent)  # the image is gone: what stands stays
        assert image.exists()
        await house.look(silent, boot_img=False)
        assert not image.exists()

    async def test_one_of_the_users_own_stays(self, generation: Path) -> None:
        fill(generation / "boot", {"boot.img": "mine", "boot.sig": "mine"})
        await House(generation).look(Pi(serial=SERIAL), boot_img=False)
        assert (generation / "boot" / "boot.img").read_text() == "mine"

    async def test_it_is_not_replaced_under_a_pi_that_boots(self, generation: Path) -> None:
        house = House(generation)
        house.free.clear()
        await asyncio.wait_for(house.look(), 20)  # there is none yet that it could be in the middle of
        house.waits.clear()
        before = (generation / "boot" / "boot.img").read_bytes()
        (generation / "boot" / "cmdline.txt").write_text("other words\n")
        looking = asyncio.create_task(house.look())
        await asyncio.wait_for(house.waits.wait(), 20)
        await asyncio.sleep(0.1)
        assert (generation / "boot" / "boot.img").read_bytes() == before
        house.free.set()
        await asyncio.wait_for(looking, 20)
        assert inside((generation / "boot" / "boot.img").read_bytes(), "cmdline.txt") == b"other words\n"
        assert ramdisk.is_current(generation, "")

    async def test_nobody_waits_for_a_generation_that_is_not_booted_yet(self, generation: Path) -> None:
        house = House(generation)
        await house.look()
        house.free.clear()
        (generation / "boot" / "cmdline.txt").write_text("other words\n")
        await asyncio.wait_for(house.look(booted=False), 20)
        assert ramdisk.is_current(generation, "")

    async def test_what_is_wrong_is_told_once_and_what_stands_stays(self, generation: Path, tmp_path: Path) -> None:
        key = tmp_path / "key"
        shutil.copy(bootkeys.pair().private, key)
        house = House(generation, key)
        await house.look()
        before = (generation / "boot" / "boot.sig").read_bytes()
        key.chmod(0o644)
        (generation / "boot" / "cmdline.txt").write_text("other words\n")
        for _ in range(3):
            await house.look()
        (fault,) = [event for event in house.told if isinstance(event, FleetFault)]
        assert fault.serial == SERIAL
        assert "chmod 600" in fault.why
        assert (generation / "boot" / "boot.sig").read_bytes() == before
        key.chmod(0o600)
        await house.look()
        assert (generation / "boot" / "boot.sig").read_bytes() != before


def test_openssl_is_the_judge(generation: Path) -> None:
    """It refuses what is not signed with that key, so that its consent above says something."""
    key = bootkeys.pair()
    renew(generation, str(key.private))
    sig, image = (generation / "boot" / "boot.sig").read_bytes(), generation / "boot" / "boot.img"
    assert not bootkeys.pair("other").verifies(sig, image)
    with image.open("r+b") as file:
        file.seek(1000)
        file.write(b"tampered")
    assert not key.verifies(sig, image)
