"""The settings: every key as the documentation has it, and every mistake told at once, with its path."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pinetboot import checking, config
from pinetboot.config import Config
from pinetboot.errors import ConfigError, Problem
from pinetboot.net.addresses import PortRange

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Every key with its default, as users read it.
PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
DOCUMENTED = PAGE.read_text().partition("```toml\n")[2].partition("```")[0]


def built(text: str) -> Config:
    return config.build(checking.parse(text, "test.toml"), "test.toml")


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        built(text)
    assert caught.value.source == "test.toml"
    assert str(caught.value).startswith("test.toml cannot be used as it is:\n")
    assert all(str(problem) in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def paths(text: str) -> list[str]:
    return [problem.path for problem in problems(text)]


def documented() -> dict[str, dict[str, Any]]:
    return checking.parse(DOCUMENTED, "test.toml")


def test_every_key_is_known_and_its_default_is_the_one_that_is_written_there() -> None:
    assert built(DOCUMENTED) == Config()


def test_there_is_no_key_that_is_not_written_there() -> None:
    assert Config().model_dump().keys() == documented().keys()
    for section, keys in Config().model_dump().items():
        assert set(keys) == set(documented()[section]), section


@pytest.mark.parametrize("section", documented())
def test_every_section_and_every_key_may_be_left_out(section: str) -> None:
    for key in documented()[section]:
        fewer = documented()
        del fewer[section][key]
        if section != "pxe":
            assert config.build(fewer, "test.toml") == Config()
    assert config.build({section: {}}, "test.toml").model_dump(exclude={"pxe"}) == Config().model_dump(exclude={"pxe"})
    assert built("") == Config()


@pytest.mark.parametrize("section", [section for section in documented() if section != "pxe"])
def test_an_unknown_key_is_told_in_every_section(section: str) -> None:
    (problem,) = problems(f"[{section}]\nnonsense = 1\n")
    assert (problem.path, problem.what) == (f"{section}.nonsense", "unknown key")
    assert problem.right.startswith("known here: ")


def test_an_unknown_section_is_told() -> None:
    (problem,) = problems("[nonsense]\n")
    assert (problem.path, problem.what) == ("nonsense", "unknown key")
    assert problem.right == f"known here: {', '.join(documented())}"


@pytest.mark.parametrize(
    ("text", "path", "right"),
    [
        ("[tfpt]\n", "tfpt", "did you mean tftp?"),
        ("[server]\nadress = 'auto'\n", "server.adress", "did you mean address?"),
        ("[tftp]\nblksize = 8\n", "tftp.blksize", "did you mean max_blksize?"),
        ("[dhcp]\nrom_offer_s = [1]\n", "dhcp.rom_offer_s", "did you mean rom_offers_s?"),
    ],
)
def test_a_near_miss_is_told_what_was_meant(text: str, path: str, right: str) -> None:
    assert problems(text) == [Problem(path, "unknown key", right)]


WRONG = {
    bool: ["1", '"true"', "[]"],
    int: ['"1"', "true", "1.5", "[1]"],
    float: ['"1"', "true", "[1.0]"],
    str: ["1", "true", "['x']", "1979-05-27"],
    list: ["1", '"x"', "true"],
}


@pytest.mark.parametrize(
    ("section", "key", "default"),
    [(section, key, default) for section, keys in documented().items() for key, default in keys.items()],
)
def test_a_wrong_type_is_told_for_every_key(section: str, key: str, default: object) -> None:
    kind = float if key == "stop_s" else type(default)
    for value in WRONG[kind]:
        (problem,) = problems(f'[{section}]\n"{key}" = {value}\n')
        assert problem.path == f"{section}.{key}"
        assert "is of the wrong type" in problem.what or "is not known here" in problem.what
        assert " is right" in problem.right


@pytest.mark.parametrize("section", documented())
@pytest.mark.parametrize("value", ["1", '"x"', "[1]", "true"])
def test_a_section_that_is_no_table_is_told(section: str, value: str) -> None:
    (problem,) = problems(f"{section} = {value}\n")
    assert problem.path == section
    assert problem.right == f"a table of its own is right, [{section}]"


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("server", 'address = "300.1.1.1"'),
        ("server", 'address = "name.lan"'),
        ("server", 'address = "fe80::1"'),
        ("server", 'address = "0.0.0.0"'),
        ("server", 'address = "255.255.255.255"'),
        ("server", 'address = "224.0.0.1"'),
        ("server", 'address = ""'),
        ("server", "stop_s = -1"),
        ("server", "stop_s = 3601"),
        ("server", "stop_s = nan"),
        ("server", 'data = ""'),
        ("server", 'data = "/srv\\u0000"'),
        ("server", 'log_format = "xml"'),
        ("server", 'log_level = "loud"'),
        ("tftp", "port = 0"),
        ("tftp", "port = 65536"),
        ("tftp", "port = -1"),
        ("tftp", 'data_ports = "x"'),
        ("tftp", 'data_ports = "5010-5000"'),
        ("tftp", 'data_ports = "0-10"'),
        ("tftp", 'data_ports = "5000-70000"'),
        ("tftp", 'data_ports = "5000-"'),
        ("tftp", "max_blksize = 7"),
        ("tftp", "max_blksize = 65465"),
        ("tftp", "max_windowsize = 0"),
        ("tftp", "max_windowsize = 65536"),
        ("tftp", "timeout_s = 0"),
        ("tftp", "timeout_s = 256"),
        ("tftp", "timeout_s = inf"),
        ("tftp", "retries = -1"),
        ("tftp", "cache_mib = 0"),
        ("tftp", "max_transfers = 0"),
        ("tftp", "max_transfers_per_address = 0"),
        ("dhcp", 'mode = "relay"'),
        ("dhcp", "port = 0"),
        ("dhcp", 'pxe_menu = ""'),
        ("dhcp", 'pxe_menu = "Stra\u00dfe"'),
        ("dhcp", 'pxe_menu = "two\\nlines"'),
        ("dhcp", 'pxe_menu = "one line\\n"'),
        ("dhcp", 'range = "10.0.0.1"'),
        ("dhcp", 'range = "10.0.0.9-10.0.0.1"'),
        ("dhcp", 'range = "10.0.0.1-fe80::1"'),
        ("dhcp", "lease_s = 9"),
        ("dhcp", "lease_s = 4294967296"),
        ("dhcp", 'router = "gateway"'),
        ("dhcp", "rom_offers_s = []"),
        ("dhcp", "rom_offers_s = [1.2, 0.6]"),
        ("http", "port = 65536"),
        ("nfs", 'mode = "samba"'),
        ("nfs", 'address = "nas.lan"'),
        ("nfs", "versions = []"),
        ("nfs", 'clients = "10.0.0.0/33"'),
        ("nfs", 'clients = "10.0.0.1/24"'),
        ("nfs", 'options = "rw sync"'),
        ("nfs", 'options = "rw)"'),
        ("nfs", 'options = "rw,fsid=1"'),
        ("nfs", "threads = 0"),
        ("nfs", "mountd_port = 0"),
        ("nfs", "statd_port = 65536"),
        ("nfs", "lockd_port = 0"),
        ("fleet", 'adopt = "always"'),
        ("fleet", "keep_generations = 0"),
        ("fleet", "rollback_after_s = -1"),
        ("netconsole", "port = 0"),
    ],
)
def test_what_cannot_be_is_told(section: str, line: str) -> None:
    (problem,) = problems(f"[{section}]\n{line}\n")
    assert problem.path == f"{section}.{line.partition(' ')[0]}"
    assert problem.what


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[server]\ninterfaces = ["eth0", ""]\n', "server.interfaces.1"),
        ('[server]\ninterfaces = ["a name that is too long"]\n', "server.interfaces.0"),
        ('[dhcp]\ndns = ["10.0.0.1", "x"]\n', "dhcp.dns.1"),
        ("[dhcp]\nrom_offers_s = [0.6, 5.1]\n", "dhcp.rom_offers_s.1"),
        ("[nfs]\nversions = [3, 2]\n", "nfs.versions.1"),
    ],
)
def test_one_of_a_list_is_told_by_its_number(text: str, path: str) -> None:
    assert paths(text) == [path]


@pytest.mark.parametrize("key", ['"x"', '"-1"', '"123456"', '""'])
def test_an_architecture_is_a_number(key: str) -> None:
    (problem,) = problems(f'[pxe]\n{key} = "loader"\n')
    assert problem.path.startswith(f"pxe.{key.strip(chr(34))}")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[dhcp]\nmode = "server"\n', "dhcp.range"),
        ('[nfs]\nmode = "external"\npath = "/export"\n', "nfs.address"),
        ('[nfs]\nmode = "external"\naddress = "10.0.0.2"\n', "nfs.path"),
    ],
)
def test_a_mode_that_needs_another_key_says_so(text: str, path: str) -> None:
    (problem,) = problems(text)
    assert problem.path == path
    assert "needs it" in problem.what


def test_all_mistakes_are_told_at_once() -> None:
    text = """
