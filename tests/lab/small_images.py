"""Images as an import leaves them, of a few small files, that are made new while a daemon runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pinetboot.demo import tree


def image(data: Path, name: str, identity: str, server: str, *, serial: str = tree.PI4, without: str = "") -> None:
    """Put one in place of the one that stands, with a boot tree of the demo's; `without` is a file that it lacks."""
    new = data / "images" / f".new-{name}"
    tree.make(new, f"http://{server}/")
    shutil.move(new / "boot" / serial, new / "tree")
    shutil.rmtree(new / "boot")
    (new / "tree").rename(new / "boot")
    if without:
        (new / "boot" / without).unlink()
    record = {"name": name, "source": "test", "sha256": "0" * 64, "identity": identity, "added": "2026-01-01T00:00:00Z"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in record.items()]
    whole = [*lines, "has_root = false", "files = 9", "bytes = 9", "models = []"]
    (new / "image.toml").write_text("\n".join(whole) + "\n")
    standing = data / "images" / name
    shutil.rmtree(standing, ignore_errors=True)
    new.rename(standing)
