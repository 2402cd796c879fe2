"""Images appear and go at once, and what dead imports left is swept away."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support import wait_until

from pinetboot.errors import ConfigError, OperatorError
from pinetboot.image import library, record, swap
from pinetboot.image.record import ImageRecord

NEVER: Callable[[], None] = lambda: pytest.fail("nobody else holds the lock")  # noqa: E731


def made(name: str, identity: str = "1") -> ImageRecord:
    return ImageRecord(
        name=name,
        source="/a.img",
        sha256="",
        identity=identity,
        added="2026-01-01T00:00:00+00:00",
        has_root=False,
        files=1,
        bytes=1,
    )


def put(data: Path, name: str, identity: str = "1") -> None:
    with library.locked(data, NEVER), library.staging(data, name) as folder:
        (folder / "boot").mkdir()
        (folder / "image.toml").write_text(record.to_text(made(name, identity)))
        library.place(data, name, folder)


def left(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "images").iterdir())


def test_images_are_listed_by_name_and_known_by_their_records(tmp_path: Path) -> None:
    assert library.images(tmp_path) == []
    assert library.load(tmp_path, "a") is None
    put(tmp_path, "b")
    put(tmp_path, "a")
    assert [one.name for one in library.images(tmp_path)] == ["a", "b"]
    assert library.load(tmp_path, "a") == made("a")
    assert (tmp_path / "images").stat().st_mode & 0o777 == 0o700
    (library.folder(tmp_path, "a") / "image.toml").write_text("name = 1")
    with pytest.raises(ConfigError, match="is of the wrong type"):
        library.load(tmp_path, "a")
    assert library.names(tmp_path) == ["a", "b"]
    assert [one.name for one in library.images(tmp_path)] == ["b"]


@pytest.mark.parametrize("exchanges", [True, False], ids=["in one step", "in two"])
def test_one_image_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, exchanges: bool
) -> None:
    put(tmp_path, "a", "old")
    if not exchanges:
        monkeypatch.setattr(swap, "exchange", lambda new, old: False)
    put(tmp_path, "a", "new")
    found = library.load(tmp_path, "a")
    assert found is not None
    assert found.identity == "new"
    assert left(tmp_path) == [".lock", "a"]


def test_there_is_no_moment_without_the_image(tmp_path: Path) -> None:
    put(tmp_path, "a")
    missed, over = [], threading.Event()

    def look() -> None:
        while not over.is_set():
            if library.load(tmp_path, "a") is None:
                missed.append(1)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(100):
            put(tmp_path, "a", str(number))
    finally:
        over.set()
        thread.join()
    assert not missed


def test_what_is_not_finished_goes_with_its_import(tmp_path: Path) -> None:
    def interrupted() -> None:
        with library.locked(tmp_path, NEVER), library.staging(tmp_path, "a") as folder:
            (folder / "boot").mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert left(tmp_path) == [".lock"]


def test_what_the_dead_left_is_swept_and_what_they_moved_comes_back(tmp_path: Path) -> None:
    put(tmp_path, "a-b")
    put(tmp_path, "kept")
    home = tmp_path / "images"
    (home / "a-b").rename(home / ".old-a-b-0123abcd")
    (home / ".old-kept-0123abcd" / "boot").mkdir(parents=True)
    (home / ".new-c-0123abcd" / "root").mkdir(parents=True)
    (home / ".gone-d-0123abcd").mkdir()
    assert library.names(tmp_path) == ["kept"]
    library.sweep(tmp_path)
    assert left(tmp_path) == [".lock", "a-b", "kept"]


def test_nothing_is_swept_while_an_import_is_at_work(tmp_path: Path) -> None:
    put(tmp_path, "a")
    fd = os.open(tmp_path / "images" / ".lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    (tmp_path / "images" / ".new-b-01234567").mkdir()
    library.sweep(tmp_path)
    assert ".new-b-01234567" in left(tmp_path)
    waited = threading.Event()

    def let_go() -> None:
        waited.wait(10)
        os.close(fd)

    thread = threading.Thread(target=let_go)
    thread.start()
    with library.locked(tmp_path, waited.set):
        assert waited.is_set()
        assert left(tmp_path) == [".lock", "a"]
    thread.join()


def test_a_removed_image_is_gone(tmp_path: Path) -> None:
    put(tmp_path, "a")
    with library.locked(tmp_path, NEVER):
        library.remove(tmp_path, "a")
    assert left(tmp_path) == [".lock"]


def test_an_image_that_is_held_stays_while_another_takes_its_name(tmp_path: Path) -> None:
    put(tmp_path, "a", "old")
    thread = threading.Thread(target=put, args=(tmp_path, "a", "new"))
    with library.held(tmp_path, "a") as path:
        thread.start()
        assert wait_until(lambda: identity(tmp_path) == "new")
        assert 'identity = "old"' in (path / "image.toml").read_text()
        assert len(left(tmp_path)) == 3
    thread.join()
    assert left(tmp_path) == [".lock", "a"]
    with pytest.raises(FileNotFoundError), library.held(tmp_path, "b"):
        pass


def identity(data: Path) -> str:
    found = library.load(data, "a")
    return found.identity if found else ""


def test_who_uses_an_image_is_read_from_the_fleet(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.toml"
    assert library.users(fleet, "a") == []
    fleet.write_text(
        '[[pi]]\nserial = "5b154510"\nimage = "a"\n[[pi]]\nserial = "da591740"\nhostname = "n"\nimage = "a"\n'
    )
    assert library.users(fleet, "a") == ["pi-5b154510", "n"]
    assert library.users(fleet, "b") == []
    fleet.write_text("[[pi]]\nserial = 5\n")
    with pytest.raises(ConfigError, match="is no serial"):
        library.users(fleet, "a")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="cannot be written"), library.locked(tmp_path / "file", NEVER):
        pass
