"""RSA keys as a user makes them for boot.img, made once, and openssl's word on what was signed with one."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support import require

_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # deleted with this process


@dataclass(frozen=True)
class Pair:
    """The files of a private key and of its public half."""

    private: Path
    public: Path

    def verifies(self, sig: bytes, content: Path) -> bool:
        """Whether openssl accepts the signature in the text of a boot.sig for a file."""
        found = re.search(rb"(?m)^rsa2048: ([0-9a-f]{512})$", sig)
        assert found is not None, sig
        binary = self.private.with_name("signature")
        binary.write_bytes(bytes.fromhex(found[1].decode()))
        command = ["openssl", "dgst", "-sha256", "-verify", str(self.public), "-signature", str(binary), str(content)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def pair(name: str = "own") -> Pair:
    """Give the key of that name."""
    return _made(name)


@cache
def _made(name: str) -> Pair:
    require("openssl")
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix=f"pinetboot-key-{name}-"))
    made = Pair(Path(_FOLDERS[-1].name) / "boot.key", Path(_FOLDERS[-1].name) / "boot.pub")
    subprocess.run(["openssl", "genrsa", "-out", made.private, "2048"], check=True, capture_output=True)
    made.private.chmod(0o600)
    command = ["openssl", "rsa", "-in", str(made.private), "-pubout", "-out", str(made.public)]
    subprocess.run(command, check=True, capture_output=True)
    return made
