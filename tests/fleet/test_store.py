"""fleet.toml edited: what a person wrote around the values stays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinetboot.config import Config
from pinetboot.errors import ConfigError, OperatorError
from pinetboot.fleet import store

WRITTEN = """# the fleet of rack 1

# first one, on the left
[[pi]]
serial = "5b154510"   # label
hostname = 'node-1'
disks = [ { mount = "/var/lib/rancher", size = "20G" } ] # keep

[pi.data]
role = "agent"   # x

# the second, in the cellar
[[pi]]
serial = "5B154511"
# nothing more

# a machine
[[machine]]
mac = "52:54:00:12:34:56"
"""


def at(data: Path, file: str = "") -> Config:
    return Config.model_validate({"server": {"data": str(data)}, "fleet": {"file": file}})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "fleet.toml").write_text(WRITTEN)
    return tmp_path


def written(data: Path) -> str:
    return (data / "fleet.toml").read_text()


def test_a_value_is_replaced_in_its_line(data: Path) -> None:
    found = store.change(at(data), "5b154510", {"hostname": "node-9"})
    assert found.by_serial["5b154510"].hostname == "node-9"
    assert written(data) == WRITTEN.replace("'node-1'", '"node-9"')


def test_a_new_key_comes_after_the_others_of_its_pi(data: Path) -> None:
    store.change(at(data), "5b154510", {"image": "raspios"})
    store.change(at(data), "5b154511", {"ssh": True})
    expected = WRITTEN.replace("} ] # keep\n", '} ] # keep\nimage = "raspios"\n')
    assert written(data) == expected.replace('"5B154511"\n', '"5B154511"\nssh = true\n')


def test_a_key_is_taken_out(data: Path) -> None:
    found = store.change(at(data), "5b154510", {"hostname": None, "image": None})
    assert found.by_serial["5b154510"].name == "pi-5b154510"
    assert written(data) == WRITTEN.replace("hostname = 'node-1'\n", "")


def test_values_for_templates_are_added_to_those_there(data: Path) -> None:
    found = store.change(at(data), "5b154510", {"data": {"zone": "b"}})
    assert found.by_serial["5b154510"].data == {"role": "agent", "zone": "b"}
    assert 'role = "agent"   # x\nzone = "b"\n' in written(data)


def test_a_pi_is_appended(data: Path) -> None:
    store.add(at(data), {"serial": "aaaaaaaa", "disks": [{"mount": "/a", "size": "2G"}], "data": {"k": 1}})
    assert written(data).startswith(WRITTEN)
    assert written(data).removeprefix(WRITTEN) == (
        '\n[[pi]]\nserial = "aaaaaaaa"\ndisks = [{mount = "/a", size = "2G"}]\ndata = {k = 1}\n'
    )


def test_a_pi_goes_with_the_comment_right_above_it(data: Path) -> None:
    store.drop(at(data), "5b154511")
    assert written(data) == WRITTEN.replace(
        '# the second, in the cellar\n[[pi]]\nserial = "5B154511"\n# nothing more\n\n', ""
    )
    store.drop(at(data), "5b154510")
    assert written(data) == '# the fleet of rack 1\n\n# a machine\n[[machine]]\nmac = "52:54:00:12:34:56"\n'


def test_a_header_inside_a_text_does_not_mislead(tmp_path: Path) -> None:
    text = '[[pi]]\nserial = "11111111"\n[pi.data]\nnote = """\n[[pi]]\nx\n"""\n[[pi]]\nserial = "22222222"\n'
    (tmp_path / "fleet.toml").write_text(text)
    found = store.drop(at(tmp_path), "11111111")
    assert [pi.serial for pi in found.pis] == ["22222222"]


def test_a_list_on_one_line_is_edited_too(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text('pi = [\n  { serial = "11111111" }, # c\n]\n')
    store.add(at(tmp_path), {"serial": "22222222"})
    store.change(at(tmp_path), "11111111", {"ssh": True})
    found = store.drop(at(tmp_path), "22222222")
    assert [(pi.serial, pi.ssh) for pi in found.pis] == [("11111111", True)]
    assert "# c" in written(tmp_path)


def test_a_fleet_begins_with_nothing(tmp_path: Path) -> None:
    assert store.read(at(tmp_path)).pis == ()
    store.add(at(tmp_path), {"serial": "5b154510"})
    assert written(tmp_path) == '[[pi]]\nserial = "5b154510"\n'
    assert ((tmp_path / "fleet.toml").stat().st_mode & 0o777) == 0o600
    assert store.drop(at(tmp_path), "5b154510").pis == ()


@pytest.mark.parametrize("change", [{"hostname": "a b"}, {"image": "../x"}, {"mac": "no"}, {"boot": "floppy"}])
def test_what_would_be_wrong_is_not_written(data: Path, change: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        store.change(at(data), "5b154510", change)
    assert written(data) == WRITTEN


def test_a_broken_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("[[pi]\n")
    edits: list[Callable[[], object]] = [
        lambda: store.add(at(tmp_path), {"serial": "11111111"}),
        lambda: store.drop(at(tmp_path), "11111111"),
        lambda: store.read(at(tmp_path)),
    ]
    for edit in edits:
        with pytest.raises(ConfigError, match=r"fleet\.toml"):
            edit()
    assert written(tmp_path) == "[[pi]\n"


def test_an_unknown_pi_is_told(data: Path) -> None:
    with pytest.raises(OperatorError, match="99999999 is not in fleet"):
        store.change(at(data), "99999999", {"ssh": True})
    with pytest.raises(OperatorError, match="99999999 is not in fleet"):
        store.drop(at(data), "99999999")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    real = tmp_path / "checkout" / "fleet.toml"
    real.write_text(WRITTEN)
    (tmp_path / "fleet.toml").symlink_to("checkout/fleet.toml")
    store.change(at(tmp_path), "5b154510", {"ssh": True})
    assert (tmp_path / "fleet.toml").is_symlink()
    assert "ssh = true" in real.read_text()


def test_a_fleet_that_is_kept_elsewhere_is_read_and_edited_there(tmp_path: Path) -> None:
    there = tmp_path / "checkout" / "rack.toml"
    there.parent.mkdir()
    there.write_text(WRITTEN)
    data = tmp_path / "data"
    found = store.change(at(data, str(there)), "5b154510", {"ssh": True})
    assert found == store.read(at(data, str(there)))
    assert there.read_text() == WRITTEN.replace("} ] # keep\n", "} ] # keep\nssh = true\n")
    assert [path.name for path in there.parent.iterdir()] == ["rack.toml"]
    assert store.read(at(data)).pis == ()


def test_a_fleet_that_is_named_and_not_there_is_no_empty_one(tmp_path: Path) -> None:
    named = at(tmp_path, str(tmp_path / "flet.toml"))
    told = r"flet\.toml, which fleet\.file names, does not exist"
    with pytest.raises(OperatorError, match=told):
        store.read(named)
    with pytest.raises(OperatorError, match=told):
        store.add(named, {"serial": "5b154510"})
    assert not (tmp_path / "flet.toml").exists()


def test_edits_from_two_sides_are_both_kept(tmp_path: Path) -> None:
    serials = [f"{number:08x}" for number in range(24)]

    def add(serial: str) -> None:
        store.add(at(tmp_path), {"serial": serial})

    threads = [threading.Thread(target=add, args=(serial,)) for serial in serials]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(pi.serial for pi in store.read(at(tmp_path)).pis) == serials
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet.toml", "state"]


_serials = st.lists(st.integers(0, 2**32 - 1).map(lambda n: f"{n:08x}"), min_size=1, max_size=6, unique=True)
_around = st.sampled_from(["", "\n", "# a word\n", "\n# two\n# lines\n\n", "   \n"])


@given(_serials, st.data())
def test_one_pi_is_touched_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, serials: list[str], draw: st.DataObject
) -> None:
    tmp_path = tmp_path_factory.mktemp("fleet")
    parts = []
    for serial in serials:
        inside = draw.draw(_around)
        parts.append(f'{draw.draw(_around)}[[pi]]\nserial = "{serial}" # {serial}\n{inside}hostname = "h{serial}"\n')
    text = "".join(parts) + draw.draw(_around)
    (tmp_path / "fleet.toml").write_text(text)
    chosen = draw.draw(st.sampled_from(serials))
    store.change(at(tmp_path), chosen, {"image": "x", "hostname": "other"})
    assert written(tmp_path).replace('hostname = "other"\nimage = "x"\n', f'hostname = "h{chosen}"\n') == text
    store.drop(at(tmp_path), chosen)
    assert [pi.serial for pi in store.read(at(tmp_path)).pis] == [serial for serial in serials if serial != chosen]
    for serial in serials:
        assert (f"# {serial}" in written(tmp_path)) == (serial != chosen)
