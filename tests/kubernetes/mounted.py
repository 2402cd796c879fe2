"""A ConfigMap as kubelet mounts it, for daemons that run here."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Mounted:
    """A folder of links to `..data/NAME`, `..data` being one to a folder of its time, which is swapped by a rename."""

    folder: Path
    _times: Iterator[int] = field(default_factory=itertools.count)

    def put(self, files: dict[str, str]) -> None:
        """Have these files in it, all of them at one moment, and the ones before them gone."""
        self.folder.mkdir(exist_ok=True)
        link = self.folder / "..data"
        before = link.resolve() if link.is_symlink() else None
        new = self.folder / f"..2026_01_01_00_00_{next(self._times):02}.123456789"
        new.mkdir()
        for name, text in files.items():
            (new / name).write_text(text)
        beside = self.folder / "..data_tmp"
        beside.symlink_to(new.name)
        beside.rename(link)
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        if before is not None:
            shutil.rmtree(before)
