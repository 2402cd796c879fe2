"""The user's private key, with which boot.img and bootloader settings are signed: RSA-2048, as the firmware has it.

Belongs here: reading the key from its own file, which it never leaves, and signing. What is signed is for others.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from pinetboot.eeprom.signature import EXPONENT, MODULUS
from pinetboot.errors import OperatorError

_BITS: Final = 2048
_LONGEST: Final = 64 << 10
_MAKE: Final = "Make one with `openssl genrsa -out FILE 2048` and `chmod 600 FILE`."


def public(path: Path) -> bytes:
    """Read the public half of a key, from a file with either in PEM, as an EEPROM holds it. Raises OperatorError."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST)
    except OSError as error:
        raise OperatorError(f"the key {path} cannot be read: {error.strerror}") from None
    if b"PRIVATE KEY" in content:
        return load(path).public
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise OperatorError(f"{path} holds no key in PEM", "Make one with `openssl rsa -in FILE -pubout`.") from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != _BITS:
        raise OperatorError(f"the key {path} is no RSA-2048 key, which is all that the firmware knows")
    return _half(key)


def _half(key: rsa.RSAPublicKey) -> bytes:
    numbers = key.public_numbers()
    return numbers.n.to_bytes(MODULUS, "little") + numbers.e.to_bytes(EXPONENT, "little")


class Key:
    """A private key that was read."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest (PKCS#1 v1.5, reference 4.3): 256 bytes."""
        return self._key.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA256()))

    @property
    def public(self) -> bytes:
        """Its public half as an EEPROM holds it: modulus and exponent, little endian, 264 bytes."""
        return _half(self._key.public_key())


def load(path: Path) -> Key:
    """Read a key. Raises OperatorError where there is none, others may read it, or it is of another sort."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            content = file.read(_LONGEST + 1) if stat.S_ISREG(found.st_mode) else b""
    except OSError as error:
        raise OperatorError(f"the key {path} cannot be read: {error.strerror}", _MAKE) from None
    if found.st_mode & 0o077:
        raise OperatorError(
            f"the key {path} may be read by others than its owner",
            f"Run `chmod 600 {path}`; if it was read, make another.",
        )
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        raise OperatorError(
            f"the key {path} has a passphrase, which nobody is there to type", "Take one without: mode 600 guards it."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise OperatorError(f"{path} holds no private key in PEM", _MAKE) from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != _BITS:
        sort = f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPrivateKey) else "no RSA key"
        raise OperatorError(f"the key {path} is {sort}; the firmware knows RSA-2048 alone", _MAKE)
    return Key(key)
