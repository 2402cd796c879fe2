"""What makes a Pi this Pi to others and outlives its generations: machine-id and ssh host keys.

Belongs here: making them once, and reading them. The folder is complete or absent; a file of the user's own that stands
in it (a key that clients know already) is used as it is.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pinetboot import files
from pinetboot.fleet import clone
from pinetboot.fleet.fence import ALONE, Fence

FOLDER: Final = "identity"
_NEW: Final = ".new-"
_MACHINE_ID: Final = "machine-id"
_KEY: Final = "ssh_host_"

_Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def ensure(own: Path, name: str, fence: Fence = ALONE) -> None:
    """Make what a Pi with the folder `own` and that host name has of its identity not yet.

    Raises OSError, run.ProgramMissing, run.ProgramFailed, and Lost.
    """
    folder = own / FOLDER
    if folder.is_dir():
        if not (folder / _MACHINE_ID).is_file():
            with fence.held():
                files.write(folder / _MACHINE_ID, _machine_id())
        return
    beside = own / f"{_NEW}{fence.mark}{FOLDER}"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(mode=0o700)
    files.write(beside / _MACHINE_ID, _machine_id(), durable=False)
    for kind, key in _keys().items():
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        files.write(beside / f"{_KEY}{kind}_key", private, mode=0o600, durable=False)
        files.write(beside / f"{_KEY}{kind}_key.pub", public + f" root@{name}\n".encode(), durable=False)
    clone.settle(beside)
    with fence.held():
        files.move(beside, folder)


def machine_id(own: Path) -> str:
    """Read a Pi's machine-id, a line (machine-id(5)). Raises OSError."""
    return (own / FOLDER / _MACHINE_ID).read_text(encoding="ascii", errors="replace").strip() + "\n"


def host_keys(own: Path) -> dict[str, str]:
    """Read a Pi's ssh host keys, private and public, by their file names. Raises OSError."""
    found = sorted((own / FOLDER).glob(f"{_KEY}*_key*"))
    return {path.name: path.read_text(encoding="utf-8", errors="surrogateescape") for path in found if path.is_file()}


def is_host_key(name: str) -> bool:
    """Whether a file in etc/ssh is a host key, of an image or of ours."""
    return name.startswith(_KEY)


def mode(name: str) -> int:
    """What mode sshd wants a file of that name to have."""
    return 0o644 if name.endswith(".pub") else 0o600


def _machine_id() -> bytes:
    # A version 4 UUID without its dashes, as systemd makes them.
    number = secrets.randbits(128) & ~(0xF << 76) | (4 << 76)
    number = number & ~(0b11 << 62) | (0b10 << 62)
    return f"{number:032x}\n".encode()


def _keys() -> dict[str, _Key]:
    # No RSA key: what knows neither of these is older than OpenSSH 5.7, and making it took a tenth of a tree's time.
    return {
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
        "ecdsa": ec.generate_private_key(ec.SECP256R1()),
    }
