"""What a file is packed with, how large it gets, and unpacking it: against the packers themselves."""

from __future__ import annotations

import gzip
import lzma
import random
import subprocess
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support import require

from pinetboot.image.formats import Packing, packing, unpacked_size
from pinetboot.image.unpack import BadPack, Source, Sparse

CONTENT = random.Random(1).randbytes(300_000) + bytes(500_000) + b"end"  # noqa: S311 - repeatable on purpose


def zipped(content: bytes, name: str = "a.img", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr(name, content)
    return made.getvalue()


PACKERS: dict[Packing, Callable[[bytes], bytes]] = {
    Packing.XZ: lzma.compress,
    Packing.GZIP: gzip.compress,
    Packing.ZSTD: zstandard.ZstdCompressor().compress,
    Packing.ZIP: zipped,
    Packing.NONE: bytes,
}


def unpack(path: Path) -> tuple[bytes, bytes, int | None]:
    """Return what is in it, all that was said to have been read, and the size that was known beforehand."""
    taken = bytearray()
    with path.open("rb") as file:
        source = Source(path, file)
        return b"".join(source.parts(taken.extend)), bytes(taken), source.unpacked


@pytest.mark.parametrize("kind", PACKERS, ids=lambda kind: kind.value or "plain")
def test_each_packing_is_known_by_its_content_and_unpacked(tmp_path: Path, kind: Packing) -> None:
    path = tmp_path / "misleading-name.zip"
    packed = PACKERS[kind](CONTENT)
    path.write_bytes(packed)
    assert packing(packed) is kind
    assert unpack(path) == (CONTENT, packed, len(CONTENT))


@pytest.mark.parametrize("kind", [Packing.XZ, Packing.GZIP, Packing.ZSTD], ids=lambda kind: kind.value)
def test_streams_one_after_the_other_are_one_file(tmp_path: Path, kind: Packing) -> None:
    path = tmp_path / "two"
    padding = bytes(8) if kind is Packing.XZ else b""
    path.write_bytes(PACKERS[kind](CONTENT) + padding + PACKERS[kind](b"more") + padding)
    content, _, size = unpack(path)
    assert content == CONTENT + b"more"
    if kind is Packing.XZ:
        assert size == len(content)


@pytest.mark.parametrize("kind", [kind for kind in PACKERS if kind.value], ids=lambda kind: kind.value)
@pytest.mark.parametrize("keep", [0.3, 0.9, 0.9999])
def test_a_file_that_is_cut_short_is_told(tmp_path: Path, kind: Packing, keep: float) -> None:
    path = tmp_path / "short"
    packed = PACKERS[kind](CONTENT)
    path.write_bytes(packed[: int(len(packed) * keep)])
    with pytest.raises(BadPack, match="is cut short"):
        unpack(path)


@pytest.mark.parametrize("kind", [Packing.XZ, Packing.GZIP, Packing.ZIP], ids=lambda kind: kind.value)
def test_a_damaged_file_is_told(tmp_path: Path, kind: Packing) -> None:
    path = tmp_path / "damaged"
    packed = bytearray(PACKERS[kind](CONTENT))
    packed[150_000] ^= 0x55
    path.write_bytes(packed)
    with pytest.raises(BadPack, match="is damaged"):
        unpack(path)


def test_garbage_behind_a_stream_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "behind"
    path.write_bytes(lzma.compress(CONTENT) + b"garbage, and more of it")
    with pytest.raises(BadPack, match="is damaged"):
        unpack(path)


def test_a_zip_holds_one_image(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../etc/readme.txt", "not looked at")
        archive.writestr("folder/one.img", CONTENT)
    assert unpack(path)[0] == CONTENT
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("two.IMG", CONTENT)
    with pytest.raises(BadPack, match=r"holds 2 files that could be the image: 'folder/one.img', 'two.IMG'"):
        unpack(path)
    path.write_bytes(b"")
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(BadPack, match="holds nothing"):
        unpack(path)


def test_what_the_programs_write_in_blocks_and_threads(tmp_path: Path) -> None:
    require("xz", "zstd")
    plain = tmp_path / "plain"
    plain.write_bytes(CONTENT * 10)
    for command, packed in (
        (["xz", "-k", "-0", "-T2", "--block-size=100000"], "plain.xz"),
        (["zstd", "-q", "-k", "--long=30"], "plain.zst"),
    ):
        subprocess.run([*command, plain], check=True)
        content, _, size = unpack(tmp_path / packed)
        assert content == CONTENT * 10
        assert size == len(content)


@given(
    st.binary(max_size=600), st.sampled_from([b"", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08"]), st.booleans()
)
def test_the_size_of_arbitrary_bytes_is_a_number_or_unknown(some: bytes, magic: bytes, ends: bool) -> None:
    content = magic + some + (b"\0\0\0\0YZ" if ends else b"")
    size = unpacked_size(packing(content), lambda at, length: content[at : at + length], len(content))
    assert size is None or size >= 0


def read_back(folder: Path, parts: list[bytes]) -> tuple[bytes, int]:
    path = folder / "sparse"
    path.unlink(missing_ok=True)
    with path.open("xb+") as file:
        sparse = Sparse(file)
        for part in parts:
            sparse.write(part)
        sparse.finish()
    return path.read_bytes(), path.stat().st_blocks * 512


PIECES = st.lists(
    st.one_of(st.integers(0, 20_000).map(bytes), st.binary(max_size=50), st.integers(1, 9000).map(lambda n: b"x" * n)),
    max_size=12,
)


@given(parts=PIECES)
def test_a_file_with_holes_reads_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    assert read_back(folder, parts)[0] == b"".join(parts)


def test_zeros_take_no_room(tmp_path: Path) -> None:
    content, taken = read_back(tmp_path, [bytes(10 << 20), b"x", bytes(10 << 20)])
    assert len(content) == (20 << 20) + 1
    assert taken <= 64 << 10
    assert (tmp_path / "sparse").stat().st_size == len(content)
