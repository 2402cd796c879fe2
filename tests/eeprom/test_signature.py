"""`.sig` files and the user's key: OpenSSL takes what is signed, and what it signs is taken."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import require

from pinetboot import signing
from pinetboot.eeprom import signature
from pinetboot.eeprom.signature import Signature
from pinetboot.errors import OperatorError

CONTENT = b"an image" * 1000
DIGEST = sha256(CONTENT).digest()


def openssl(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    require("openssl")
    command = ["openssl", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keys")
    assert openssl("genrsa", "-out", "own.pem", "2048", folder=made).returncode == 0
    assert openssl("rsa", "-in", "own.pem", "-pubout", "-out", "public.pem", folder=made).returncode == 0
    assert openssl("genrsa", "-out", "short.pem", "1024", folder=made).returncode == 0
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    assert openssl("genpkey", *curve, "-out", "curve.pem", folder=made).returncode == 0
    locked = openssl("rsa", "-in", "own.pem", "-aes128", "-passout", "pass:x", "-out", "locked.pem", folder=made)
    assert locked.returncode == 0
    (made / "noise.pem").write_text("nothing")
    (made / "image").write_bytes(CONTENT)
    for path in made.glob("*.pem"):
        path.chmod(0o600)
    return made


def test_openssl_verifies_what_is_signed(folder: Path) -> None:
    (folder / "sig").write_bytes(signing.load(folder / "own.pem").sign(DIGEST))
    words = ("dgst", "-sha256", "-verify", "public.pem", "-signature", "sig")
    assert openssl(*words, "image", folder=folder).stdout == "Verified OK\n"
    (folder / "other").write_bytes(CONTENT + b".")
    assert openssl(*words, "other", folder=folder).returncode != 0


def test_what_openssl_signs_is_verified_with_the_key_as_an_eeprom_holds_it(folder: Path) -> None:
    assert openssl("dgst", "-sha256", "-sign", "own.pem", "-out", "theirs", "image", folder=folder).returncode == 0
    theirs, public = (folder / "theirs").read_bytes(), signing.load(folder / "own.pem").public
    assert signature.verified(DIGEST, theirs, public)
    assert not signature.verified(sha256(b"other").digest(), theirs, public)
    assert not signature.verified(DIGEST, bytes(256), public)
    assert not signature.verified(DIGEST, b"\xff" * 256, public)
    assert not signature.verified(DIGEST, theirs[:-1], public)
    assert not signature.verified(DIGEST, theirs, b"")
    assert not signature.verified(DIGEST, theirs, bytes(264))
    flipped = bytearray(theirs)
    flipped[100] ^= 1
    assert not signature.verified(DIGEST, bytes(flipped), public)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none.pem", "cannot be read: No such file"),
        ("noise.pem", "holds no private key in PEM"),
        ("public.pem", "holds no private key in PEM"),
        ("short.pem", "is RSA-1024; the firmware knows RSA-2048 alone"),
        ("curve.pem", "is no RSA key"),
        ("locked.pem", "has a passphrase"),
        ("", "cannot be read: Is a directory"),
    ],
)
def test_another_sort_of_key_is_refused_in_a_sentence(folder: Path, name: str, why: str) -> None:
    with pytest.raises(OperatorError) as error:
        signing.load(folder / name)
    assert why in error.value.what


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o777])
def test_a_key_that_others_may_use_is_refused(folder: Path, mode: int, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes((folder / "own.pem").read_bytes())
    os.chmod(path, mode)  # noqa: PTH101 - the mode is the matter here
    with pytest.raises(OperatorError, match="may be read by others than its owner"):
        signing.load(path)


def test_a_signature_is_written_as_the_firmware_reads_it() -> None:
    text = signature.to_text(DIGEST, 1_795_271_810, soc="2711", rsa=b"\xab" * 256)
    assert text == f"{DIGEST.hex()}\nts: 1795271810\ntarget-soc: 2711\nrsa2048: {'ab' * 256}\n"
    assert signature.parse(text.encode()) == Signature(DIGEST, 1_795_271_810, "2711", b"\xab" * 256)
    assert signature.parse(signature.to_text(DIGEST, 5).encode()) == Signature(DIGEST, 5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        DIGEST.hex(),
        f"{DIGEST.hex()[:-1]}\nts: 5\n",
        f"{DIGEST.hex()}\nts: -5\n",
        f"{DIGEST.hex()}\nts: soon\n",
        f"{DIGEST.hex()}\nts: 99999999999999\n",
        f"{DIGEST.hex()}\nts: 5\nrsa2048: abcd\n",
        f"{DIGEST.hex()}\nts: 5\n" + "#" * 5000,
    ],
)
def test_what_is_no_signature_is_none(text: str) -> None:
    assert signature.parse(text.encode()) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_signature_or_none(octets: bytes) -> None:
    signature.parse(octets)
    signature.parse(DIGEST.hex().encode() + b"\n" + octets)
