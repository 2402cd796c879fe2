"""What fits a boot.img, and how it is laid out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.bootimg import layout
from pinetboot.bootimg.layout import MOST, PI4_MOST, SECTOR, Geometry, Unfit, geometry

SIZES = st.integers(0, 60 << 20)
NAMES = st.text("abcdefgh._-", min_size=1, max_size=30).map(lambda text: f"x{text}x")
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@given(st.dictionaries(PATHS, SIZES, max_size=30))
def test_a_tree_fits_what_is_laid_out_for_it(files: dict[str, int]) -> None:
    try:
        made = geometry(files)
    except Unfit:
        assert sum(files.values()) > MOST
        return
    size = made.cluster * SECTOR
    folders = {path.rpartition("/")[0] for path in files} - {""}
    needed = sum(-(-length // size) for length in files.values()) + len(folders)
    # Two tables of 16 bits a cluster, the root folder, and a sector before them.
    room = made.sectors - 1 - made.root
    clusters = room * SECTOR // (size + 4)
    assert 4085 <= needed + 64 <= clusters or clusters >= 4085
    assert needed <= clusters < 65525
    assert made.size == made.sectors * SECTOR


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"a:b": 1}, "no such name"),
        ({"folder/what?": 1}, "no such name"),
        ({"folder?/a": 1}, "no such name"),
        ({"ends.": 1}, "no such name"),
        ({" begins": 1}, "no such name"),
        ({"new\nline": 1}, "no such name"),
        ({"\udcff": 1}, "no such name"),
        ({"x" * 256: 1}, "no such name"),
        ({"config.txt": 1, "CONFIG.TXT": 1}, "CONFIG.TXT and config.txt are one name"),
        ({"a/b": 1, "A/c": 1}, "are one name"),
        ({"large": MOST + 1}, "512"),
        ({f"f{number}": 0 for number in range(layout.MOST_FILES + 1)}, "5,000 files"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(files: dict[str, int], why: str) -> None:
    with pytest.raises(Unfit) as refused:
        geometry(files)
    assert why in str(refused.value)
    assert refused.value.do


def test_a_small_tree_is_a_fat16_all_the_same() -> None:
    assert geometry({}) == Geometry(4352, 1, 32)
    assert geometry({"boot/deep/er": 1}).size < 3 << 20


def test_many_long_names_at_the_top_get_a_longer_root() -> None:
    names = {f"{'n' * 200}{number}": 0 for number in range(300)}
    assert geometry(names).root * SECTOR >= 300 * 17 * 32


@pytest.mark.parametrize(
    ("size", "family", "severity"),
    [
        (PI4_MOST, "pi4", None),
        (PI4_MOST + 1, "pi4", "warning"),
        (PI4_MOST + 1, "", "warning"),
        (PI4_MOST + 1, "pi5", "info"),
    ],
)
def test_what_a_pi_4_has_no_room_for_is_told(size: int, family: str, severity: str | None) -> None:
    found = layout.of_the_size(size, family)
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    assert all(finding.rule == "D17" for finding in found)
