"""The data directory: what is in it, and making what is missing.

Belongs here: paths and modes. `boot` is for everyone to read; the rest holds secrets and is the daemon's alone.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from pinetboot.boot.resolver import BootTree, Names
from pinetboot.config import Config
from pinetboot.errors import OperatorError

_PRIVATE = ("pis", "images", "cloud-init", "preseed", "state")


def prepare(config: Config, names: Names | None = None) -> BootTree:
    """Make the directories that are missing and return the tree to serve, by `names`. Raises OperatorError."""
    data = config.data
    try:
        data.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not config.tftp.root:
            (data / "boot").mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise OperatorError(
            f"the data directory {data} cannot be made: {error.strerror}",
            "Run `pinetboot systemd install` again, which lets the service write to where the settings say."
            if error.errno == errno.EROFS and "INVOCATION_ID" in os.environ  # systemd.exec(5)
            else "Make it by hand for this user, or name another with --data.",
        ) from None
    for name in _PRIVATE:
        # A data directory that is mounted read-only still serves what is in it.
        with suppress(OSError):
            (data / name).mkdir(mode=0o700, exist_ok=True)
    root = config.boot_root
    if not root.is_dir():
        raise OperatorError(f"tftp.root {root} is no directory", "Make it, or name another.")
    if not os.access(root, os.R_OK | os.X_OK):
        raise OperatorError(f"the boot tree {root} may not be read by this user", f"Run `chmod a+rx {root}`.")
    tree = tree_of(config, names)
    tree.is_remote()
    return tree


def tree_of(config: Config, names: Names | None = None) -> BootTree:
    """Give the tree that is served; one that is elsewhere than in the data directory has no links into generations."""
    root = config.boot_root
    return BootTree(root, config.data / "pis" if root == config.data / "boot" else None, names)


def seed_folder(config: Config, name: str) -> Path:
    """Where the seed templates of that name lie."""
    return config.data / "cloud-init" / name