[server]
adress = "x"
[tftp]
port = "69"
data_ports = "9-1"
max_blksize = 7
[dhcp]
mode = "prox"
dns = ["x", "10.0.0.1", "y"]
[nonsense]
"""
    assert set(paths(text)) == {
        *("server.adress", "tftp.port", "tftp.data_ports", "tftp.max_blksize"),
        *("dhcp.mode", "dhcp.dns.0", "dhcp.dns.2", "nonsense"),
    }


def test_broken_toml_is_told_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        built('[server]\naddress = "auto\n')
    (problem,) = caught.value.problems
    assert problem.path == "TOML"
    assert "line 2" in problem.what


def test_a_mistake_is_told_where_it_was_made() -> None:
    given = {("tftp", "port"): (70000, "--tftp-port"), ("server", "log_level"): ("loud", "PINETBOOT_LOG")}
    with pytest.raises(ConfigError) as caught:
        config.build({"http": {"port": 0}}, "test.toml", given)
    assert {problem.path for problem in caught.value.problems} == {"--tftp-port", "PINETBOOT_LOG", "http.port"}


def test_what_was_said_elsewhere_lies_over_the_file_and_leaves_it_as_it_is() -> None:
    read = {"tftp": {"port": 1069, "retries": 3}}
    made = config.build(read, "test.toml", {("tftp", "port"): (2069, "--tftp-port"), ("http", "port"): (8080, "--x")})
    assert (made.tftp.port, made.tftp.retries, made.http.port) == (2069, 3, 8080)
    assert read == {"tftp": {"port": 1069, "retries": 3}}


@pytest.mark.parametrize(
    ("text", "ports"), [("", None), ("69", PortRange(69, 69)), ("5000-5010", PortRange(5000, 5010))]
)
def test_data_ports_are_a_range_one_port_or_any(text: str, ports: PortRange | None) -> None:
    assert built(f'[tftp]\ndata_ports = "{text}"\n').tftp.port_range == ports


def test_the_boot_root_lies_in_the_data_unless_it_is_set() -> None:
    assert Config().boot_root == Path("/srv/pinetboot/boot")
    assert built('[server]\ndata = "/data"\n').boot_root == Path("/data/boot")
    assert built('[tftp]\nroot = "/tree"\n').boot_root == Path("/tree")


# Whatever TOML can say, aimed at the keys that there are.
scalars = st.one_of(
    st.booleans(),
    st.integers(-10, 70000),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 2**63]),
    st.floats(),
    st.sampled_from([math.inf, -math.inf, math.nan, 0.0, -0.0]),
    st.text(st.sampled_from('a1.-/:"\n\0\u00e9 '), max_size=12),
    st.sampled_from(
        ["auto", "proxy", "server", "external", "10.0.0.1", "10.0.0.1-10.0.0.9", "10.0.0.0/8", "5000-5010"]
    ),
    st.sampled_from([dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.date(2026, 1, 1), dt.time(1)]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["", "a", "port"]), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(sorted({key for section in documented().values() for key in section} | {"", "nonsense", "0"}))
sections = st.sampled_from([*documented(), "", "nonsense"])


def tried(mapping: dict[str, Any]) -> Config | ConfigError:
    try:
        return config.build(mapping, "test.toml")
    except ConfigError as refusal:
        return refusal


@STEADY
@given(mapping=st.dictionaries(sections, st.dictionaries(keys, values, max_size=6) | values, max_size=6))
@example(mapping={"server": {"stop_s": 10**400}})
@example(mapping={"tftp": {"port": 10**400}})
def test_any_mapping_makes_settings_or_is_refused(mapping: dict[str, Any]) -> None:
    answer = tried(mapping)
    if isinstance(answer, Config):
        assert config.build(answer.model_dump(), "test.toml") == answer
    else:
        assert answer.problems
        assert all(problem.path and problem.what for problem in answer.problems)
        assert str(answer).count("\n") >= len(answer.problems)


# A key that is right in a good file must not become wrong by another good one beside it.
@STEADY
@given(chosen=st.sets(st.sampled_from([(section, key) for section, part in documented().items() for key in part])))
def test_any_choice_of_the_documented_lines_is_good(chosen: set[tuple[str, str]]) -> None:
    mapping: dict[str, dict[str, Any]] = {}
    for section, key in chosen:
        mapping.setdefault(section, {})[key] = documented()[section][key]
    made = config.build(mapping, "test.toml")
    assert made.model_dump(exclude={"pxe"}) == Config().model_dump(exclude={"pxe"})


@STEADY
@given(text=st.text(st.sampled_from("[]{}=\"'.,#\\\n 019abceftx_-:TZ\u00e9\0"), max_size=60))
@example(text="x = " + "9" * 5000)
@example(text="x = 0x" + "f" * 5000)
@example(text="[server]\nstop_s = 0x" + "f" * 5000)
@example(text="x = " + "[" * 2000)
@example(text="\ufeff[server]\n")
def test_any_text_makes_settings_or_is_refused(text: str) -> None:
    try:
        mapping = checking.parse(text, "test.toml")
    except ConfigError:
        return
    assert tried(mapping) is not None


def test_a_loader_that_is_named_leaves_the_others_as_they_are_and_an_empty_table_leaves_none() -> None:
    assert config.build({"pxe": {"7": "own.efi", "0": ""}}, "a test").pxe == {
        "0": "",
        "7": "own.efi",
        "11": "bootaa64.efi",
        "16": "bootx64.img",
        "19": "bootaa64.img",
    }
    assert config.build({"pxe": {}}, "a test").pxe == {}
    assert config.build({}, "a test").pxe["0"] == "lpxelinux.0"
