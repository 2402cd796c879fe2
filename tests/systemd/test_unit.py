"""What the unit says: for every place, and held against systemd's own tools."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import require

from pinetboot.errors import OperatorError
from pinetboot.service import unit
from pinetboot.service.unit import Place

TREE = Path(__file__).parents[2]
TEXT = (TREE / "pinetboot/service/pinetboot.service").read_text()
MOST_EXPOSED = 4.0
# Those of `systemd-analyze security` that are about something in the unit which says what it is for.
EXPLAINED = {
    "SystemCallFilter=~@privileged": "SystemCallFilter=@chown",
    "PrivateDevices=": "PrivateDevices=",
    "DeviceAllow=": "PrivateDevices=",
    "CapabilityBoundingSet=~CAP_(DAC_*|FOWNER|IPC_OWNER)": "CAP_DAC_OVERRIDE",
    "CapabilityBoundingSet=~CAP_(CHOWN|FSETID|SETFCAP)": "CAP_CHOWN",
    "CapabilityBoundingSet=~CAP_MKNOD": "CAP_MKNOD",
    "CapabilityBoundingSet=~CAP_NET_(BIND_SERVICE|BROADCAST|RAW)": "CAP_NET_RAW",
}
paths = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30).map(
    lambda text: Path("/srv") / text.replace("/", "x")
)


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.split("\n") if line.startswith(f"{key}=")]


def analyze(tmp_path: Path, *words: str, text: str = TEXT) -> subprocess.CompletedProcess[str]:
    """Ask systemd-analyze about the unit, with a program that is there."""
    require("systemd-analyze")
    path = tmp_path / unit.NAME
    path.write_text(text)
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *words, path], capture_output=True, text=True, timeout=60, check=False
    )


def split(text: str) -> list[str]:
    """Read a line's words as systemd.syntax(7) says."""
    words = []
    for quoted, bare in re.findall(r'"((?:[^"\\]|\\.)*)"|([^ ]+)', text):
        words.append(re.sub(r"\\(.)", r"\1", quoted).replace("%%", "%") if quoted else bare)
    return words


def test_as_it_comes_it_is_the_unit_of_the_usual_place() -> None:
    assert unit.render(TEXT, unit.USUAL) == TEXT
    assert (TREE / "systemd/pinetboot.service").read_text() == TEXT


def test_systemd_has_nothing_to_say_about_it(tmp_path: Path) -> None:
    done = analyze(tmp_path, "verify", text=unit.render(TEXT, Place(Path("/bin/true"), Path("/srv/pi net"))))
    assert (done.returncode, done.stderr) == (0, "")
    # It does say what is wrong, where something is.
    assert "Unknown key" in analyze(tmp_path, "verify", text=TEXT.replace("PrivateTmp", "PrivateTemp")).stderr


def test_what_it_is_exposed_to_is_little_and_each_of_it_is_explained(tmp_path: Path) -> None:
    done = analyze(tmp_path, "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:g}")
    assert done.returncode == 0, done.stdout
    told = json.loads(analyze(tmp_path, "security", "--offline=true", "--json=short").stdout)
    exposed = {one["name"] for one in told if float(one["exposure"] or 0) > 0}
    assert exposed
    comments = " ".join(line for line in TEXT.splitlines() if line.startswith("#"))
    for name in exposed:
        words = re.split(r"=~?", name)
        family = words[1] if words[0] == "RestrictAddressFamilies" else f"{words[0]}="
        told_of = EXPLAINED.get(name, "AF_" if family.startswith("AF_") else family)
        assert told_of in (TEXT if name in EXPLAINED else comments), name


def test_lines_that_name_places_follow_the_place() -> None:
    place = Place(Path("/usr/local/bin/pinetboot"), Path("/volume1/pinetboot"), (Path("/volume2/boot"),))
    text = unit.render(TEXT, place)
    assert values(text, "ExecStart") == ["/usr/local/bin/pinetboot serve"]
    assert values(text, "ReadWritePaths") == ["-/volume1/pinetboot -/etc/exports.d -/var/lib/nfs"]
    assert values(text, "ExecStartPre") == ["+mkdir -p /volume1/pinetboot /etc/exports.d /var/lib/nfs"]
    assert values(text, "RequiresMountsFor") == ["/volume1/pinetboot /volume2/boot"]
    assert values(text, "ProtectHome") == ["yes"]
    assert "/srv/pinetboot" not in text
    assert "/opt/pinetboot" not in text


@pytest.mark.parametrize(
    "place",
    [
        Place(Path("/home/me/.venv/bin/pinetboot"), Path("/srv/pinetboot")),
        Place(Path("/opt/pinetboot/bin/pinetboot"), Path("/root/pis")),
        Place(Path("/opt/pinetboot/bin/pinetboot"), Path("/srv/pinetboot"), parts=(Path("/root/.local/share/uv"),)),
    ],
)
def test_homes_stay_readable_where_something_of_it_lies_in_one(place: Place) -> None:
    assert values(unit.render(TEXT, place), "ProtectHome") == ["read-only"]
    assert len(unit.in_homes(place)) == 1


@pytest.mark.parametrize("path", ["/tmp/venv/bin/pinetboot", "/var/tmp/x", "/srv/a\nExecStart=/bin/sh"])  # noqa: S108
def test_a_place_that_no_service_can_have_is_refused(path: str) -> None:
    with pytest.raises(OperatorError):
        unit.render(TEXT, Place(Path("/opt/pinetboot/bin/pinetboot"), Path(path)))
    with pytest.raises(OperatorError):
        unit.render(TEXT, Place(Path(path), Path("/srv/pinetboot")))


@given(paths)
def test_whatever_a_path_is_called_systemd_reads_it_back(path: Path) -> None:
    text = unit.render(TEXT, Place(unit.USUAL.program, path))
    assert text.count("\n") == TEXT.count("\n")
    (written,) = values(text, "ReadWritePaths")
    assert split(written) == [f"-{path}", "-/etc/exports.d", "-/var/lib/nfs"]


def test_a_unit_that_somebody_changed_is_told_from_ours() -> None:
    ours = unit.signed(TEXT, "0.1.0")
    assert unit.whose(ours, TEXT) == "ours"
    assert unit.whose(unit.signed(TEXT.replace("=30", "=60"), "0.0.9"), TEXT) == "ours"
    # As README and repository had it to copy.
    assert unit.whose(TEXT, TEXT) == "ours"
    for other in (ours.replace("RestartSec=1", "RestartSec=9"), ours + "\n", "", "[Service]\n", TEXT + "#\n"):
        assert unit.whose(other, TEXT) == "changed", other
