"""The seed templates in a data directory: reading them, filling them in for a Pi, and saying what is wrong with them.

Belongs here: a seed folder's files, bounded in size. What is made of them is `boot.cloudinit`'s. No sentence holds a
value or a line of a seed: they may be secrets.

Symlinks in a seed's folder are followed wherever they lead. A mounted ConfigMap is made of them, and the folders are
the operator's alone: no Pi can write there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pinetboot.boot import cloudinit
from pinetboot.boot.bounds import MAX_SIZE
from pinetboot.boot.cloudinit import Asker
from pinetboot.boot.template import TemplateFault, has_tags, load, render


def make(folder: Path, name: str, asker: Asker) -> bytes:
    """Make one file of a seed from its folder. Raises TemplateFault, and OSError from the storage."""
    if asker.seed != cloudinit.DEFAULT_SEED and not folder.is_dir():
        raise TemplateFault(f"there is no folder cloud-init/{asker.seed}, which fleet.toml names as the seed")
    return cloudinit.fill(name, partial(_read, folder), asker)


def faults(folder: Path, asker: Asker) -> list[str]:
    """Say what keeps a seed from being given to a Pi, or from being understood by it; a sentence a file."""
    if asker.seed != cloudinit.DEFAULT_SEED and not folder.is_dir():
        return [f"there is no folder cloud-init/{asker.seed}, which fleet.toml names as the seed"]
    found = []
    for name in cloudinit.SEED_FILES:
        path = f"cloud-init/{asker.seed}/{name}"
        try:
            wrong = cloudinit.misread(name, make(folder, name, asker))
        except TemplateFault as fault:
            found.append(str(fault))
        except OSError as error:
            found.append(f"{path} cannot be read: {error.strerror}")
        else:
            found += [f"{path}, as this Pi gets it: {wrong}"] if wrong else []
    return found


def preseed(folder: Path, name: str, variables: Mapping[str, Any]) -> bytes:
    """Make the preseed of a machine that is no Pi, a file of `folder`, as a seed is made.

    Raises TemplateFault, and OSError from the storage.
    """
    content = _read(folder, name)
    if content is None:
        raise TemplateFault(f"there is no file preseed/{name}, which fleet.toml names")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content
    if not has_tags(text):
        return content
    texts = {name: text}

    def beside(other: str) -> str | None:
        return texts.get(other)

    return render(name, beside, variables, "preseed/")


def shares_instance(folder: Path, asker: Asker) -> bool:
    """Whether another Pi with another root would get the same instance-id, which cloud-init tells instances by."""
    if asker.pi is None:
        return False
    pi = asker.pi.model_copy(update={"serial": "0" * 8, "hostname": "", "mac": "00:00:5e:00:53:00", "address": ""})
    other = replace(asker, serial=pi.serial, pi=pi, address="192.0.2.254", generation="0")  # RFC 5737, RFC 7042
    own = _instance(folder, asker)
    return bool(own) and own == _instance(folder, other)


def _instance(folder: Path, asker: Asker) -> str:
    try:
        read = load(make(folder, "meta-data", asker).decode("utf-8", "replace"))
    except (TemplateFault, OSError):
        return ""
    return str(read.get("instance-id", "")) if isinstance(read, dict) else ""


def faults_for_any(folder: Path) -> list[str]:
    """Say what is wrong with a seed's templates whichever Pi it will be for; a sentence each."""
    found = []
    for name in cloudinit.SEED_FILES:
        path = f"cloud-init/{folder.name}/{name}"
        try:
            content = _read(folder, name)
        except TemplateFault as fault:
            found.append(str(fault))
        except OSError as error:
            found.append(f"{path} cannot be read: {error.strerror}")
        else:
            found += [f"cloud-init/{folder.name}/{wrong}" for wrong in cloudinit.check(name, content or b"")]
    return found


def _read(folder: Path, name: str) -> bytes | None:
    """Read a seed file; None where there is none. Raises OSError."""
    try:
        # A pipe, which nobody may ever write to, is not waited for.
        fd = os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(number, os.strerror(number))
        with open(fd, "rb", closefd=False) as file:
            content = file.read(MAX_SIZE + 1)
    finally:
        os.close(fd)
    if len(content) > MAX_SIZE:
        raise TemplateFault(f"{name} is larger than the {MAX_SIZE} bytes that a seed may have")
    return content
