"""The trees of an image, made of a raw disk image, and written to the disk for good.

Belongs here: what happens in the folder that an image is built in. Never here: its name, or its place among others.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pinetboot.errors import OperatorError
from pinetboot.image import copying, extract, space
from pinetboot.image.copying import NotPermitted
from pinetboot.image.extract import NoRoot
from pinetboot.image.raw import Raw
from pinetboot.image.watch import Watch

_FOR_THE_ROOT = "Run it again as root, where loop devices and ext4 are at hand, to have the root tree too."


def trees(made: Raw, folder: Path, watch: Watch) -> str:
    """Make `boot` and `root` in `folder`; returns why there is no root where the disk has one. Raises OperatorError."""
    layout = made.layout
    space.need(folder, layout.boot_bytes + layout.root_bytes, "copying its files", layout.root_files)
    with copying.growing(folder, layout.boot_bytes, "copying the boot partition", watch):
        extract.boot(made.path, layout.boot, folder / "boot", folder)
    without = ""
    try:
        with copying.growing(folder, layout.root_bytes, "copying the root partition", watch):
            extract.root(made.path, layout, folder / "root", folder, own=made.own)
    except NoRoot as no:
        without = str(no)
        watch.say(f"there is no root tree: {without}")
        watch.say(_FOR_THE_ROOT)
        _clear(folder / "root")
    if made.own:
        made.path.unlink()
    for left in ("mounted", "replayed.img"):
        _clear(folder / left)
    return without


def finish(folder: Path, text: str) -> None:
    """Write the record beside the trees, and wait until all is on the disk. Raises OperatorError."""
    try:
        (folder / "image.toml").write_text(text, encoding="utf-8")
        folder.chmod(0o755)
        copying.command(["sync", "--file-system", folder], "writing the image to disk")
    except OSError as error:
        raise OperatorError(f"{folder.parent} cannot be written: {error.strerror}") from None
    except NotPermitted as error:
        raise OperatorError(str(error)) from None


def _clear(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
